//! Brokers as ends of a relay: from an address and flags to a source, a sink, or both.
//!
//! Leaves what parameters mean to `broker/`. Where a build has no such broker, says so.

use super::options::ConnectionArgs;
#[cfg(any(feature = "kafka", feature = "nats"))]
use super::{settings, values};
#[cfg(any(feature = "kafka", feature = "nats"))]
use crate::broker::RETRIES;
use crate::error::Error;
#[cfg(any(feature = "kafka", feature = "nats"))]
use crate::pipeline::window::{WindowSettings, Windowed};
use crate::queue::end::{End, EndIo};
#[cfg(any(feature = "kafka", feature = "nats"))]
use crate::session::reconnect::ReconnectSettings;
#[cfg(any(feature = "kafka", feature = "nats"))]
use crate::source::tries::Tries;

/// What a broker's ends need beside its address.
pub(crate) struct Broker<'a> {
    /// The address as written.
    pub url: &'a str,
    /// Flags of client ends.
    pub connection: &'a ConnectionArgs,
    /// The session's name in events.
    pub session: String,
    /// Most payload bytes under way.
    pub bytes: usize,
    /// Messages of a batch.
    pub batch: Option<usize>,
    /// Payload bytes of a batch.
    pub batch_bytes: Option<usize>,
    /// How long a batch waits to become full.
    pub batch_age: Option<std::time::Duration>,
}

/// Ends of an endpoint, each with what it works with.
pub(crate) type Ends = Vec<(Box<dyn End>, EndIo)>;

#[cfg(any(feature = "kafka", feature = "nats"))]
impl Broker<'_> {
    fn reconnect(&self) -> Result<ReconnectSettings, Error> {
        settings::reconnect(self.connection, RETRIES)
    }

    fn tries(&self) -> Result<Tries, Error> {
        Ok(Tries::new(self.reconnect()?))
    }

    fn window(&self, messages: usize) -> Result<WindowSettings, Error> {
        Ok(WindowSettings { messages, bytes: self.bytes, reconnect: self.reconnect()? })
    }
}

/// Returns what stands in a file, or in an environment variable.
///
/// # Errors
/// Which of them is not there.
#[cfg(any(feature = "kafka", feature = "nats", feature = "postgres"))]
pub(crate) fn secret(name: &str, is_file: bool) -> Result<String, String> {
    let text = if is_file {
        std::fs::read_to_string(name)
            .map_err(|error| format!("cannot read {name}: {}", crate::message::io_text::io_text(&error)))?
    } else {
        std::env::var(name).map_err(|_| format!("the environment variable {name} is not set"))?
    };
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(any(feature = "kafka", feature = "nats"))]
fn address_error(error: &crate::broker::address::AddressError) -> Error {
    Error::usage(error.to_string(), "see wsp relay --help")
}

/// The error of an endpoint whose feature is not built in.
#[cfg(not(all(feature = "kafka", feature = "nats", feature = "postgres")))]
pub fn left_out(url: &str, name: &str) -> Error {
    let shown = crate::redact::url(url);
    Error::usage(
        format!("{shown}: this wsp was built without {name}"),
        format!("build it with the feature {name}: ./install.sh does by default"),
    )
}

