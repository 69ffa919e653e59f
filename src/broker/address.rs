//! Addresses of brokers: `SCHEME://[USER[:PASSWORD]@]HOST:PORT[,HOST:PORT…]/NAME[?KEY=VALUE&…]` (pure).
//!
//! Owns taking them apart and showing them without secrets. What a parameter means is for the broker's own file.

use std::fmt;

use crate::percent::decode;
use crate::redact;

/// Why an address cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct AddressError(pub String);

/// A broker's address, taken apart.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Address {
    /// `kafka` or `nats`.
    pub scheme: String,
    /// Decoded user and, where there is one, password.
    pub user: Option<(String, Option<String>)>,
    /// HOST:PORT each, with the default port where none was given.
    pub servers: Vec<String>,
    /// Topic or subject, decoded.
    pub name: String,
    parameters: Vec<(String, String)>,
}

impl Address {
    /// Reads an address.
    ///
    /// # Errors
    /// What is missing.
    pub(crate) fn parse(text: &str, default_port: u16) -> Result<Self, AddressError> {
        let wrong = |what: &str| AddressError(format!("'{}': {what}", redact::broken_url(text)));
        let (scheme, rest) = text.split_once("://").ok_or_else(|| wrong("no scheme"))?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, name) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, hosts) = match authority.rsplit_once('@') {
            None => (None, authority),
            Some((user, hosts)) => {
                let (user, password) = match user.split_once(':') {
                    Some((user, password)) => (user, Some(decode(password))),
                    None => (user, None),
                };
                (Some((decode(user), password)), hosts)
            }
        };
        let servers = hosts
            .split(',')
            .map(|host| with_port(host.trim(), default_port).ok_or_else(|| wrong("no HOST:PORT")))
            .collect::<Result<Vec<_>, _>>()?;
        let parameters = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                (decode(name), decode(value))
            })
            .collect();
        Ok(Self { scheme: scheme.to_ascii_lowercase(), user, servers, name: decode(name), parameters })
    }

    /// Takes a parameter out; the last one counts.
    pub(crate) fn take(&mut self, name: &str) -> Option<String> {
        let mut found = None;
        self.parameters.retain(|(key, value)| {
            if key == name {
                found = Some(value.clone());
            }
            key != name
        });
        found
    }

    /// Takes a switch out: `?name`, `?name=true` or `?name=false`.
    ///
    /// # Errors
    /// Any other value.
    pub(crate) fn take_switch(&mut self, name: &str) -> Result<Option<bool>, AddressError> {
        match self.take(name).as_deref() {
            None => Ok(None),
            Some("" | "true" | "yes" | "1") => Ok(Some(true)),
            Some("false" | "no" | "0") => Ok(Some(false)),
            Some(other) => Err(AddressError(format!("invalid ?{name}={other}; use {name}=true or {name}=false"))),
        }
    }

    /// Takes a secret out: `?NAME=` itself, or what `fetch` finds under the name in `?NAME-env=`.
    ///
    /// # Errors
    /// What `fetch` says.
    pub(crate) fn take_secret(
        &mut self,
        name: &str,
        fetch: &impl Fn(&str, bool) -> Result<String, String>,
    ) -> Result<Option<String>, String> {
        match (self.take(name), self.take(&format!("{name}-env"))) {
            (Some(secret), _) => Ok(Some(secret)),
            (None, variable) => variable.map(|variable| fetch(&variable, false)).transpose(),
        }
    }

    /// Takes out those whose names begin so, without that beginning.
    pub(crate) fn take_prefixed(&mut self, prefix: &str) -> Vec<(String, String)> {
        let (taken, left) =
            std::mem::take(&mut self.parameters).into_iter().partition(|(name, _)| name.starts_with(prefix));
        self.parameters = left;
        let taken: Vec<(String, String)> = taken;
        taken.into_iter().map(|(name, value)| (name[prefix.len()..].to_owned(), value)).collect()
    }

    /// A parameter nobody has taken.
    pub(crate) fn left_over(&self) -> Option<&str> {
        self.parameters.first().map(|(name, _)| name.as_str())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Without parameters and without the user.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}/{}", self.scheme, self.servers.join(","), self.name)
    }
}

fn with_port(host: &str, default: u16) -> Option<String> {
    let bare = match host.strip_prefix('[') {
        Some(rest) => {
            let (address, rest) = rest.split_once(']')?;
            if rest.is_empty() {
                return Some(format!("[{address}]:{default}"));
            }
            rest.strip_prefix(':')
        }
        None => match host.split_once(':') {
            Some((name, port)) => (!name.is_empty()).then_some(port),
            None => return (!host.is_empty()).then(|| format!("{host}:{default}")),
        },
    };
    bare?.parse::<u16>().ok().map(|_| host.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_addresses_apart() {
        let mut address =
            Address::parse("kafka://ann:p%40ss@a:1,b,[::1]:3,[::2]/my%20topic?group=g&rdkafka.linger.ms=5&tls", 9092)
                .expect("an address");
        assert_eq!(address.user, Some(("ann".to_owned(), Some("p@ss".to_owned()))));
        assert_eq!(address.servers, ["a:1", "b:9092", "[::1]:3", "[::2]:9092"]);
        assert_eq!(address.name, "my topic");
        assert_eq!(address.to_string(), "kafka://a:1,b:9092,[::1]:3,[::2]:9092/my topic");
        assert_eq!(address.take("group").as_deref(), Some("g"));
        assert_eq!(address.take_prefixed("rdkafka."), [("linger.ms".to_owned(), "5".to_owned())]);
        assert_eq!(address.left_over(), Some("tls"));
        assert_eq!(address.take_switch("tls"), Ok(Some(true)));
        assert_eq!(address.left_over(), None);
        let mut address = Address::parse("nats://h?x=2&x=3&y=maybe", 4222).expect("an address");
        assert_eq!(address.take("x").as_deref(), Some("3"));
        assert_eq!(address.name, "");
        assert!(address.take_switch("y").is_err());
    }

    #[test]
    fn refuses_what_has_no_host() {
        for text in ["kafka://", "kafka:///t", "kafka://h:x/t", "kafka://a,,b/t", "kafka://:9092/t", "kafka://[::1/t"] {
            assert!(Address::parse(text, 9092).is_err(), "{text}");
        }
    }
}
