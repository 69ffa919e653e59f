//! A recording of event lines, read line after line.
//!
//! Owns where lines end and what one means; leaves what happens to a step to its caller. Invariant: a line is held
//! once, and only when it goes beyond what the reader has in memory.

use std::io::{self, BufRead};

use super::{Step, Told, session_number};
use crate::message::event::recorded::{RecordedLines, RecordedMessage};
use crate::message::event::{Direction, InputEvent, parse_input_line};
use crate::message::io_text::io_text;

const MAX_LINE: usize = 2 << 30;

/// Lines, taken where they stand unless they go beyond what the reader has in memory.
struct Lines<R> {
    reader: R,
    begun: Vec<u8>,
    taken: usize,
}

impl<R: BufRead> Lines<R> {
    /// What `read` makes of the beginning of what the reader has in memory, if it says how long that is.
    fn first<T>(&mut self, read: impl FnOnce(&[u8]) -> Option<(T, usize)>) -> io::Result<Option<T>> {
        self.reader.consume(std::mem::take(&mut self.taken));
        let block = match self.reader.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(None),
            block => block?,
        };
        let Some((first, length)) = read(block) else { return Ok(None) };
        self.taken = length;
        Ok(Some(first))
    }

    /// The next line with its newline, if it has one; nothing at the end.
    fn next(&mut self) -> io::Result<&[u8]> {
        self.reader.consume(std::mem::take(&mut self.taken));
        self.begun.clear();
        loop {
            let block = match self.reader.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                block => block?,
            };
            let end = memchr::memchr(b'\n', block).map(|at| at + 1);
            let length = end.unwrap_or(block.len());
            if self.begun.is_empty() && end.is_some() {
                self.taken = length;
                return Ok(&self.reader.fill_buf()?[..length]);
            }
            self.begun.extend_from_slice(&block[..length]);
            self.reader.consume(length);
            if self.begun.len() > MAX_LINE {
                return Err(io::Error::other(format!("longer than {} GiB", MAX_LINE >> 30)));
            }
            if end.is_some() || length == 0 {
                return Ok(&self.begun);
            }
        }
    }
}

enum Line {
    Step(Step),
    /// A message of the other direction.
    Other,
    Nothing,
}

/// Reads event lines. `step` says whether to go on.
pub(super) fn read_lines(
    reader: impl BufRead,
    direction: Direction,
    mut step: impl FnMut(Step) -> bool,
    mut tell: impl FnMut(Told),
) -> Result<(), String> {
    let mut lines = Lines { reader, begun: Vec::new(), taken: 0 };
    let mut quick = RecordedLines::default();
    let mut read = 0;
    for number in 1_u64.. {
        let named = |error| format!("line {number}: {}", io_text(&error));
        let first = |text: &[u8]| {
            let (message, length) = quick.read_first(text)?;
            Some(((length, recorded(message, direction, read + length as u64)), length))
        };
        if let Some((length, next)) = lines.first(first).map_err(named)? {
            read += length as u64;
            match next {
                Some(next) => {
                    if !step(next) {
                        break;
                    }
                }
                None => tell(Told::Other),
            }
            continue;
        }
        let line = lines.next().map_err(named)?;
        if line.is_empty() {
            break;
        }
        read += line.len() as u64;
        match parse_line(&mut quick, line, direction, read) {
            Ok(Line::Step(next)) => {
                if !step(next) {
                    break;
                }
            }
            Ok(Line::Nothing) => {}
            Ok(Line::Other) => tell(Told::Other),
            // What does not even begin as one was none before it was cut.
            Err(_) if !line.ends_with(b"\n") && (number > 1 || line.trim_ascii_start().starts_with(b"{")) => {
                tell(Told::Notice(format!("line {number} is truncated and was skipped")));
                break;
            }
            Err(error) => return Err(format!("line {number}: {error}")),
        }
    }
    Ok(())
}

fn parse_line(quick: &mut RecordedLines, line: &[u8], direction: Direction, read: u64) -> Result<Line, String> {
    if let Some((message, _)) = quick.read_first(line) {
        return Ok(recorded(message, direction, read).map_or(Line::Other, Line::Step));
    }
    if line.trim_ascii().is_empty() {
        return Ok(Line::Nothing);
    }
    let line = parse_input_line(line)?;
    // A message without a direction was written by hand, to be sent.
    let is_message = matches!(line.event, InputEvent::Message(_));
    let dir = line.dir.or(is_message.then_some(Direction::Out));
    if dir != Some(direction) || line.event == InputEvent::Ignored {
        return Ok(if is_message { Line::Other } else { Line::Nothing });
    }
    let time = line.time.ok_or("no \"time\"")?;
    let time = time.parse().map_err(|error| format!("\"time\": {error}"))?;
    let session = line.session.as_deref().and_then(session_number);
    Ok(Line::Step(Step { time, session, event: line.event, read }))
}

/// A message as a step, if its direction is wanted.
fn recorded(message: RecordedMessage<'_>, direction: Direction, read: u64) -> Option<Step> {
    let RecordedMessage { time, session, dir, message } = message;
    let event = InputEvent::Message(message);
    (dir == direction).then(|| Step { time, session: session_number(session), event, read })
}
