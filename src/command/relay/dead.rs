//! `--dead-letter`: a file, or an endpoint, for messages that no destination takes.

use std::path::PathBuf;
use std::rc::Rc;

use super::build::Build;
use crate::endpoint::{Endpoint, EndpointError};
use crate::error::Error;
use crate::message::render::Format;
use crate::pipeline::dead::{Kept, Nowhere};
use crate::pipeline::run::Running;
use crate::pipeline::watch::View;
use crate::queue::LaneSettings;
use crate::queue::OverflowPolicy;
use crate::queue::end::{DeadLetters, EndIo};
use crate::queue::lane::Lane;
use crate::queue::stop::Stop;
use crate::sink::file::{FileSink, Fsync, Rotation};

/// The place for dead letters, what waits to come there, and the ends that bring it.
type Grave = (Rc<dyn DeadLetters>, Option<Rc<Lane>>, Vec<Running>);

impl Build<'_> {
    /// The place for dead letters, and the ends that bring them there.
    pub(super) fn dead_letters(&mut self, stop: &Rc<Stop>) -> Result<Grave, Error> {
        let Some(text) = self.args.queue.dead_letter.as_deref() else {
            return Ok((Rc::new(Nowhere), None, Vec::new()));
        };
        let place = place(text)?;
        let name = place.as_ref().map_or_else(|path| path.display().to_string(), ToString::to_string);
        let settings = LaneSettings { policy: OverflowPolicy::Block, ..self.lane_settings() };
        let lane = Rc::new(Lane::new(name.clone(), settings));
        let io = EndIo {
            ingress: None,
            lane: Some(Rc::clone(&lane)),
            stop: Rc::clone(stop),
            // What cannot be written there either is dropped, and counted as that.
            dead_letters: Rc::new(Nowhere),
            notice: self.notice(),
        };
        let mut ends = match place {
            Err(path) => {
                let (format, rotation, fsync) = (Format::Raw, Rotation::default(), Fsync::Batch);
                let view = View::new(&self.around.watch, self.session(), &name, false, &io);
                self.views.push(Rc::clone(&view));
                vec![Running {
                    name,
                    end: Box::new(FileSink { path, format, rotation, fsync }),
                    io,
                    is_last: true,
                    is_from: false,
                    view,
                }]
            }
            Ok(endpoint) => {
                // They are event lines already.
                let formats = (self.format, self.line_format);
                (self.format, self.line_format) = (Format::Raw, Format::Raw);
                self.takes_dead_letters = true;
                let ends = self.ends(&endpoint, &io, self.session(), false);
                self.takes_dead_letters = false;
                (self.format, self.line_format) = formats;
                ends?
            }
        };
        for end in &mut ends {
            end.is_last = true;
        }
        Ok((Rc::new(Kept { lane: Rc::clone(&lane), ledger: Rc::default() }), Some(lane), ends))
    }
}

/// An endpoint, or the path of a file.
fn place(text: &str) -> Result<Result<Endpoint, PathBuf>, Error> {
    match Endpoint::parse(text) {
        Ok(endpoint) => Ok(Ok(endpoint)),
        Err(EndpointError::UnknownEndpoint(_)) if !text.contains("://") => Ok(Err(PathBuf::from(text))),
        Err(error) => Err(Error::usage(format!("--dead-letter: {error}"), "give a file or an endpoint")),
    }
}
