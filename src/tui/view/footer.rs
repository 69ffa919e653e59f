//! The bottom of the screen: a line being typed and what is wrong with it, a remark, or what keys there are.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::text::{columns, put, shown};
use super::theme::Theme;
use crate::tui::keymap;
use crate::tui::model::{Model, Purpose, To, Typing};

/// Draws it; where the cursor stands, if something is being typed.
pub(super) fn draw(buffer: &mut Buffer, area: Rect, model: &Model, theme: &Theme) -> Option<(u16, u16)> {
    if area.height == 0 {
        return None;
    }
    if let Some(typing) = &model.typing {
        return Some(draw_line(buffer, area, model, typing, theme));
    }
    if let Some((text, is_error, _)) = &model.remark {
        let style = if *is_error { theme.bad } else { theme.good };
        put(buffer, (area.x, area.y), area.width, &shown(text.as_bytes(), 400), style);
        return None;
    }
    let mut x = area.x;
    for row in keymap::offered(model.can_control()).filter(|row| !row.hint.is_empty()) {
        let width = columns(row.shown) + columns(row.hint) + 3;
        if x + width > area.x + area.width + 2 {
            continue;
        }
        x += put(buffer, (x, area.y), area.width, row.shown, theme.focus) + 1;
        x += put(buffer, (x, area.y), area.width, row.hint, theme.dim) + 2;
    }
    None
}

fn draw_line(buffer: &mut Buffer, area: Rect, model: &Model, typing: &Typing, theme: &Theme) -> (u16, u16) {
    let who = |source: usize, id: &str| shown(model.session_name(source, id).as_bytes(), 40);
    let (question, help) = match &typing.purpose {
        Purpose::Filter => ("jq ".to_owned(), "Enter apply  Esc cancel  Ctrl-U clear"),
        Purpose::Search => ("find ".to_owned(), "Enter apply  Esc cancel  Ctrl-U clear"),
        Purpose::SessionFilter | Purpose::LogFilter => ("filter ".to_owned(), "Enter apply  Esc cancel  Ctrl-U clear"),
        Purpose::Send(to) => {
            let to = match to {
                To::One((source, id)) => who(*source, id),
                To::Marked(marked) => format!("{} marked", marked.len()),
                To::All => "all".to_owned(),
            };
            (format!("send to {to}> "), "Enter send  Tab recipient  Up history  Esc cancel")
        }
        Purpose::Close { session: (source, id), reason } => {
            let what = if reason.is_empty() { "close" } else { "kick" };
            (format!("{what} {} with code ", who(*source, id)), "y confirm  Esc cancel  digits: another code")
        }
        Purpose::Limit(sessions) => {
            let who = match &sessions[..] {
                [(source, id)] => who(*source, id),
                sessions => format!("{} marked", sessions.len()),
            };
            (format!("messages per second from {who}: "), "Enter set limit (0 = none)  Esc cancel")
        }
        Purpose::SaveAs => ("save as ".to_owned(), "Enter save  Esc cancel"),
    };
    let used = put(buffer, (area.x, area.y), area.width, &question, theme.focus);
    let room = area.width.saturating_sub(used + 1);
    let before = shown(typing.line.before().as_bytes(), usize::MAX / 8);
    let whole = shown(typing.line.text().as_bytes(), usize::MAX / 8);
    // Of a line that is too long the part around the cursor is shown.
    let mut skipped = 0;
    let mut width = columns(&before);
    for c in before.chars() {
        if width <= room {
            break;
        }
        width -= columns(c.encode_utf8(&mut [0; 4]));
        skipped += c.len_utf8();
    }
    put(buffer, (area.x + used, area.y), room + 1, &whole[skipped..], Style::new());
    if area.height > 1 {
        match &typing.error {
            Some(error) => put(buffer, (area.x, area.y + 1), area.width, &shown(error.as_bytes(), 400), theme.bad),
            None => put(buffer, (area.x, area.y + 1), area.width, help, theme.dim),
        };
    }
    (area.x + used + width.min(room), area.y)
}
