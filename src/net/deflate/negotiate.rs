//! Negotiation of permessage-deflate: `Sec-WebSocket-Extensions` in, agreement out.
//!
//! Owns the header's grammar (RFC 6455 section 9.1) and the four parameters (RFC 7692 section 7.1),
//! for both ends. Pure: sees header values only, leaves sending them to the upgrade.
//! Invariants: a client refuses every answer it did not ask for, and takes every other; a server answers the first legal
//! offer and skips the others.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::ops::RangeInclusive;

/// The extension's registered name.
pub(crate) const EXTENSION: &str = "permessage-deflate";
/// Window sizes RFC 7692 knows, as powers of two.
const WINDOW_BITS: RangeInclusive<u8> = 8..=15;
/// The window when nothing is said about it.
const MAX_WINDOW_BITS: u8 = 15;

const SERVER_NO_CONTEXT_TAKEOVER: &str = "server_no_context_takeover";
const CLIENT_NO_CONTEXT_TAKEOVER: &str = "client_no_context_takeover";
const SERVER_MAX_WINDOW_BITS: &str = "server_max_window_bits";
const CLIENT_MAX_WINDOW_BITS: &str = "client_max_window_bits";

/// Why an answer, or a list of parameters, cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NegotiationError {
    /// The text does not follow the header's grammar.
    #[error("malformed extension list {0:?}")]
    Malformed(String),
    /// The server chose an extension that was not offered.
    #[error("the server chose the extension {0:?}, which was not offered")]
    NotOffered(String),
    /// The server chose permessage-deflate twice.
    #[error("the server chose permessage-deflate more than once")]
    RepeatedExtension,
    /// RFC 7692 has no such parameter.
    #[error("permessage-deflate has no parameter {0:?}")]
    UnknownParameter(String),
    /// A parameter stands there twice.
    #[error("the permessage-deflate parameter {0} is repeated")]
    RepeatedParameter(&'static str),
    /// A value where none may be, none where one must be, or one out of range.
    #[error("the permessage-deflate parameter {name} cannot have {}", quote(.value.as_deref()))]
    IllegalValue {
        name: &'static str,
        /// What stood behind `=`, if anything did.
        value: Option<String>,
    },
    /// The server set a parameter that only an offer may allow.
    #[error("the server set {0}, which was not offered")]
    ParameterNotOffered(&'static str),
    /// The server left out, or exceeded, what the offer demanded.
    #[error("the server does not keep to the offered {0}")]
    NotKept(&'static str),
}

fn quote(value: Option<&str>) -> String {
    value.map_or_else(|| "no value".to_owned(), |value| format!("the value {value:?}"))
}

/// What a client offers, or what a server prefers: the four parameters as they stand in a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeflateOffer {
    /// The server shall not refer back to earlier messages.
    pub server_no_context_takeover: bool,
    /// The client will not (a server's preference: shall not) refer back to earlier messages.
    pub client_no_context_takeover: bool,
    /// The largest window the server may use.
    pub server_max_window_bits: Option<u8>,
    /// `None`: the client's window is not to be limited. `Some(None)`: the server may limit it.
    /// `Some(Some(bits))`: the client's window is at most this large.
    pub client_max_window_bits: Option<Option<u8>>,
}

impl Default for DeflateOffer {
    /// `permessage-deflate; client_max_window_bits`: no demands, every limit accepted.
    fn default() -> Self {
        Self { client_max_window_bits: Some(None), ..Self::BARE }
    }
}

impl DeflateOffer {
    /// Returns what a server prefers where its user has not said: it compresses each message on its own, with one
    /// compressor for all connections of a thread, in place of 256 KiB for each connection.
    pub fn of_server() -> Self {
        Self { server_no_context_takeover: true, ..Self::default() }
    }

    const BARE: Self = Self {
        server_no_context_takeover: false,
        client_no_context_takeover: false,
        server_max_window_bits: None,
        client_max_window_bits: None,
    };

    /// Reads `--compress=PARAMS`: parameters as in the header, separated by `;`. Nothing but blanks
    /// is the default offer.
    ///
    /// # Errors
    /// [`NegotiationError`] for anything that may not stand in an offer.
    pub fn parse_params(params: &str) -> Result<Self, NegotiationError> {
        let params = params.trim_matches([' ', '\t', ';']);
        if params.is_empty() {
            return Ok(Self::default());
        }
        let mut scanner = Scanner { rest: params };
        let parsed = scanner.params().filter(|_| scanner.rest.is_empty());
        Self::read(&parsed.ok_or_else(|| NegotiationError::Malformed(params.to_owned()))?)
    }

    /// The header value that offers this.
    pub fn to_header(&self) -> String {
        let mut header = EXTENSION.to_owned();
        push_flag(&mut header, SERVER_NO_CONTEXT_TAKEOVER, self.server_no_context_takeover);
        push_flag(&mut header, CLIENT_NO_CONTEXT_TAKEOVER, self.client_no_context_takeover);
        push_bits(&mut header, SERVER_MAX_WINDOW_BITS, self.server_max_window_bits);
        push_flag(&mut header, CLIENT_MAX_WINDOW_BITS, self.client_max_window_bits == Some(None));
        push_bits(&mut header, CLIENT_MAX_WINDOW_BITS, self.client_max_window_bits.flatten());
        header
    }

    fn read(params: &[Param<'_>]) -> Result<Self, NegotiationError> {
        let mut read = Self::BARE;
        for (name, value) in params {
            let value = value.as_deref();
            match *name {
                SERVER_NO_CONTEXT_TAKEOVER => {
                    read_flag(&mut read.server_no_context_takeover, SERVER_NO_CONTEXT_TAKEOVER, value)?;
                }
                CLIENT_NO_CONTEXT_TAKEOVER => {
                    read_flag(&mut read.client_no_context_takeover, CLIENT_NO_CONTEXT_TAKEOVER, value)?;
                }
                SERVER_MAX_WINDOW_BITS => {
                    let bits = read_bits(SERVER_MAX_WINDOW_BITS, value)?;
                    once(&mut read.server_max_window_bits, bits, SERVER_MAX_WINDOW_BITS)?;
                }
                CLIENT_MAX_WINDOW_BITS => {
                    let bits = match value {
                        None => None,
                        value => Some(read_bits(CLIENT_MAX_WINDOW_BITS, value)?),
                    };
                    once(&mut read.client_max_window_bits, bits, CLIENT_MAX_WINDOW_BITS)?;
                }
                unknown => return Err(NegotiationError::UnknownParameter(unknown.to_owned())),
            }
        }
        Ok(read)
    }
}

/// Negotiated permessage-deflate parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreed {
    /// The server compresses every message on its own.
    pub server_no_context_takeover: bool,
    /// The client compresses every message on its own.
    pub client_no_context_takeover: bool,
    /// The server's window, 8..=15.
    pub server_max_window_bits: u8,
    /// The client's window, 8..=15.
    pub client_max_window_bits: u8,
    /// The offer named `server_max_window_bits`, so that the answer must, even where it is 15.
    pub answers_server_max_window_bits: bool,
}

impl Default for Agreed {
    /// Plain `permessage-deflate`.
    fn default() -> Self {
        Self {
            server_no_context_takeover: false,
            client_no_context_takeover: false,
            server_max_window_bits: MAX_WINDOW_BITS,
            client_max_window_bits: MAX_WINDOW_BITS,
            answers_server_max_window_bits: false,
        }
    }
}

impl Agreed {
    /// The header value with which a server agrees to this.
    pub fn to_header(&self) -> String {
        let limits = |bits: u8| Some(bits).filter(|bits| *bits < MAX_WINDOW_BITS);
        let server_bits = Some(self.server_max_window_bits)
            .filter(|bits| self.answers_server_max_window_bits || *bits < MAX_WINDOW_BITS);
        let mut header = EXTENSION.to_owned();
        push_flag(&mut header, SERVER_NO_CONTEXT_TAKEOVER, self.server_no_context_takeover);
        push_flag(&mut header, CLIENT_NO_CONTEXT_TAKEOVER, self.client_no_context_takeover);
        push_bits(&mut header, SERVER_MAX_WINDOW_BITS, server_bits);
        push_bits(&mut header, CLIENT_MAX_WINDOW_BITS, limits(self.client_max_window_bits));
        header
    }
}

/// Checks a server's answer against our offer. `Ok(None)`: messages go uncompressed.
///
/// What we offered about our own side holds even where the answer is silent about it: the offer
/// told the server so (RFC 7692 sections 7.1.1.2 and 7.1.2.2).
///
/// # Errors
/// [`NegotiationError`] for any answer that RFC 7692 or our offer does not allow; the connection is
/// then to be failed.
pub fn check_answer(offer: Option<&DeflateOffer>, headers: &[&str]) -> Result<Option<Agreed>, NegotiationError> {
    let mut agreed = None;
    for header in headers {
        for extension in parse_header(header)? {
            let Some(offer) = offer.filter(|_| extension.name == EXTENSION) else {
                return Err(NegotiationError::NotOffered(extension.name.to_owned()));
            };
            if agreed.is_some() {
                return Err(NegotiationError::RepeatedExtension);
            }
            agreed = Some(check_params(offer, &DeflateOffer::read(&extension.params)?)?);
        }
    }
    Ok(agreed)
}

fn check_params(offer: &DeflateOffer, answer: &DeflateOffer) -> Result<Agreed, NegotiationError> {
    if offer.server_no_context_takeover && !answer.server_no_context_takeover {
        return Err(NegotiationError::NotKept(SERVER_NO_CONTEXT_TAKEOVER));
    }
    let server_bits = answer.server_max_window_bits.unwrap_or(MAX_WINDOW_BITS);
    if let Some(offered) = offer.server_max_window_bits
        && (answer.server_max_window_bits.is_none() || server_bits > offered)
    {
        return Err(NegotiationError::NotKept(SERVER_MAX_WINDOW_BITS));
    }
    let client_bits = match (offer.client_max_window_bits, answer.client_max_window_bits) {
        (offered, None) => offered.flatten().unwrap_or(MAX_WINDOW_BITS),
        (None, Some(_)) => return Err(NegotiationError::ParameterNotOffered(CLIENT_MAX_WINDOW_BITS)),
        (_, Some(None)) => {
            return Err(NegotiationError::IllegalValue { name: CLIENT_MAX_WINDOW_BITS, value: None });
        }
        (Some(offered), Some(Some(bits))) => {
            if bits > offered.unwrap_or(MAX_WINDOW_BITS) {
                return Err(NegotiationError::NotKept(CLIENT_MAX_WINDOW_BITS));
            }
            bits
        }
    };
    Ok(Agreed {
        server_no_context_takeover: answer.server_no_context_takeover,
        client_no_context_takeover: offer.client_no_context_takeover || answer.client_no_context_takeover,
        server_max_window_bits: server_bits,
        client_max_window_bits: client_bits,
        answers_server_max_window_bits: answer.server_max_window_bits.is_some(),
    })
}

/// A server's choice among a client's offers: the first that is legal. `None`: messages go
/// uncompressed. A header that does not parse offers nothing.
///
/// A limit on the client's window that `server` prefers is dropped where the offer does not allow it.
pub fn accept(server: &DeflateOffer, headers: &[&str]) -> Option<Agreed> {
    headers
        .iter()
        .flat_map(|header| parse_header(header).unwrap_or_default())
        .filter(|extension| extension.name == EXTENSION)
        .find_map(|extension| DeflateOffer::read(&extension.params).ok())
        .map(|offer| accept_offer(server, &offer))
}

fn accept_offer(server: &DeflateOffer, offer: &DeflateOffer) -> Agreed {
    let offered = offer.server_max_window_bits.unwrap_or(MAX_WINDOW_BITS);
    let preferred = server.server_max_window_bits.unwrap_or(MAX_WINDOW_BITS);
    let client_bits = match (server.client_max_window_bits.flatten(), offer.client_max_window_bits) {
        (Some(preferred), Some(hint)) => preferred.min(hint.unwrap_or(MAX_WINDOW_BITS)),
        _ => MAX_WINDOW_BITS,
    };
    Agreed {
        server_no_context_takeover: server.server_no_context_takeover || offer.server_no_context_takeover,
        client_no_context_takeover: server.client_no_context_takeover || offer.client_no_context_takeover,
        server_max_window_bits: preferred.min(offered),
        client_max_window_bits: client_bits,
        answers_server_max_window_bits: offer.server_max_window_bits.is_some(),
    }
}

fn push_flag(header: &mut String, name: &str, set: bool) {
    if set {
        header.push_str("; ");
        header.push_str(name);
    }
}

fn push_bits(header: &mut String, name: &str, bits: Option<u8>) {
    if let Some(bits) = bits {
        // Writing to a String cannot fail.
        let _ = write!(header, "; {name}={bits}");
    }
}

fn read_flag(flag: &mut bool, name: &'static str, value: Option<&str>) -> Result<(), NegotiationError> {
    if let Some(value) = value {
        return Err(NegotiationError::IllegalValue { name, value: Some(value.to_owned()) });
    }
    if std::mem::replace(flag, true) {
        return Err(NegotiationError::RepeatedParameter(name));
    }
    Ok(())
}

/// 8 to 15 in decimal, without a leading zero (RFC 7692 section 7.1.2).
fn read_bits(name: &'static str, value: Option<&str>) -> Result<u8, NegotiationError> {
    value
        .filter(|value| value.bytes().all(|byte| byte.is_ascii_digit()) && !value.starts_with('0'))
        .and_then(|value| value.parse().ok())
        .filter(|bits| WINDOW_BITS.contains(bits))
        .ok_or_else(|| NegotiationError::IllegalValue { name, value: value.map(str::to_owned) })
}

fn once<T>(slot: &mut Option<T>, value: T, name: &'static str) -> Result<(), NegotiationError> {
    if slot.replace(value).is_some() {
        return Err(NegotiationError::RepeatedParameter(name));
    }
    Ok(())
}

type Param<'a> = (&'a str, Option<Cow<'a, str>>);

#[derive(Debug, PartialEq, Eq)]
struct Extension<'a> {
    name: &'a str,
    params: Vec<Param<'a>>,
}

