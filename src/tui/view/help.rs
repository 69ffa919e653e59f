//! The keys, from the one table of them.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::text::put;
use super::theme::Theme;
use crate::tui::keymap::{self, Row};

/// Columns for the keys.
const WIDTH: u16 = 12;

/// Draws those that are offered, from this one on.
pub(super) fn draw(buffer: &mut Buffer, area: Rect, top: usize, control: bool, theme: &Theme) {
    let keys: Vec<&Row> = keymap::offered(control).collect();
    let line = if theme.ascii { "-" } else { "─" };
    put(buffer, (area.x, area.y), area.width, &line.repeat(usize::from(area.width)), theme.title);
    let rows = usize::from(area.height.saturating_sub(1));
    // The last one is at the bottom, not alone at the top.
    let top = top.min(keys.len().saturating_sub(rows));
    let last = (top + rows).min(keys.len());
    let how = if rows < keys.len() { "Up/Down more, " } else { "" };
    let title = format!("{line} Keys {}-{last} of {} - {how}Esc closes ", top + 1, keys.len());
    put(buffer, (area.x, area.y), area.width, &title, theme.focus);
    for (line, row) in keys.iter().skip(top).take(rows).enumerate() {
        let y = area.y + 1 + line as u16;
        put(buffer, (area.x + 1, y), WIDTH.min(area.width.saturating_sub(1)), row.shown, theme.focus);
        let x = WIDTH + 2;
        put(buffer, (area.x + x, y), area.width.saturating_sub(x), row.help, Style::new());
    }
}
