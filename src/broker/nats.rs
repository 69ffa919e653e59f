//! What a `nats://` address says: subject, stream, credentials, TLS.
//!
//! Leaves the connection to `link`. Invariant: what does not fit together is refused before anything connects.

mod link;
pub(crate) mod outbox;
mod trust;

use std::fmt;
use std::time::Duration;

use async_nats::ConnectOptions;

use super::Start;
use super::address::{Address, AddressError};
use crate::exit::Exit;
use crate::net::tls::{ClientTls, TlsVersion};
use crate::queue::end::{EndError, Problem};

pub(crate) use link::{Link, Refusal};

/// The port of NATS.
const PORT: u16 = 4222;
/// How long to wait for an answer of the stream API.
const ANSWER: Duration = Duration::from_secs(5);
/// Messages a subscription holds before the library drops what comes.
const SUBSCRIPTION: usize = 64 * 1024;
/// Commands on their way to the library.
const COMMANDS: usize = 4096;

/// Who we are to the servers.
#[derive(Clone, Default)]
pub(crate) enum Credentials {
    #[default]
    None,
    /// User and password.
    User(String, String),
    Token(String),
    /// The seed of an nkey.
    Nkey(String),
    /// The text of a credentials file.
    Creds(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::User(..) => "User",
            Self::Token(_) => "Token",
            Self::Nkey(_) => "Nkey",
            Self::Creds(_) => "Creds",
        })
    }
}

/// What an address says, and what is needed to go there.
#[derive(Debug, Clone)]
pub(crate) struct NatsSettings {
    /// The address as it is shown.
    pub shown: String,
    pub servers: Vec<String>,
    /// What is subscribed to and published on.
    pub subject: String,
    /// Where it is published, when that is elsewhere.
    pub publish: Option<String>,
    /// Subscribers of a queue share the messages.
    pub queue: Option<String>,
    /// The stream, with acknowledgements.
    pub stream: Option<String>,
    /// The durable consumer of the stream.
    pub durable: Option<String>,
    /// The stream is made where there is none.
    pub create: bool,
    pub start: Start,
    /// Deliveries of a message before it is a dead letter.
    pub max_deliver: Option<u64>,
    /// Each message is a request, whose reply goes back.
    pub request: bool,
    /// How long a reply may take.
    pub timeout: Duration,
    /// What comes back answers the requests received, in order.
    pub reply: bool,
    /// Messages carry headers that say where they come from; what is binary says so in any case.
    pub headers: bool,
    /// A filter that yields the message id.
    pub id: Option<String>,
    /// The domain of the streams, where it is not the server's own.
    pub domain: Option<String>,
    /// Prefix of inboxes.
    pub inbox: Option<String>,
    /// TLS from the start on.
    pub tls_first: bool,
    /// TLS even where the server does not ask for it.
    pub tls: bool,
    pub credentials: Credentials,
    pub trust: ClientTls,
    /// Time limit for opening a connection.
    pub connect_timeout: Duration,
}

/// Parameters of the address; each is taken once.
const PARAMETERS: &str = "stream, create, durable, queue, publish, start, max-deliver, request, timeout, reply, id, \
headers, \
                          domain, inbox, tls, tls-first, user, password, password-env, token, token-env, nkey, \
                          nkey-env and creds";

