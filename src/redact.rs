//! Shows addresses, headers and settings without the secrets in them (pure).
//!
//! Owns the one rule for what is a secret: user info, and whatever has a name that speaks of a token, key, password or
//! signature. Everything that is shown, logged, recorded or exported goes through here; what is sent does not.

use std::borrow::Cow;

use crate::percent::decode;

/// What stands in a secret's place.
pub(crate) const REDACTED: &str = "[redacted]";

/// Options whose value is a secret, or holds one somewhere.
const SECRET_OPTIONS: [&str; 4] = ["user", "bearer", "passphrase", "curl"];
/// Headers whose value is a secret although no word of their name says so.
const SECRET_HEADERS: [&str; 4] = ["authorization", "proxy-authorization", "cookie", "set-cookie"];
/// Headers whose value is none although a word of their name says so.
const OPEN_HEADERS: [&str; 4] = ["sec-websocket-key", "sec-websocket-key1", "sec-websocket-key2", "host-key"];
/// Speak of a secret wherever they stand in a name.
const SECRET_PARTS: [&str; 8] =
    ["token", "secret", "password", "passwd", "passphrase", "apikey", "signature", "credential"];
/// Speak of a secret where they are a whole word of a name.
const SECRET_WORDS: [&str; 22] = [
    "auth",
    "authorization",
    "authentication",
    "authenticate",
    "authenticated",
    "authenticator",
    "oauth",
    "oauth2",
    "bearer",
    "jwt",
    "key",
    "keys",
    "nkey",
    "pass",
    "pwd",
    "pw",
    "pin",
    "otp",
    "seed",
    "sig",
    "hmac",
    "ticket",
];
/// End words that speak of a secret.
const SECRET_ENDS: [&str; 8] =
    ["accesskey", "authkey", "appkey", "privatekey", "sharedkey", "sessionkey", "userkey", "signingkey"];
/// Endings of names whose value says where a secret is to be found.
const POINTERS: [&str; 2] = ["-env", "-file"];

/// Whether what has this name is a secret, as far as the name tells: `access_token`, `apiKey`, `X-Amz-Signature`.
#[must_use]
pub(crate) fn is_secret_name(name: &str) -> bool {
    let mut words = vec![String::new()];
    let mut after_small = false;
    for character in name.chars() {
        let is_new = !character.is_alphanumeric() || character.is_uppercase() && after_small;
        after_small = character.is_lowercase() || character.is_numeric();
        if is_new && words.last().is_some_and(|word| !word.is_empty()) {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| character.is_alphanumeric()) {
            word.extend(character.to_lowercase());
        }
    }
    let whole = words.concat();
    SECRET_PARTS.iter().any(|part| whole.contains(part))
        || words.iter().any(|word| {
            SECRET_WORDS.contains(&word.as_str()) || SECRET_ENDS.iter().any(|ending| word.ends_with(ending))
        })
}

/// Whether a line of any kind seems to hold a secret: it names one.
#[must_use]
pub(crate) fn mentions_secret(line: &str) -> bool {
    let plain: String = line.chars().filter(|c| !matches!(c, '-' | '_')).flat_map(char::to_lowercase).collect();
    SECRET_PARTS.iter().chain(&["authorization", "bearer", "privatekey"]).any(|part| plain.contains(part))
}

/// Whether a header carries credentials, as far as its name tells.
#[must_use]
pub(crate) fn is_secret_header(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    // A server that asks for credentials tells none.
    let is_open = OPEN_HEADERS.contains(&lower.as_str()) || lower.ends_with("-authenticate");
    SECRET_HEADERS.contains(&lower.as_str()) || is_secret_name(name) && !is_open
}

/// The value of a header as it may be shown.
#[must_use]
pub(crate) fn header_value<'v>(name: &str, value: &'v str) -> Cow<'v, str> {
    if is_secret_header(name) {
        return REDACTED.into();
    }
    if name.eq_ignore_ascii_case("sec-websocket-protocol") {
        return subprotocols(value);
    }
    text(value)
}

/// Pages cannot set headers, so some send `access_token, TOKEN` as subprotocols.
#[must_use]
pub(crate) fn subprotocols(value: &str) -> Cow<'_, str> {
    let mut follows_name = false;
    let mut has_secret = false;
    let parts: Vec<Cow<'_, str>> = value
        .split(',')
        .map(|part| {
            let name = part.trim();
            let is_secret = std::mem::replace(&mut follows_name, is_secret_name(name));
            // Kubernetes sends both in one.
            let (prefix, rest) = name.rsplit_once('.').unwrap_or(("", name));
            if is_secret {
                has_secret = true;
                REDACTED.into()
            } else if !rest.is_empty() && is_secret_name(prefix) {
                (follows_name, has_secret) = (false, true);
                format!("{prefix}.{REDACTED}").into()
            } else {
                name.into()
            }
        })
        .collect();
    if has_secret { parts.join(", ").into() } else { value.into() }
}

