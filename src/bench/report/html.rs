//! The report as one HTML page: charts inline as SVG, no scripts, nothing fetched, readable without a network.
//!
//! Owns layout, axes and colours. Leaves the figures to [`super::Report`] and the report in words to [`super::text`].
//! Invariant: text of others (the URL, errors) is escaped.

use std::fmt::Write as _;

use super::text::{number, text};
use super::{Report, Second, Summary};
use crate::bench::histogram::{Latencies, PERCENTILES, millis};
use crate::bench::verdict::whole;
use crate::message::counted::agreeing;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 240.0;
/// Room for labels: left, right, top, bottom.
const MARGINS: (f64, f64, f64, f64) = (64.0, 16.0, 16.0, 28.0);

const STYLE: &str = "
:root{color-scheme:light dark;--bg:#fff;--fg:#1c2430;--dim:#66707d;--line:#d9dee4;--a:#2563c9;--b:#c2410c;--c:#15803d;--good:#15803d;--bad:#b91c1c;--warn:#a16207}
@media(prefers-color-scheme:dark){:root{--bg:#14181d;--fg:#e4e8ed;--dim:#93a0ae;--line:#2d353f;--a:#6ea8fe;--b:#fb923c;--c:#4ade80;--good:#4ade80;--bad:#f87171;--warn:#facc15}}
body{margin:0 auto;padding:24px 16px;max-width:900px;background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,sans-serif}
h1{font-size:20px;margin:0;overflow-wrap:anywhere}h2{font-size:15px;margin:28px 0 4px}p{margin:4px 0}
.dim{color:var(--dim)}.verdict{font-weight:700}.pass{color:var(--good)}.fail,.invalid{color:var(--bad)}.degraded{color:var(--warn)}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}th,td{padding:4px 8px;text-align:right;border-bottom:1px solid var(--line)}th:first-child,td:first-child{text-align:left}th{color:var(--dim);font-weight:500}
.scroll{overflow-x:auto}svg{width:100%;height:auto;display:block}svg text{fill:var(--dim);font:11px system-ui,sans-serif}svg .grid{stroke:var(--line)}svg path{fill:none;stroke-width:1.75}
.s0{stroke:var(--a)}.s1{stroke:var(--b)}.s2{stroke:var(--c)}svg text.s0{fill:var(--a);stroke:none}svg text.s1{fill:var(--b);stroke:none}svg text.s2{fill:var(--c);stroke:none}
pre{overflow-x:auto;font:12px/1.45 ui-monospace,monospace;border-top:1px solid var(--line);padding-top:12px}
";

/// A line of a chart.
struct Line {
    name: &'static str,
    points: Vec<(f64, f64)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scale {
    Even,
    /// By powers of ten.
    Log,
}

/// The whole page.
#[must_use]
pub(crate) fn html(report: &Report) -> String {
    let url = escape(&report.run.url);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>wsp bench {url}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{url}</h1>\n"
    );
    head(report, &mut page);
    table(report, &mut page);
    let seconds: Vec<&Second> =
        report.series.iter().filter(|second| matches!(second.phase.as_str(), "warmup" | "measure")).collect();
    if seconds.len() > 1 {
        page.push_str("<h2>Messages a second</h2>\n");
        let of = |get: fn(&Second) -> f64| seconds.iter().map(|second| (second.t, get(second))).collect();
        let lines = [
            Line { name: "sent", points: of(|second| second.sent as f64) },
            Line { name: "received", points: of(|second| second.received as f64) },
        ];
        page.push_str(&chart(&lines, Scale::Even, |t| format!("{t:.0} s")));
        let of = |get: fn(&Second) -> Option<f64>| {
            seconds.iter().filter_map(|second| Some((second.t, get(second)?))).collect()
        };
        let lines = [
            Line { name: "p50", points: of(|second| second.p50) },
            Line { name: "p99", points: of(|second| second.p99) },
            Line { name: "max", points: of(|second| second.max) },
        ];
        let _ = writeln!(page, "<h2>{} time by second, ms</h2>", capital(report.headline().0));
        page.push_str(&chart(&lines, Scale::Log, |t| format!("{t:.0} s")));
    }
    let curves = curves(report);
    if !curves.is_empty() {
        page.push_str("<h2>Latency by percentile, ms</h2>\n");
        // The axis is the number of nines.
        page.push_str(&chart(&curves, Scale::Log, |nines| format!("p{}", number(100.0 - 100.0 / 10_f64.powf(nines)))));
    }
    if seconds.len() > 1 {
        page.push_str("<h2>The generator's busiest thread, % of its time</h2>\n");
        let points = seconds.iter().map(|second| (second.t, second.cpu * 100.0)).collect();
        page.push_str(&chart(&[Line { name: "CPU", points }], Scale::Even, |t| format!("{t:.0} s")));
    }
    let _ = write!(page, "<h2>In words</h2>\n<pre>{}</pre>\n</body>\n</html>\n", escape(&text(report)));
    page
}

fn head(report: &Report, page: &mut String) {
    let host = &report.run.host;
    let _ = writeln!(
        page,
        "<p class=\"dim\">{} &middot; wsp {} &middot; {} processors, Linux {} &middot; seed {}</p>",
        escape(&report.run.started),
        escape(&report.run.tool_version),
        host.cpus,
        escape(&host.kernel),
        report.run.seed
    );
    let _ = writeln!(
        page,
        "<p><span class=\"verdict {}\">{}</span>{}</p>",
        escape(&report.verdict),
        escape(&report.verdict.to_uppercase()),
        if report.valid { "" } else { " &mdash; these figures are the generator's, not the target's" }
    );
    for reason in &report.reasons {
        let _ = writeln!(page, "<p>{}</p>", escape(reason));
    }
    for outcome in &report.thresholds {
        let (class, word) = if outcome.ok { ("pass", "holds") } else { ("fail", "missed") };
        let value = escape(&super::text::measured(outcome));
        let expression = escape(&outcome.expression);
        let _ = writeln!(page, "<p><code>{expression}</code> <span class=\"{class}\">{word}</span> ({value})</p>");
    }
}

fn table(report: &Report, page: &mut String) {
    let (load, messages) = (&report.load, &report.messages);
    let asked = report.rate.asked.map(|asked| format!(" of {} asked for", whole(asked))).unwrap_or_default();
    let _ = writeln!(
        page,
        "<p>{} {}, {} loop, {}: {} sent a second{asked}; {} sent, {} received, {} verified, {} lost, {} corrupt.</p>",
        whole(load.connections as f64),
        agreeing(load.connections, "connection"),
        escape(&report.mode),
        escape(&load.payload),
        number(report.rate.achieved),
        whole(messages.sent as f64),
        whole(messages.received as f64),
        whole(messages.verified as f64),
        whole(messages.lost as f64),
        whole(messages.corrupt as f64)
    );
    page.push_str("<div class=\"scroll\"><table>\n<tr><th>ms</th>");
    for (name, _) in PERCENTILES {
        let _ = write!(page, "<th>{name}</th>");
    }
    page.push_str("<th>max</th><th>samples</th></tr>\n");
    for (name, summary) in kinds(report) {
        let _ = write!(page, "<tr><td>{name}</td>");
        for (percentile, _) in PERCENTILES {
            let beyond = summary.beyond_deadline.iter().any(|name| name == percentile);
            let cell = match summary.percentile(percentile) {
                Some(value) => format!("{value:.3}"),
                None if beyond => format!("&gt;{}", number(load.deadline_s * 1000.0)),
                None => "&ndash;".to_owned(),
            };
            let _ = write!(page, "<td>{cell}</td>");
        }
        let max = summary.max.map_or_else(|| "&ndash;".to_owned(), |max| format!("{max:.3}"));
        let _ = writeln!(page, "<td>{max}</td><td>{}</td></tr>", whole(summary.count as f64));
    }
    page.push_str("</table></div>\n");
}

/// The kinds of latency there are samples of.
fn kinds(report: &Report) -> Vec<(&'static str, &Summary)> {
    let latency = &report.latency_ms;
    let response = latency.response.iter().map(|summary| ("response", summary));
    let others = [
        ("service", &latency.service),
        ("schedule", &latency.schedule),
        ("ping", &latency.ping),
        ("connect", &latency.connect),
    ];
    response.chain(others).filter(|(_, summary)| summary.count > 0).collect()
}

/// Latency over the number of nines of the percentile.
fn curves(report: &Report) -> Vec<Line> {
    let curve = |(name, summary): (&'static str, &Summary)| {
        let latencies = Latencies::from_base64(&summary.hdr).ok()?;
        let nines = (latencies.count() as f64 / 10.0).log10().clamp(0.0, 5.0);
        let steps = 120;
        let points = (0..=steps).map(|step| {
            let x = nines * f64::from(step) / f64::from(steps);
            (x, millis(latencies.at(100.0 - 100.0 / 10_f64.powf(x))))
        });
        (nines > 0.0).then(|| Line { name, points: points.collect() })
    };
    kinds(report)
        .into_iter()
        .filter(|(name, _)| ["response", "service", "schedule"].contains(name))
        .filter_map(curve)
        .collect()
}

/// A chart of lines over the same axis, whose places `label` names.
fn chart(lines: &[Line], scale: Scale, label: impl Fn(f64) -> String) -> String {
    let points = || lines.iter().flat_map(|line| line.points.iter());
    let least = |values: &mut dyn Iterator<Item = f64>| values.fold(f64::INFINITY, f64::min);
    let most = |values: &mut dyn Iterator<Item = f64>| values.fold(f64::NEG_INFINITY, f64::max);
    let (x0, x1) = (least(&mut points().map(|(x, _)| *x)), most(&mut points().map(|(x, _)| *x)));
    let top = most(&mut points().map(|(_, y)| *y));
    if !x0.is_finite() || !top.is_finite() {
        return "<p class=\"dim\">No figures.</p>\n".to_owned();
    }
    let floor = least(&mut points().map(|(_, y)| *y).filter(|y| *y > 0.0)).max(1e-4);
    let (y0, y1) = match scale {
        Scale::Even => (0.0, nice(top.max(1e-9))),
        Scale::Log => (floor.log10().floor(), top.max(floor * 1.01).log10().ceil()),
    };
    let (left, right, above, below) = MARGINS;
    let place_x = |x: f64| left + (x - x0) / (x1 - x0).max(1e-9) * (WIDTH - left - right);
    let place_y = |y: f64| {
        let y = if scale == Scale::Log { y.max(1e-4).log10().max(y0) } else { y };
        HEIGHT - below - (y - y0) / (y1 - y0).max(1e-9) * (HEIGHT - above - below)
    };
    let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">\n");
    for tick in ticks(y0, y1, scale) {
        let y = place_y(tick);
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{left}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - right,
            left - 6.0,
            y + 4.0,
            number(tick)
        );
    }
    for x in marks(x0, x1) {
        let anchor = if x > x1 - (x1 - x0) * 0.04 { "end" } else { "middle" };
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
            place_x(x),
            HEIGHT - 8.0,
            label(x)
        );
    }
    for (index, line) in lines.iter().enumerate() {
        let path: Vec<String> =
            line.points.iter().map(|(x, y)| format!("{:.1},{:.1}", place_x(*x), place_y(*y))).collect();
        if path.len() == 1 {
            let _ = writeln!(svg, "<path class=\"s{index}\" d=\"M{} h4\"/>", path[0]);
        } else if !path.is_empty() {
            let _ = writeln!(svg, "<path class=\"s{index}\" d=\"M{}\"/>", path.join(" L"));
        }
        let _ = writeln!(
            svg,
            "<text class=\"s{index}\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            left + 8.0 + 72.0 * index as f64,
            above - 4.0,
            line.name
        );
    }
    svg + "</svg>\n"
}

