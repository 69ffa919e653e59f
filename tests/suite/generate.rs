//! Help and man pages say the same: what is committed is what `wsp generate` makes today.
//!
//! Leaves where they are installed to `install`.

use crate::support::{root, run, scratch, text};

const SUBCOMMANDS: [&str; 8] = ["connect", "listen", "relay", "bench", "top", "demo", "config", "generate"];

/// Fails when the file in the repository differs, and tells how to refresh it.
#[track_caller]
fn is_fresh(path: &str, today: &[u8]) {
    let committed = std::fs::read(root().join(path)).unwrap_or_default();
    assert!(committed == today, "{path} is out of date: see `wsp generate --help`");
}

#[test]
fn the_committed_man_pages_are_fresh_and_none_is_left_over() {
    let directory = scratch();
    run(&["generate", "man", &text(directory.path())], "").exits(0);
    let names = |path: &std::path::Path| -> Vec<_> {
        let entries = std::fs::read_dir(path).expect("a directory");
        let mut names: Vec<_> = entries.map(|entry| entry.expect("an entry").file_name()).collect();
        names.sort();
        names
    };
    let made = names(directory.path());
    assert_eq!(names(&root().join("man")), made);
    for name in made {
        let name = name.to_str().expect("a plain name");
        is_fresh(&format!("man/{name}"), &std::fs::read(directory.path().join(name)).expect("a page"));
    }
}

#[test]
fn the_committed_reference_of_flags_is_fresh() {
    let directory = scratch();
    run(&["generate", "reference", &text(directory.path())], "").exits(0);
    let made = std::fs::read(directory.path().join("flags.md")).expect("the page");
    is_fresh("docs/reference/flags.md", &made);
}

#[test]
fn every_subcommand_has_a_man_page_and_the_main_one_has_the_exit_codes() {
    for name in SUBCOMMANDS {
        assert!(root().join(format!("man/wsp-{name}.1")).is_file(), "{name}");
    }
    let page = std::fs::read_to_string(root().join("man/wsp.1")).expect("the page");
    for part in ["124", "143", "EXIT"] {
        assert!(page.contains(part), "{part}");
    }
}

#[test]
fn help_begins_with_examples_and_the_short_one_fits_a_screen() {
    for name in ["connect", "listen", "relay", "bench"] {
        let long = run(&[name, "--help"], "").exits(0);
        let (before, _) = long.stdout().split_once("Usage:").expect("a usage line");
        let examples = before.lines().filter(|line| line.contains("wsp ")).count();
        assert!((3..=6).contains(&examples), "{name}: {examples} examples in {before}");
        let short = run(&[name, "-h"], "").exits(0);
        let lines = short.stdout().lines().count();
        assert!(lines <= 50, "{name} -h has {lines} lines");
    }
    let main = run(&["--help"], "").exits(0);
    assert!(main.stdout().contains("143"), "the exit codes are in `wsp --help`");
    let lines = run(&["-h"], "").exits(0).stdout().lines().count();
    assert!(lines <= 50, "-h has {lines} lines");
}

#[test]
fn the_version_is_that_of_the_package() {
    run(&["--version"], "").exits(0).prints(&format!("wsp {}\n", env!("CARGO_PKG_VERSION")));
}
