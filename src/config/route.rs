//! A route as text: `JQ => ENDPOINT`, or `JQ => ENDPOINT => JQ` with a projection (pure).
//!
//! Owns where its parts end. Leaves what filters and endpoints mean to the command line.

use std::fmt;

/// A route, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RouteText {
    /// The filter that chooses messages.
    pub when: String,
    pub to: String,
    /// The filter that makes messages for it.
    pub jq: Option<String>,
}

const ARROW: &str = "=>";

impl RouteText {
    /// Takes a text apart; `None` where there is no arrow behind the first filter. An arrow in a string of a filter is none.
    #[must_use]
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (when, rest) = text.split_at(arrow(text)?);
        let rest = &rest[ARROW.len()..];
        let (to, jq) = match rest.split_once(ARROW) {
            None => (rest, None),
            Some((to, jq)) => (to, Some(jq.trim().to_owned())),
        };
        Some(Self { when: when.trim().to_owned(), to: to.trim().to_owned(), jq })
    }

    /// Returns whether its text has these parts again.
    #[must_use]
    pub(crate) fn can_be_written(&self) -> bool {
        Self::parse(&self.to_string()).is_some_and(|again| again == *self)
    }
}

impl fmt::Display for RouteText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} => {}", self.when, self.to)?;
        self.jq.iter().try_for_each(|jq| write!(f, " => {jq}"))
    }
}

/// Where the first arrow outside of strings begins.
fn arrow(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    // In a string, or in the brackets of `\(…)`, so many deep.
    let (mut is_string, mut outer, mut depth, mut at) = (false, Vec::new(), 0_usize, 0);
    while let Some(byte) = bytes.get(at) {
        match (is_string, byte) {
            (true, b'\\') if bytes.get(at + 1) == Some(&b'(') => {
                outer.push(depth);
                (is_string, depth, at) = (false, 0, at + 1);
            }
            (true, b'\\') => at += 1,
            (_, b'"') => is_string = !is_string,
            (false, b'(') => depth += 1,
            (false, b')') if depth == 0 && !outer.is_empty() => {
                depth = outer.pop().unwrap_or_default();
                is_string = true;
            }
            (false, b')') => depth = depth.saturating_sub(1),
            (false, b'=') if outer.is_empty() && bytes.get(at + 1) == Some(&b'>') => return Some(at),
            _ => {}
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_taken_apart() {
        let parts = |text: &str| RouteText::parse(text).map(|route| (route.when, route.to, route.jq));
        let of = |when: &str, to: &str, jq: Option<&str>| Some((when.to_owned(), to.to_owned(), jq.map(str::to_owned)));
        for (text, expected) in [
            (".a>1 => file:x", of(".a>1", "file:x", None)),
            (".a=>null:=>{a}", of(".a", "null:", Some("{a}"))),
            (".s == \"=>\" => null: => \"=> \\(.a)\"", of(".s == \"=>\"", "null:", Some("\"=> \\(.a)\""))),
            (r#""\"=>" => null:"#, of(r#""\"=>""#, "null:", None)),
            (r#""\(("=>"))=>" == . => -"#, of(r#""\(("=>"))=>" == ."#, "-", None)),
            (".a", None),
            ("\"=>", None),
        ] {
            assert_eq!(parts(text), expected, "{text}");
        }
        let route = RouteText { when: ".".to_owned(), to: "exec:a => b".to_owned(), jq: None };
        assert!(!route.can_be_written());
        assert!(RouteText { to: "exec:cat".to_owned(), jq: Some(".a => .b".to_owned()), ..route }.can_be_written());
    }
}
