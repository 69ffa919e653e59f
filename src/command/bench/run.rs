//! Runs `wsp bench`: one run, a search or a comparison, with a line of progress on a terminal.

use std::cell::Cell;
use std::io::{Read as _, Write as _};
use std::rc::Rc;

use tokio::sync::{Notify, oneshot, watch};

use super::output::{Outputs, line};
use super::search::{conditions, find_max};
use super::{BenchAction, BenchArgs, CompareArgs, ReportArgs};
use crate::bench::compare::{Difference, compare, median, unmeasured};
use crate::bench::compose::conclude;
use crate::bench::doubt::is_doubt;
use crate::bench::hand::Hand;
use crate::bench::histogram::{Latencies, Logged};
use crate::bench::live::Live;
use crate::bench::plan::Plan;
use crate::bench::report::text::{self, number};
use crate::bench::report::{Report, merge::merge};
use crate::bench::run::{Control, Outcome, run as conduct};
use crate::command::dashboard::{Following, Screen};
use crate::error::Error;
use crate::exit::Exit;
use crate::host::{Host, Signals, Stderr, StopSignal, Stream, Watch};
use crate::message::counted::counted;
use crate::message::io_text::io_text;

/// Runs `wsp bench`.
///
/// # Errors
/// Usage, files that cannot be read or written, no connection at all.
pub(crate) async fn run(args: &BenchArgs, mut host: Host) -> Result<Exit, Error> {
    match &args.action {
        Some(BenchAction::Report(args)) => report(args, &mut host),
        Some(BenchAction::Compare(args)) => comparison(args, &mut host).await,
        None => one(args, &mut host).await,
    }
}

/// What all runs of a call share.
pub(super) struct Session {
    signals: Signals,
    live: watch::Sender<Live>,
    keeps_log: bool,
    /// Where each second goes.
    seconds: Option<Seconds>,
    /// The dashboard, where there is one.
    screen: Option<Following>,
    /// A person at it has seen enough.
    enough: Rc<Notify>,
    /// What the person changes, where that is possible.
    hand: Option<Rc<Hand>>,
}

/// Whether a person may change what is sent.
#[derive(Clone, Copy)]
enum Steering {
    None,
    ByHand,
}

impl Session {
    fn new(
        host: &Host,
        quiet: bool,
        keeps_log: bool,
        prints_seconds: bool,
        screen: Option<(Screen, Steering)>,
    ) -> Result<Self, Error> {
        let signals = Signals::install().map_err(|error| Error::Internal(format!("signals: {error}")))?;
        let (live, seen) = watch::channel(Live::default());
        let enough = Rc::new(Notify::new());
        let hand = Rc::<Hand>::default();
        let follow = |screen: Screen| screen.follow(seen.clone(), Rc::clone(&enough), Rc::clone(&hand));
        let is_steered = matches!(screen, Some((_, Steering::ByHand)));
        let screen = screen.map(|(screen, _)| follow(screen)).transpose()?;
        let hand = is_steered.then_some(hand);
        if screen.is_none() && !quiet && host.stderr.is_terminal() {
            show_progress(&host.stderr, seen);
        }
        let seconds = prints_seconds.then(|| Seconds::open(&host.stdout, &enough)).transpose()?;
        Ok(Self { signals, live, keeps_log, seconds, screen, enough, hand })
    }

    pub(super) async fn run(&mut self, plan: &Plan) -> Result<Outcome, Error> {
        let seconds = &mut self.seconds;
        let mut second = |second: &_| {
            if let Some(seconds) = seconds {
                // The report at the end meets the same fault.
                let _ = seconds.stdout.write_all(line(second).as_bytes());
            }
        };
        let control = Control {
            signals: &mut self.signals,
            live: &self.live,
            keeps_log: self.keeps_log,
            detailed: self.screen.is_some(),
            enough: &self.enough,
            hand: self.hand.as_deref(),
            second: &mut second,
        };
        conduct(plan, control).await
    }
}

/// Standard output, which a line goes to each second; the run ends when nobody reads them any more.
struct Seconds {
    stdout: Stream,
    is_abandoned: Rc<Cell<bool>>,
    _watch: Option<Watch>,
}

impl Seconds {
    fn open(stdout: &Stream, enough: &Rc<Notify>) -> Result<Self, Error> {
        let stdout = stdout.for_output()?;
        let (gone, abandoned) = oneshot::channel();
        let watch = stdout.when_abandoned(move || _ = gone.send(()));
        let enough = Rc::clone(enough);
        let is_abandoned = Rc::<Cell<bool>>::default();
        let seen = Rc::clone(&is_abandoned);
        tokio::task::spawn_local(async move {
            if abandoned.await.is_ok() {
                seen.set(true);
                enough.notify_one();
            }
        });
        Ok(Self { stdout, is_abandoned, _watch: watch })
    }
}

