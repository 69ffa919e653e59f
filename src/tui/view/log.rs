//! The pane of events and errors.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::text::{clock, commas, put, shown};
use super::theme::Theme;
use super::title;
use crate::tui::model::log::Grade;
use crate::tui::model::{Model, Pane};

/// Draws it.
pub fn draw(buffer: &mut Buffer, area: Rect, model: &Model, theme: &Theme) {
    let mut facts = vec![(commas(model.log.len() as u64), theme.title)];
    if !model.log.filter().is_empty() {
        facts.push((format!("/{}", model.log.filter()), theme.warn));
    }
    title(buffer, area, Pane::Log, model, &facts, theme);
    let rows = usize::from(area.height.saturating_sub(1));
    for (line, shown_line) in model.log.shown(rows).into_iter().enumerate() {
        let y = area.y + 1 + line as u16;
        let used = put(buffer, (area.x, y), area.width, &clock(shown_line.time, false), theme.dim) + 1;
        let style = match shown_line.grade {
            Grade::Event => Style::new(),
            Grade::Warning => theme.warn,
            Grade::Error => theme.bad,
        };
        let text = shown(shown_line.text.as_bytes(), 400);
        put(buffer, (area.x + used, y), area.width.saturating_sub(used), &text, style);
    }
}