/// `nats://`.
///
/// # Errors
/// What is wrong with the address.
#[cfg(feature = "nats")]
pub(crate) fn nats(broker: &Broker<'_>, io: &EndIo) -> Result<Ends, Error> {
    use std::cell::RefCell;
    use std::collections::VecDeque;
    use std::rc::Rc;

    use crate::broker::nats::NatsSettings;
    use crate::queue::envelope::Origin;
    use crate::sink::nats::{NatsSink, Replies};
    use crate::source::nats::NatsSource;

    /// Messages under way to a stream: enough to keep it busy over a network.
    const WINDOW: usize = 8192;

    let connection = broker.connection;
    let trust = settings::client_tls(connection)?;
    let duration = |text: &str| values::duration(text).ok();
    let settings = NatsSettings::parse(broker.url, trust, connection.connect_timeout, secret, duration)
        .map_err(|error| address_error(&error))?;
    let id = settings.id.as_deref().map(|source| settings::filter("?id", source)).transpose()?;
    if settings.reply && (io.ingress.is_none() || io.lane.is_none()) {
        return Err(Error::usage(
            format!("{}: ?reply answers requests with the other end's messages", settings.shown),
            "use it with --both and nats:// as FROM",
        ));
    }
    let requests = settings.reply.then(|| Rc::new(RefCell::new(VecDeque::new())));
    let mut ends: Ends = Vec::new();
    let is_request = settings.request && io.lane.is_some();
    if io.ingress.is_some() && !is_request {
        let source = NatsSource {
            settings: settings.clone(),
            session: broker.session.clone(),
            requests: requests.clone(),
            tries: broker.tries()?,
        };
        ends.push((Box::new(source), EndIo { lane: None, ..io.clone() }));
    }
    if io.lane.is_some() {
        if settings.target().contains(['*', '>']) {
            return Err(Error::usage(
                format!("{}: cannot publish to a subject with * or >", settings.shown),
                "name one with ?publish=SUBJECT",
            ));
        }
        let ingress = io.ingress.clone().filter(|_| is_request);
        let origin = Origin::new(broker.session.clone(), settings.shown.clone());
        let sink = NatsSink::new(settings, id, Replies { ingress: ingress.clone(), origin, seq: 0 }, requests);
        let end = Windowed { sink, settings: broker.window(WINDOW)? };
        ends.push((Box::new(end), EndIo { ingress, ..io.clone() }));
    }
    Ok(ends)
}

/// `nats://`.
///
/// # Errors
/// Always: it is not built in.
#[cfg(not(feature = "nats"))]
pub fn nats(broker: &Broker<'_>, _io: &EndIo) -> Result<Ends, Error> {
    Err(left_out(broker.url, "nats"))
}

/// `kafka://`.
///
/// # Errors
/// What is wrong with the address.
#[cfg(feature = "kafka")]
pub(crate) fn kafka(broker: &Broker<'_>, io: &EndIo) -> Result<Ends, Error> {
    use crate::broker::kafka::{KafkaSettings, Producing, reach};
    use crate::sink::kafka::KafkaSink;
    use crate::source::kafka::KafkaSource;

    /// Messages under way: as many as a broker far away needs to be kept busy.
    const WINDOW: usize = 20_000;

    let connection = broker.connection;
    let mut trust = settings::client_tls(connection)?;
    // Without --cert there is no TLS key: then --key is the key of messages.
    let key_flag = trust.key.clone().filter(|_| trust.cert.is_none());
    if key_flag.is_some() {
        trust.key = None;
    }
    let duration = |text: &str| values::duration(text).ok();
    let settings = KafkaSettings::parse(broker.url, &trust, connection.connect_timeout, secret, duration)
        .map_err(|error| address_error(&error))?;
    let producing =
        Producing { linger: broker.batch_age, messages: broker.batch, bytes: broker.batch_bytes, limit: None };
    let verify = |properties| reach::verify(&settings, &properties).map_err(|error| address_error(&error));
    let mut ends: Ends = Vec::new();
    if io.ingress.is_some() {
        verify(settings.consumer())?;
        let source =
            KafkaSource { settings: settings.clone(), session: broker.session.clone(), tries: broker.tries()? };
        ends.push((Box::new(source), EndIo { lane: None, ..io.clone() }));
    }
    if io.lane.is_some() {
        verify(settings.producer(producing))?;
        let key = match (&settings.key, key_flag.as_deref().and_then(std::path::Path::to_str)) {
            (Some(source), _) => Some(settings::filter("?key", source)?),
            (None, Some(source)) => Some(settings::filter("--key", source)?),
            (None, None) => None,
        };
        let sink = KafkaSink::new(settings, producing, key);
        let end = Windowed { sink, settings: broker.window(WINDOW)? };
        ends.push((Box::new(end), EndIo { ingress: None, ..io.clone() }));
    }
    Ok(ends)
}

/// `kafka://`.
///
/// # Errors
/// Always: it is not built in.
#[cfg(not(feature = "kafka"))]
pub fn kafka(broker: &Broker<'_>, _io: &EndIo) -> Result<Ends, Error> {
    Err(left_out(broker.url, "kafka"))
}