/// A URL as it may be shown: no user info, no values of secret fields of the query or the fragment.
#[must_use]
pub(crate) fn url(url: &str) -> String {
    shown(url, "")
}

/// As [`url()`], for a text that is not an URL, in which user info may hold any character.
#[must_use]
pub(crate) fn broken_url(text: &str) -> String {
    let (place, rest) = text.split_at(text.find(['?', '#']).unwrap_or(text.len()));
    match (place.rsplit_once('@'), place.split_once("://")) {
        (Some((_, host)), Some((scheme, _))) => url(&format!("{scheme}://{host}{rest}")),
        (Some((_, host)), None) => url(&format!("{host}{rest}")),
        (None, _) => url(text),
    }
}

/// Path and query as they may be shown.
#[must_use]
pub(crate) fn target(path_and_query: &str) -> Cow<'_, str> {
    if path_and_query.contains(['?', '#']) { fields(path_and_query).into() } else { path_and_query.into() }
}

/// A text as it may be shown: URLs in it are treated as by [`url()`].
#[must_use]
pub(crate) fn text(text: &str) -> Cow<'_, str> {
    if !text.contains("://") && !text.contains('?') {
        return text.into();
    }
    let ends = |character: char| character.is_whitespace() || "'\"<>()`,".contains(character);
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(end) = rest.find(ends) {
        let (word, tail) = rest.split_at(end);
        push_word(&mut out, word);
        let mut characters = tail.chars();
        out.extend(characters.next());
        rest = characters.as_str();
    }
    push_word(&mut out, rest);
    if out == text { text.into() } else { out.into() }
}

fn push_word(out: &mut String, word: &str) {
    if word.contains("://") {
        out.push_str(&url(word));
    } else if word.contains('?') {
        out.push_str(&fields(word));
    } else {
        out.push_str(word);
    }
}

fn shown(url: &str, user_mark: &str) -> String {
    let (scheme, rest) = url.split_once("://").map_or(("", url), |(scheme, rest)| (scheme, rest));
    let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (mark, host) = authority.rsplit_once('@').map_or(("", authority), |(_, host)| (user_mark, host));
    let separator = if scheme.is_empty() { "" } else { "://" };
    format!("{scheme}{separator}{mark}{host}{}", fields(tail))
}

/// A path with its query and fragment.
fn fields(tail: &str) -> String {
    let mut out = String::with_capacity(tail.len());
    let mut rest = tail;
    // The path itself has no fields.
    let mut is_field = false;
    loop {
        let end = rest.find(['?', '#', '&', ';']).unwrap_or(rest.len());
        let (field, next) = rest.split_at(end);
        if is_field {
            push_field(&mut out, field);
        } else {
            out.push_str(field);
        }
        let mut characters = next.chars();
        let Some(mark) = characters.next() else { return out };
        out.push(mark);
        is_field |= matches!(mark, '?' | '#');
        rest = characters.as_str();
    }
}

fn push_field(out: &mut String, field: &str) {
    let Some((name, value)) = field.split_once('=') else { return out.push_str(field) };
    let plain = decode(name).to_lowercase();
    let points = POINTERS.iter().any(|ending| plain.ends_with(ending));
    let is_secret = !value.is_empty() && !points && is_secret_name(&decode(name)) && !is_jq(value);
    // A URL may carry another.
    let carries = || value.contains('%') && matches!(text(&decode(value)), Cow::Owned(_));
    out.push_str(name);
    out.push('=');
    out.push_str(if is_secret || carries() { REDACTED } else { value });
}

/// `?key=.id` of a broker says where the key of a message is.
fn is_jq(value: &str) -> bool {
    value.starts_with('.')
}

/// The value of an option as it may be shown.
#[must_use]
pub(crate) fn option<'v>(option: &str, value: &'v str) -> Cow<'v, str> {
    // The name of a file is no secret.
    if value.starts_with('@') && (option == "header" || SECRET_OPTIONS.contains(&option)) {
        return value.into();
    }
    if SECRET_OPTIONS.contains(&option) {
        return REDACTED.into();
    }
    match option {
        "header" => named(value, ':', ": ", is_secret_header),
        "cookie" => named(value, '=', "=", |_| true),
        "url" => shown(value, "[redacted]@").into(),
        "subprotocol" => subprotocols(value),
        _ if value.contains("://") => shown(value, "[redacted]@").into(),
        "proxy" => value.rsplit_once('@').map_or(value.into(), |(_, host)| format!("{REDACTED}@{host}").into()),
        _ => value.into(),
    }
}

