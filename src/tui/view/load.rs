//! A load test on the screen, in the words of its report (pure).
//!
//! Invariants: it draws at any size, down to nothing; what is least needed is left out first.

use std::collections::VecDeque;

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::chart;
use super::text::{bytes, columns, commas, put, put_right};
use super::theme::Theme;
use crate::bench::live::{Details, Phase, SHOWN};
use crate::bench::verdict::Health;
use crate::tui::model::load::Load;

/// Steps of a chart's height.
const STEPS: usize = 1000;
/// From so many columns on, errors stand beside the generator.
const COLUMNS_FOR_TWO: u16 = 70;
/// From so many rows on, the stage and the reason of a verdict are told.
const ROWS_FOR_WORDS: u16 = 16;
/// Columns of a number in the table.
const CELL: u16 = 10;
const HELP: [&str; 9] = [
    "?, Esc   show or close these keys",
    "q        stop measuring and report",
    "p Space  pause or resume sending",
    "+ -      25 % faster, 20 % slower",
    "m        mark this moment in charts and report",
    "Ctrl-C   report with the exit code of an interrupt",
    "Ctrl-Z   suspend; this stops the load",
    "Ctrl-L   redraw",
    "",
];

pub(crate) fn draw(frame: &mut Frame<'_>, load: &Load, theme: &Theme) {
    let area = frame.area();
    if area.width == 0 || area.height == 0 {
        return;
    }
    let buffer = frame.buffer_mut();
    head(buffer, Rect { height: 1, ..area }, load, theme);
    let bottom = area.y + area.height - 1;
    if area.height > 1 {
        footer(buffer, Rect { y: bottom, height: 1, ..area }, load, theme);
    }
    let mut rest = Rect { y: area.y + 1, height: area.height.saturating_sub(2), ..area };
    if load.help {
        for text in HELP {
            line(buffer, &mut rest, text, Style::new());
        }
        return;
    }
    facts(buffer, &mut rest, load, theme);
    let details = load.live.details.clone().unwrap_or_default();
    // What is needed most is given room first.
    let table = 2 + fit(details.rows.len());
    let ends = 1 + fit(details.kinds.len().max(load.live.cpu.len() + 1)).clamp(2, 5);
    let spread = if details.doublings.is_empty() { 0 } else { 1 + fit(details.doublings.len()).min(6) };
    let mut left = rest.height.saturating_sub(table);
    let ends = if left >= ends { ends } else { 0 };
    left -= ends;
    let charts = (left.saturating_sub(if left >= spread + 6 { spread } else { 0 }) / 2).min(9);
    let charts = if charts >= 2 { charts } else { 0 };
    left -= 2 * charts;
    let spread = spread.min(left);
    if charts > 0 {
        for (name, values, wide) in [("msg/s", &load.rates, false), ("p99 ms of a second", &load.tails, true)] {
            let area = cut(&mut rest, charts);
            graph(buffer, area, name, values, wide, theme);
            marks(buffer, area, &load.marks, theme);
        }
    }
    latencies(buffer, cut(&mut rest, table), &details, theme);
    if spread > 1 {
        doublings(buffer, cut(&mut rest, spread), &details, theme);
    }
    if ends > 0 {
        let area = cut(&mut rest, ends);
        if area.width >= COLUMNS_FOR_TWO {
            let width = area.width / 2;
            errors(buffer, Rect { width: width - 1, ..area }, &details, theme);
            let beside = Rect { x: area.x + width, width: area.width - width, ..area };
            generator(buffer, beside, load, &details, theme);
        } else {
            errors(buffer, area, &details, theme);
        }
    }
}

fn fit(count: usize) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}

/// Takes rows off the top.
fn cut(rest: &mut Rect, rows: u16) -> Rect {
    let rows = rows.min(rest.height);
    let area = Rect { height: rows, ..*rest };
    rest.y += rows;
    rest.height -= rows;
    area
}

fn line(buffer: &mut Buffer, rest: &mut Rect, text: &str, style: Style) {
    let area = cut(rest, 1);
    if area.height > 0 {
        put(buffer, (area.x, area.y), area.width, text, style);
    }
}

fn title(buffer: &mut Buffer, area: Rect, text: &str, theme: &Theme) {
    let sign = if theme.ascii { "-" } else { "─" };
    put(buffer, (area.x, area.y), area.width, &sign.repeat(usize::from(area.width)), theme.title);
    put(buffer, (area.x, area.y), area.width, &format!("{sign} {text} "), theme.title);
}

