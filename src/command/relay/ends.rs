//! From endpoints to the ends of a relay: one that gives and takes, or a source and a sink.
//!
//! What an end needs beyond a few settings stands in its own file.

use std::rc::Rc;

use super::args::InputArg;
use super::bins::batch_settings;
use super::build::{Build, gives};
use crate::command::brokers::{self, Broker};
use crate::command::settings;
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::message::io_text::io_text;
use crate::message::render::Format;
use crate::net::connector::Connector;
use crate::pipeline::bins::Binned;
use crate::pipeline::dispatch::Dispatch;
use crate::pipeline::run::Running;
use crate::pipeline::watch::View;
use crate::pipeline::ws::WsClient;
use crate::queue::end::{BatchSink, End, EndIo};
use crate::session::driver::DriverSettings;
use crate::session::reconnect::{Limit, ReconnectSettings, Retries};
use crate::sink::null::NullSink;
use crate::sink::stdio::StdioSink;
use crate::source::framing::Framing;
use crate::source::lines::LineKind;
use crate::source::shared::SharedInput;
use crate::source::stdio::StdioSource;

/// Messages handed to a sink at a time, where that makes no difference to who gets them.
pub(super) const BATCH: usize = 1000;
impl<'a> Build<'a> {
    fn sink<S: BatchSink + 'static>(&self, sink: S, most: usize) -> Result<Box<dyn End>, Error> {
        Ok(self.sink_with(sink, most, self.reconnect()?))
    }

    fn sink_with<S: BatchSink + 'static>(&self, sink: S, most: usize, reconnect: ReconnectSettings) -> Box<dyn End> {
        // Bins are handed over as they come.
        let batch = match &self.bins {
            Some(_) => batch_settings(most, None, None, None),
            None => self.batch(most),
        };
        Box::new(Dispatch::new(sink, batch, reconnect))
    }

    /// The ends of an endpoint; what it is given comes in bins where that is wanted.
    pub(super) fn ends(
        &mut self,
        endpoint: &Endpoint,
        io: &EndIo,
        session: String,
        is_from: bool,
    ) -> Result<Vec<Running>, Error> {
        let bins = if is_from { None } else { self.bins_for(endpoint)? };
        let Some(settings) = bins else { return self.bare_ends(endpoint, io, session, is_from) };
        // What is put into bins has been written as it should be.
        let formats = (self.format, self.line_format);
        (self.format, self.line_format) = (Format::Raw, Format::Raw);
        self.bins = Some(settings.clone());
        let ends = self.bare_ends(endpoint, io, session, is_from);
        self.bins = None;
        (self.format, self.line_format) = formats;
        let binned = |running: Running| match running.io.lane {
            Some(_) => {
                let end = Box::new(Binned { end: running.end, settings: settings.clone() });
                Running { end, ..running }
            }
            None => running,
        };
        Ok(ends?.into_iter().map(binned).collect())
    }

    /// The ends an endpoint is made of: one that does both, or a source and a sink.
    fn bare_ends(
        &mut self,
        endpoint: &Endpoint,
        io: &EndIo,
        session: String,
        is_from: bool,
    ) -> Result<Vec<Running>, Error> {
        let name = endpoint.to_string();
        let is_client = matches!(endpoint, Endpoint::Ws(_));
        let view = View::new(&self.around.watch, session, &name, is_client, io);
        self.views.push(Rc::clone(&view));
        let io = &view.over(io);
        let session = view.id.clone();
        let running = |end: Box<dyn End>, io: EndIo| Running {
            name: name.clone(),
            end,
            io,
            is_last: false,
            is_from,
            view: Rc::clone(&view),
        };
        let as_source = || EndIo { lane: None, ..io.clone() };
        let as_sink = || EndIo { ingress: None, ..io.clone() };
        if io.ingress.is_some() && !gives(endpoint) {
            return Err(Error::usage(format!("{name} provides no messages"), "use it as TO"));
        }
        let mut ends = Vec::new();
        match endpoint {
            Endpoint::Ws(url) => {
                let end = self.ws(url, is_from, &view)?;
                return Ok(vec![running(Box::new(end), io.clone())]);
            }
            Endpoint::Http(url) => {
                let sink = self.http(url, &name)?;
                ends.push(running(self.sink(sink, 1)?, as_sink()));
            }
            Endpoint::Search(url) => {
                let sink = self.search(url, &name)?;
                ends.push(running(self.sink(sink, BATCH)?, as_sink()));
            }
            #[cfg(feature = "postgres")]
            Endpoint::Postgres(url) => {
                let reconnect = settings::reconnect(&self.args.connection, crate::broker::RETRIES)?;
                ends.push(running(self.sink_with(self.postgres(url)?, BATCH, reconnect), as_sink()));
            }
            #[cfg(not(feature = "postgres"))]
            Endpoint::Postgres(url) => return Err(brokers::left_out(url, "postgres")),
            Endpoint::Exec(command) => {
                let end = self.exec(command, &name, session, is_from)?;
                return Ok(vec![running(Box::new(end), io.clone())]);
            }
            Endpoint::Stdio => {
                if io.ingress.is_some() {
                    ends.push(running(Box::new(self.stdin(session)?), as_source()));
                }
                if io.lane.is_some() {
                    let sink = self.stdout()?;
                    ends.push(running(self.sink(sink, BATCH)?, as_sink()));
                }
            }
            Endpoint::Null => ends.push(running(self.sink(NullSink, BATCH)?, as_sink())),
            Endpoint::File(path) => {
                if io.ingress.is_some() && io.lane.is_some() {
                    return Err(Error::usage(
                        format!("--both: {name} can be read or written, not both"),
                        "leave --both out, or join other endpoints",
                    ));
                }
                if io.ingress.is_some() {
                    ends.push(running(Box::new(self.file_source(path, &name, session)), as_source()));
                } else {
                    ends.push(running(Box::new(self.file_sink(path)?), as_sink()));
                }
            }
            Endpoint::Kafka(url) => {
                let found = brokers::kafka(&self.broker(url, session), io)?;
                ends.extend(found.into_iter().map(|(end, io)| running(end, io)));
            }
            Endpoint::Nats(url) => {
                let found = brokers::nats(&self.broker(url, session), io)?;
                ends.extend(found.into_iter().map(|(end, io)| running(end, io)));
            }
            server @ Endpoint::WsListen { .. } => {
                let end = self.server(server, is_from, &view)?;
                return Ok(vec![running(Box::new(end), io.clone())]);
            }
        }
        Ok(ends)
    }

    fn broker<'u>(&self, url: &'u str, session: String) -> Broker<'u>
    where
        'a: 'u,
    {
        let args = self.args;
        Broker {
            url,
            connection: &args.connection,
            session,
            // Beside what waits in the queue.
            bytes: args.queue.queue_bytes / 8,
            batch: args.bins.batch.filter(|_| self.bins.is_none()),
            batch_bytes: args.bins.batch_bytes.filter(|_| self.bins.is_none()),
            batch_age: args.bins.batch_age.filter(|_| self.bins.is_none()),
        }
    }

    fn ws(&self, url: &str, is_from: bool, view: &Rc<View>) -> Result<WsClient, Error> {
        let connection = self.connection_of(url);
        let connector = Connector::new(settings::connect_options(url, connection, false)?)?;
        Ok(WsClient {
            connector,
            session: view.id.clone(),
            opening: Rc::new(settings::opening(connection)?),
            protocol: self.args.client_protocol(view.endpoint(), is_from)?,
            driver: DriverSettings {
                keepalive: settings::keepalive(connection, false),
                close_timeout: connection.close_timeout,
                fragment: None,
            },
            // What was not asked for is not done: as for connect.
            reconnect: settings::reconnect(connection, Retries::up_to(Limit::Off))?,
            view: Rc::clone(view),
        })
    }

    fn stdin(&mut self, session: String) -> Result<StdioSource, Error> {
        Ok(StdioSource {
            input: self.shared_input()?,
            session,
            framing: Framing::Lines,
            kind: match self.args.input {
                Some(InputArg::Json) => LineKind::Events,
                Some(InputArg::Raw) | None => LineKind::Raw,
            },
            max_message_size: self.args.connection.max_message_size,
        })
    }

    /// Standard input, which pipelines that follow each other read on.
    fn shared_input(&mut self) -> Result<Rc<SharedInput>, Error> {
        once(&mut self.reads_stdin, "input")?;
        let stdin = self.around.host.stdin.try_clone();
        let stdin = stdin.map_err(|error| Error::Internal(format!("standard input: {}", io_text(&error))))?;
        Ok(Rc::clone(self.around.input.get_or_init(|| SharedInput::new(stdin))))
    }

    fn stdout(&mut self) -> Result<StdioSink, Error> {
        once(&mut self.writes_stdout, "output")?;
        Ok(StdioSink {
            output: self.around.output()?,
            format: self.format,
            to_terminal: self.to_terminal,
            colour: self.colour,
        })
    }
}

/// A standard stream, for one endpoint.
fn once(is_taken: &mut bool, name: &str) -> Result<(), Error> {
    if std::mem::replace(is_taken, true) {
        return Err(Error::usage(format!("standard {name} is used twice"), "one endpoint may be -"));
    }
    Ok(())
}
