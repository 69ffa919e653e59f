//! The pane of events and errors, and one line of it in full.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::text::{clock, commas, put, put_right, shown, wrap};
use super::theme::Theme;
use super::title;
use crate::tui::model::log::{Grade, LogLine};
use crate::tui::model::{Model, Pane};

/// Columns of a time, and the space behind it.
const TIME: u16 = 9;
/// Characters of a line that are looked at.
const LONGEST: usize = 8000;

pub(super) fn draw(buffer: &mut Buffer, area: Rect, model: &Model, theme: &Theme) {
    let mut facts = vec![(commas(model.log.len() as u64), theme.title)];
    if !model.log.filter().is_empty() {
        facts.push((format!("/{}", model.log.filter()), theme.warn));
    }
    if model.log.is_held() {
        facts.push(("End: the newest".to_owned(), theme.warn));
    }
    title(buffer, area, Pane::Log, model, &facts, theme);
    let width = area.width.saturating_sub(TIME);
    let mut y = area.y + 1;
    for (line, pieces, _) in laid_out(model, area, theme.ascii) {
        let style = grade(line.grade, theme);
        put(buffer, (area.x, y), area.width, &clock(line.time, false), theme.dim);
        for piece in pieces {
            put(buffer, (area.x + TIME, y), width, &piece, style);
            y += 1;
        }
    }
}

fn grade(grade: Grade, theme: &Theme) -> Style {
    match grade {
        Grade::Event => Style::new(),
        Grade::Warning => theme.warn,
        Grade::Error => theme.bad,
    }
}

/// The lines there is room for, cut into rows, the oldest first, each with how many are newer. A line that is too long for
/// the whole pane has its beginning shown.
fn laid_out(model: &Model, area: Rect, ascii: bool) -> Vec<(&LogLine, Vec<String>, usize)> {
    let (width, mut room) = (area.width.saturating_sub(TIME), usize::from(area.height.saturating_sub(1)));
    let mut lines = Vec::new();
    for (newer, line) in model.log.newest().enumerate() {
        let text = shown(line.text.as_bytes(), LONGEST);
        let mut pieces: Vec<String> = wrap(&text, width.max(1)).into_iter().map(str::to_owned).collect();
        if pieces.len() > room {
            if !lines.is_empty() || room == 0 {
                break;
            }
            pieces.truncate(room);
            if let Some(last) = pieces.last_mut() {
                last.pop();
                last.push(if ascii { '~' } else { '…' });
            }
        }
        room -= pieces.len();
        lines.push((line, pieces, newer));
    }
    lines.reverse();
    lines
}

/// Which line lies in this row, as how many are newer.
pub(super) fn at(model: &Model, area: Rect, y: u16) -> Option<usize> {
    let row = usize::from(y.checked_sub(area.y + 1)?);
    let mut before = 0;
    laid_out(model, area, false).into_iter().find_map(|(_, pieces, newer)| {
        before += pieces.len();
        (row < before).then_some(newer)
    })
}

/// Draws one line in full, over all panes.
pub(super) fn draw_line(buffer: &mut Buffer, area: Rect, line: &LogLine, top: usize, theme: &Theme) {
    let sign = if theme.ascii { "-" } else { "─" };
    put(buffer, (area.x, area.y), area.width, &sign.repeat(usize::from(area.width)), theme.title);
    let what = match line.grade {
        Grade::Event => "event",
        Grade::Warning => "warning",
        Grade::Error => "error",
    };
    put(buffer, (area.x, area.y), area.width, &format!("{sign} Log {what} {:.6} ", line.time), theme.focus);
    let text = shown(line.text.as_bytes(), LONGEST);
    let pieces = wrap(&text, area.width.max(1));
    let rows = usize::from(area.height.saturating_sub(2));
    let top = top.min(pieces.len().saturating_sub(rows));
    if area.height > 1 {
        put(buffer, (area.x, area.y + 1), area.width, "y copy  w save the log  Esc back", theme.dim);
        let place = format!("{}/{} ", top + 1, pieces.len());
        put_right(buffer, (area.x, area.y + 1), area.width, &place, theme.dim);
    }
    for (row, piece) in pieces.iter().skip(top).take(rows).enumerate() {
        put(buffer, (area.x, area.y + 2 + row as u16), area.width, piece, grade(line.grade, theme));
    }
}
