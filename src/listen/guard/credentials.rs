//! Who a client says it is: `Authorization` (RFC 7235, 7617, 6750) or the first message.
//!
//! Decides, with time as an argument. Invariants: secrets are kept as digests and compared in constant time; what is said
//! about a refusal names neither what was shown nor what was wanted.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::jwt::{Jwt, TokenFault};
use crate::message::Message;

/// A first message longer than this is not looked at.
const MAX_FIRST: usize = 64 * 1024;

/// A secret that can be recognised and not shown.
#[derive(Clone)]
pub(crate) struct Secret([u8; 32]);

impl Secret {
    /// Remembers it by its digest.
    #[must_use]
    pub(crate) fn new(secret: &[u8]) -> Self {
        Self(Sha256::digest(secret).into())
    }

    fn is(&self, shown: &[u8]) -> bool {
        // Digests have one length, and where they differ says nothing about the secret.
        Sha256::digest(shown).ct_eq(&self.0).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// What a client must show; any one of them is enough.
#[derive(Debug, Clone, Default)]
pub(crate) struct Credentials {
    /// `Bearer` and this.
    pub bearer: Option<Secret>,
    /// `Basic` and this, `user:password`.
    pub basic: Option<Secret>,
    /// `Bearer` and a token.
    pub jwt: Option<Jwt>,
}

/// Who a client is, as its token says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Identity(Option<Value>);

impl Identity {
    /// The claims of its token, where it has shown one.
    #[must_use]
    pub(crate) fn claims(&self) -> Option<&Value> {
        self.0.as_ref()
    }

    /// Whom the token names as its subject (`sub`).
    #[must_use]
    pub(crate) fn subject(&self) -> Option<&str> {
        self.0.as_ref()?.get("sub")?.as_str().filter(|subject| !subject.is_empty())
    }
}

/// Why a client is not who it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Denied {
    /// It shows nothing, or nothing we ask for.
    #[error("credentials are needed")]
    Missing,
    /// It shows something else.
    #[error("the credentials are wrong")]
    Wrong,
    /// Its token does not hold.
    #[error("{0}")]
    Token(#[from] TokenFault),
    /// Its first message is none of ours.
    #[error("the first message must be {{\"type\":\"auth\",…}}")]
    NotAsked,
}

/// What a client shows.
enum Shown {
    Bearer(Vec<u8>),
    Basic(Vec<u8>),
}

impl Credentials {
    /// Whether there is anything to ask for.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.bearer.is_none() && self.basic.is_none() && self.jwt.is_none()
    }

    /// Looks at the head of a request.
    ///
    /// # Errors
    /// [`Denied`].
    pub(crate) fn check_head(&self, headers: &HeaderMap, now: Timestamp) -> Result<Identity, Denied> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let Some(value) = values.next() else { return Err(Denied::Missing) };
        // Which of two is meant is not for us to say.
        if values.next().is_some() {
            return Err(Denied::Wrong);
        }
        let value = value.as_bytes();
        let space = value.iter().position(|byte| *byte == b' ').ok_or(Denied::Wrong)?;
        let (scheme, shown) = (&value[..space], value[space..].trim_ascii());
        if scheme.eq_ignore_ascii_case(b"bearer") {
            self.check(&Shown::Bearer(shown.to_vec()), now)
        } else if scheme.eq_ignore_ascii_case(b"basic") {
            let pair = STANDARD.decode(shown).or_else(|_| STANDARD_NO_PAD.decode(shown)).map_err(|_| Denied::Wrong)?;
            self.check(&Shown::Basic(pair), now)
        } else {
            Err(Denied::Missing)
        }
    }

    /// Looks at a first message: `{"type":"auth","token":…}` or `{"type":"auth","user":…,"password":…}`.
    ///
    /// # Errors
    /// [`Denied`].
    pub(crate) fn check_first(&self, message: &Message, now: Timestamp) -> Result<Identity, Denied> {
        if message.len() > MAX_FIRST {
            return Err(Denied::NotAsked);
        }
        let fields: Value = serde_json::from_slice(message.payload()).map_err(|_| Denied::NotAsked)?;
        let field = |name: &str| fields.get(name).and_then(Value::as_str);
        if field("type") != Some("auth") {
            return Err(Denied::NotAsked);
        }
        let shown = match (field("token"), field("user"), field("password")) {
            (Some(token), ..) => Shown::Bearer(token.into()),
            (None, Some(user), Some(password)) => Shown::Basic(format!("{user}:{password}").into()),
            _ => return Err(Denied::Missing),
        };
        self.check(&shown, now)
    }

    fn check(&self, shown: &Shown, now: Timestamp) -> Result<Identity, Denied> {
        match shown {
            Shown::Basic(pair) => match &self.basic {
                Some(basic) if basic.is(pair) => Ok(Identity::default()),
                Some(_) => Err(Denied::Wrong),
                None => Err(Denied::Missing),
            },
            Shown::Bearer(token) => match (&self.bearer, &self.jwt) {
                (Some(bearer), _) if bearer.is(token) => Ok(Identity::default()),
                (_, Some(jwt)) => Ok(Identity(Some(jwt.check(token, now)?))),
                (Some(_), None) => Err(Denied::Wrong),
                (None, None) => Err(Denied::Missing),
            },
        }
    }