/// A line on stderr that follows the run, where a person looks at it.
fn show_progress(stderr: &Stderr, mut live: watch::Receiver<Live>) {
    let stderr = stderr.clone();
    tokio::task::spawn_local(async move {
        while live.changed().await.is_ok() {
            let text = live.borrow_and_update().line();
            stderr.progress(&text);
        }
    });
}

/// One run, or the search for the greatest rate.
async fn one(args: &BenchArgs, host: &mut Host) -> Result<Exit, Error> {
    args.load.connection.filter_limits.apply();
    let plan = super::plan::plan(args.url.as_deref().unwrap_or_default(), &args.load)?;
    let condition = args.load.find_max.as_deref().map(conditions).transpose()?;
    let mut outputs = Outputs::open(&args.output, host)?;
    let screen =
        args.tui.then(|| Screen::of(host, "--tui", format!("wsp bench {}", plan.connect.target))).transpose()?;
    let screen = screen.map(|screen| if host.colour { screen } else { screen.without_colours() });
    // A search changes the rate by itself.
    let steering = if condition.is_some() { Steering::None } else { Steering::ByHand };
    let screen = screen.map(|screen| (screen, steering));
    let prints_seconds = outputs.prints_seconds();
    let mut session = Session::new(host, args.output.quiet, outputs.keeps_log(), prints_seconds, screen)?;
    let outcome = match condition {
        Some(conditions) => find_max(plan, &conditions, &mut session).await,
        None => session.run(&plan).await,
    };
    if let Some(screen) = session.screen.take() {
        screen.close();
    }
    host.stderr.progress("");
    let outcome = outcome?;
    outputs.write(&outcome.report, &outcome.log, outcome.begun, host)?;
    if session.seconds.is_some_and(|seconds| seconds.is_abandoned.get()) {
        return Ok(Exit::Done);
    }
    complain(&outcome.report, &host.stderr);
    Ok(exit(&outcome))
}

/// `wsp bench report`.
fn report(args: &ReportArgs, host: &mut Host) -> Result<Exit, Error> {
    let mut outputs = Outputs::open(&args.output, host)?;
    let wrong =
        |name: &str, why: &str| Error::usage(format!("{name}: {why}"), "wsp bench --json > FILE writes a report");
    let mut reports = Vec::new();
    for path in &args.files {
        let name = path.display().to_string();
        let mut text = String::new();
        let read = if name == "-" {
            host.stdin.read_to_string(&mut text).map(|_| ())
        } else {
            std::fs::read_to_string(path).map(|content| text = content)
        };
        read.map_err(|error| wrong(&name, &format!("cannot be read: {}", io_text(&error))))?;
        reports.push(Report::read(&text).map_err(|error| wrong(&name, &error))?);
    }
    let mut sum = merge(&reports).map_err(|error| wrong("the reports", &error))?;
    if reports.len() > 1 {
        let mut texts: Vec<&str> = Vec::new();
        for outcome in reports.iter().flat_map(|report| &report.thresholds) {
            if !texts.contains(&outcome.expression.as_str()) {
                texts.push(&outcome.expression);
            }
        }
        sum.reasons.retain(|reason| !reason.starts_with("missed: "));
        let thresholds =
            texts.iter().map(|text| super::plan::threshold("--threshold", text)).collect::<Result<Vec<_>, _>>()?;
        conclude(&mut sum, &thresholds);
    }
    let whole = [("response", sum.latency_ms.response.as_ref()), ("service", Some(&sum.latency_ms.service))];
    let log: Vec<Logged> = whole
        .into_iter()
        .filter_map(|(tag, summary)| {
            Logged::of(tag, 0.0, sum.load.measured_s, &Latencies::from_base64(&summary?.hdr).ok()?)
        })
        .collect();
    let begun = sum.run.started.parse::<jiff::Timestamp>().map_or(0.0, |time| time.as_millisecond() as f64 / 1e3);
    outputs.write(&sum, &log, begun, host)?;
    complain(&sum, &host.stderr);
    Ok(verdict(&sum))
}

