//! What an `opensearch+http://` address says: where requests go, the index, and what happens to a document (pure).
//!
//! Leaves filters to the code that compiles them. Invariant: no secret is shown.

use crate::broker::address::{Address, AddressError};

/// Parameters of the address.
const PARAMETERS: &str = "id, routing, action, pipeline and refresh";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// It is written, over the one with its id.
    Index,
    /// It is written unless there is one with its id.
    Create,
    /// Its fields are written over those of the one with its id; without one it is written.
    Update,
}

impl Action {
    /// Returns its name in requests.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Index => "index",
            Self::Create => "create",
            Self::Update => "update",
        }
    }
}

/// A piece of the index's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    /// As it stands.
    Text(String),
    Filter(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SearchSettings {
    /// Where requests go, with user info.
    pub url: String,
    pub index: Vec<Piece>,
    /// A filter that yields the document's id.
    pub id: Option<String>,
    /// A filter that yields what decides on the shard.
    pub routing: Option<String>,
    pub action: Action,
}

impl SearchSettings {
    /// Reads an address.
    ///
    /// # Errors
    /// What is wrong or not known.
    pub(crate) fn parse(text: &str) -> Result<Self, AddressError> {
        let mut address = Address::parse(text, 0)?;
        let shown = crate::redact::url(text);
        let wrong = |what: String| AddressError(format!("{shown}: {what}"));
        if address.servers.len() > 1 {
            return Err(wrong("several hosts; use one, or a load balancer in front of them".to_owned()));
        }
        let name = address.name.clone();
        let (prefix, index) = split(&name);
        let index = pieces(index).map_err(&wrong)?;
        if index.is_empty() {
            return Err(wrong("no index; use opensearch+http://HOST:PORT/INDEX".to_owned()));
        }
        let action = match address.take("action").as_deref() {
            None | Some("index") => Action::Index,
            Some("create") => Action::Create,
            Some("update") => Action::Update,
            Some(other) => return Err(wrong(format!("invalid ?action={other}; use index, create or update"))),
        };
        let (id, routing) = (address.take("id"), address.take("routing"));
        if action == Action::Update && id.is_none() {
            return Err(wrong("?action=update requires ?id=JQ".to_owned()));
        }
        // Of the answer what is needed.
        let mut query = "filter_path=errors,items.*.status,items.*.error".to_owned();
        for name in ["pipeline", "refresh"] {
            if let Some(value) = address.take(name) {
                let value: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
                query.extend(["&", name, "=", &value]);
            }
        }
        if let Some(unknown) = address.left_over() {
            return Err(wrong(format!("unknown parameter ?{unknown}; use {PARAMETERS}")));
        }
        // User info and host stay as they were written.
        let scheme = if address.scheme.ends_with("https") { "https" } else { "http" };
        let rest = text.split_once("://").map_or("", |(_, rest)| rest);
        let authority = &rest[..rest.find(['/', '?']).unwrap_or(rest.len())];
        Ok(Self { url: format!("{scheme}://{authority}/{prefix}_bulk?{query}"), index, id, routing, action })
    }
}

/// A path that ends with a slash or is empty, and the index behind it.
fn split(name: &str) -> (&str, &str) {
    // A filter may divide.
    let first_filter = name.find('{').unwrap_or(name.len());
    let index = name[..first_filter].rfind('/').map_or(0, |slash| slash + 1);
    name.split_at(index)
}

/// Takes the name of an index apart, in which `{JQ}` is a filter.
fn pieces(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find('{') {
        let mut depth = 0_usize;
        let end = rest[start..].char_indices().find_map(|(place, character)| {
            match character {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            (depth == 0).then_some(start + place)
        });
        let end = end.ok_or_else(|| format!("'{text}' has a {{ without its }}"))?;
        if start > 0 {
            pieces.push(Piece::Text(rest[..start].to_owned()));
        }
        pieces.push(Piece::Filter(rest[start + 1..end].trim().to_owned()));
        rest = &rest[end + 1..];
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.to_owned()));
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_where_documents_go() {
        let query = "filter_path=errors,items.*.status,items.*.error";
        let text = |text: &str| Piece::Text(text.to_owned());
        let filter = |text: &str| Piece::Filter(text.to_owned());
        let table = [
            ("opensearch+http://h:9200/ticks", format!("http://h:9200/_bulk?{query}"), vec![text("ticks")]),
            (
                "elasticsearch+https://u:p%40ss@h/es/ticks-{.symbol}?pipeline=a%20b&refresh=wait_for",
                format!("https://u:p%40ss@h/es/_bulk?{query}&pipeline=a+b&refresh=wait_for"),
                vec![text("ticks-"), filter(".symbol")],
            ),
            (
                "opensearch+http://[::1]:9200/{{a:.b}.a}-{.c/2}x",
                format!("http://[::1]:9200/_bulk?{query}"),
                vec![filter("{a:.b}.a"), text("-"), filter(".c/2"), text("x")],
            ),
        ];
        for (address, url, index) in table {
            let settings = SearchSettings::parse(address).expect(address);
            assert_eq!((settings.url, settings.index), (url, index), "{address}");
        }
        let settings =
            SearchSettings::parse("opensearch+http://h/i?id=.id&action=update&routing=.r").expect("settings");
        assert_eq!((settings.id.as_deref(), settings.routing.as_deref()), (Some(".id"), Some(".r")));
        assert_eq!(settings.action, Action::Update);
    }

    #[test]
    fn refuses_what_does_not_fit_together() {
        let table = [
            ("opensearch+http://h", "no index"),
            ("opensearch+http://h/a/", "no index"),
            ("opensearch+http://h/i?action=upsert", "invalid ?action=upsert"),
            ("opensearch+http://h/i?action=update", "requires ?id"),
            ("opensearch+http://h/i?ids=.id", "unknown parameter ?ids"),
            ("opensearch+http://a,b/i", "several hosts"),
            ("opensearch+http://u:secret@h/i-{.a", "has a { without its }"),
        ];
        for (text, expected) in table {
            let error = SearchSettings::parse(text).expect_err(text).to_string();
            assert!(error.contains(expected) && !error.contains("secret"), "{text}: {error}");
        }
    }
}