impl NatsSettings {
    /// Reads an address; `secret` fetches what stands in a file (`true`) or an environment variable.
    ///
    /// # Errors
    /// What is wrong or not known.
    pub(crate) fn parse(
        text: &str,
        trust: ClientTls,
        connect_timeout: Duration,
        secret: impl Fn(&str, bool) -> Result<String, String>,
        duration: impl Fn(&str) -> Option<Duration>,
    ) -> Result<Self, AddressError> {
        let mut address = Address::parse(text, PORT)?;
        let shown = address.to_string();
        let wrong = |what: String| AddressError(format!("{shown}: {what}"));
        if address.name.is_empty() {
            return Err(wrong("no subject: write nats://HOST:PORT/SUBJECT".to_owned()));
        }
        let credentials = credentials(&mut address, &secret).map_err(&wrong)?;
        let start = address.take("start").map_or(Ok(Start::Earliest), |text| Start::parse(&text, &duration));
        let timeout = match address.take("timeout") {
            None => ANSWER,
            Some(text) => duration(&text)
                .ok_or_else(|| wrong(format!("invalid duration in ?timeout={text}; use e.g. 250ms, 2s or 1m30s")))?,
        };
        let max_deliver = match address.take("max-deliver") {
            None => None,
            Some(text) => match text.parse() {
                Ok(number) if number > 0 => Some(number),
                _ => return Err(wrong(format!("invalid number in ?max-deliver={text}; use 1 or more"))),
            },
        };
        let stream = address.take("stream");
        // They would cost more than the message.
        let headers = address.take_switch("headers")?.unwrap_or(false);
        let settings = Self {
            servers: address.servers.clone(),
            subject: address.name.clone(),
            publish: address.take("publish"),
            queue: address.take("queue"),
            stream,
            durable: address.take("durable"),
            create: address.take_switch("create")?.unwrap_or(false),
            start: start.map_err(&wrong)?,
            max_deliver,
            request: address.take_switch("request")?.unwrap_or(false),
            timeout,
            reply: address.take_switch("reply")?.unwrap_or(false),
            headers,
            id: address.take("id"),
            domain: address.take("domain"),
            inbox: address.take("inbox"),
            tls_first: address.take_switch("tls-first")?.unwrap_or(false),
            tls: address.take_switch("tls")?.unwrap_or(false),
            credentials,
            trust,
            connect_timeout,
            shown: shown.clone(),
        };
        if let Some(unknown) = address.left_over() {
            return Err(wrong(format!("unknown parameter ?{unknown}; use {PARAMETERS}")));
        }
        let needs_stream = settings.durable.is_some() || settings.max_deliver.is_some() || settings.create;
        if needs_stream && settings.stream.is_none() {
            return Err(wrong("?durable, ?max-deliver and ?create require ?stream".to_owned()));
        }
        if settings.stream.is_some() && (settings.queue.is_some() || settings.request || settings.reply) {
            return Err(wrong("?queue, ?request and ?reply cannot be combined with ?stream".to_owned()));
        }
        Ok(settings)
    }

    pub(crate) fn target(&self) -> &str {
        self.publish.as_deref().unwrap_or(&self.subject)
    }

    /// What subjects of the stream API begin with.
    pub(crate) fn api(&self) -> String {
        self.domain.as_ref().map_or("$JS.API".to_owned(), |domain| format!("$JS.{domain}.API"))
    }

    fn options(&self) -> Result<ConnectOptions, Problem> {
        let broken = |text: String| Problem::Broken(EndError::new(Exit::Usage, format!("{}: {text}", self.shown)));
        let options = match &self.credentials {
            Credentials::None => ConnectOptions::new(),
            Credentials::User(user, password) => ConnectOptions::with_user_and_password(user.clone(), password.clone()),
            Credentials::Token(token) => ConnectOptions::with_token(token.clone()),
            Credentials::Nkey(seed) => ConnectOptions::with_nkey(seed.clone()),
            Credentials::Creds(text) => {
                ConnectOptions::with_credentials(text).map_err(|error| broken(error.to_string()))?
            }
        };
        let mut options = options
            .name("wsp")
            .connection_timeout(self.connect_timeout)
            .client_capacity(COMMANDS)
            .subscription_capacity(SUBSCRIPTION)
            .ping_interval(Duration::from_secs(20));
        if let Some(prefix) = &self.inbox {
            options = options.custom_inbox_prefix(prefix);
        }
        if self.tls_first {
            options = options.tls_first();
        }
        let trust = &self.trust;
        if self.tls || self.tls_first || trust.insecure || trust.names_files() || trust.min == TlsVersion::V1_3 {
            options = options.require_tls(self.tls).tls_client_config(trust::config(trust, &self.shown)?);
        }
        Ok(options)
    }
}

