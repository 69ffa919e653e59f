//! A chart of values over time in braille, or in ASCII where that is all there is; and bars (pure).

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::text::put;
use super::theme::Theme;

/// Draws the newest values at the right, filled from below; `mark` is a value whose height is marked.
pub(super) fn draw(buffer: &mut Buffer, area: Rect, values: &[usize], top: usize, mark: usize, theme: &Theme) {
    let (columns, levels) = if theme.ascii { (1, 2) } else { (2, 4) };
    let steps = usize::from(area.height) * levels;
    let dots = usize::from(area.width) * columns;
    let height = |value: usize| {
        let height = (value * steps).div_ceil(top.max(1)).min(steps);
        if value > 0 { height.max(1) } else { 0 }
    };
    let shown = &values[values.len().saturating_sub(dots)..];
    let empty = dots - shown.len();
    let at = |dot: usize| dot.checked_sub(empty).and_then(|place| shown.get(place)).copied().map_or(0, height);
    let marked = height(mark);
    for row in 0..area.height {
        // Levels of this row are those above `floor`.
        let floor = usize::from(area.height - 1 - row) * levels;
        for column in 0..area.width {
            let first = usize::from(column) * columns;
            let filled = |dot: usize| at(dot).saturating_sub(floor).min(levels);
            let is_marked = marked > floor && marked <= floor + levels;
            let (sign, style) = if theme.ascii {
                match filled(first) {
                    0 if is_marked && column % 2 == 0 => ('-', theme.warn),
                    0 => (' ', theme.chart),
                    1 => ('.', theme.chart),
                    _ => ('#', theme.chart),
                }
            } else {
                let (left, right) = (filled(first), filled(first + 1));
                if left + right == 0 && is_marked && column % 2 == 0 {
                    (char::from_u32(0x2800 + mark_dot(marked - floor)).unwrap_or(' '), theme.warn)
                } else {
                    (char::from_u32(0x2800 + braille(left, right)).unwrap_or(' '), theme.chart)
                }
            };
            if sign != ' ' && sign != '\u{2800}' {
                put(buffer, (area.x + column, area.y + row), 1, sign.encode_utf8(&mut [0; 4]), style);
            }
        }
    }
}

/// Dots of both columns of a cell, filled from below (Unicode's braille patterns).
fn braille(left: usize, right: usize) -> u32 {
    const LEFT: [u32; 5] = [0, 0x40, 0x44, 0x46, 0x47];
    const RIGHT: [u32; 5] = [0, 0x80, 0xa0, 0xb0, 0xb8];
    LEFT[left] | RIGHT[right]
}

/// The dot at a level of a cell, from below.
fn mark_dot(level: usize) -> u32 {
    [0x40, 0x04, 0x02, 0x01][level.clamp(1, 4) - 1]
}

/// How full something is, as a bar.
#[must_use]
pub(super) fn bar(share: f64, width: usize, ascii: bool) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    if width == 0 {
        return String::new();
    }
    // Neither below zero nor long.
    #[allow(clippy::cast_sign_loss)]
    let eighths = (share.clamp(0.0, 1.0) * width as f64 * 8.0).round() as usize;
    // What is not empty shows.
    let eighths = if share > 0.0 { eighths.max(1) } else { 0 };
    if ascii {
        let full = eighths.div_ceil(8);
        return format!("{}{}", "#".repeat(full), ".".repeat(width - full));
    }
    let part = EIGHTHS[eighths % 8];
    let rest = width - eighths / 8 - usize::from(!part.is_empty());
    format!("{}{part}{}", "█".repeat(eighths / 8), " ".repeat(rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{Depth, Display};

    fn drawn(values: &[usize], ascii: bool) -> Vec<String> {
        let area = Rect::new(0, 0, 4, 2);
        let mut buffer = Buffer::empty(area);
        let theme = Theme::new(Display { depth: Depth::None, ascii, light: false, dumb: false }, false);
        draw(&mut buffer, area, values, 8, 8, &theme);
        (0..2).map(|y| (0..4).map(|x| buffer[(x, y)].symbol()).collect()).collect()
    }

    #[test]
    fn the_newest_stands_at_the_right() {
        assert_eq!(drawn(&[0, 1, 4, 8], false), ["⠁ ⠁⢸", "  ⢀⣿"]);
        assert_eq!(drawn(&[0, 1, 4, 8], true), ["- -#", " .##"]);
        assert_eq!(drawn(&[8; 99], false), ["⣿⣿⣿⣿", "⣿⣿⣿⣿"]);
    }

    #[test]
    fn a_bar_shows_what_is_not_empty() {
        assert_eq!(bar(0.0, 4, false), "    ");
        assert_eq!(bar(0.0001, 4, false), "▏   ");
        assert_eq!(bar(0.5, 4, false), "██  ");
        assert_eq!(bar(9.0, 4, false), "████");
        assert_eq!(bar(0.3, 4, true), "##..");
    }
}
