//! The pane of messages: one line each, the newest at the bottom.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};

use super::text::{age, bytes, clock, columns, commas, milliseconds, put, put_json, put_right, shown};
use super::theme::Theme;
use super::title;
use crate::message::event::{Direction, EventBody};
use crate::message::{MessageKind, render};
use crate::tui::model::messages::Entry;
use crate::tui::model::sessions::seconds;
use crate::tui::model::{Model, Pane, Times};

/// Bytes of a binary message that a line shows at most.
const HEX: usize = 64;

pub(super) fn draw(buffer: &mut Buffer, area: Rect, model: &Model, theme: &Theme) {
    title(buffer, area, Pane::Messages, model, &facts(model, theme), theme);
    if area.height < 2 {
        return;
    }
    let messages = &model.messages;
    let rows = usize::from(area.height - 1);
    if messages.is_empty() {
        let text = if messages.seen() == 0 { "no message yet" } else { "no message matches; press Ctrl-U to show all" };
        put(buffer, (area.x + 2, area.y + 1), area.width.saturating_sub(2), text, theme.dim);
        return;
    }
    let cursor = messages.cursor();
    let (first, end) = window(model, rows);
    let id_width = (first..=end)
        .filter_map(|place| messages.at(place))
        .map(|entry| columns(&name(model, entry)))
        .max()
        .unwrap_or(2)
        .min(area.width / 4);
    for (line, place) in (first..=end).enumerate() {
        let Some(entry) = messages.at(place) else { continue };
        let y = area.y + 1 + line as u16;
        row(buffer, Rect { y, height: 1, ..area }, (model, entry, place, id_width), theme);
        if cursor == Some(place) {
            buffer.set_style(Rect { y, height: 1, ..area }, theme.cursor);
        }
    }
}

/// The first and the last that are shown in so many rows, of one or more.
fn window(model: &Model, rows: usize) -> (usize, usize) {
    let last = model.messages.len() - 1;
    // The cursor stands at the bottom until it is led further up than there are rows.
    let end = |cursor: usize| (cursor + rows / 2).clamp(rows.saturating_sub(1).min(last), last);
    let end = model.messages.cursor().map_or(last, end);
    ((end + 1).saturating_sub(rows), end)
}

/// Which one lies in this row.
pub(super) fn at(model: &Model, area: Rect, y: u16) -> Option<usize> {
    if model.messages.is_empty() {
        return None;
    }
    let (first, end) = window(model, usize::from(area.height.saturating_sub(1)));
    let place = first + usize::from(y.checked_sub(area.y + 1)?);
    (place <= end).then_some(place)
}

fn facts(model: &Model, theme: &Theme) -> Vec<(String, Style)> {
    let messages = &model.messages;
    let choice = messages.choice();
    let mut facts = Vec::new();
    if messages.is_paused() {
        facts.push((format!("PAUSED {} new", commas(messages.arrived())), theme.warn.add_modifier(Modifier::BOLD)));
    } else if messages.is_held() {
        facts.push((format!("{} new", commas(messages.arrived())), theme.warn.add_modifier(Modifier::BOLD)));
    }
    if let Some((source, _)) = &choice.jq {
        facts.push((format!("jq {}", shown(source.as_bytes(), 60)), theme.warn));
    }
    let (failed, error) = messages.failed();
    if failed > 0 {
        facts.push((format!("failed on {}: {}", commas(failed), shown(error.as_bytes(), 60)), theme.bad));
    }
    if let Some(search) = &choice.search {
        facts.push((format!("\"{}\"", shown(search.as_bytes(), 40)), theme.warn));
    }
    match choice.direction {
        Some(Direction::In) => facts.push(("in".to_owned(), theme.warn)),
        Some(Direction::Out) => facts.push(("out".to_owned(), theme.warn)),
        None => {}
    }
    facts.push((choice.kinds.name().to_owned(), theme.warn));
    if let Some((source, id)) = &choice.session {
        facts.push((format!("only {}", model.session_name(*source, id)), theme.warn));
    }
    facts.push((commas(messages.len() as u64), theme.title));
    if messages.missed() > 0 {
        facts.push((format!("{} not shown", commas(messages.missed())), theme.title));
    }
    facts
}

fn name(model: &Model, entry: &Entry) -> String {
    shown(model.session_name(entry.source, &entry.event.session).as_bytes(), 40)
}

fn row(buffer: &mut Buffer, area: Rect, of: (&Model, &Entry, usize, u16), theme: &Theme) {
    let (model, entry, place, id_width) = of;
    let (y, end) = (area.y, area.x + area.width);
    let mut x = area.x;
    let wide = area.width >= 60;
    let time = entry.event.time;
    let (width, text) = match model.times {
        Times::Absolute => (if wide { 12 } else { 8 }, clock(time, wide)),
        Times::Ago => (6, age(seconds(time, model.now))),
        Times::Since => {
            let before = model.messages.time_before(place);
            (8, before.map_or_else(String::new, |before| format!("+{}", milliseconds(seconds(before, time) * 1000.0))))
        }
    };
    put_right(buffer, (x, y), width.min(area.width), &text, theme.dim);
    x += width + 1;
    let put_at = |buffer: &mut Buffer, x: u16, width: u16, text: &str, style| {
        put(buffer, (x, y), width.min(end.saturating_sub(x)), text, style);
    };
    put_at(buffer, x, id_width, &name(model, entry), Style::new());
    x += id_width + 1;
    let (arrow, style) = match (entry.event.dir, theme.ascii) {
        (Some(Direction::In), false) => ("◂", theme.incoming),
        (Some(Direction::In), true) => ("<", theme.incoming),
        (Some(Direction::Out), false) => ("▸", theme.outgoing),
        (Some(Direction::Out), true) => (">", theme.outgoing),
        (None, _) => (" ", theme.dim),
    };
    put_at(buffer, x, 1, arrow, style);
    x += 2;
    if wide {
        if x + 5 < end {
            put_right(buffer, (x, y), 5, &bytes(entry.payload().len() as f64), theme.dim);
        }
        x += 6;
    }
    let room = end.saturating_sub(x);
    if room == 0 {
        return;
    }
    let payload = entry.payload();
    match &entry.event.body {
        EventBody::Message(message) if message.kind() == MessageKind::Text => {
            let text = shown(payload, usize::from(room));
            if text.starts_with(['{', '[']) {
                put_json(buffer, (x, y), room, &text, theme);
            } else {
                put_at(buffer, x, room, &text, Style::new());
            }
        }
        EventBody::Message(_) => {
            let mut hex = Vec::new();
            render::hex(&mut hex, &payload[..payload.len().min(HEX)]);
            put_at(buffer, x, room, String::from_utf8_lossy(&hex).trim_end(), theme.number);
        }
        EventBody::Close { code, reason, .. } => {
            let code = code.map_or_else(|| "without a code".to_owned(), |code| code.to_string());
            put_at(buffer, x, room, &format!("close {code} {}", shown(reason.as_bytes(), 130)), theme.warn);
        }
        _ => put_at(buffer, x, room, &format!("{} {}", entry.kind(), shown(payload, usize::from(room))), theme.dim),
    }
}
