//! What the screen looks like (pure): a frame is drawn from the model and nothing else.
//!
//! Owns the layout for screens of every size; a file beneath has a pane. Leaves what keys do to the model. Invariant: it
//! draws at any size, down to nothing.

mod chart;
mod detail;
mod footer;
mod help;
pub(crate) mod load;
mod log;
mod messages;
mod queues;
mod sessions;
mod text;
pub(crate) mod theme;

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::model::{Hit, Link, Model, Overlay, Pane};
use text::{age, bytes, columns, put, put_right, rate};
use theme::Theme;

/// Fewer rows show one pane at a time.
const ROWS_FOR_ALL: u16 = 16;
/// Fewer columns do, too.
const COLUMNS_FOR_ALL: u16 = 60;
/// From so many columns queues stand beside sessions.
const COLUMNS_FOR_TWO: u16 = 110;
/// From so many columns a message is shown in full beside the list.
const COLUMNS_FOR_DETAIL: u16 = 130;

#[derive(Debug, Default)]
struct Layout {
    head: Rect,
    panes: Vec<(Pane, Rect)>,
    /// The message under the cursor, beside the list.
    preview: Option<Rect>,
    footer: Rect,
}

pub(crate) fn draw(frame: &mut Frame<'_>, model: &Model, theme: &Theme) {
    let area = frame.area();
    if area.width == 0 || area.height == 0 {
        return;
    }
    let layout = lay_out(area, model);
    let buffer = frame.buffer_mut();
    head(buffer, layout.head, model, theme);
    let body = Rect { y: area.y + 1, height: area.height.saturating_sub(1 + layout.footer.height), ..area };
    match &model.overlay {
        Overlay::Help(top) => help::draw(buffer, body, *top, model.can_control(), theme),
        Overlay::LogLine(line, top) => log::draw_line(buffer, body, line, *top, theme),
        Overlay::Detail(shown) => detail::draw(buffer, body, model, shown, theme),
        Overlay::None => {
            for (pane, area) in &layout.panes {
                match pane {
                    Pane::Sessions => sessions::draw(buffer, *area, model, theme),
                    Pane::Queues => queues::draw(buffer, *area, model, theme),
                    Pane::Messages => messages::draw(buffer, *area, model, theme),
                    Pane::Log => log::draw(buffer, *area, model, theme),
                }
            }
            if let Some(area) = layout.preview {
                detail::preview(buffer, area, model, theme);
            }
        }
    }
    if let Some(cursor) = footer::draw(buffer, layout.footer, model, theme) {
        frame.set_cursor_position(cursor);
    }
}

/// What lies at this place of a screen of this size; none where nothing can be clicked.
#[must_use]
pub(crate) fn hit(size: (u16, u16), model: &Model, (x, y): (u16, u16)) -> Option<Hit> {
    let (pane, area) = pane_at(size, model, (x, y))?;
    let of_pane = match pane {
        Pane::Sessions => sessions::at(model, area, (x, y)),
        Pane::Messages => messages::at(model, area, y).map(Hit::Message),
        Pane::Log => log::at(model, area, y).map(Hit::Log),
        Pane::Queues => None,
    };
    Some(of_pane.filter(|_| y > area.y).unwrap_or(Hit::Pane(pane)))
}

/// The pane at this place, while nothing lies over the panes.
#[must_use]
pub(crate) fn pane_at((width, height): (u16, u16), model: &Model, at: (u16, u16)) -> Option<(Pane, Rect)> {
    if width == 0 || height == 0 || !matches!(model.overlay, Overlay::None) {
        return None;
    }
    let layout = lay_out(Rect { x: 0, y: 0, width, height }, model);
    layout.panes.into_iter().find(|(_, area)| area.contains(at.into()))
}

fn lay_out(area: Rect, model: &Model) -> Layout {
    let footer_height = (if model.typing.is_some() { 2 } else { 1 }).min(area.height.saturating_sub(1));
    let head = Rect { height: 1, ..area };
    let footer = Rect { y: area.y + area.height - footer_height, height: footer_height, ..area };
    let body = Rect { y: area.y + 1, height: area.height.saturating_sub(1 + footer_height), ..area };
    let mut layout = Layout { head, footer, ..Layout::default() };
    if model.zoom || area.height < ROWS_FOR_ALL || area.width < COLUMNS_FOR_ALL {
        layout.panes.push((model.pane, body));
        return layout;
    }
    let part = |y: u16, height: u16| Rect { y, height, ..body };
    let log = if area.height >= 40 { 8 } else { 3 };
    // A title, a head, and a row for each, up to a quarter of the screen.
    let wanted = u16::try_from(model.sessions.len().max(2)).unwrap_or(u16::MAX).min((area.height / 4).max(4) - 2) + 2;
    let mut y = body.y;
    if area.width >= COLUMNS_FOR_TWO {
        let height = wanted.max(area.height / 5).max(6);
        let width = area.width * 3 / 5;
        layout.panes.push((Pane::Sessions, Rect { width, ..part(y, height) }));
        let rest = Rect { x: area.x + width + 1, width: area.width - width - 1, ..part(y, height) };
        layout.panes.push((Pane::Queues, rest));
        y += height;
    } else {
        layout.panes.push((Pane::Sessions, part(y, wanted)));
        y += wanted;
        let height = if area.height >= 40 { 8 } else { 4 };
        layout.panes.push((Pane::Queues, part(y, height)));
        y += height;
    }
    let height = (body.y + body.height).saturating_sub(y + log);
    let mut messages = part(y, height);
    if area.width >= COLUMNS_FOR_DETAIL {
        let width = area.width * 3 / 5;
        layout.preview = Some(Rect { x: area.x + width + 1, width: area.width - width - 1, ..messages });
        messages.width = width;
    }
    layout.panes.push((Pane::Messages, messages));
    layout.panes.push((Pane::Log, part(y + height, log)));
    layout
}

