//! Standard input as the source of a pipeline.

use std::fs::File;

use super::framing::{Framing, Splitter};
use super::stdin;
use crate::exit::Exit;
use crate::message::Message;
use crate::message::event::{InputEvent, parse_input_line};
use crate::message::input::{InputKind, decode};
use crate::net::connection::io_text;
use crate::queue::end::{End, EndError, EndIo, LocalFuture};
use crate::queue::envelope::Origin;
use crate::queue::stop::Step;

/// Reads standard input, a message a line, or as the framing says.
#[derive(Debug)]
pub struct StdioSource {
    /// Standard input.
    pub file: File,
    /// The session's name in events.
    pub session: String,
    /// Where messages end.
    pub framing: Framing,
    /// How they are written.
    pub kind: InputKind,
    /// Largest message.
    pub max_message_size: usize,
}

impl End for StdioSource {
    fn run(self: Box<Self>, io: EndIo) -> LocalFuture<'static, Result<(), EndError>> {
        Box::pin(self.read(io))
    }
}

impl StdioSource {
    async fn read(self: Box<Self>, io: EndIo) -> Result<(), EndError> {
        let Some(inlet) = io.inlet.clone() else { return Ok(()) };
        let origin = Origin::new(self.session, "-");
        let mut chunks = stdin::read(self.file);
        let mut splitter = Splitter::new(self.framing, self.max_message_size);
        let mut seq = 0;
        let mut ended = false;
        while !ended {
            let Some(chunk) = io.stop.unless(Step::Draining, chunks.recv()).await else { return Ok(()) };
            let mut pieces = Vec::new();
            let cut = match chunk {
                Some(Ok(chunk)) => splitter.push(&chunk, |piece| pieces.push(piece)),
                Some(Err(error)) => {
                    let text = format!("cannot read standard input: {}", io_text(&error));
                    return Err(EndError::new(Exit::Internal, text));
                }
                None => {
                    ended = true;
                    splitter.finish().map(|last| pieces.extend(last))
                }
            };
            for piece in pieces {
                let Some(message) = read_piece(self.kind, piece)? else { continue };
                // What has been read is delivered, however full the queues are; only an abort cuts it off.
                if io.stop.unless(Step::Aborting, io.room()).await.is_none() {
                    return Ok(());
                }
                seq += 1;
                inlet.push(&origin, seq, message, None);
            }
            if let Err(too_long) = cut {
                let text = format!("standard input has a message of more than {} bytes", too_long.0);
                return Err(EndError::new(Exit::Usage, text).hint("--max-message-size SIZE accepts larger ones"));
            }
        }
        Ok(())
    }
}

/// A line as a message; what is no text is binary, because a pipeline does not end for one message.
fn read_piece(kind: InputKind, piece: Vec<u8>) -> Result<Option<Message>, EndError> {
    let wrong = |text: String| EndError::new(Exit::Usage, format!("standard input: {text}"));
    match kind {
        InputKind::Events => match parse_input_line(&piece).map_err(wrong)?.event {
            InputEvent::Message(message) => Ok(Some(message)),
            _ => Ok(None),
        },
        InputKind::Text => Ok(Some(Message::text_from_bytes(piece.clone()).unwrap_or_else(|_| Message::binary(piece)))),
        kind => decode(kind, piece).map(Some).map_err(wrong),
    }
}
