//! The man pages: one for `wsp` and one for every subcommand, from the same definitions as the help.
//!
//! Owns the sections and their order. Leaves the list of options to `clap_mangen`. Invariant: no section is empty.

use clap::Command;

use crate::exit;

/// Returns every man page: its file name and its text.
///
/// # Errors
/// Never in practice: the pages are made in memory.
pub(super) fn pages() -> std::io::Result<Vec<(String, Vec<u8>)>> {
    let mut command = super::definition();
    command.build();
    let mut pages = Vec::new();
    collect(&command, "wsp", "", &mut pages)?;
    Ok(pages)
}

/// Adds the page of a command, and those of its subcommands. `above` are the examples of the command it belongs to.
fn collect(command: &Command, name: &str, above: &str, pages: &mut Vec<(String, Vec<u8>)>) -> std::io::Result<()> {
    let own = command.get_before_help().map(ToString::to_string);
    let examples = own.unwrap_or_else(|| that_begin(above, &name.replace('-', " ")));
    pages.push((format!("{name}.1"), page(command, name, &examples)?));
    for child in command.get_subcommands().filter(|child| !child.is_hide_set()) {
        collect(child, &format!("{name}-{}", child.get_name()), &examples, pages)?;
    }
    Ok(())
}

/// Returns the lines of examples that begin with a command.
fn that_begin(examples: &str, typed: &str) -> String {
    let lines = examples.lines().filter(|line| line.trim_start().starts_with(typed));
    lines.collect::<Vec<_>>().join("\n")
}

fn page(command: &Command, name: &str, examples: &str) -> std::io::Result<Vec<u8>> {
    // A flag that only the short help describes would have no text in the page.
    let in_full = |arg: clap::Arg| match (arg.get_help().cloned(), arg.get_long_help()) {
        (Some(help), None) => arg.long_help(help),
        _ => arg,
    };
    let usage = command.clone().render_usage().to_string();
    let titled = command.clone().name(name.to_owned()).mut_args(in_full);
    let has_subcommands = titled.get_subcommands().any(|child| !child.is_hide_set());
    let man = clap_mangen::Man::new(titled)
        .title(name.to_uppercase())
        .source(concat!("wsp ", env!("CARGO_PKG_VERSION")))
        .manual("User Commands");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    section(&mut page, "SYNOPSIS", &synopsis(&usage));
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if has_subcommands {
        man.render_subcommands_section(&mut page)?;
    }
    section(&mut page, "EXIT STATUS", exit::TABLE);
    let (keys, topics) = (keys(), super::help::list());
    let more = match name {
        "wsp" => vec![("DASHBOARD KEYS", keys.as_str()), ("WSCAT", super::wscat::DIFFERENCES)],
        "wsp-top" => vec![("KEYS", keys.as_str())],
        "wsp-help" => vec![("TOPICS", topics.as_str())],
        "wsp-config" => vec![("SETTINGS", super::config::ABOUT)],
        _ => Vec::new(),
    };
    for (heading, text) in more {
        section(&mut page, heading, text);
    }
    let examples = examples.strip_prefix("Examples:\n").unwrap_or(examples);
    if !examples.is_empty() {
        section(&mut page, "EXAMPLES", examples);
    }
    Ok(page)
}

/// Returns the lines of a usage without its heading and indentation.
fn synopsis(usage: &str) -> String {
    let lines = usage.trim_start_matches("Usage:").lines();
    lines.map(str::trim).collect::<Vec<_>>().join("\n")
}

/// Adds a section whose lines stay as they are.
fn section(page: &mut Vec<u8>, heading: &str, text: &str) {
    page.extend_from_slice(format!(".SH {heading}\n.nf\n").as_bytes());
    for line in text.lines() {
        page.extend_from_slice(format!("{}\n", roff(line)).as_bytes());
    }
    page.extend_from_slice(b".fi\n");
}

/// Returns a line of text in which roff sees no requests and no escapes.
fn roff(line: &str) -> String {
    let text = line.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq");
    if text.starts_with('.') { format!("\\&{text}") } else { text }
}

/// Returns what keys do on the dashboard.
fn keys() -> String {
    #[cfg(feature = "tui")]
    let text = crate::tui::keymap::text();
    #[cfg(not(feature = "tui"))]
    let text = String::from("This build has no dashboard.\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_examples_reach_the_reader_as_they_were_written() {
        let table =
            [(".price", "\\&.price"), ("-j 'a'", "\\-j \\(aqa\\(aq"), ("a\\nb", "a\\enb"), ("'x'", "\\(aqx\\(aq")];
        for (line, expected) in table {
            assert_eq!(roff(line), expected);
        }
    }

    #[test]
    fn every_page_has_its_arguments_above_and_its_examples_below_and_no_empty_section() {
        let pages = pages().expect("the pages");
        assert!(pages.len() > 10, "{} pages", pages.len());
        for (name, page) in pages {
            let page = String::from_utf8(page).expect("text");
            let typed = name.trim_end_matches(".1").replace('-', " ");
            let synopsis = page.split(".SH SYNOPSIS\n.nf\n").nth(1).expect("a synopsis");
            assert!(synopsis.starts_with(&typed), "{name}: {synopsis:.80}");
            let last = page.rsplit(".SH ").next().expect("a section");
            assert!(last.starts_with("EXAMPLES\n") && last.contains("wsp"), "{name} ends with {last}");
            let lines: Vec<_> = page.lines().filter(|line| !matches!(*line, ".nf" | ".fi")).collect();
            let is_empty = |pair: &&[&str]| pair.iter().all(|line| line.starts_with(".SH"));
            assert_eq!(lines.windows(2).find(is_empty), None, "{name}");
        }
    }
}
