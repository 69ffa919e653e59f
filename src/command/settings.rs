//! Turns shared flags into settings of the core: files are read, secrets fetched, filters compiled.

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::options::{ConnectionArgs, ProtocolArg, ProtocolArgs, TlsMin};
use crate::endpoint::WsTarget;
use crate::error::Error;
use crate::filter::{Draft, Filler, Filter, Schema, SchemaError, Template};
use crate::message::Message;
use crate::message::input::{InputKind, decode};
use crate::net::connection::{BufferRole, io_text};
use crate::net::connector::ConnectOptions;
use crate::net::deflate::DeflateOffer;
use crate::net::dial::{DialOptions, Family, parse_resolve};
use crate::net::tls::{ClientTls, TlsVersion};
use crate::net::upgrade::parse_header;
use crate::protocol;
use crate::protocol::envelope::{EnvelopeSettings, Limits, Request};
use crate::protocol::feed::{FeedSettings, FieldError};
use crate::protocol::gateway::{Behind, GatewaySettings};
use crate::session::backoff::Backoff;
use crate::session::keepalive::KeepaliveSettings;
use crate::session::opening::OpeningPlan;

/// Compiles a filter given by a flag.
///
/// # Errors
/// With the flag's name and what does not compile.
pub fn filter(flag: &'static str, source: &str) -> Result<Filter, Error> {
    Filter::compile(source).map_err(|error| Error::Compile { flag, reason: error.to_string() })
}

/// `@FILE` is the file's content, anything else is itself.
///
/// # Errors
/// A file that cannot be read, by name.
pub fn file_or_text(text: &str) -> Result<Vec<u8>, Error> {
    match text.strip_prefix('@') {
        None => Ok(text.as_bytes().to_vec()),
        Some(path) => std::fs::read(path)
            .map_err(|error| Error::usage(format!("cannot read {path}: {}", io_text(&error)), "@FILE sends a file")),
    }
}

/// Compiles the schema in a file given by a flag.
///
/// # Errors
/// An unreadable file, or with the flag's name what does not compile.
pub fn schema(flag: &'static str, path: &Path) -> Result<Schema, Error> {
    Schema::from_file(path).map_err(|error| match error {
        SchemaError::Unreadable(error) => Error::usage(
            format!("{flag}: cannot read {}: {}", path.display(), io_text(&error)),
            "a file with a JSON Schema is wanted",
        ),
        SchemaError::Invalid(reason) => Error::Compile { flag, reason: format!("{}: {reason}", path.display()) },
    })
}

/// A message to send, compiled when it is a template.
///
/// # Errors
/// An unreadable file, or a template that does not compile.
pub fn draft(text: &str, template: bool) -> Result<Draft, Error> {
    encoded_draft(text, template, InputKind::Text)
}

/// As [`draft`], written as `kind` says.
///
/// # Errors
/// As [`draft`], and text that is not what `kind` promises.
pub fn encoded_draft(text: &str, template: bool, kind: InputKind) -> Result<Draft, Error> {
    let payload = file_or_text(text)?;
    if template {
        let source = String::from_utf8(payload)
            .map_err(|_| Error::usage(format!("{text}: a template must be UTF-8"), "leave --template out"))?;
        return compile(&source, kind);
    }
    let message = match kind {
        // A file may hold anything: what is not text is sent as binary.
        InputKind::Text if text.starts_with('@') => {
            Message::text_from_bytes(payload.clone()).unwrap_or_else(|_| Message::binary(payload))
        }
        kind => decode(kind, payload).map_err(|error| Error::usage(error, "see wsp connect --help"))?,
    };
    Ok(Draft::Plain(message))
}

/// Compiles a template; what it yields is written as `kind` says.
///
/// # Errors
/// What does not compile.
pub fn compile(source: &str, kind: InputKind) -> Result<Draft, Error> {
    let template =
        Template::compile(source).map_err(|error| Error::Compile { flag: "--template", reason: error.to_string() })?;
    Ok(Draft::Template(Arc::new(template), kind))
}