fn head(buffer: &mut Buffer, area: Rect, load: &Load, theme: &Theme) {
    let live = &load.live;
    let time = match live.of {
        Some(of) => format!("{} {:.0} / {of:.0} s", live.phase.name(), live.elapsed),
        None => format!("{} {:.0} s", live.phase.name(), live.elapsed),
    };
    let room = area.width.saturating_sub(columns(&time) + 2);
    put(buffer, (area.x, area.y), room, &load.title, theme.head);
    put_right(buffer, (area.x, area.y), area.width, &time, theme.dim);
}

fn footer(buffer: &mut Buffer, area: Rect, load: &Load, theme: &Theme) {
    if load.ending {
        let text = "ending: waiting for messages in flight";
        put(buffer, (area.x, area.y), area.width, text, theme.warn);
        return;
    }
    if let Some(note) = load.note {
        put(buffer, (area.x, area.y), area.width, note, theme.good);
        return;
    }
    let mut x = area.x;
    // What cannot be done is not offered.
    let runs = load.is_running();
    let steerable = runs && load.live.steerable;
    let can = [true, true, steerable, steerable && load.live.rate_asked.is_some(), runs];
    let keys = [("?", "keys"), ("q", "stop and report"), ("p", "pause"), ("+ -", "rate"), ("m", "mark")];
    for ((key, word), _) in keys.into_iter().zip(can).filter(|(_, can)| *can) {
        x += put(buffer, (x, area.y), (area.x + area.width).saturating_sub(x), key, theme.focus) + 1;
        x += put(buffer, (x, area.y), (area.x + area.width).saturating_sub(x), word, theme.dim) + 2;
    }
}

/// A number a second, rounded.
fn a_second(rate: f64) -> String {
    // Never negative.
    #[allow(clippy::cast_sign_loss)]
    let rate = rate.max(0.0).round() as u64;
    format!("{}/s", commas(rate))
}

fn facts(buffer: &mut Buffer, rest: &mut Rect, load: &Load, theme: &Theme) {
    let live = &load.live;
    let mut facts = vec![
        (format!("conns {}/{}", commas(live.open), commas(live.asked)), Style::new()),
        (format!("in flight {}", commas(live.in_flight)), Style::new()),
    ];
    if live.paused {
        facts.push(("PAUSED".to_owned(), theme.warn));
    }
    if let Some(asked) = live.rate_asked {
        facts.push((format!("asked {}", a_second(asked)), Style::new()));
    }
    if live.phase != Phase::Connect {
        facts.push((format!("sent {}", a_second(live.sent)), theme.outgoing));
        facts.push((format!("received {}", a_second(live.received)), theme.incoming));
    }
    let faults = live.details.as_ref().map(|details| details.faults).unwrap_or_default();
    let counts = [live.errors, live.lost, live.missed, faults[0], faults[1], faults[2], faults[3]];
    let names = ["errors", "lost", "missed", "duplicated", "reordered", "corrupt", "unexpected"];
    for (place, (count, name)) in counts.into_iter().zip(names).enumerate() {
        if count > 0 || place < 2 {
            facts.push((format!("{name} {}", commas(count)), if count > 0 { theme.bad } else { theme.dim }));
        }
    }
    if live.changed {
        facts.push(("changed by hand".to_owned(), theme.warn));
    }
    // Where rows are few, figures need them more.
    let roomy = rest.height >= ROWS_FOR_WORDS;
    if let Some((number, stage, of)) = live.stage.filter(|_| roomy) {
        let word = if stage.step { "at" } else { "to" };
        let seconds = stage.duration.as_secs_f64();
        facts.push((format!("stage {number}/{of} {word} {} over {seconds} s", a_second(stage.rate)), Style::new()));
    }
    if let Some((health, reason)) = live.details.as_ref().and_then(|details| details.verdict.as_ref()) {
        let style = match health {
            Health::Valid => theme.good,
            Health::Degraded => theme.warn,
            Health::Invalid => theme.bad,
        };
        facts.push((format!("so far {}", health.name()), style));
        facts.extend(reason.iter().filter(|_| roomy).map(|reason| (reason.clone(), theme.dim)));
    }
    let mut x = 0;
    let mut area = cut(rest, 1);
    for (text, style) in facts {
        if x > 0 && x + columns(&text) > area.width {
            if rest.height == 0 {
                return;
            }
            (x, area) = (0, cut(rest, 1));
        }
        if area.height > 0 {
            x += put(buffer, (area.x + x, area.y), area.width.saturating_sub(x), &text, style) + 3;
        }
    }
}

