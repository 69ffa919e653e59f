//! What generated messages hold: `--payload`, `--payload-size`, `--payload-file` and `--template`.
//!
//! Owns reading files and compiling templates. Leaves making the messages to the code that sends them.

use std::path::Path;

use super::settings;
use crate::error::Error;
use crate::filter::Draft;
use crate::listen::handler::push::Payload;
use crate::message::Message;
use crate::message::input::InputKind;
use crate::message::io_text::io_text;
use crate::source::framing::{Framing, Splitter};

/// The flags, of which at most one of the first three is given.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    /// `--payload`
    pub text: Option<&'a str>,
    /// `--payload-size`
    pub size: Option<usize>,
    /// `--payload-file`
    pub file: Option<&'a Path>,
    /// `--template`
    pub template: bool,
}

/// What the flags ask for, if for anything.
///
/// # Errors
/// Files that cannot be read or hold nothing, templates that do not compile or are not there.
pub(crate) fn read(source: &Source) -> Result<Option<Payload>, Error> {
    if let Some(size) = source.size {
        return Ok(Some(Payload::Plain(vec![of_size(size)])));
    }
    let drafts = match (source.text, source.file) {
        (Some(text), _) => vec![settings::draft(text, source.template)?],
        (None, Some(file)) => lines(file, source.template)?,
        (None, None) if source.template => {
            return Err(Error::usage("--template has nothing to fill in", "add --payload or --payload-file"));
        }
        (None, None) => return Ok(None),
    };
    let mut plain = Vec::new();
    let mut templates = Vec::new();
    for draft in drafts {
        match draft {
            Draft::Plain(message) => plain.push(message),
            Draft::Template(template, _) => templates.push(template),
        }
    }
    Ok(Some(if templates.is_empty() { Payload::Plain(plain) } else { Payload::Templates(templates) }))
}

/// Letters and digits, always the same: not one byte over and over, which compresses to nothing.
fn of_size(size: usize) -> Message {
    let mut random = fastrand::Rng::with_seed(1);
    Message::text((0..size).map(|_| random.alphanumeric()).collect::<String>())
}

/// A message for each line of a file.
fn lines(path: &Path, template: bool) -> Result<Vec<Draft>, Error> {
    let wrong = |problem: &str, hint: &str| Error::usage(format!("--payload-file {}: {problem}", path.display()), hint);
    let bytes = std::fs::read(path).map_err(|error| wrong(&io_text(&error), "put one message on each line"))?;
    let mut lines = Vec::new();
    let mut splitter = Splitter::new(Framing::Lines, usize::MAX / 2);
    let _ = splitter.push(&bytes, |line| lines.push(line));
    lines.extend(splitter.finish().ok().flatten());
    if lines.is_empty() {
        return Err(wrong("it is empty", "put one message on each line"));
    }
    let draft = |line: Vec<u8>| match (template, Message::text_from_bytes(line.clone())) {
        (false, text) => Ok(Draft::Plain(text.unwrap_or_else(|_| Message::binary(line)))),
        (true, Ok(text)) => settings::compile(text.as_text().unwrap_or_default(), InputKind::Text),
        (true, Err(_)) => Err(wrong("a template must be UTF-8", "leave --template out")),
    };
    lines.into_iter().map(draft).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_the_size_and_the_text_does_not_vary() {
        for size in [0, 1, 64, 100_000] {
            assert_eq!(of_size(size).len(), size);
            assert_eq!(of_size(size), of_size(size));
        }
    }

    #[test]
    fn each_line_is_a_message() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("lines");
        std::fs::write(&file, b"one\r\n\n\xff\nlast").expect("a file");
        let source = Source { text: None, size: None, file: Some(&file), template: false };
        let Some(Payload::Plain(messages)) = read(&source).expect("messages") else { panic!("plain messages") };
        let expected = [Message::text("one"), Message::text(""), Message::binary(vec![0xff]), Message::text("last")];
        assert_eq!(messages, expected);
        assert!(read(&Source { template: true, ..source }).is_err(), "a template must be UTF-8");
        std::fs::write(&file, b"").expect("a file");
        assert!(read(&source).expect_err("nothing to send").to_string().contains("it is empty"));
    }
}
