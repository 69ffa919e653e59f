//! Whether the answers can be believed (pure): whether any came, and whether each is known to belong to its message.
//!
//! Leaves the generator to [`super::verdict`]. Invariants: a doubt prevents a pass, and stands before all other
//! reasons; it is gone where a threshold is given for the figure it is about, since the threshold decides then.

use super::report::Report;
use super::threshold::Threshold;
use super::verdict::whole;

const NOTHING: &str = "nothing came back: ";
const DOUBTFUL: &str = "doubtful: ";
/// Share by which figures of histograms may be off.
const ROUNDING: f64 = 0.03;

/// Whether a reason in a report is one of these.
#[must_use]
pub(crate) fn is_doubt(reason: &str) -> bool {
    reason.starts_with(NOTHING) || reason.starts_with(DOUBTFUL)
}

/// Returns what is doubtful about the answers in a report, worst first, but for what these thresholds judge.
#[must_use]
pub(crate) fn doubts(report: &Report, thresholds: &[Threshold]) -> Vec<String> {
    let (messages, load) = (&report.messages, &report.load);
    let is_judged = |figures: &[&str]| thresholds.iter().any(|threshold| figures.contains(&threshold.figure()));
    let kind = load.kind.as_str();
    if !matches!(kind, "echo" | "publish" | "push") {
        return Vec::new();
    }
    let mut found = Vec::new();
    if messages.received == 0 && !is_judged(&["received"]) {
        found.push(match kind {
            "push" => format!("{NOTHING}no message was received; some servers wait for a first one (--init)"),
            _ if messages.sent == 0 => format!("{NOTHING}nothing was sent"),
            _ => format!("{NOTHING}none of {} messages was answered", whole(messages.sent as f64)),
        });
    }
    let mut doubt = |count: u64, figures: &[&str], text: &str| {
        if count > 0 && !is_judged(figures) {
            found.push(format!("{DOUBTFUL}{} {text}", whole(count as f64)));
        }
    };
    let how = match load.matching.as_str() {
        "content" => {
            "messages arrived that equal no sent message (--match fifo matches answers by order; \
                      --threshold 'unexpected<N' allows them)"
        }
        _ => "messages arrived that answer no sent message (--threshold 'unexpected<N' allows them)",
    };
    doubt(messages.unexpected, &["unexpected"], how);
    doubt(messages.corrupt, &["corrupt"], "answers were corrupt (--threshold 'corrupt<N' allows them)");
    let unverified = messages.received.saturating_sub(messages.verified);
    if load.matching == "fifo" && (load.matching_assumed || messages.verified > 0) {
        let text = if messages.verified > 0 {
            "answers differ from the message sent while others equal it, so matching by order may be wrong (--match \
             content accepts only equal ones)"
        } else {
            "answers differ from the messages sent and are matched by order alone (--match jq:FILTER matches by an \
             id; --match fifo trusts the order)"
        };
        doubt(unverified, &["unverified", "verified"], text);
    }
    if matches!(load.matching.as_str(), "fifo" | "content") && messages.received > 0 {
        let text = "answers are missing; when matching by order, each lost one shifts all that follow (--threshold \
        'loss<1%' allows some)";
        doubt(messages.lost, &["loss", "lost"], text);
    }
    if let Some(check) = InFlight::of(report).filter(InFlight::is_impossible) {
        found.push(format!(
            "{DOUBTFUL}{:.2} messages in flight follow from latency and rate, but at most {} are possible",
            check.found,
            whole(check.allowed)
        ));
    }
    found
}

/// Little's law in closed loop: the mean latency times the answers a second is how many messages are under way at a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct InFlight {
    /// The mean latency in milliseconds.
    pub mean_ms: f64,
    /// Answers a second.
    pub rate: f64,
    /// Their product, in messages.
    pub found: f64,
    /// The most there can have been.
    pub allowed: f64,
    /// What answers that came after the measured time add at most, as a factor.
    edge: f64,
}

impl InFlight {
    /// The check of a report; `None` where it is not a closed loop.
    #[must_use]
    pub(crate) fn of(report: &Report) -> Option<Self> {
        let in_flight = report.load.in_flight.filter(|_| report.load.kind == "echo")?;
        // Connections that come and go are more than there are at a time.
        let connections = report.connect.ok.min(report.load.connections);
        let mean_ms = report.latency_ms.service.mean.unwrap_or_default();
        let rate = report.rate.received;
        let longest = report.latency_ms.service.max.unwrap_or(mean_ms) / 1000.0;
        Some(Self {
            mean_ms,
            rate,
            found: mean_ms / 1000.0 * rate,
            allowed: (in_flight * connections) as f64,
            edge: 1.0 + longest / report.load.measured_s.max(1e-9),
        })
    }

    /// Whether it is more than allowed, by more than figures are rounded.
    #[must_use]
    pub(crate) fn is_over(&self) -> bool {
        self.found > self.allowed * (1.0 + ROUNDING)
    }

