//! The pane of sessions: as many columns as there is room for, the most telling first.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};

use super::text::{age, bytes, columns, count, milliseconds, put, put_right, rate, shown};
use super::theme::Theme;
use super::{chart, title};
use crate::observe::control::{SessionReading, SessionState};
use crate::tui::model::sessions::{Column, Row, seconds};
use crate::tui::model::{Hit, Link, Model, Pane};

/// Columns by how much they tell, with their widths; the peer gets what is left.
const BY_WORTH: [(Column, u16); 13] = [
    (Column::Id, 6),
    (Column::State, 10),
    (Column::RateIn, 6),
    (Column::RateOut, 6),
    (Column::Peer, 15),
    (Column::Queue, 9),
    (Column::RoundTrip, 7),
    (Column::Drops, 6),
    (Column::Age, 6),
    (Column::In, 7),
    (Column::Out, 7),
    (Column::BytesIn, 6),
    (Column::BytesOut, 6),
];
/// Columns of the sign before a row.
const SIGN: u16 = 2;

/// What is shown, in the order of [`Column::ALL`], with its widths.
fn choose(width: u16, id_width: u16, sort: Column) -> Vec<(Column, u16)> {
    let mut room = width.saturating_sub(SIGN);
    let mut chosen = Vec::new();
    let sorted = BY_WORTH.iter().filter(|(column, _)| *column == sort);
    for (column, own) in BY_WORTH.iter().take(1).chain(sorted).chain(&BY_WORTH) {
        let own = if *column == Column::Id { id_width } else { *own };
        if !chosen.iter().any(|(known, _)| known == column) && own < room {
            room -= own + 1;
            chosen.push((*column, own));
        }
    }
    if let Some((_, own)) = chosen.iter_mut().find(|(column, _)| *column == Column::Peer) {
        *own += room.min(45);
    }
    Column::ALL.iter().filter_map(|column| chosen.iter().find(|(known, _)| known == column).copied()).collect()
}

pub(super) fn draw(buffer: &mut Buffer, area: Rect, model: &Model, theme: &Theme) {
    let sessions = &model.sessions;
    let (sort, reverse) = sessions.sort();
    let mut facts = Vec::new();
    let number = if sessions.len() == sessions.total() {
        sessions.total().to_string()
    } else {
        format!("{} of {}", sessions.len(), sessions.total())
    };
    facts.push((number, theme.title));
    if !sessions.filter().is_empty() {
        facts.push((format!("/{}", sessions.filter()), theme.warn));
    }
    if !sessions.marked().is_empty() {
        facts.push((format!("{} marked", sessions.marked().len()), theme.warn));
    }
    if let Some(row) = sessions.current() {
        let reading = &row.reading;
        let traffic = |messages: u64, size: u64| format!("{} {}", count(messages), bytes(size as f64));
        let compressed = compressed(reading);
        facts.push((
            format!(
                "{}: in {} out {}{compressed}",
                shown(reading.id.as_bytes(), 20),
                traffic(reading.received.messages, reading.received.bytes),
                traffic(reading.sent.messages, reading.sent.bytes)
            ),
            theme.title,
        ));
        for (what, text) in [("named", &reading.name), ("subject", &reading.subject)] {
            if let Some(text) = text {
                facts.push((format!("{what} {}", shown(text.as_bytes(), 40)), theme.title));
            }
        }
        if let Some(lag) = reading.lag {
            facts.push((format!("lag {}", count(lag)), theme.title));
        }
    }
    title(buffer, area, Pane::Sessions, model, &facts, theme);
    if area.height < 2 {
        return;
    }
    let shown_columns = shown_columns(model, area.width);
    let mut x = area.x + SIGN;
    for (column, width) in &shown_columns {
        let arrow = match (*column == sort, reverse, theme.ascii) {
            (false, ..) => "",
            (true, false, false) => "▾",
            (true, true, false) => "▴",
            (true, false, true) => "v",
            (true, true, true) => "^",
        };
        let head = format!("{}{arrow}", column.name());
        if is_number(*column) {
            put_right(buffer, (x, area.y + 1), *width, &head, theme.column);
        } else {
            put(buffer, (x, area.y + 1), *width, &head, theme.column);
        }
        x += width + 1;
    }
    let rows = usize::from(area.height - 2);
    if sessions.is_empty() {
        let lost = model.sources.iter().find_map(|source| match &source.link {
            Link::Lost(reason) => Some(format!("{} is lost: {reason}", source.label)),
            _ => None,
        });
        let (text, style) = match lost {
            _ if sessions.total() > 0 => ("no session matches".to_owned(), theme.dim),
            Some(lost) => (shown(lost.as_bytes(), 400), theme.bad),
            None => ("nobody is connected".to_owned(), theme.dim),
        };
        put(buffer, (area.x + SIGN, area.y + 2), area.width.saturating_sub(SIGN), &text, style);
        return;
    }
    let cursor = sessions.place().unwrap_or(0);
    let first = first(model, rows);
    for (line, place) in (first..sessions.len()).take(rows).enumerate() {
        let Some(row) = sessions.at(place) else { break };
        let y = area.y + 2 + line as u16;
        let is_current = place == cursor;
        let mark = if sessions.marked().contains(&row.key) { "*" } else { " " };
        let sign = match (is_current, theme.ascii) {
            (true, false) => "▸",
            (true, true) => ">",
            _ => " ",
        };
        put(buffer, (area.x, y), SIGN, &format!("{sign}{mark}"), theme.focus);
        let mut x = area.x + SIGN;
        for (column, width) in &shown_columns {
            cell(buffer, (x, y), *width, *column, (model, row), theme);
            x += width + 1;
        }
        if is_current && model.pane == Pane::Sessions {
            buffer.set_style(Rect { x: area.x + 1, y, width: area.width.saturating_sub(1), height: 1 }, theme.cursor);
        }
    }
}