/// Splits one header value. Empty list elements are allowed, as HTTP asks of every recipient.
fn parse_header(header: &str) -> Result<Vec<Extension<'_>>, NegotiationError> {
    let malformed = || NegotiationError::Malformed(header.to_owned());
    let mut scanner = Scanner { rest: header };
    let mut extensions = Vec::new();
    loop {
        scanner.skip_blanks();
        if scanner.eat(',') {
            continue;
        }
        if scanner.rest.is_empty() {
            return Ok(extensions);
        }
        let name = scanner.token().ok_or_else(malformed)?;
        scanner.skip_blanks();
        let params = if scanner.eat(';') { scanner.params().ok_or_else(malformed)? } else { Vec::new() };
        if !scanner.rest.is_empty() && !scanner.rest.starts_with(',') {
            return Err(malformed());
        }
        extensions.push(Extension { name, params });
    }
}

struct Scanner<'a> {
    rest: &'a str,
}

impl<'a> Scanner<'a> {
    fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }

    fn eat(&mut self, wanted: char) -> bool {
        let stripped = self.rest.strip_prefix(wanted);
        self.rest = stripped.unwrap_or(self.rest);
        stripped.is_some()
    }

    fn token(&mut self) -> Option<&'a str> {
        let end = self.rest.bytes().position(|byte| !is_token_byte(byte)).unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some(token).filter(|token| !token.is_empty())
    }

    /// `name [= value] *( ";" name [= value] )`, and the blanks behind it.
    fn params(&mut self) -> Option<Vec<Param<'a>>> {
        let mut params = Vec::new();
        loop {
            self.skip_blanks();
            let name = self.token()?;
            self.skip_blanks();
            let mut value = None;
            if self.eat('=') {
                self.skip_blanks();
                value = Some(if self.eat('"') { self.quoted()?.into() } else { self.token()?.into() });
                self.skip_blanks();
            }
            params.push((name, value));
            if !self.eat(';') {
                return Some(params);
            }
        }
    }

    /// The rest of a quoted string, whose content must be a token once unescaped (RFC 6455
    /// section 9.1). A comma or semicolon inside therefore never ends up in a value.
    fn quoted(&mut self) -> Option<String> {
        let mut value = String::new();
        let mut chars = self.rest.chars();
        loop {
            let char = match chars.next()? {
                '"' => break,
                '\\' => chars.next()?,
                char => char,
            };
            if !u8::try_from(char).is_ok_and(is_token_byte) {
                return None;
            }
            value.push(char);
        }
        self.rest = chars.as_str();
        Some(value).filter(|value| !value.is_empty())
    }
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
#[path = "negotiate_tests.rs"]
mod tests;
