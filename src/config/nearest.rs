//! Suggests the closest known name (pure).
//!
//! strsim measures; clap brings it along for its own "did you mean".

/// How alike two names must be, from 0 to 1, before one is offered for the other.
const ALIKE: f64 = 0.8;

/// The name closest to `word`, if any is close enough.
pub(crate) fn nearest<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = normal(word);
    names
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&word, &normal(name)), name))
        .filter(|(alike, _)| *alike > ALIKE)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, name)| name)
}

/// Capitals and the kind of dash are no difference.
fn normal(name: &str) -> String {
    name.to_lowercase().replace('_', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offers_what_is_close_and_nothing_else() {
        let names = ["connect-timeout", "header", "close-timeout", "insecure"];
        let table = [
            ("conect-timeout", Some("connect-timeout")),
            ("connect_timeout", Some("connect-timeout")),
            ("CONNECT_TIMEOUT", Some("connect-timeout")),
            ("headers", Some("header")),
            ("insecur", Some("insecure")),
            ("zzz", None),
            ("", None),
        ];
        for (word, expected) in table {
            assert_eq!(nearest(word, names), expected, "{word}");
        }
    }
}