/// How much of its payload a session has on the wire, where that is compressed.
fn compressed(reading: &SessionReading) -> String {
    let share = |wire: u64, payload: u64| {
        if payload == 0 { "-".to_owned() } else { format!("{:.0}%", wire as f64 / payload as f64 * 100.0) }
    };
    reading.wire.map_or_else(String::new, |wire| {
        let (received, sent) = (share(wire.received, reading.received.bytes), share(wire.sent, reading.sent.bytes));
        format!(", on the wire {received} {sent}")
    })
}

fn shown_columns(model: &Model, width: u16) -> Vec<(Column, u16)> {
    let sessions = &model.sessions;
    let names = (0..sessions.len().min(500)).filter_map(|place| sessions.at(place));
    let id_width = names.map(|row| columns(&name(model, row))).max().unwrap_or(4).clamp(3, 24);
    choose(width, id_width, sessions.sort().0)
}

/// The first that is shown in so many rows.
fn first(model: &Model, rows: usize) -> usize {
    let cursor = model.sessions.place().unwrap_or(0);
    cursor.saturating_sub(rows.saturating_sub(1)).min(model.sessions.len().saturating_sub(rows))
}

/// The session or the head of a column at this place.
pub(super) fn at(model: &Model, area: Rect, (x, y): (u16, u16)) -> Option<Hit> {
    let row = y.checked_sub(area.y + 1)?;
    if row == 0 {
        let mut end = area.x + SIGN;
        return shown_columns(model, area.width).into_iter().find_map(|(column, width)| {
            end += width + 1;
            (x < end).then_some(Hit::Column(column))
        });
    }
    let place = first(model, usize::from(area.height.saturating_sub(2))) + usize::from(row - 1);
    (place < model.sessions.len()).then_some(Hit::Session(place))
}

/// The id of a session, and its name.
fn name(model: &Model, row: &Row) -> String {
    let id = shown(model.session_name(row.key.0, &row.reading.id).as_bytes(), 40);
    match &row.reading.name {
        Some(name) => format!("{id} {}", shown(name.as_bytes(), 40)),
        None => id,
    }
}

fn is_number(column: Column) -> bool {
    !matches!(column, Column::Id | Column::Peer | Column::State | Column::Queue)
}