/// Reads the `JQ=>MSG` of `--heartbeat-reply`; MSG is a template that knows `value`.
///
/// # Errors
/// What does not compile.
pub fn heartbeat_reply(text: &str) -> Result<(Filter, Draft), Error> {
    let (source, message) = text.split_once("=>").ok_or_else(|| {
        Error::usage("--heartbeat-reply wants JQ=>MSG", "for example '.ping => {\"pong\":{{value}}}'")
    })?;
    let reply = Template::compile_reply(message.trim())
        .map_err(|error| Error::Compile { flag: "--heartbeat-reply", reason: error.to_string() })?;
    Ok((filter("--heartbeat-reply", source.trim())?, Draft::Template(Arc::new(reply), InputKind::Text)))
}

/// A secret given in the open, as `@FILE`, or by the name of a variable.
///
/// # Errors
/// An unreadable file or an unset variable, by name.
pub fn secret(text: Option<&str>, variable: Option<&str>) -> Result<Option<String>, Error> {
    if let Some(variable) = variable {
        return std::env::var(variable).map(Some).map_err(|_| {
            Error::usage(format!("the environment variable {variable} is not set"), "export it before the call")
        });
    }
    text.map(|text| {
        let bytes = file_or_text(text)?;
        let text = String::from_utf8(bytes).map_err(|_| Error::usage("a secret must be UTF-8", "check the file"))?;
        Ok(text.trim_end_matches(['\r', '\n']).to_owned())
    })
    .transpose()
}

/// What permessage-deflate parameters a flag asks for.
///
/// # Errors
/// Unknown parameters.
pub fn deflate(params: Option<&str>) -> Result<Option<DeflateOffer>, Error> {
    match params {
        None => Ok(None),
        Some("") => Ok(Some(DeflateOffer::default())),
        Some(params) => DeflateOffer::parse_params(params).map(Some).map_err(|error| {
            Error::usage(
                format!("--compress: {error}"),
                "parameters are server_no_context_takeover, client_no_context_takeover, server_max_window_bits=N, client_max_window_bits[=N], separated by ;",
            )
        }),
    }
}

