//! Turns shared flags into settings of the core: files are read, secrets fetched, filters compiled.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD as BASE64, STANDARD_NO_PAD as BASE64_NO_PAD};
use std::path::Path;
use std::sync::Arc;

use super::connect::plan::{Draft, InputKind};
use super::options::{ConnectionArgs, TlsMin};
use crate::endpoint::WsTarget;
use crate::error::Error;
use crate::filter::{Filter, Schema, SchemaError, Template};
use crate::message::Message;
use crate::net::connection::{BufferRole, io_text};
use crate::net::connector::ConnectOptions;
use crate::net::deflate::DeflateOffer;
use crate::net::dial::{DialOptions, Family, parse_resolve};
use crate::net::tls::{ClientTls, TlsVersion};
use crate::net::upgrade::parse_header;

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
        kind => super::connect::plan::decode(kind, payload)
            .map_err(|error| Error::usage(error, "see wsp connect --help"))?,
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

/// Bytes written in hexadecimal, spaces and a 0x prefix allowed.
///
/// # Errors
/// What is wrong with it.
pub fn hex(text: &[u8]) -> Result<Vec<u8>, String> {
    let digits: Vec<u8> = text.iter().copied().filter(|byte| !byte.is_ascii_whitespace() && *byte != b':').collect();
    let digits = digits.strip_prefix(b"0x").unwrap_or(&digits);
    if !digits.len().is_multiple_of(2) {
        return Err("hexadecimal input has an odd number of digits".to_owned());
    }
    let value = |digit: u8| {
        char::from(digit).to_digit(16).ok_or_else(|| format!("'{}' is no hexadecimal digit", digit.escape_ascii()))
    };
    digits
        .chunks_exact(2)
        .map(|pair| Ok(u8::try_from(value(pair[0])? * 16 + value(pair[1])?).unwrap_or(u8::MAX)))
        .collect()
}

/// Bytes written in base64, padded or not.
///
/// # Errors
/// What is wrong with it.
pub fn base64(text: &[u8]) -> Result<Vec<u8>, String> {
    let text: Vec<u8> = text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    BASE64
        .decode(&text)
        .or_else(|_| BASE64_NO_PAD.decode(&text))
        .map_err(|error| format!("input is not base64: {error}"))
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
    let passphrase =
        args.passphrase.clone().map_or_else(|| secret(None, args.passphrase_env.as_deref()), |p| Ok(Some(p)))?;
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
        tls: ClientTls {
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
        },
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
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_hexadecimal_and_base64() {
        assert_eq!(hex(b"00 ff 1A"), Ok(vec![0, 255, 26]));
        assert_eq!(hex(b"0xdeadBEEF"), Ok(vec![0xde, 0xad, 0xbe, 0xef]));
        assert!(hex(b"abc").is_err());
        assert!(hex(b"zz").is_err());
        assert_eq!(base64(b"aGk="), Ok(b"hi".to_vec()));
        assert_eq!(base64(b"aGk"), Ok(b"hi".to_vec()));
        assert!(base64(b"?").is_err());
    }
}