/// The next round number above.
fn nice(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    [1.0, 2.0, 2.5, 5.0, 10.0].map(|step| step * power).into_iter().find(|step| *step >= value).unwrap_or(value)
}

fn ticks(y0: f64, y1: f64, scale: Scale) -> Vec<f64> {
    match scale {
        Scale::Even => (0..=4).map(|step| y0 + (y1 - y0) * f64::from(step) / 4.0).collect(),
        Scale::Log => {
            let decades = (y1 - y0).round().clamp(1.0, 12.0);
            (0..=decades as i32).map(|step| 10_f64.powf(y0 + f64::from(step))).collect()
        }
    }
}

/// Up to eight round places along the axis.
fn marks(x0: f64, x1: f64) -> Vec<f64> {
    let step = nice(((x1 - x0) / 7.0).max(1e-9)).max(1.0);
    let first = (x0 / step).ceil() * step;
    (0..16).map(|index| first + step * f64::from(index)).take_while(|x| *x <= x1 + 1e-9).collect()
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().collect::<String>() + letters.as_str()).unwrap_or_default()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_is_escaped_and_nothing_is_fetched() {
        let mut report = Report::default();
        report.run.url = "ws://h/?<script>alert(\"&\")</script>".to_owned();
        report.reasons.push("<b>".to_owned());
        let page = html(&report);
        assert!(!page.contains("<script") && !page.contains("<b>") && page.contains("&lt;b&gt;"));
        for outside in ["http://", "https://", "src=", "href=", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
    }

    #[test]
    fn axes_end_at_round_numbers() {
        let rounded = [0.7, 1.0, 1.1, 24.0, 26.0, 99_999.0].map(|value| number(nice(value)));
        assert_eq!(rounded, ["1", "1", "2", "25", "50", "100,000"]);
        assert_eq!(marks(-2.0, 10.0), [-2.0, 0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(ticks(-1.0, 2.0, Scale::Log), [0.1, 1.0, 10.0, 100.0]);
    }
}