fn named<'v>(value: &'v str, mark: char, shown_mark: &str, is_secret: impl Fn(&str) -> bool) -> Cow<'v, str> {
    match value.split_once(mark) {
        Some((name, rest)) if !rest.trim().is_empty() && is_secret(name.trim()) => {
            format!("{}{shown_mark}{REDACTED}", name.trim()).into()
        }
        Some((name, rest)) => match text(rest) {
            Cow::Borrowed(_) => value.into(),
            Cow::Owned(rest) => format!("{name}{mark}{rest}").into(),
        },
        // Without its name it may be anything.
        None => REDACTED.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_known_by_their_names() {
        for name in [
            "token",
            "access_token",
            "accessToken",
            "ACCESS_TOKEN",
            "X-Amz-Security-Token",
            "id_token",
            "csrf-token",
            "key",
            "api_key",
            "api-key",
            "apikey",
            "apiKey",
            "APIKEY",
            "X-Api-Key",
            "Ocp-Apim-Subscription-Key",
            "appkey",
            "password",
            "passwd",
            "pwd",
            "pass",
            "db.password",
            "rdkafka.sasl.password",
            "passphrase",
            "userPassword",
            "signature",
            "X-Amz-Signature",
            "sig",
            "hmac",
            "jwt",
            "auth",
            "oauth",
            "authToken",
            "X-Auth-User",
            "Authorization",
            "client_secret",
            "X-Amz-Credential",
            "seed",
            "nkey",
            "ticket",
            "otp",
            "bearer",
        ] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in [
            "",
            "a",
            "room",
            "author",
            "authors",
            "authority",
            "keyboard",
            "keyword",
            "monkey",
            "hotkey",
            "compass",
            "passenger",
            "design",
            "signal",
            "assign",
            "spin",
            "seedling",
            "state",
            "code",
            "user",
            "session",
            "sid",
            "id",
            "stream",
            "queue",
            "group",
            "tickets",
            "X-Forwarded-For",
            "Content-Type",
        ] {
            assert!(!is_secret_name(name), "{name}");
        }
    }

    #[test]
    fn lines_that_hold_a_secret_are_known_by_its_name() {
        for line in [
            r#"{"op":"auth","Token":"x"}"#,
            "PASSWORD=1",
            r#"{"apiKey":"k"}"#,
            "Authorization: Basic eA==",
            "api-key k",
        ] {
            assert!(mentions_secret(line), "{line}");
        }
        for line in ["hello", r#"{"op":"subscribe","args":["trades"]}"#, "/ping"] {
            assert!(!mentions_secret(line), "{line}");
        }
    }

    #[test]
    fn urls_are_shown_without_their_secrets() {
        let table = [
            ("ws://h/", "ws://h/"),
            ("ws://h:1/a/b?c=d&e", "ws://h:1/a/b?c=d&e"),
            ("ws://u:p@h/", "ws://h/"),
            ("ws://u@h:1/x@y", "ws://h:1/x@y"),
            ("ws://h/?token=abc", "ws://h/?token=[redacted]"),
            ("ws://h?token=abc", "ws://h?token=[redacted]"),
            ("ws://h/?a=1&access_token=abc&b=2", "ws://h/?a=1&access_token=[redacted]&b=2"),
            ("ws://h/?a=1;sig=abc", "ws://h/?a=1;sig=[redacted]"),
            ("ws://h/?api%5Fkey=abc", "ws://h/?api%5Fkey=[redacted]"),
            ("ws://h/?%74oken=a=b", "ws://h/?%74oken=[redacted]"),
            ("ws://h/?token=", "ws://h/?token="),
            ("ws://h/?token", "ws://h/?token"),
            ("https://h/cb#access_token=abc&state=x", "https://h/cb#access_token=[redacted]&state=x"),
            ("https://h/?next=https%3A%2F%2Fi%2F%3Ftoken%3Dabc", "https://h/?next=[redacted]"),
            ("https://h/?next=https%3A%2F%2Fi%2Fx", "https://h/?next=https%3A%2F%2Fi%2Fx"),
            ("wss://u:p@[::1]:1/x?key=abc", "wss://[::1]:1/x?key=[redacted]"),
            ("h:80/x?token=abc", "h:80/x?token=[redacted]"),
            ("u:p@h:80", "h:80"),
            ("nats://user:pw@a:1,b:2/s", "nats://a:1,b:2/s"),
            (
                "nats://h/s?token-env=VAR&nkey-env=V&password=pw",
                "nats://h/s?token-env=VAR&nkey-env=V&password=[redacted]",
            ),
            ("kafka://h/t?key=.id&group=g", "kafka://h/t?key=.id&group=g"),
            ("kafka://h/t?rdkafka.sasl.password=pw", "kafka://h/t?rdkafka.sasl.password=[redacted]"),
        ];
        for (text, expected) in table {
            assert_eq!(url(text), expected, "{text}");
            assert_eq!(url(expected), expected, "what is redacted stays so");
        }
        for (text, expected) in [
            ("ws://u:p/q@h:x/", "ws://h:x/"),
            ("u:p/q@h:x", "h:x"),
            ("ws://h:x/?token=abc@d", "ws://h:x/?token=[redacted]"),
            ("xy?token=abc", "xy?token=[redacted]"),
        ] {
            assert_eq!(broken_url(text), expected, "{text}");
        }
        assert_eq!(target("/a?token=b&c"), "/a?token=[redacted]&c");
        assert_eq!(target("/a"), "/a");
    }

    #[test]
    fn headers_and_texts_are_shown_without_their_secrets() {
        let table = [
            ("Authorization", "Basic eDp5", "[redacted]"),
            ("cookie", "a=b", "[redacted]"),
            ("Set-Cookie", "a=b", "[redacted]"),
            ("Proxy-Authorization", "Basic eDp5", "[redacted]"),
            ("X-API-Key", "abc", "[redacted]"),
            ("WWW-Authenticate", "Basic realm=\"x\"", "Basic realm=\"x\""),
            ("Sec-WebSocket-Key", "abc", "abc"),
            ("Host", "h", "h"),
            ("Location", "https://u:p@h/?token=abc", "https://h/?token=[redacted]"),
            ("Location", "/next?token=abc", "/next?token=[redacted]"),
            ("Referer", "https://h/a?b=c", "https://h/a?b=c"),
            ("Link", "<https://h/?sig=abc>; rel=\"next\"", "<https://h/?sig=[redacted]>; rel=\"next\""),
            ("Sec-WebSocket-Protocol", "chat, superchat", "chat, superchat"),
            ("Sec-WebSocket-Protocol", "access_token,abc, chat", "access_token, [redacted], chat"),
            (
                "Sec-WebSocket-Protocol",
                "base64url.bearer.authorization.k8s.io.abc",
                "base64url.bearer.authorization.k8s.io.[redacted]",
            ),
        ];
        for (name, value, expected) in table {
            assert_eq!(header_value(name, value), expected, "{name}: {value}");
        }
        assert_eq!(text("curl 'https://u:p@h/?key=a' x?"), "curl 'https://h/?key=[redacted]' x?");
        assert!(matches!(text("is it so? yes: a://b"), Cow::Borrowed(_)));
    }

    #[test]
    fn settings_are_shown_without_their_secrets() {
        let table = [
            ("user", "me:pw", "[redacted]"),
            ("user", "@file", "@file"),
            ("user-env", "VAR", "VAR"),
            ("bearer", "abc", "[redacted]"),
            ("header", "Authorization: Bearer abc", "Authorization: [redacted]"),
            ("header", "cookie:a=b", "cookie: [redacted]"),
            ("header", "X-Api-Key: k", "X-Api-Key: [redacted]"),
            ("header", "X-Plain: k", "X-Plain: k"),
            ("header", "Referer: https://h/?token=abc", "Referer: https://h/?token=[redacted]"),
            ("header", "Authorization:", "Authorization:"),
            ("header", "Bearer abc", "[redacted]"),
            ("header", "@file", "@file"),
            ("cookie", "session=abc", "session=[redacted]"),
            ("cookie", "abc", "[redacted]"),
            ("proxy", "http://u:p@h:3128", "http://[redacted]@h:3128"),
            ("proxy", "u:p@h:3128", "[redacted]@h:3128"),
            ("origin", "https://h/@x", "https://h/@x"),
            ("url", "wss://u:p@h/x?token=abc&b=c", "wss://[redacted]@h/x?token=[redacted]&b=c"),
            ("url", "u:p@h:80", "[redacted]@h:80"),
            ("connect-timeout", "3s", "3s"),
        ];
        for (name, text, expected) in table {
            assert_eq!(option(name, text), expected, "{name} {text}");
        }
    }
}
