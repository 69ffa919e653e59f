//! Turns shared flags into settings of the core: files are read, secrets fetched, filters compiled.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::filters;
use super::options::{ConnectionArgs, JitterArg, ProtocolArg, ProtocolArgs, TlsMin};
use crate::client::opening::{Marks, OpeningPlan};
use crate::client::plan::{HOW_INPUT_IS_WRITTEN, draft_error};
use crate::endpoint::WsTarget;
use crate::error::Error;
use crate::filter::schema::Format;
use crate::filter::{Draft, Filler, Filter, Schema, SchemaError, Template};
use crate::message::Message;
use crate::message::counted::counted;
use crate::message::input::{InputKind, decode};
use crate::message::io_text::io_text;
use crate::net::connector::ConnectOptions;
use crate::net::credentials::{Credentials, Secret};
use crate::net::deflate::DeflateOffer;
use crate::net::dial::{DialOptions, Family, parse_resolve};
use crate::net::tls::{ClientTls, IdentityFiles};
use crate::net::upgrade::parse_header;
use crate::protocol;
use crate::protocol::envelope::{EnvelopeSettings, Limits, Request};
use crate::protocol::feed::{FeedSettings, FieldError};
use crate::protocol::gateway::{Behind, GatewaySettings};
use crate::redact;
use crate::session::keepalive::KeepaliveSettings;
use crate::session::reconnect::{Backoff, Jitter, ReconnectSettings, Retries};

/// Compiles a filter given by a flag.
///
/// # Errors
/// With the flag's name and what does not compile.
pub(crate) fn filter(flag: &'static str, source: &str) -> Result<Filter, Error> {
    filters::compile(source).map_err(|error| Error::Compile { flag, reason: error.to_string() })
}

/// Compiles a fold given by a flag.
///
/// # Errors
/// With the flag's name what does not compile.
pub(crate) fn fold(flag: &'static str, source: &str) -> Result<Filter, Error> {
    filters::compile_fold(source).map_err(|error| Error::Compile { flag, reason: error.to_string() })
}

/// `@FILE` is the file's content, anything else is itself.
///
/// # Errors
/// A file that cannot be read, by name.
pub(crate) fn file_or_text(text: &str) -> Result<Vec<u8>, Error> {
    match text.strip_prefix('@') {
        None => Ok(text.as_bytes().to_vec()),
        Some(path) => std::fs::read(path)
            .map_err(|error| Error::usage(format!("cannot read {path}: {}", io_text(&error)), "@FILE sends a file")),
    }
}

/// Characters of an argument that are quoted.
const QUOTED: usize = 60;

/// Compiles the schema in a file given by a flag.
///
/// # Errors
/// An unreadable file, or with the flag's name what does not compile.
pub(crate) fn schema(flag: &'static str, path: &Path, assert_format: bool) -> Result<Schema, Error> {
    let format = if assert_format { Format::Asserted } else { Format::AsDraft };
    Schema::from_file(path, format).map_err(|error| match error {
        SchemaError::Unreadable(error) => Error::usage(
            format!("{flag}: cannot read {}: {}", path.display(), io_text(&error)),
            "use a file with a JSON Schema or an Avro schema",
        ),
        SchemaError::Invalid(reason) => Error::Compile { flag, reason: format!("{}: {reason}", path.display()) },
    })
}

/// Returns the JSON Schema, as text, that the Avro schema in a file comes to.
///
/// # Errors
/// An unreadable file, or what is not an Avro schema.
pub(crate) fn avro_schema(path: &Path) -> Result<String, Error> {
    let bytes = std::fs::read(path).map_err(|error| {
        Error::usage(format!("cannot read {}: {}", path.display(), io_text(&error)), "use a file with an Avro schema")
    })?;
    crate::filter::schema::from_avro(&bytes)
        .map_err(|reason| Error::Compile { flag: "schema", reason: format!("{}: {reason}", path.display()) })
}

/// A message to send, compiled when it is a template.
///
/// # Errors
/// An unreadable file, or a template that does not compile.
pub(crate) fn draft(text: &str, template: bool) -> Result<Draft, Error> {
    encoded_draft(text, template, InputKind::Text)
}