fn credentials(
    address: &mut Address,
    secret: &impl Fn(&str, bool) -> Result<String, String>,
) -> Result<Credentials, String> {
    let password = address.take_secret("password", secret)?;
    let token = address.take_secret("token", secret)?;
    let seed = match (address.take("nkey"), address.take("nkey-env")) {
        (Some(path), _) => Some(secret(&path, true)?),
        (None, name) => name.map(|name| secret(&name, false)).transpose()?,
    };
    let creds = address.take("creds").map(|path| secret(&path, true)).transpose()?;
    let user = address.take("user");
    if let Some(creds) = creds {
        // The last line must end for the library to see it.
        let creds = format!("{creds}\n");
        ConnectOptions::with_credentials(&creds).map_err(|error| format!("?creds: {error}"))?;
        return Ok(Credentials::Creds(creds));
    }
    if let Some(seed) = seed {
        let line = seed.lines().map(str::trim).find(|line| line.starts_with('S'));
        return line.map(|line| Credentials::Nkey(line.to_owned())).ok_or("an nkey seed starts with S".to_owned());
    }
    if let Some(token) = token {
        return Ok(Credentials::Token(token));
    }
    Ok(match (user, address.user.take(), password) {
        (Some(user), _, password) => Credentials::User(user, password.unwrap_or_default()),
        (None, Some((user, Some(password))), None) | (None, Some((user, _)), Some(password)) => {
            Credentials::User(user, password)
        }
        // As everywhere with NATS: a name alone is a token.
        (None, Some((token, None)), None) => Credentials::Token(token),
        (None, None, _) => Credentials::None,
    })
}

/// Whether a pattern with `*` and `>` takes a subject.
pub(crate) fn covers(pattern: &str, subject: &str) -> bool {
    let (mut pattern, mut subject) = (pattern.split('.'), subject.split('.'));
    loop {
        match (pattern.next(), subject.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some("*"), Some(_)) => {}
            (Some(one), Some(other)) if one == other => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<NatsSettings, AddressError> {
        let secret = |name: &str, is_file| match (name, is_file) {
            ("VAR", false) => Ok("from-env".to_owned()),
            ("seed", true) => Ok("-----\nSUAXYZ\n".to_owned()),
            _ => Err(format!("{name} is not there")),
        };
        let duration = |text: &str| text.strip_suffix('s').and_then(|n| n.parse().ok()).map(Duration::from_secs);
        NatsSettings::parse(text, ClientTls::default(), ANSWER, secret, duration)
    }

    #[test]
    fn patterns_take_subjects() {
        let table = [
            ("a.b", "a.b", true),
            ("a.*", "a.b", true),
            ("a.>", "a.b.c", true),
            (">", "a", true),
            ("a.>", "a", false),
            ("a.*", "a.b.c", false),
            ("a.b", "a", false),
            ("a", "a.b", false),
        ];
        for (pattern, subject, takes) in table {
            assert_eq!(covers(pattern, subject), takes, "{pattern} {subject}");
        }
    }

    #[test]
    fn reads_who_we_are() {
        let table = [
            ("nats://h/s", "None"),
            ("nats://u:p@h/s", "User(u p)"),
            ("nats://tok@h/s", "Token(tok)"),
            ("nats://h/s?user=u&password-env=VAR", "User(u from-env)"),
            ("nats://h/s?token-env=VAR", "Token(from-env)"),
            ("nats://h/s?nkey=seed", "Nkey(SUAXYZ)"),
        ];
        for (text, expected) in table {
            let shown = match parse(text).expect(text).credentials {
                Credentials::None => "None".to_owned(),
                Credentials::User(user, password) => format!("User({user} {password})"),
                Credentials::Token(token) => format!("Token({token})"),
                Credentials::Nkey(seed) => format!("Nkey({seed})"),
                Credentials::Creds(_) => "Creds".to_owned(),
            };
            assert_eq!(shown, expected, "{text}");
        }
        assert!(parse("nats://h/s?nkey=nofile").is_err() && parse("nats://h/s?token-env=NO").is_err());
    }

    #[test]
    fn refuses_what_does_not_fit_together() {
        for (text, word) in [
            ("nats://h/", "no subject"),
            ("nats://h/s?strem=S", "?strem"),
            ("nats://h/s?durable=D", "?stream"),
            ("nats://h/s?stream=S&queue=q", "?queue"),
            ("nats://h/s?stream=S&max-deliver=0", "max-deliver"),
            ("nats://h/s?timeout=soon", "timeout"),
            ("nats://h/s?headers=some", "headers"),
        ] {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
        let settings = parse("nats://a,b:1/s?stream=S&durable=D&domain=hub&publish=t").expect("settings");
        assert_eq!((settings.api().as_str(), settings.target()), ("$JS.hub.API", "t"));
        assert_eq!(settings.servers, ["a:4222", "b:1"]);
    }
}
