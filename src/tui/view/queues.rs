//! The pane of queues: depth over time, against what they hold, and what was dropped.

use std::collections::BTreeMap;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::text::{age, bytes, columns, commas, count, put, put_right};
use super::theme::Theme;
use super::{chart, title};
use crate::observe::control::FoldReading;
use crate::tui::model::queues::Track;
use crate::tui::model::{Model, Pane};

/// Columns for the figures beside the chart.
const SCALE: u16 = 7;

pub(super) fn draw(buffer: &mut Buffer, area: Rect, model: &Model, theme: &Theme) {
    let track = model.queues.shown();
    let depth = track.depths.back().copied().unwrap_or_default();
    let share = depth as f64 / track.capacity.max(1) as f64;
    let mut facts = Vec::new();
    if !model.queues.is_empty() {
        let which = if model.queues.len() > 1 {
            format!("{} ({}, u: next)", track.name, model.queues.len())
        } else {
            track.name.clone()
        };
        facts.push((which, theme.title));
        let style = if share >= 0.8 { theme.bad } else { theme.title };
        facts.push((format!("{} of {}", commas(depth as u64), commas(track.capacity as u64)), style));
        facts.push((format!("{} {:.0}%", chart::bar(share, 5, theme.ascii), share * 100.0), style));
        facts.push((format!("high {}", commas(track.high as u64)), theme.title));
        facts.push((bytes(track.bytes as f64), theme.title));
    }
    for spool in model.sources.iter().filter_map(|source| source.snapshot.spool) {
        let oldest = spool.oldest_ms.map(|ms| format!(", oldest {}", age(ms / 1000.0))).unwrap_or_default();
        let text = format!("spool {} {}{oldest}", count(spool.messages), bytes(spool.bytes as f64));
        facts.push((text, theme.title));
    }
    title(buffer, area, Pane::Queues, model, &facts, theme);
    if area.height < 2 {
        return;
    }
    let chart_area = Rect { y: area.y + 1, height: area.height - 1, ..area };
    if track.depths.is_empty() {
        put(buffer, (area.x + 2, area.y + 1), area.width.saturating_sub(2), "no queue yet", theme.dim);
        return;
    }
    // The scale is what the queue holds, unless it was never near that full.
    let top = if track.high * 4 >= track.capacity && track.capacity > 0 {
        track.capacity
    } else {
        let most = if track.capacity > 0 { track.capacity.max(10) } else { usize::MAX };
        (track.high * 5 / 4).clamp(10, most)
    };
    put_right(buffer, (area.x, chart_area.y), SCALE - 1, &count(top as u64), theme.dim);
    if chart_area.height > 1 {
        put_right(buffer, (area.x, chart_area.y + chart_area.height - 1), SCALE - 1, "0", theme.dim);
    }
    let fits = |text: &str| columns(text) + 2 < area.width / 2;
    let told: Vec<_> = beside_the_chart(model, &track).into_iter().filter(|(text, _)| fits(text)).collect();
    let beside = told.iter().map(|(text, _)| columns(text) + 2).max().unwrap_or(0);
    let width = chart_area.width.saturating_sub(SCALE + beside);
    let values: Vec<usize> = track.depths.iter().copied().collect();
    chart::draw(buffer, Rect { x: area.x + SCALE, width, ..chart_area }, &values, top, track.high, theme);
    if beside > 0 {
        for (line, (text, is_bad)) in told.iter().take(usize::from(chart_area.height)).enumerate() {
            let style = if *is_bad { theme.bad } else { theme.dim };
            put_right(buffer, (area.x, chart_area.y + line as u16), area.width, text, style);
        }
    }
}

/// Lines beside the chart, the most important first, and whether each is bad news.
fn beside_the_chart(model: &Model, track: &Track) -> Vec<(String, bool)> {
    let folds = model.sources.iter().filter_map(|source| source.snapshot.folds);
    let facts = folds.map(|folds| states(&folds)).chain(batches(track)).map(|text| (text, false));
    let (mut lines, none) = drops(model).into_iter().partition::<Vec<_>, _>(|(_, is_bad)| *is_bad);
    lines.extend(facts.chain(none));
    lines
}

/// What folds keep, of how many they may, and what had to go.
fn states(folds: &FoldReading) -> String {
    let gone = if folds.evicted > 0 { format!(", {} evicted", count(folds.evicted)) } else { String::new() };
    format!("{}/{} states{gone}", count(folds.states), count(folds.most))
}

/// The batch that is being gathered, and how many there have been.
fn batches(track: &Track) -> Vec<String> {
    let waiting = track.gathering.filter(|batch| batch.messages > 0);
    let waiting = waiting.map(|batch| format!("batch of {} waits {}", count(batch.messages), seconds(batch.age_ms)));
    waiting.into_iter().chain(track.batches.map(|batches| format!("{} batches", count(batches)))).collect()
}

/// A short time in seconds, with a tenth; a longer one as ages are shown.
fn seconds(milliseconds: f64) -> String {
    if milliseconds < 10_000.0 { format!("{:.1}s", milliseconds / 1000.0) } else { age(milliseconds / 1000.0) }
}

/// What was dropped or went to the dead letters, and why.
fn drops(model: &Model) -> Vec<(String, bool)> {
    let mut sums = BTreeMap::<(&str, &str), u64>::new();
    for source in &model.sources {
        for (kind, counts) in [("dropped", &source.snapshot.dropped), ("dead", &source.snapshot.dead_letters)] {
            for (reason, number) in counts {
                *sums.entry((kind, reason)).or_default() += number;
            }
        }
    }
    if sums.is_empty() {
        return vec![("none dropped".to_owned(), false)];
    }
    sums.into_iter().map(|((kind, reason), number)| (format!("{kind} {reason} {}", count(number)), true)).collect()
}
