//! Lays Markdown out as plain text for a terminal (pure).
//!
//! Knows what the pages in `docs/` use: headings, paragraphs, lists, tables, fenced blocks, code spans, bold text and links.

use std::fmt::Write as _;

/// Columns of a line at most; blocks of code keep theirs.
const WIDTH: usize = 80;
/// Columns that everything but headings is moved to the right by.
const INDENT: usize = 2;
/// The column at which the last cell of a table begins at the latest.
const LAST_CELL: usize = 36;

/// Returns the page as text. `name` says what a reader may call the page that a link leads to.
pub(super) fn render(markdown: &str, name: impl Fn(&str) -> Option<String>) -> String {
    let mut blocks: Vec<String> = Vec::new();
    let mut lines = markdown.lines().peekable();
    while let Some(line) = lines.next() {
        if line.starts_with("```") {
            let code = lines.by_ref().take_while(|line| !line.starts_with("```"));
            blocks.push(code.map(|line| format!("{:4}{line}\n", "").trim_end().to_owned() + "\n").collect());
        } else if line.starts_with('#') {
            blocks.push(heading(line, &name));
        } else if line.starts_with('|') {
            let mut rows = vec![cells(line, &name)];
            while let Some(line) = lines.next_if(|line| line.starts_with('|')) {
                rows.push(cells(line, &name));
            }
            blocks.push(table(&rows));
        } else if !line.trim().is_empty() && !line.starts_with("<!--") {
            let mut text = line.trim().to_owned();
            let goes_on = |line: &&str| {
                let begins_another =
                    ["- ", "#", "|", "```", "<!--"].iter().any(|sign| line.trim_start().starts_with(sign));
                !line.trim().is_empty() && !begins_another
            };
            while let Some(line) = lines.next_if(goes_on) {
                text.push(' ');
                text.push_str(line.trim());
            }
            let is_item = text.starts_with("- ");
            let block = wrapped(&inline(&text, &name), INDENT, if is_item { INDENT + 2 } else { INDENT });
            match blocks.last_mut() {
                // The items of a list belong together.
                Some(list) if is_item && list.starts_with("  - ") => list.push_str(&block),
                _ => blocks.push(block),
            }
        }
    }
    blocks.join("\n")
}

fn heading(line: &str, name: &impl Fn(&str) -> Option<String>) -> String {
    let text = inline(line.trim_start_matches('#').trim(), name);
    if line.starts_with("##") { format!("{text}\n") } else { format!("{}\n", text.to_uppercase()) }
}

/// Returns the text without its markup; the name of the page that a link leads to follows in parentheses.
fn inline(text: &str, name: &impl Fn(&str) -> Option<String>) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let after = &rest[first.len_utf8()..];
        if first == '`'
            && let Some((code, behind)) = after.split_once('`')
        {
            plain.push_str(code);
            rest = behind;
        } else if let Some(behind) = rest.strip_prefix("**") {
            rest = behind;
        } else if first == '['
            && let Some((label, behind)) = after.split_once("](")
            && let Some((target, behind)) = behind.split_once(')')
        {
            plain.push_str(&inline(label, name));
            if let Some(name) = name(target) {
                let _ = write!(plain, " ({name})");
            }
            rest = behind;
        } else {
            let is_escape = first == '\\' && after.starts_with(|next: char| next.is_ascii_punctuation());
            if !is_escape {
                plain.push(first);
                rest = after;
                continue;
            }
            let escaped = after.chars().next().unwrap_or(first);
            plain.push(escaped);
            rest = &after[escaped.len_utf8()..];
        }
    }
    plain
}

/// Returns the cells of a row.
fn cells(line: &str, name: &impl Fn(&str) -> Option<String>) -> Vec<String> {
    let line = line.trim().trim_start_matches('|');
    let line = line.strip_suffix('|').unwrap_or(line);
    // A bar in a cell is written with a backslash.
    let parts = line.replace("\\|", "\u{0}");
    parts.split('|').map(|cell| inline(&cell.trim().replace('\u{0}', "|"), name)).collect()
}

fn table(rows: &[Vec<String>]) -> String {
    let is_rule =
        |row: &&Vec<String>| !row.iter().all(|cell| !cell.is_empty() && cell.chars().all(|c| "-:".contains(c)));
    let rows: Vec<&Vec<String>> = rows.iter().filter(is_rule).collect();
    let columns = rows.iter().map(|row| row.len()).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns.saturating_sub(1)).map(|column| width(column).unwrap_or(0)).collect();
    let last = (INDENT + widths.iter().map(|width| width + 2).sum::<usize>()).min(LAST_CELL);
    let mut text = String::new();
    for row in rows {
        let Some((end, before)) = row.split_last() else { continue };
        let mut line = " ".repeat(INDENT);
        for (cell, width) in before.iter().zip(&widths) {
            let _ = write!(line, "{cell:<width$}  ", width = (*width).min(LAST_CELL / before.len()));
        }
        let line = line.trim_end();
        let wrapped_end = wrapped(end, last, last);
        if line.chars().count() + 2 > last {
            // Cells that do not fit beside each other stand below each other.
            before.iter().enumerate().for_each(|(index, cell)| {
                let column = INDENT + 2 * index;
                text.push_str(&wrapped(cell, column, column));
            });
            text.push_str(&wrapped_end);
        } else {
            let _ = write!(text, "{line:<last$}{}", wrapped_end.trim_start());
        }
        if end.is_empty() {
            text.push('\n');
        }
    }
    text
}

/// Returns the text in lines of at most [`WIDTH`] columns: the first begins at one column, the others at another.
fn wrapped(text: &str, first: usize, others: usize) -> String {
    let mut lines = String::new();
    let mut line = " ".repeat(first);
    let mut is_empty = true;
    for word in text.split_whitespace() {
        if !is_empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines.push_str(&line);
            lines.push('\n');
            line = " ".repeat(others);
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    if !is_empty {
        lines.push_str(&line);
        lines.push('\n');
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_goes_and_words_stay() {
        let page = "# Exit *codes*\n\n<!-- not run: x -->\n```sh\nwsp a | b\n```\n\nSee [filters](f.md) and `a[0](b)`,\n**bold**.\n\n\
                    - one `-x`\n  goes on\n- two\n\n| code | meaning |\n|---|---|\n| 0 | done `a\\|b` |\n| 14 | \\[x] |\n";
        let expected = "EXIT *CODES*\n\n    wsp a | b\n\n  See filters (wsp help filters) and a[0](b), bold.\n\n\
                        \u{20} - one -x goes on\n  - two\n\n  code  meaning\n  0     done a|b\n  14    [x]\n";
        let name = |target: &str| (target == "f.md").then(|| "wsp help filters".to_owned());
        assert_eq!(render(page, name), expected);
    }

    #[test]
    fn long_lines_are_wrapped_and_long_cells_begin_a_line() {
        let text = "word ".repeat(40);
        let option = "--".to_owned() + &"x".repeat(50);
        let page = format!("{text}\n\n- {text}\n\n| a | b |\n|---|---|\n| {option} | {text} |\n");
        let plain = render(&page, |_| None);
        assert!(plain.lines().all(|line| line.chars().count() <= WIDTH), "{plain}");
        assert_eq!(plain.matches("word").count(), 120, "{plain}");
        assert!(plain.lines().any(|line| line.trim() == option), "{plain}");
    }
}
