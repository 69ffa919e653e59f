//! Where a message came from, beyond its session: a subject, a place in a topic, a client of a server.
//!
//! Owns how event lines and `$meta` say so. Leaves finding it out to those who receive messages.

use std::sync::Arc;

use bytes::Bytes;

use super::digits::push_number;
use super::event::push_base64;
use super::json_string::push_json_string;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A subject of NATS.
    Subject(String),
    /// A record of Kafka.
    Record {
        topic: Arc<str>,
        partition: i32,
        offset: i64,
        key: Option<Bytes>,
        /// Its headers, in order; a name may come more than once.
        headers: Vec<(String, Option<Bytes>)>,
    },
    /// A client of a server.
    Client {
        peer: String,
        /// The path it asked for, without the query.
        path: String,
        /// The subprotocol agreed on.
        subprotocol: Option<String>,
        /// What its session is called, where it has a name.
        name: Option<String>,
        /// Whom its token or certificate names, where it has shown one.
        subject: Option<String>,
    },
}

impl Source {
    /// Appends what it says as fields of a JSON object, each with a comma before it.
    pub fn push_fields(&self, out: &mut Vec<u8>) {
        match self {
            Self::Subject(subject) => push_text(out, "subject", subject),
            Self::Record { topic, partition, offset, key, headers } => {
                push_text(out, "topic", topic);
                push_integer(out, "partition", i64::from(*partition));
                push_integer(out, "offset", *offset);
                push_name(out, "key");
                push_bytes(out, key.as_deref());
                push_name(out, "headers");
                push_headers(out, headers);
            }
            Self::Client { peer, path, subprotocol, name, subject } => {
                push_text(out, "peer", peer);
                push_text(out, "path", path);
                match subprotocol {
                    Some(subprotocol) => push_text(out, "subprotocol", subprotocol),
                    None => out.extend_from_slice(b",\"subprotocol\":null"),
                }
                for (field, value) in [("name", name), ("subject", subject)] {
                    if let Some(value) = value {
                        push_text(out, field, value);
                    }
                }
            }
        }
    }
}

/// The path of what a request asked for.
#[must_use]
pub(crate) fn path_of(target: &str) -> &str {
    target.split(['?', '#']).next().unwrap_or_default()
}

fn push_name(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn push_text(out: &mut Vec<u8>, name: &str, value: &str) {
    push_name(out, name);
    push_json_string(out, value);
}

fn push_integer(out: &mut Vec<u8>, name: &str, value: i64) {
    push_name(out, name);
    if value < 0 {
        out.push(b'-');
    }
    push_number(out, value.unsigned_abs());
}

/// Text where it is UTF-8, else `{"base64":…}`.
fn push_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => out.extend_from_slice(b"null"),
        Some((_, Ok(text))) => push_json_string(out, text),
        Some((bytes, Err(_))) => {
            out.extend_from_slice(b"{\"base64\":\"");
            push_base64(out, bytes);
            out.extend_from_slice(b"\"}");
        }
    }
}

/// An object; a name that comes more than once has an array.
fn push_headers(out: &mut Vec<u8>, headers: &[(String, Option<Bytes>)]) {
    out.push(b'{');
    let mut is_first = true;
    for (place, (name, value)) in headers.iter().enumerate() {
        if headers[..place].iter().any(|(before, _)| before == name) {
            continue;
        }
        if !std::mem::take(&mut is_first) {
            out.push(b',');
        }
        push_json_string(out, name);
        out.push(b':');
        let mut others = headers[place + 1..].iter().filter(|(other, _)| other == name).peekable();
        if others.peek().is_none() {
            push_bytes(out, value.as_deref());
            continue;
        }
        out.push(b'[');
        push_bytes(out, value.as_deref());
        for (_, other) in others {
            out.push(b',');
            push_bytes(out, other.as_deref());
        }
        out.push(b']');
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_source_says_where_a_message_came_from() {
        let record = |key: Option<&'static [u8]>, headers: &[(&str, Option<&'static [u8]>)]| Source::Record {
            topic: "t".into(),
            partition: 3,
            offset: 42,
            key: key.map(Bytes::from_static),
            headers: headers.iter().map(|(name, value)| ((*name).to_owned(), value.map(Bytes::from_static))).collect(),
        };
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let client = |subprotocol, name, subject| Source::Client {
            peer: "unix".to_owned(),
            path: path_of("/a?b=c").to_owned(),
            subprotocol: owned(subprotocol),
            name: owned(name),
            subject: owned(subject),
        };
        let table = [
            (Source::Subject("a.\"b\"".to_owned()), r#","subject":"a.\"b\"""#),
            (record(None, &[]), r#","topic":"t","partition":3,"offset":42,"key":null,"headers":{}"#),
            (
                record(Some(b"k"), &[("a", Some(b"1")), ("b", None), ("a", Some(b"\xff"))]),
                r#","topic":"t","partition":3,"offset":42,"key":"k","headers":{"a":["1",{"base64":"/w=="}],"b":null}"#,
            ),
            (client(None, None, None), r#","peer":"unix","path":"/a","subprotocol":null"#),
            (
                client(Some("chat"), Some("an\"na"), Some("u1")),
                r#","peer":"unix","path":"/a","subprotocol":"chat","name":"an\"na","subject":"u1""#,
            ),
        ];
        for (source, expected) in table {
            let mut out = Vec::new();
            source.push_fields(&mut out);
            assert_eq!(String::from_utf8(out).expect("UTF-8"), expected);
        }
    }
}