/// `wsp bench compare`.
async fn comparison(args: &CompareArgs, host: &mut Host) -> Result<Exit, Error> {
    let plans = [super::plan::plan(&args.a, &args.load)?, super::plan::plan(&args.b, &args.load)?];
    let mut session = Session::new(host, false, false, false, None)?;
    let mut reports: [Vec<Report>; 2] = [Vec::new(), Vec::new()];
    let mut ended = None;
    // A B A B: what changes on the machine meanwhile meets both.
    'all: for turn in 0..args.repeat {
        for (index, plan) in plans.iter().enumerate() {
            let outcome = session.run(plan).await?;
            let report = &outcome.report;
            host.stderr.progress("");
            host.stderr.line(format!(
                "run {} of {}, {}: {}/s, p50 {} ms, p99 {} ms, {}",
                turn + 1,
                args.repeat,
                ["A", "B"][index],
                number(report.rate.achieved),
                report.headline().1.p50.map_or_else(|| "–".to_owned(), number),
                report.headline().1.p99.map_or_else(|| "–".to_owned(), number),
                report.verdict
            ));
            if outcome.signal.is_some() || outcome.timed_out {
                ended = Some(exit(&outcome));
                break 'all;
            }
            reports[index].push(outcome.report);
        }
    }
    let [a, b] = &reports;
    let differences = compare(a, b, args.load.seed);
    let all = || a.iter().chain(b);
    let invalid = all().filter(|report| !report.valid).count();
    let doubt = all().find_map(|report| report.reasons.iter().find(|reason| is_doubt(reason)));
    let shown = if args.json {
        json(args, &reports, &differences, invalid)
    } else {
        words(args, &reports, &differences, invalid)
    };
    host.print(&shown)?;
    if let Some(doubt) = doubt {
        host.stderr.line(format!("wsp: {doubt}"));
    }
    Ok(ended.unwrap_or(match doubt {
        _ if invalid > 0 => Exit::Invalid,
        Some(_) => Exit::Threshold,
        None => Exit::Done,
    }))
}

fn json(args: &CompareArgs, reports: &[Vec<Report>; 2], differences: &[Difference], invalid: usize) -> String {
    let value = serde_json::json!({
        "schema": "wsp.bench.compare/1",
        "a": args.a,
        "b": args.b,
        "runs": [reports[0].len(), reports[1].len()],
        "invalid_runs": invalid,
        "enough": !differences.is_empty() && differences.iter().all(|difference| difference.enough),
        "differences": differences,
        "unmeasured": unmeasured(&reports[0], &reports[1]),
    });
    value.to_string() + "\n"
}

fn words(args: &CompareArgs, reports: &[Vec<Report>; 2], differences: &[Difference], invalid: usize) -> String {
    let mut lines = vec![
        format!("A {}   {}", args.a, counted(reports[0].len(), "run")),
        format!("B {}   {}", args.b, counted(reports[1].len(), "run")),
        format!("{:6}{:>14}{:>14}{:>10}   {:18}", "", "A median", "B median", "B / A", "95 % interval"),
    ];
    for difference in differences {
        let (low, high) = difference.interval;
        lines.push(format!(
            "{:6}{:>14}{:>14}{:>10.3}   {:18}{}",
            difference.figure,
            number(median(&difference.a)),
            number(median(&difference.b)),
            difference.ratio,
            format!("{low:.3} to {high:.3}"),
            difference.conclusion
        ));
    }
    for lack in unmeasured(&reports[0], &reports[1]) {
        let (a, b) = (counted(lack.a, "run"), counted(lack.b, "run"));
        lines.push(format!("{:6}unknown for {a} of A and {b} of B: too few messages", lack.figure));
    }
    if invalid > 0 {
        lines.push(format!("{} invalid: the generator was the bottleneck", counted(invalid, "run")));
    }
    lines.join("\n") + "\n"
}

/// Says on stderr what makes the exit code.
fn complain(report: &Report, stderr: &Stderr) {
    if !report.valid {
        let reason = report.reasons.first().map(String::as_str).unwrap_or_default();
        stderr.line(format!("wsp: invalid: {reason}"));
    }
    for doubt in report.reasons.iter().filter(|reason| is_doubt(reason)) {
        stderr.line(format!("wsp: {doubt}"));
    }
    if report.rate.sustained == Some(false)
        && let Some(reason) = report.reasons.iter().find(|reason| reason.starts_with("not sustained"))
    {
        stderr.line(format!("wsp: {reason}"));
    }
    for outcome in report.thresholds.iter().filter(|outcome| !outcome.ok) {
        let value = text::measured(outcome);
        stderr.line(format!("wsp: threshold missed: {} (it is {value})", outcome.expression));
    }
}

/// The code of a finished run.
fn exit(outcome: &Outcome) -> Exit {
    match outcome.signal {
        Some(StopSignal::Interrupt) => Exit::Interrupted,
        Some(StopSignal::Terminate) => Exit::Terminated,
        None if outcome.timed_out => Exit::Timeout,
        None => verdict(&outcome.report),
    }
}

fn verdict(report: &Report) -> Exit {
    // A search is for a rate, and each run of it has its own verdict.
    if let Some(found) = &report.find_max {
        return if found.rate.is_some() { Exit::Done } else { Exit::Threshold };
    }
    match report.verdict.as_str() {
        "invalid" => Exit::Invalid,
        "fail" => Exit::Threshold,
        _ => Exit::Done,
    }
}
