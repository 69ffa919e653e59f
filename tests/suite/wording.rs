//! Words that readers stumbled over stay out of what a person reads: help, man pages, messages, README and docs.
//!
//! Leaves comments and the changelog of the past alone.

use std::path::Path;

use super::imports::without_tests;
use crate::support::root;

/// Phrases, and those that contain them but read well.
const BANNED: [(&str, &[&str]); 38] = [
    (" is no ", &[" is no longer ", "here is no "]),
    ("cannot be had", &[]),
    (" is not taken", &[]),
    (" are wanted", &[]),
    (" is wanted", &[]),
    ("come about", &[]),
    ("comes about", &[]),
    ("whence", &[]),
    (" lest ", &[]),
    ("worst", &[]),
    ("stands there", &[]),
    (" is told", &[" is told apart"]),
    (" are told", &[" are told apart"]),
    ("any more", &[]),
    ("begun a second", &[]),
    ("cannot be carried over", &[]),
    ("connecting again", &[]),
    ("for ever ", &[]),
    ("gives account", &[]),
    ("has a meaning", &[]),
    ("in vain", &[]),
    ("is expected, not", &[]),
    ("is none of", &[]),
    ("let in who", &[]),
    ("Longest time", &[]),
    ("Longest wait", &[]),
    ("made up for", &[]),
    ("must be there", &[]),
    ("none of ours", &[]),
    ("passed over", &[]),
    ("says who you are", &[]),
    ("stand in quotes", &[]),
    ("stands in quotes", &[]),
    ("what becomes of", &[]),
    ("What becomes of", &[]),
    ("what it comes to", &[]),
    ("whoever", &["whoever_is"]),
    ("whose it is", &[]),
];

fn files(directory: &Path, extension: &str, found: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(directory).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files(&path, extension, found);
        } else if path.extension().is_some_and(|other| other == extension) {
            let name = path.strip_prefix(root()).expect("below the root").display().to_string();
            found.push((name, std::fs::read_to_string(&path).expect("text")));
        }
    }
}

/// What a program's text may say to a person: its lines with string literals, but for comments and tests.
fn literals(text: &str) -> String {
    let code = without_tests(text).into_iter().filter(|line| !line.trim_start().starts_with("//"));
    code.filter_map(|line| line.find('"').map(|start| &line[start..])).collect::<Vec<_>>().join("\n")
}

#[test]
fn phrases_that_have_to_be_read_twice_stay_out_of_what_a_person_reads() {
    let mut texts = vec![("README.md".to_owned(), std::fs::read_to_string(root().join("README.md")).expect("text"))];
    files(&root().join("docs"), "md", &mut texts);
    files(&root().join("man"), "1", &mut texts);
    let mut sources = Vec::new();
    files(&root().join("src"), "rs", &mut sources);
    let of_tests = |name: &str| name.ends_with("tests.rs") || name.contains("/tests/");
    texts.extend(sources.into_iter().filter(|(name, _)| !of_tests(name)).map(|(name, text)| (name, literals(&text))));
    assert!(texts.len() > 100, "the texts are found");
    let mut faults = Vec::new();
    for (name, text) in &texts {
        for line in text.lines() {
            for (phrase, allowed) in BANNED {
                let line = allowed.iter().fold(line.to_owned(), |line, good| line.replace(good, " "));
                if line.contains(phrase) {
                    faults.push(format!("{name}: '{}' in: {}", phrase.trim(), line.trim()));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
