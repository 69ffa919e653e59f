//! One message in full: over all panes, or beside the list where the screen is wide.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::text::{commas, put, put_json, put_right, shown, wrap};
use super::theme::Theme;
use crate::message::MessageKind;
use crate::message::event::{Direction, EventBody};
use crate::tui::model::detail::{Form, lines};
use crate::tui::model::messages::Entry;
use crate::tui::model::{Detail, Model};

/// Bytes of a payload that are laid out for the message beside the list.
const PREVIEW: usize = 16 * 1024;

/// Draws the one that was asked for.
pub(super) fn draw(buffer: &mut Buffer, area: Rect, model: &Model, detail: &Detail, theme: &Theme) {
    head(buffer, area, model, &detail.entry, theme);
    let hint = match (detail.form, detail.hex) {
        (Form::Hex, true) => "h text  w save  y copy  Esc back",
        (Form::Hex, false) => "w save  y copy  Esc back",
        _ => "h bytes  w save  y copy  Esc back",
    };
    let place = format!("{}/{} ", (detail.top + 1).min(detail.lines.len().max(1)), detail.lines.len().max(1));
    if area.height > 1 {
        put(buffer, (area.x, area.y + 1), area.width, hint, theme.dim);
        put_right(buffer, (area.x, area.y + 1), area.width, &place, theme.dim);
    }
    let body = Rect { y: area.y + 2, height: area.height.saturating_sub(2), ..area };
    body_lines(buffer, body, &detail.lines[detail.top.min(detail.lines.len())..], detail.form, theme);
}

/// Draws the one under the cursor.
pub(super) fn preview(buffer: &mut Buffer, area: Rect, model: &Model, theme: &Theme) {
    let Some(entry) = model.messages.current() else { return };
    head(buffer, area, model, entry, theme);
    let kind = match &entry.event.body {
        EventBody::Message(message) => message.kind(),
        _ => MessageKind::Binary,
    };
    let payload = entry.payload();
    let (form, lines) = lines(&payload[..payload.len().min(PREVIEW)], kind, false);
    let body = Rect { y: area.y + 1, height: area.height.saturating_sub(1), ..area };
    body_lines(buffer, body, &lines, form, theme);
}

fn head(buffer: &mut Buffer, area: Rect, model: &Model, entry: &Entry, theme: &Theme) {
    let line = if theme.ascii { "-" } else { "─" };
    put(buffer, (area.x, area.y), area.width, &line.repeat(usize::from(area.width)), theme.title);
    let way = match entry.event.dir {
        Some(Direction::In) => "in",
        Some(Direction::Out) => "out",
        None => "",
    };
    let text = format!(
        "{line} {} {way} {} {} bytes{} {:.6} ",
        shown(model.session_name(entry.source, &entry.event.session).as_bytes(), 40),
        entry.kind(),
        commas(entry.payload().len() as u64),
        on_the_wire(entry),
        entry.event.time,
    );
    put(buffer, (area.x, area.y), area.width, &text, theme.focus);
}

/// What it took on the wire, where it was compressed.
fn on_the_wire(entry: &Entry) -> String {
    let EventBody::Message(message) = &entry.event.body else { return String::new() };
    let share = |wire: usize| wire as f64 / message.len().max(1) as f64 * 100.0;
    message
        .wire()
        .map_or_else(String::new, |wire| format!(", {} on the wire ({:.0} %)", commas(wire as u64), share(wire)))
}

fn body_lines(buffer: &mut Buffer, area: Rect, lines: &[String], form: Form, theme: &Theme) {
    let mut y = area.y;
    for line in lines {
        // A line too long for the screen goes on in the next one.
        for piece in wrap(line, area.width) {
            if y >= area.y + area.height {
                return;
            }
            match form {
                Form::Json => put_json(buffer, (area.x, y), area.width, piece, theme),
                Form::Text => {
                    put(buffer, (area.x, y), area.width, piece, Style::new());
                }
                Form::Hex => {
                    let offset = put(buffer, (area.x, y), area.width, piece.get(..8).unwrap_or(piece), theme.dim);
                    let rest = piece.get(8..).unwrap_or_default();
                    put(buffer, (area.x + offset, y), area.width - offset, rest, Style::new());
                }
            }
            y += 1;
        }
    }
}