/// As [`draft`], written as `kind` says.
///
/// # Errors
/// As [`draft`], and text that is not what `kind` promises.
pub(crate) fn encoded_draft(text: &str, template: bool, kind: InputKind) -> Result<Draft, Error> {
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
        kind => decode(kind, payload).map_err(|error| {
            let shown: String = text.chars().take(QUOTED).collect();
            let dots = if shown.len() < text.len() { "…" } else { "" };
            Error::usage(format!("-x '{shown}{dots}': {error}"), HOW_INPUT_IS_WRITTEN)
        })?,
    };
    Ok(Draft::Plain(message))
}

/// Compiles a template; what it yields is written as `kind` says.
///
/// # Errors
/// What does not compile.
pub(crate) fn compile(source: &str, kind: InputKind) -> Result<Draft, Error> {
    Draft::compile(source, kind).map_err(draft_error)
}

/// Reads the `JQ=>MSG` of a flag; MSG is a template that knows `value`.
///
/// # Errors
/// What does not compile.
pub(crate) fn reply(flag: &'static str, text: &str, example: &str) -> Result<(Filter, Draft), Error> {
    let (source, message) = text.split_once("=>").ok_or_else(|| {
        Error::usage(format!("{flag} '{text}' has no =>"), format!("write 'JQ=>MSG', for example '{example}'"))
    })?;
    let reply =
        Template::compile_reply(message.trim()).map_err(|error| Error::Compile { flag, reason: error.to_string() })?;
    Ok((filter(flag, source.trim())?, Draft::Template(Arc::new(reply), InputKind::Text)))
}

/// A secret given in the open, as `@FILE`, or by the name of a variable.
///
/// # Errors
/// An unreadable file or an unset variable, by name.
pub(crate) fn secret(text: Option<&str>, variable: Option<&str>) -> Result<Option<String>, Error> {
    if let Some(name) = variable {
        return self::variable(name).map(Some);
    }
    text.map(|text| {
        let bytes = file_or_text(text)?;
        let text = String::from_utf8(bytes).map_err(|_| Error::usage("a secret must be UTF-8", "check the file"))?;
        Ok(text.trim_end_matches(['\r', '\n']).to_owned())
    })
    .transpose()
}

/// The value of an environment variable.
fn variable(name: &str) -> Result<String, Error> {
    let name = name.trim();
    std::env::var(name)
        .map_err(|_| Error::usage(format!("the environment variable {name} is not set"), "export it first"))
}

/// Who a client end says it is: from files and a command at every attempt.
fn credentials(target: &WsTarget, args: &ConnectionArgs) -> Result<Credentials, Error> {
    let bearer = match &args.bearer_command {
        Some(command) => Some(Secret::Command(command.clone())),
        None => read_later(args.bearer.as_deref(), args.bearer_env.as_deref())?,
    };
    let of_url = target.user_info.as_ref().map(|(user, password)| Secret::Text(format!("{user}:{password}")));
    let user = match args.user_env.as_deref().and_then(|names| names.split_once(',')) {
        Some((user, password)) => Some(Secret::Text(format!("{}:{}", variable(user)?, variable(password)?))),
        None => read_later(args.user.as_deref(), args.user_env.as_deref())?.or(of_url),
    };
    let header_files = args.headers.iter().filter_map(|header| header.strip_prefix('@')).map(Into::into).collect();
    let credentials = Credentials { user, bearer, header_files };
    credentials.check().map_err(|error| Error::usage(error, "@FILE names a file to read"))?;
    Ok(credentials)
}

/// As [`secret`], but what is in a file is read when it is needed, where that can be done more than once.
fn read_later(text: Option<&str>, variable: Option<&str>) -> Result<Option<Secret>, Error> {
    let file = text.and_then(|text| text.strip_prefix('@')).filter(|_| variable.is_none()).map(PathBuf::from);
    match file {
        Some(path) if path.is_file() => Ok(Some(Secret::File(path))),
        _ => Ok(secret(text, variable)?.map(Secret::Text)),
    }
}