fn cell(buffer: &mut Buffer, at: (u16, u16), width: u16, column: Column, (model, row): (&Model, &Row), theme: &Theme) {
    let plain = Style::new();
    let reading = &row.reading;
    let faint_if_none = |number: u64| if number == 0 { theme.dim } else { plain };
    let (text, style) = match column {
        Column::Id => (name(model, row), plain.add_modifier(Modifier::BOLD)),
        Column::Peer => {
            let peer = shown(reading.peer.as_bytes(), 200);
            let target = shown(reading.target.as_bytes(), 200);
            let is_plain = target == "/" || target == peer;
            // Where there is little room, the path says more than an address, and that more than a scheme.
            let text = match format!("{peer} {target}") {
                _ if is_plain => peer,
                both if columns(&both) <= width => both,
                _ => format!("{target} {peer}"),
            };
            let bare = text.split_once("://").map(|(_, place)| place.to_owned());
            (bare.filter(|_| columns(&text) > width).unwrap_or(text), plain)
        }
        Column::State => state(row, theme),
        Column::RateIn => (rate(row.rates[0]), if row.rates[0] > 0.0 { theme.incoming } else { theme.dim }),
        Column::RateOut => (rate(row.rates[1]), if row.rates[1] > 0.0 { theme.outgoing } else { theme.dim }),
        Column::In => (count(reading.received.messages), faint_if_none(reading.received.messages)),
        Column::Out => (count(reading.sent.messages), faint_if_none(reading.sent.messages)),
        Column::BytesIn => (bytes(reading.received.bytes as f64), faint_if_none(reading.received.bytes)),
        Column::BytesOut => (bytes(reading.sent.bytes as f64), faint_if_none(reading.sent.bytes)),
        Column::RoundTrip => (reading.round_trip_ms.map_or_else(|| "-".to_owned(), milliseconds), plain),
        Column::Queue if reading.queue.capacity == 0 && reading.lag.is_some() => {
            // Nothing waits for a source; what waits for it is elsewhere.
            let lag = reading.lag.unwrap_or_default();
            (format!("{} lag", count(lag)), if lag == 0 { theme.dim } else { theme.warn })
        }
        Column::Queue => {
            let share = reading.queue.depth as f64 / reading.queue.capacity.max(1) as f64;
            let style = if share >= 0.8 { theme.bad } else { theme.chart };
            put(buffer, at, 3, &chart::bar(share, 3, theme.ascii), style);
            put_right(buffer, (at.0 + 4, at.1), width - 4, &count(reading.queue.depth as u64), plain);
            return;
        }
        Column::Drops => (count(reading.dropped), if reading.dropped > 0 { theme.bad } else { theme.dim }),
        Column::Age => (row.since.map_or_else(|| "-".to_owned(), |since| age(seconds(since, model.now))), plain),
    };
    if is_number(column) {
        put_right(buffer, at, width, &text, style);
    } else {
        put(buffer, at, width, &text, style);
    }
}

fn state(row: &Row, theme: &Theme) -> (String, Style) {
    match row.reading.state {
        SessionState::Connecting => ("connecting".to_owned(), theme.warn),
        SessionState::Open | SessionState::Throttled if row.reading.rate_limit.is_some() => {
            let sign = if theme.ascii { "<=" } else { "≤" };
            (format!("{sign}{}/s", rate(row.reading.rate_limit.unwrap_or_default())), theme.warn)
        }
        SessionState::Open => ("open".to_owned(), theme.good),
        SessionState::Throttled => ("throttled".to_owned(), theme.warn),
        SessionState::Paused => ("paused".to_owned(), theme.warn),
        SessionState::Retrying => {
            let text = row.reading.retry_in_ms.map(|ms| format!("retry {:.0}s", (ms as f64 / 1000.0).ceil()));
            (text.unwrap_or_else(|| "retrying".to_owned()), theme.warn)
        }
        SessionState::Closing => ("closing".to_owned(), theme.warn),
        SessionState::Closed => ("closed".to_owned(), theme.bad),
    }
}