/// How a client end reaches the server at `url`.
///
/// # Errors
/// Usage, unreadable files.
pub fn connect_options(url: &str, args: &ConnectionArgs, compress_by_default: bool) -> Result<ConnectOptions, Error> {
    let target = WsTarget::parse(url)
        .map_err(|error| Error::usage(error.to_string(), "write ws://HOST[:PORT]/PATH or wss://…"))?;
    let headers = args
        .headers
        .iter()
        .map(|header| {
            parse_header(header)
                .map_err(|error| Error::usage(format!("-H '{header}': {error}"), "write -H 'Name: value'"))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let resolve = args
        .resolve
        .iter()
        .map(|text| {
            parse_resolve(text)
                .map_err(|error| Error::usage(format!("--resolve {text}: {error}"), "write HOST:PORT:ADDR"))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let user = match secret(args.user.as_deref(), args.user_env.as_deref())? {
        None => target.user_info.clone(),
        Some(pair) => Some(match pair.split_once(':') {
            Some((user, password)) => (user.to_owned(), password.to_owned()),
            None => (pair, String::new()),
        }),
    };
    let proxies = super::proxies::rules(args.proxy.as_deref(), |name| std::env::var(name).ok())?;
    let compress = match &args.compress {
        Some(params) => Some(params.as_str()),
        None if compress_by_default && !args.no_compress => Some(""),
        None => None,
    };
    Ok(ConnectOptions {
        target,
        dial: DialOptions {
            resolve,
            unix_socket: args.unix_socket.clone(),
            interface: args.interface,
            family: match (args.ipv4, args.ipv6) {
                (true, _) => Family::V4,
                (_, true) => Family::V6,
                _ => Family::Any,
            },
        },
        proxies,
        tls: client_tls(args)?,
        headers,
        host: args.host.clone(),
        origin: args.origin.clone(),
        subprotocols: args.subprotocols.clone(),
        user,
        bearer: secret(args.bearer.as_deref(), args.bearer_env.as_deref())?,
        cookies: args.cookies.clone(),
        deflate: deflate(compress)?,
        max_message_size: args.max_message_size,
        connect_timeout: args.connect_timeout,
        redirects: args.location.then_some(args.max_redirects),
        buffers: BufferRole::Stream,
        no_pong: false,
    })
}

/// What a client end trusts and shows.
///
/// # Errors
/// An unset variable, by name.
pub fn client_tls(args: &ConnectionArgs) -> Result<ClientTls, Error> {
    let passphrase =
        args.passphrase.clone().map_or_else(|| secret(None, args.passphrase_env.as_deref()), |p| Ok(Some(p)))?;
    Ok(ClientTls {
        insecure: args.insecure,
        ca_file: args.cacert.clone(),
        cert: args.cert.clone(),
        key: args.key.clone(),
        passphrase,
        pkcs12: args.pkcs12.clone(),
        min: match args.tls_min {
            Some(TlsMin::V1_3) => TlsVersion::V1_3,
            _ => TlsVersion::V1_2,
        },
        sni: args.sni.clone(),
        resume: false,
    })
}

/// What a client end says by itself.
///
/// # Errors
/// Unreadable files, filters and templates that do not compile.
pub fn opening(args: &ConnectionArgs) -> Result<OpeningPlan, Error> {
    let draft = |text: &str| draft(text, args.template);
    Ok(OpeningPlan {
        init: args.init.iter().map(|text| draft(text)).collect::<Result<_, _>>()?,
        init_wait: args.init_wait.as_deref().map(|source| filter("--init-wait", source)).transpose()?,
        heartbeat: args.heartbeat.as_deref().map(draft).transpose()?,
        heartbeat_interval: args.heartbeat_interval.max(Duration::from_millis(1)),
        heartbeat_reply: args.heartbeat_reply.as_deref().map(heartbeat_reply).transpose()?,
        filler: Filler::default(),
    })
}

/// When a client end pings and gives up.
pub fn keepalive(args: &ConnectionArgs, ping_at_once: bool) -> KeepaliveSettings {
    KeepaliveSettings {
        ping_at_once,
        ping_interval: Some(args.ping_interval).filter(|interval| !interval.is_zero()),
        ping_timeout: args.ping_timeout,
        idle_timeout: args.idle_timeout,
    }
}

/// How long a client end waits before it connects again.
///
/// # Errors
/// A factor below 1.
pub fn backoff(args: &ConnectionArgs) -> Result<Backoff, Error> {
    if !args.retry_factor.is_finite() || args.retry_factor < 1.0 {
        return Err(Error::usage("--retry-factor must be 1 or more", "1 is a fixed delay"));
    }
    Ok(Backoff { delay: args.retry_delay, max: args.retry_max, factor: args.retry_factor })
}

/// What is spoken on top of messages; `behind` says who takes what clients of a gateway write.
///
/// # Errors
/// Fields and requests that are none, jq that does not compile.
pub fn protocol(args: &ProtocolArgs, behind: Behind) -> Result<protocol::Settings, Error> {
    let chosen = args.protocol.unwrap_or(ProtocolArg::Raw);
    let stray =
        |flag: &str, of: &str| Error::usage(format!("{flag} is of --protocol {of}"), "add it, or leave this out");
    if !args.feed_fields.is_empty() && chosen != ProtocolArg::Feed {
        return Err(stray("--feed-field", "feed"));
    }
    if !args.requests.is_empty() && chosen != ProtocolArg::Envelope {
        return Err(stray("--request", "envelope"));
    }
    Ok(match chosen {
        ProtocolArg::Raw => protocol::Settings::Raw,
        ProtocolArg::Feed => {
            let mut feed = FeedSettings::new(args.register_timeout);
            for field in &args.feed_fields {
                feed.map_field(field).map_err(|error| match error {
                    FieldError::Shape => Error::usage(format!("--feed-field '{field}': {error}"), "write NAME=JQ"),
                    FieldError::Filter(error) => Error::Compile { flag: "--feed-field", reason: error.to_string() },
                })?;
            }
            protocol::Settings::Feed(Rc::new(feed))
        }
        ProtocolArg::Envelope => {
            let limits = Limits {
                window: args.window,
                replay: args.replay_size,
                request_timeout: args.request_timeout,
                ..Limits::default()
            };
            let requests = args.requests.iter().map(|text| request(text)).collect::<Result<_, _>>()?;
            protocol::Settings::Envelope(Rc::new(EnvelopeSettings::new(limits, requests)))
        }
        ProtocolArg::Gateway => protocol::Settings::Gateway(GatewaySettings { behind, ..GatewaySettings::default() }),
    })
}

fn request(text: &str) -> Result<Request, Error> {
    let (method, params) = text.split_once('=').unwrap_or((text, "{}"));
    let params = serde_json::from_str(params)
        .map_err(|error| Error::usage(format!("--request '{text}': {error}"), "write METHOD={\"name\":value}"))?;
    Ok(Request { method: method.trim().to_owned(), params })
}