/// What permessage-deflate parameters a flag asks for; `preset` where it names none.
///
/// # Errors
/// Unknown parameters.
pub(crate) fn deflate(params: Option<&str>, preset: fn() -> DeflateOffer) -> Result<Option<DeflateOffer>, Error> {
    match params {
        None => Ok(None),
        Some("") => Ok(Some(preset())),
        Some(params) => DeflateOffer::parse_params(params).map(Some).map_err(|error| {
            Error::usage(
                format!("--compress: {error}"),
                "parameters are server_no_context_takeover, client_no_context_takeover, server_max_window_bits=N, \
                 client_max_window_bits[=N], separated by ;",
            )
        }),
    }
}

/// How sockets are made.
///
/// # Errors
/// A `--resolve` that cannot be read.
pub(crate) fn dial_options(args: &ConnectionArgs) -> Result<DialOptions, Error> {
    let resolve = args
        .resolve
        .iter()
        .map(|text| {
            parse_resolve(text)
                .map_err(|error| Error::usage(format!("--resolve {text}: {error}"), "write HOST:PORT:ADDR"))
        })
        .collect::<Result<Vec<_>, _>>()?;
    Ok(DialOptions {
        resolve,
        unix_socket: args.unix_socket.clone(),
        interface: args.interface,
        family: match (args.ipv4, args.ipv6) {
            (true, _) => Family::V4,
            (_, true) => Family::V6,
            _ => Family::Any,
        },
    })
}