    /// Whether not even answers after the measured time explain that.
    fn is_impossible(&self) -> bool {
        self.found > self.allowed * self.edge * (1.0 + ROUNDING)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::compose::conclude;
    use crate::bench::report::text::text;
    use crate::bench::threshold::Numbers;

    fn threshold(text: &str) -> Threshold {
        let number = |text: &str| text.trim_end_matches(['%', 's']).parse::<f64>().map_err(|error| error.to_string());
        Threshold::parse(text, &Numbers { duration: &number, rate: &number, share: &number }).expect("a threshold")
    }

    fn report(kind: &str, matching: &str) -> Report {
        let mut report = Report { valid: true, ..Report::default() };
        report.generator.health = "valid".to_owned();
        kind.clone_into(&mut report.load.kind);
        matching.clone_into(&mut report.load.matching);
        (report.messages.sent, report.messages.received, report.messages.verified) = (100, 100, 100);
        report
    }

    #[test]
    fn what_makes_answers_doubtful_is_said_and_is_no_pass() {
        type Change = fn(&mut Report);
        let table: [(&str, &str, Change, &str, &str); 11] = [
            (
                "echo",
                "marker",
                |r| (r.messages.received, r.messages.lost) = (0, 100),
                "none of 100 messages",
                "received>=0",
            ),
            ("publish", "marker", |r| r.messages.received = 0, "none of 100 messages", "received>=0"),
            ("push", "none", |r| r.messages.received = 0, "no message was received", "received>=0"),
            ("echo", "marker", |r| (r.messages.received, r.messages.sent) = (0, 0), "nothing was sent", "received>=0"),
            ("echo", "marker", |r| r.messages.unexpected = 7533, "7,533 messages arrived", "unexpected<8000"),
            (
                "echo",
                "content",
                |r| r.messages.unexpected = 1,
                "1 messages arrived that equal no sent message",
                "unexpected<8",
            ),
            ("echo", "marker", |r| r.messages.corrupt = 1, "1 answers were corrupt", "corrupt<5"),
            (
                "echo",
                "fifo",
                |r| (r.messages.verified, r.load.matching_assumed) = (0, true),
                "matched by order alone",
                "unverified<=100",
            ),
            ("echo", "fifo", |r| r.messages.verified = 40, "60 answers differ", "verified>10"),
            ("echo", "fifo", |r| r.messages.lost = 2, "2 answers are missing", "loss<5%"),
            ("publish", "marker", |r| r.messages.unexpected = 1, "answer no sent message", "unexpected<8"),
        ];
        for (kind, matching, change, words, allows) in table {
            let mut report = report(kind, matching);
            conclude(&mut report, &[]);
            assert_eq!((report.verdict.as_str(), report.reasons.len()), ("pass", 0), "{kind} {matching}");
            change(&mut report);
            conclude(&mut report, &[threshold("rate>=0")]);
            assert_eq!(report.verdict, "fail", "{words}: {:?}", report.reasons);
            assert!(report.reasons[0].contains(words) && is_doubt(&report.reasons[0]), "{:?}", report.reasons);
            let shown = text(&report);
            assert!(shown.contains("\nNOT PASS ") && !shown.contains("VALID"), "{shown}");
            // A threshold about it decides instead; and what was said before is not said again.
            conclude(&mut report, &[threshold(allows)]);
            assert_eq!((report.verdict.as_str(), report.reasons.len()), ("pass", 0), "{words}: {:?}", report.reasons);
        }
        for kind in ["send", "connect"] {
            let mut report = report(kind, "none");
            (report.messages.received, report.messages.unexpected) = (0, 3);
            assert_eq!(doubts(&report, &[]), [""; 0], "{kind}");
        }
        // Order the user chose to trust, and ids, vouch for answers that differ.
        for matching in ["fifo", "jq"] {
            let mut report = report("echo", matching);
            report.messages.verified = 0;
            assert_eq!(doubts(&report, &[]), [""; 0], "{matching}");
        }
    }

    #[test]
    fn more_in_flight_than_can_be_is_remarked() {
        let of = |mean: f64, max: f64, rate: f64, seconds: f64| {
            let mut report = report("echo", "marker");
            report.mode = "closed".to_owned();
            report.load.in_flight = Some(1);
            (report.load.connections, report.connect.ok, report.load.measured_s) = (10, 10, seconds);
            (report.latency_ms.service.mean, report.latency_ms.service.max) = (Some(mean), Some(max));
            report.rate.received = rate;
            report
        };
        let remark = ": more, by";
        for (report, impossible, remarked) in [
            (of(2.0, 9.0, 4950.0, 10.0), false, false),
            (of(60.0, 61.0, 200.0, 0.1), false, true),
            (of(2.408, 9.0, 5000.0, 10.0), true, true),
        ] {
            assert_eq!(doubts(&report, &[threshold("loss<5%")]).len(), usize::from(impossible), "{report:?}");
            assert_eq!(text(&report).contains(remark), remarked, "{}", text(&report));
        }
        assert_eq!(InFlight::of(&report("echo", "marker")), None, "in open loop nothing bounds it");
    }

    #[test]
    fn valid_and_degraded_are_never_said_together() {
        let mut all = vec![report("echo", "marker")];
        for health in ["degraded", "invalid"] {
            let mut worse = report("echo", "marker");
            health.clone_into(&mut worse.generator.health);
            worse.valid = health != "invalid";
            all.push(worse);
        }
        let expected = [
            ["VALID  PASS", "VALID  FAIL", "VALID  NOT SUSTAINED", "NOT PASS"],
            ["DEGRADED", "DEGRADED  FAIL", "DEGRADED  NOT SUSTAINED", "NOT PASS"],
            ["INVALID", "INVALID  FAIL", "INVALID  NOT SUSTAINED", "INVALID  NOT PASS"],
        ];
        for (report, expected) in all.iter().zip(expected) {
            let (mut failed, mut slow, mut doubtful) = (report.clone(), report.clone(), report.clone());
            slow.rate.sustained = Some(false);
            doubtful.messages.unexpected = 1;
            let threshold = [threshold("lost>5")];
            conclude(&mut failed, &threshold);
            for other in [&mut slow, &mut doubtful] {
                conclude(other, &[]);
            }
            for (report, expected) in [report, &failed, &slow, &doubtful].into_iter().zip(expected) {
                let line = text(report).lines().nth(2).expect("the verdict").to_owned();
                assert!(line.starts_with(&format!("{expected}   ")), "{line} for {expected}");
            }
        }
    }
}
