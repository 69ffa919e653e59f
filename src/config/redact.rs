//! How a value is shown (pure): secrets are not.

use std::borrow::Cow;

use crate::endpoint::{is_secret_header, is_secret_word};

/// What stands in a secret's place.
pub const REDACTED: &str = "[redacted]";

/// Options whose value is a secret, or holds one somewhere.
const SECRETS: [&str; 4] = ["user", "bearer", "passphrase", "curl"];

/// The value of an option as it may be shown.
#[must_use]
pub fn value<'a>(option: &str, value: &'a str) -> Cow<'a, str> {
    // The name of a file is no secret.
    if value.starts_with('@') && (option == "header" || SECRETS.contains(&option)) {
        return value.into();
    }
    if SECRETS.contains(&option) {
        return REDACTED.into();
    }
    match option {
        "header" => named(value, ':', ": ", is_secret_header),
        "cookie" => named(value, '=', "=", |_| true),
        _ if value.contains("://") => url(value).into(),
        "proxy" => value.rsplit_once('@').map_or(value.into(), |(_, host)| format!("{REDACTED}@{host}").into()),
        _ => value.into(),
    }
}

fn named<'a>(value: &'a str, mark: char, shown_mark: &str, is_secret: impl Fn(&str) -> bool) -> Cow<'a, str> {
    match value.split_once(mark) {
        Some((name, rest)) if !rest.trim().is_empty() && is_secret(name.trim()) => {
            format!("{}{shown_mark}{REDACTED}", name.trim()).into()
        }
        Some(_) => value.into(),
        // Without its name it may be anything.
        None => REDACTED.into(),
    }
}

/// An address without user info, and without the values of query fields that carry credentials.
#[must_use]
pub fn url(text: &str) -> String {
    let (scheme, rest) = text.split_once("://").map_or((None, text), |(scheme, rest)| (Some(scheme), rest));
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    let authority = match authority.rsplit_once('@') {
        Some((_, host)) => format!("{REDACTED}@{host}"),
        None => authority.to_owned(),
    };
    let tail = match tail.split_once('?') {
        Some((path, query)) => {
            let fields: Vec<_> = query.split('&').map(|field| query_field(field)).collect();
            format!("{path}?{}", fields.join("&"))
        }
        None => tail.to_owned(),
    };
    let scheme = scheme.map(|scheme| format!("{scheme}://")).unwrap_or_default();
    format!("{scheme}{authority}{tail}")
}

fn query_field(field: &str) -> Cow<'_, str> {
    match field.split_once('=') {
        Some((name, value)) if !value.is_empty() && is_secret_word(name) => format!("{name}={REDACTED}").into(),
        _ => field.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown_and_the_rest_is() {
        let table = [
            ("user", "me:pw", "[redacted]"),
            ("user", "@file", "@file"),
            ("user-env", "VAR", "VAR"),
            ("bearer", "abc", "[redacted]"),
            ("header", "Authorization: Bearer abc", "Authorization: [redacted]"),
            ("header", "cookie:a=b", "cookie: [redacted]"),
            ("header", "X-Api-Key: k", "X-Api-Key: [redacted]"),
            ("header", "X-Plain: k", "X-Plain: k"),
            ("header", "Authorization:", "Authorization:"),
            ("header", "Bearer abc", "[redacted]"),
            ("cookie", "session=abc", "session=[redacted]"),
            ("cookie", "abc", "[redacted]"),
            ("proxy", "http://u:p@h:3128", "http://[redacted]@h:3128"),
            ("proxy", "u:p@h:3128", "[redacted]@h:3128"),
            ("origin", "https://h/@x", "https://h/@x"),
            ("url", "wss://u:p@h/x?token=abc&b=c", "wss://[redacted]@h/x?token=[redacted]&b=c"),
            ("connect-timeout", "3s", "3s"),
        ];
        for (option, text, expected) in table {
            assert_eq!(value(option, text), expected, "{option} {text}");
        }
        assert_eq!(url("u:p@h:80"), "[redacted]@h:80");
    }
}