/// How a client end reaches the server at `url`.
///
/// # Errors
/// Usage, unreadable files.
pub(crate) fn connect_options(
    url: &str,
    args: &ConnectionArgs,
    compress_by_default: bool,
) -> Result<ConnectOptions, Error> {
    let target = WsTarget::parse(url)
        .map_err(|error| Error::usage(error.to_string(), "write ws://HOST[:PORT]/PATH or wss://…"))?;
    let headers = args
        .headers
        .iter()
        .filter(|header| !header.starts_with('@'))
        .map(|header| {
            parse_header(header).map_err(|error| {
                let shown = redact::option("header", header);
                Error::usage(format!("-H '{shown}': {error}"), "write -H 'Name: value' or -H @FILE")
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    if let Some(origin) = args.origin.as_deref().filter(|origin| super::habits::is_a_file_name(origin)) {
        let hint = format!("to save messages to a file use > {origin} or --record {origin}");
        return Err(Error::usage(
            format!("--origin: '{origin}' looks like a file name; an origin is https://HOST"),
            hint,
        ));
    }
    let credentials = credentials(&target, args)?;
    let proxies = super::proxies::rules(args.proxy.as_deref(), |name| std::env::var(name).ok())?;
    let compress = match &args.compress {
        Some(params) => Some(params.as_str()),
        None if compress_by_default && !args.no_compress => Some(""),
        None => None,
    };
    Ok(ConnectOptions {
        target,
        dial: dial_options(args)?,
        proxies,
        tls: client_tls(args)?,
        headers,
        host: args.host.clone(),
        origin: args.origin.clone(),
        subprotocols: args.subprotocols.clone(),
        credentials,
        cookies: args.cookies.clone(),
        deflate: deflate(compress, DeflateOffer::default)?,
        max_message_size: args.max_message_size,
        connect_timeout: args.connect_timeout,
        redirects: args.location.then_some(args.max_redirects),
        no_pong: false,
    })
}

/// Where a server's certificate and key are; those in PEM go before a PKCS#12 file.
pub(crate) fn identity_files(
    cert: Option<&PathBuf>,
    key: Option<&PathBuf>,
    pkcs12: Option<&PathBuf>,
) -> Option<IdentityFiles> {
    match (cert, key) {
        (Some(cert), Some(key)) => Some(IdentityFiles::Pem { cert: cert.clone(), key: key.clone() }),
        _ => pkcs12.map(|path| IdentityFiles::Pkcs12(path.clone())),
    }
}

/// What a client end trusts and shows.
///
/// # Errors
/// An unset variable, by name.
pub(crate) fn client_tls(args: &ConnectionArgs) -> Result<ClientTls, Error> {
    let passphrase =
        args.passphrase.clone().map_or_else(|| secret(None, args.passphrase_env.as_deref()), |p| Ok(Some(p)))?;
    Ok(ClientTls {
        insecure: args.insecure,
        ca_file: args.cacert.clone(),
        ca_passphrase: secret(None, args.cacert_passphrase_env.as_deref())?.or_else(|| passphrase.clone()),
        cert: args.cert.clone(),
        key: args.key.clone(),
        passphrase,
        pkcs12: args.pkcs12.clone(),
        min: TlsMin::version(args.tls_min),
        sni: args.sni.clone(),
        resume: false,
    })
}

/// What a client end says by itself.
///
/// # Errors
/// Unreadable files, filters and templates that do not compile.
pub(crate) fn opening(args: &ConnectionArgs) -> Result<OpeningPlan, Error> {
    let draft = |text: &str| draft(text, args.template);
    let (waits, messages) = (args.init_wait.len(), args.init.len());
    if waits > 1 && waits > messages {
        let given = format!("--init-wait given {waits} times for {}", counted(messages as u64, "init message"));
        return Err(Error::usage(given, "give it once, or once per -i"));
    }
    let reply = |flag, text: &Option<String>, example| {
        let reply = text.as_deref().map(|text| reply(flag, text, example)).transpose();
        reply.map(Option::unzip)
    };
    let (beats, heartbeat_reply) = reply("--heartbeat-reply", &args.heartbeat_reply, ".ping => {\"pong\":{{value}}}")?;
    let (resumes, resume) = reply("--resume", &args.resume, ".seq => {\"after\":{{value}}}")?;
    let init_waits = args.init_wait.iter().map(|source| filter("--init-wait", source)).collect::<Result<_, _>>()?;
    Ok(OpeningPlan {
        init: args.init.iter().map(|text| draft(text)).collect::<Result<_, _>>()?,
        marks: Arc::new(Marks { init_waits, resume: resumes, heartbeat: beats }),
        heartbeat: args.heartbeat.as_deref().map(draft).transpose()?,
        heartbeat_interval: args.heartbeat_interval.max(Duration::from_millis(1)),
        heartbeat_reply,
        resume,
        raw_input: args.filters.raw_input,
        filler: Filler::default(),
    })
}

/// When a client end pings and gives up.
pub(crate) fn keepalive(args: &ConnectionArgs, ping_at_once: bool) -> KeepaliveSettings {
    KeepaliveSettings {
        ping_at_once,
        ping_interval: Some(args.ping_interval).filter(|interval| !interval.is_zero()),
        ping_timeout: args.ping_timeout,
        idle_timeout: args.idle_timeout,
    }
}

/// Whether and when an end is tried again; `retries` is how often where `--reconnect` does not say.
///
/// # Errors
/// A factor below 1.
pub(crate) fn reconnect(args: &ConnectionArgs, retries: Retries) -> Result<ReconnectSettings, Error> {
    if !args.retry_factor.is_finite() || args.retry_factor < 1.0 {
        return Err(Error::usage("--retry-factor must be 1 or more", "1 is a fixed delay"));
    }
    // A step takes the place of the factor.
    let factor = if args.retry_step.is_some() { 1.0 } else { args.retry_factor };
    let step = args.retry_step.unwrap_or_default();
    let is_fixed = factor <= 1.0 && step.is_zero();
    let jitter = match args.retry_jitter {
        Some(JitterArg::Full) => Jitter::Full,
        None if !is_fixed => Jitter::Full,
        Some(JitterArg::None) | None => Jitter::None,
    };
    Ok(ReconnectSettings {
        retries: args.reconnect.map_or(retries, Retries::up_to),
        backoff: Backoff { delay: args.retry_delay, max: args.retry_max, factor, step, jitter },
        stable_after: args.stable_after,
        retry_on: args.retry_on.clone(),
    })
}

/// What is spoken on top of messages; `behind` says who takes what clients of a gateway write.
///
/// # Errors
/// Invalid fields and requests, jq that does not compile.
pub(crate) fn protocol(args: &ProtocolArgs, behind: Behind) -> Result<protocol::Settings, Error> {
    let chosen = args.protocol.unwrap_or(ProtocolArg::Raw);
    let stray =
        |flag: &str, of: &str| Error::usage(format!("{flag} requires --protocol {of}"), "add it, or remove this");
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
                feed.map_field(field, &filters::compile).map_err(|error| match error {
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
                max_requests: args.max_requests,
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