    /// What the answer 401 asks for (RFC 7235 section 4.1, RFC 6750 section 3).
    #[must_use]
    pub(crate) fn challenges(&self, denied: Denied) -> Vec<HeaderValue> {
        let mut challenges = Vec::new();
        if self.bearer.is_some() || self.jwt.is_some() {
            let why = match denied {
                Denied::Token(fault) => format!(", error=\"invalid_token\", error_description=\"{fault}\""),
                Denied::Wrong => ", error=\"invalid_token\"".to_owned(),
                Denied::Missing | Denied::NotAsked => String::new(),
            };
            challenges.extend(HeaderValue::try_from(format!("Bearer realm=\"wsp\"{why}")));
        }
        if self.basic.is_some() {
            challenges.push(HeaderValue::from_static("Basic realm=\"wsp\", charset=\"UTF-8\""));
        }
        challenges
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Credentials {
        Credentials {
            bearer: Some(Secret::new(b"t0ken")),
            basic: Some(Secret::new("anna:pä:ss".as_bytes())),
            jwt: Some(Jwt::from_secret(b"k")),
        }
    }

    fn head(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_str(value).expect("a value"));
        }
        headers
    }

    fn now() -> Timestamp {
        Timestamp::from_second(1_000_000).expect("a time")
    }

    #[test]
    fn one_of_what_is_asked_for_is_enough() {
        let basic = format!("Basic {}", STANDARD.encode("anna:pä:ss"));
        let malformed = Err(Denied::Token(TokenFault::Malformed));
        let table: [(&[&str], _); 12] = [
            (&["Bearer t0ken"], Ok(Identity::default())),
            (&["bearer   t0ken "], Ok(Identity::default())),
            (&[&basic], Ok(Identity::default())),
            (&[basic.trim_end_matches('=')], Ok(Identity::default())),
            (&[], Err(Denied::Missing)),
            (&["Digest t0ken"], Err(Denied::Missing)),
            (&["Bearer"], Err(Denied::Wrong)),
            (&["Bearer t0ke"], malformed.clone()),
            (&["Bearer t0ken2"], malformed),
            (&["Basic t0ken"], Err(Denied::Wrong)),
            (&["Basic !"], Err(Denied::Wrong)),
            (&["Bearer t0ken", "Bearer t0ken"], Err(Denied::Wrong)),
        ];
        for (values, expected) in table {
            assert_eq!(all().check_head(&head(values), now()), expected, "{values:?}");
        }
        let bearer = Credentials { jwt: None, basic: None, ..all() };
        assert_eq!(bearer.check_head(&head(&["Bearer x"]), now()), Err(Denied::Wrong));
        assert_eq!(bearer.check_head(&head(&[&basic]), now()), Err(Denied::Missing));
    }

    #[test]
    fn the_first_message_says_it_in_json() {
        let table = [
            (r#"{"type":"auth","token":"t0ken"}"#, Ok(Identity::default())),
            (r#" {"more":1,"token":"t0ken","type":"auth"} "#, Ok(Identity::default())),
            (r#"{"type":"auth","user":"anna","password":"pä:ss"}"#, Ok(Identity::default())),
            (r#"{"type":"auth","user":"anna","password":"no"}"#, Err(Denied::Wrong)),
            (r#"{"type":"auth","token":""}"#, Err(Denied::Token(TokenFault::Malformed))),
            (r#"{"type":"auth","token":1}"#, Err(Denied::Missing)),
            (r#"{"type":"auth"}"#, Err(Denied::Missing)),
            (r#"{"type":"hello","token":"t0ken"}"#, Err(Denied::NotAsked)),
            ("t0ken", Err(Denied::NotAsked)),
            ("", Err(Denied::NotAsked)),
            ("[]", Err(Denied::NotAsked)),
        ];
        for (text, expected) in table {
            assert_eq!(all().check_first(&Message::text(text), now()), expected, "{text}");
        }
        let long = format!(r#"{{"type":"auth","token":"t0ken","x":"{}"}}"#, "x".repeat(MAX_FIRST));
        assert_eq!(all().check_first(&Message::text(long), now()), Err(Denied::NotAsked));
    }

    #[test]
    fn a_challenge_for_each_scheme() {
        let texts = |credentials: &Credentials, denied| -> Vec<String> {
            let challenges = credentials.challenges(denied);
            challenges.iter().map(|value| value.to_str().expect("text").to_owned()).collect()
        };
        assert_eq!(texts(&all(), Denied::Missing), ["Bearer realm=\"wsp\"", "Basic realm=\"wsp\", charset=\"UTF-8\""]);
        let bearer = Credentials { basic: None, ..all() };
        assert_eq!(
            texts(&bearer, Denied::Token(TokenFault::Expired)),
            ["Bearer realm=\"wsp\", error=\"invalid_token\", error_description=\"the token has expired\""]
        );
        assert!(!format!("{:?}", all()).contains("t0ken"));
    }
}
