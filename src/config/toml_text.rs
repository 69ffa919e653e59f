//! Texts of TOML with errors reported by line: the configuration file, files of pipelines, scripts.
//!
//! Owns what every reader of such a file does first, and how a place in it is named. Leaves what the keys mean to the readers.
//! Invariant: no fault quotes the text, which may hold a secret.

use std::path::Path;

use toml::de::DeTable;

/// Reads a text. Syntax errors are reported with their byte offset, a description and a hint.
pub(crate) fn read(text: &str, mut fault: impl FnMut(usize, &str, &str)) -> Option<DeTable<'_>> {
    let (document, mut errors) = DeTable::parse_recoverable(text);
    errors.sort_by_key(|error| error.span().map_or(0, |span| span.start));
    for error in &errors {
        // A parser's message may go on with the line it stumbled over.
        let what = error.message().lines().next().unwrap_or("not TOML");
        fault(error.span().map_or(0, |span| span.start), what, "see https://toml.io for TOML syntax");
    }
    errors.is_empty().then(|| document.into_inner())
}

/// The line of a byte, from 1.
#[must_use]
pub(crate) fn line_of(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().get(..offset).unwrap_or(text.as_bytes());
    1 + memchr::memchr_iter(b'\n', before).count()
}

/// `FILE:LINE` of a byte.
#[must_use]
pub(crate) fn place_of(path: &Path, text: &str, offset: usize) -> String {
    format!("{}:{}", path.display(), line_of(text, offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_have_their_places_and_quote_nothing() {
        let text = "a = 1\nsecret = \"hunter2\nb = = 3\n";
        let mut faults = Vec::new();
        assert!(read(text, |at, what, _| faults.push((at, what.to_owned()))).is_none());
        assert_eq!(line_of(text, faults[0].0), 2, "{faults:?}");
        assert!(faults.iter().all(|(_, what)| !what.contains("hunter2") && !what.contains('\n')), "{faults:?}");
        assert_eq!(place_of(Path::new("f.toml"), text, 6), "f.toml:2");
        assert_eq!(line_of(text, 1000), 4, "behind the end");
        assert_eq!(read("a = 1", |_, what, _| panic!("{what}")).expect("a table").len(), 1);
    }
}