/// A chart with its title and the newest value; `wide` is for values that differ by orders of magnitude.
fn graph(buffer: &mut Buffer, area: Rect, name: &str, values: &VecDeque<f64>, wide: bool, theme: &Theme) {
    let newest = values.back().copied().unwrap_or_default();
    let most = values.iter().copied().fold(0.0, f64::max);
    let shown = |value: f64| if wide { format!("{value:.2}") } else { a_second(value) };
    let scale = if wide { ", doublings" } else { "" };
    title(buffer, Rect { height: 1, ..area }, &format!("{name} {}  most {}{scale}", shown(newest), shown(most)), theme);
    // Up to a hundredth of the greatest, where that is wide.
    let height = |value: f64| {
        let share = if most <= 0.0 || value <= 0.0 {
            0.0
        } else if wide {
            1.0 + (value / most).log2() / 7.0
        } else {
            value / most
        };
        // Between 0 and the steps.
        #[allow(clippy::cast_sign_loss)]
        let height = (share.clamp(0.0, 1.0) * STEPS as f64) as usize;
        height
    };
    let heights: Vec<usize> = values.iter().map(|value| height(*value)).collect();
    let inner = Rect { y: area.y + 1, height: area.height.saturating_sub(1), ..area };
    chart::draw(buffer, inner, &heights, STEPS, 0, theme);
}

/// Where the marks are, over a chart whose newest value stands at the right.
fn marks(buffer: &mut Buffer, area: Rect, ages: &VecDeque<usize>, theme: &Theme) {
    let sign = if theme.ascii { "v" } else { "▼" };
    for age in ages {
        let back = fit(age / if theme.ascii { 1 } else { 2 });
        if back < area.width {
            put(buffer, (area.x + area.width - 1 - back, area.y), 1, sign, theme.warn);
        }
    }
}

fn latencies(buffer: &mut Buffer, area: Rect, details: &Details, theme: &Theme) {
    let mut rest = area;
    let top = cut(&mut rest, 1);
    if top.height == 0 {
        return;
    }
    title(buffer, top, "ms, so far", theme);
    let names: Vec<&str> = SHOWN.iter().map(|(name, _)| *name).chain(["max"]).collect();
    let head = cut(&mut rest, 1);
    let first = CELL + 1;
    for (place, name) in names.iter().enumerate().filter(|_| head.height > 0) {
        cell(buffer, head, first, place, name, theme.dim);
    }
    for (name, told, most) in &details.rows {
        let row = cut(&mut rest, 1);
        if row.height == 0 {
            return;
        }
        put(buffer, (row.x, row.y), first, name, Style::new());
        for (place, value) in told.iter().chain([most]).enumerate() {
            let text = value.map_or_else(|| "–".to_owned(), |value| format!("{value:.3}"));
            cell(buffer, row, first, place, &text, Style::new());
        }
    }
}

fn cell(buffer: &mut Buffer, row: Rect, first: u16, place: usize, text: &str, style: Style) {
    let x = first + CELL * fit(place);
    if x + CELL <= row.width {
        put_right(buffer, (row.x + x, row.y), CELL, text, style);
    }
}

fn doublings(buffer: &mut Buffer, area: Rect, details: &Details, theme: &Theme) {
    let mut rest = area;
    let name = details.rows.first().map_or("", |(name, ..)| name);
    let all: u64 = details.doublings.iter().map(|(_, count)| count).sum();
    title(buffer, cut(&mut rest, 1), &format!("{name} up to, ms"), theme);
    // Of more than fit, those with the fewest at the end are put together.
    let fits = usize::from(rest.height);
    let shown = details.doublings.len().min(fits);
    for (place, (high, count)) in details.doublings.iter().take(shown).enumerate() {
        let is_last = place + 1 == shown && details.doublings.len() > shown;
        let count = if is_last { details.doublings[place..].iter().map(|(_, count)| count).sum() } else { *count };
        let row = cut(&mut rest, 1);
        let label = if is_last { "more".to_owned() } else { format!("{high:.1}") };
        put_right(buffer, (row.x, row.y), CELL, &label, theme.dim);
        let share = if all == 0 { 0.0 } else { count as f64 / all as f64 };
        let room = row.width.saturating_sub(CELL + 10);
        let bar = chart::bar(share, usize::from(room), theme.ascii);
        put(buffer, (row.x + CELL + 1, row.y), room, &bar, theme.chart);
        put_right(buffer, (row.x, row.y), row.width, &format!("{:.2} %", share * 100.0), theme.dim);
    }
}

