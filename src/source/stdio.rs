//! Standard input as the source of a pipeline.

use std::rc::Rc;

use super::framing::Framing;
use super::lines::{Intake, LineKind};
use super::shared::{Reading, SharedInput};
use crate::exit::Exit;
use crate::message::io_text::io_text;
use crate::queue::end::{End, EndError, EndIo, LocalFuture};
use crate::queue::envelope::Origin;
use crate::queue::stop::Step;

/// Reads standard input, a message a line, or as the framing says.
#[derive(Debug)]
pub(crate) struct StdioSource {
    pub input: Rc<SharedInput>,
    /// The session's name in events.
    pub session: String,
    pub framing: Framing,
    pub kind: LineKind,
    pub max_message_size: usize,
}

impl End for StdioSource {
    fn run(self: Box<Self>, io: EndIo) -> LocalFuture<'static, Result<(), EndError>> {
        Box::pin(self.read(io))
    }
}

impl StdioSource {
    async fn read(self: Box<Self>, io: EndIo) -> Result<(), EndError> {
        let origin = Origin::new(self.session, "-");
        let Some(mut intake) = Intake::new(&io, origin, self.kind, self.framing, self.max_message_size) else {
            return Ok(());
        };
        let Some(mut reading) = self.input.read() else {
            return Err(EndError::new(Exit::Internal, "standard input is already in use"));
        };
        let result = take_all(&mut reading, &mut intake, &io).await;
        // A message that was begun, or not taken in, is the next reader's.
        reading.leave(intake.left());
        result
    }
}

async fn take_all(reading: &mut Reading, intake: &mut Intake, io: &EndIo) -> Result<(), EndError> {
    let left = reading.left();
    let Some(chunks) = reading.chunks() else { return Ok(()) };
    if !intake.take(left).await? {
        return Ok(());
    }
    loop {
        let chunk = match io.stop.unless(Step::Draining, chunks.next()).await {
            Some(Some(chunk)) => chunk,
            Some(None) => return intake.finish().await.map(drop),
            // What has been read cannot be given back.
            None => match chunks.rest() {
                Some(chunk) => chunk,
                None => return Ok(()),
            },
        };
        let chunk = chunk.map_err(|error| {
            let text = format!("cannot read standard input: {}", io_text(&error));
            EndError::new(Exit::Internal, text)
        })?;
        if !intake.take(chunk).await? {
            return Ok(());
        }
    }
}