/// The head: what this is, how many sessions, how fast, how long.
fn head(buffer: &mut Buffer, area: Rect, model: &Model, theme: &Theme) {
    let sum = |place: usize| model.sources.iter().map(|source| source.rates[place]).sum::<f64>();
    let left_out: usize = model.sources.iter().map(|source| source.snapshot.sessions_left_out).sum();
    let sessions = model.sessions.total() + left_out;
    let narrow = area.width < COLUMNS_FOR_ALL;
    let facts = if narrow {
        format!("{sessions} up {} in {}/s", age(uptime(model)), rate(sum(0)))
    } else {
        let plural = if sessions == 1 { "" } else { "s" };
        let size = |place| if area.width < 100 { String::new() } else { format!(" {}/s", bytes(sum(place))) };
        let (incoming, outgoing) = (rate(sum(0)), rate(sum(1)));
        let up = age(uptime(model));
        format!("{sessions} session{plural}  in {incoming}/s{}  out {outgoing}/s{}  up {up}", size(2), size(3))
    };
    let lost = model.sources.iter().filter(|source| matches!(source.link, Link::Lost(_))).count();
    let room = area.width.saturating_sub(columns(&facts) + 2);
    let mut used = put(buffer, (area.x, area.y), room, &model.title, theme.head);
    let mut badge = |text: &str, style| {
        used += put(buffer, (area.x + used, area.y), room.saturating_sub(used), text, style);
    };
    if lost > 0 && lost == model.sources.len() {
        badge(" LOST", theme.bad);
    } else if lost > 0 {
        badge(&format!(" {lost} LOST"), theme.bad);
    } else if model.sources.iter().any(|source| source.link == Link::Connecting) {
        badge(" connecting", theme.warn);
    }
    if let Some(failure) = model.failure() {
        // There is little room, and the title says of what it is.
        let cause = failure.split_once(": ").map_or(failure, |(_, cause)| cause);
        badge(&format!(" {}", text::shown(cause.as_bytes(), 400)), theme.bad);
    }
    let unwell = model.sources.iter().map(|source| source.snapshot.errors.values().sum::<u64>()).sum::<u64>();
    if unwell > 0 {
        badge(&format!(" {} error{}", text::count(unwell), if unwell == 1 { "" } else { "s" }), theme.warn);
    }
    put_right(buffer, (area.x, area.y), area.width, &facts, theme.dim);
}

/// How long this has run; of a process that is looked at from elsewhere, how long that has.
fn uptime(model: &Model) -> f64 {
    let told = match &model.sources[..] {
        [only] => only.snapshot.started.parse().ok(),
        _ => None,
    };
    super::model::sessions::seconds(told.unwrap_or(model.started), model.now)
}

/// The title of a pane, with facts behind it.
fn title(
    buffer: &mut Buffer,
    area: Rect,
    pane: Pane,
    model: &Model,
    facts: &[(String, ratatui::style::Style)],
    theme: &Theme,
) {
    let focused = model.pane == pane;
    let line = if theme.ascii { "-" } else { "─" };
    put(buffer, (area.x, area.y), area.width, &line.repeat(usize::from(area.width)), theme.title);
    let sign = match (focused, theme.ascii) {
        (true, false) => "▶",
        (true, true) => ">",
        (false, _) => line,
    };
    let style = if focused { theme.focus } else { theme.title };
    let mut x = area.x + put(buffer, (area.x, area.y), area.width, &format!("{sign} {} ", pane.name()), style);
    let end = area.x + area.width;
    for (fact, style) in facts.iter().filter(|(fact, _)| !fact.is_empty()) {
        if x + 4 >= end {
            break;
        }
        x += put(buffer, (x, area.y), end - x, line, theme.title);
        x += put(buffer, (x, area.y), end - x, &format!(" {fact} "), *style);
    }
}

#[cfg(test)]
mod tests;