fn errors(buffer: &mut Buffer, area: Rect, details: &Details, theme: &Theme) {
    let mut rest = area;
    title(buffer, cut(&mut rest, 1), "errors", theme);
    if details.kinds.is_empty() {
        line(buffer, &mut rest, "none", theme.good);
    }
    for (kind, count) in &details.kinds {
        line(buffer, &mut rest, &format!("{kind} {}", commas(*count)), theme.bad);
    }
}

fn generator(buffer: &mut Buffer, area: Rect, load: &Load, details: &Details, theme: &Theme) {
    let mut rest = area;
    title(buffer, cut(&mut rest, 1), "generator", theme);
    let resident = bytes(details.resident as f64);
    let (missed, late) = (commas(load.live.missed), commas(details.late));
    line(buffer, &mut rest, &format!("{resident} memory, {missed} missed, {late} late>1ms"), theme.dim);
    for (shard, cpu) in load.live.cpu.iter().enumerate() {
        let style = if *cpu > 0.8 { theme.warn } else { theme.chart };
        let room = usize::from(area.width.saturating_sub(14)).min(20);
        let bar = chart::bar(*cpu, room, theme.ascii);
        line(buffer, &mut rest, &format!("shard{shard} {:3.0} % {bar}", cpu * 100.0), style);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::bench::live::Live;
    use crate::bench::schedule::Stage;
    use crate::host::{Depth, Display};

    fn load() -> Load {
        let mut load = Load { title: "wsp bench ws://127.0.0.1:9001/".to_owned(), ..Load::default() };
        let details = Details {
            rows: vec![
                ("response", [Some(0.21), Some(0.34), Some(0.92), Some(2.8)], Some(11.4)),
                ("service", [Some(0.19), Some(0.3), Some(0.71), Some(1.9)], Some(9.8)),
                ("schedule", [Some(0.01), Some(0.03), Some(0.06), None], Some(2.3)),
            ],
            doublings: vec![(0.1, 20), (0.2, 600), (0.4, 300), (0.8, 70), (1.6, 10)],
            kinds: vec![("close 1006".to_owned(), 2), ("refused".to_owned(), 3)],
            faults: [0, 0, 1, 0],
            late: 37,
            resident: 14_000_000,
            verdict: Some((
                Health::Degraded,
                Some("a generator thread used more than 80 % CPU for 3 s in a row".to_owned()),
            )),
        };
        for turn in 0..90_u32 {
            load.saw(Live {
                phase: Phase::Measure,
                elapsed: 12.0,
                of: Some(30.0),
                asked: 1000,
                open: 998,
                in_flight: 11,
                rate_asked: Some(50_000.0),
                stage: Some((2, Stage { duration: Duration::from_secs(10), rate: 50_000.0, step: false }, 4)),
                sent: 25_000.0 + 300.0 * f64::from(turn),
                received: 50_001.0,
                p99: Some(if turn % 25 == 24 { 11.4 } else { 0.9 }),
                errors: 5,
                lost: 2,
                cpu: vec![0.61, 0.9],
                details: Some(details.clone()),
                ..Live::default()
            });
        }
        load
    }

    fn screen(load: &Load, (width, height): (u16, u16), ascii: bool) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
        let theme = Theme::new(Display { depth: Depth::None, ascii, light: false, dumb: false }, false);
        terminal.draw(|frame| draw(frame, load, &theme)).expect("a frame");
        let buffer = terminal.backend().buffer();
        let row = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned() + "\n";
        (0..height).map(row).collect()
    }

    #[test]
    fn a_load_test_at_80_by_24() {
        insta::assert_snapshot!(screen(&load(), (80, 24), false));
    }

    #[test]
    fn a_load_test_on_small_and_ascii_screens() {
        let mut load = load();
        let small = [screen(&load, (40, 10), true), screen(&load, (110, 34), true)].join("\n");
        load.live.paused = true;
        load.live.changed = true;
        load.live.steerable = true;
        load.live.marks = 1;
        load.marks = [3, 60].into();
        let steered = screen(&load, (80, 24), false);
        load.note = Some("a quarter faster");
        let small = [small, steered, screen(&load, (40, 10), true)].join("\n");
        load.help = true;
        load.ending = true;
        insta::assert_snapshot!([small, screen(&load, (50, 9), false)].join("\n"));
    }

    #[test]
    fn it_draws_at_any_size() {
        let (full, empty) = (load(), Load::default());
        for width in [0, 1, 5, 30, 69, 70, 200] {
            for height in 0..40 {
                screen(&full, (width, height), false);
                screen(&empty, (width, height), false);
            }
        }
    }
}
