//! `install.sh` as a new user runs it: what it installs, replaces, removes, and says when something is missing.
//!
//! The build it does is the release build; `tests/run` has made it by then, so that here it takes seconds.

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use crate::support::peers::in_path;
use crate::support::{Output, Run, root, scratch, text, write};

fn script() -> Run {
    Run::new("sh").arg(root().join("install.sh")).limit(Duration::from_secs(900))
}

/// All files below a directory, relative to it.
fn files(directory: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut due = vec![directory.to_path_buf()];
    while let Some(current) = due.pop() {
        for entry in std::fs::read_dir(&current).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                due.push(path);
            } else {
                found.insert(text(path.strip_prefix(directory).expect("below it")));
            }
        }
    }
    found
}

#[test]
fn it_installs_replaces_and_removes_just_its_files() {
    let prefix = scratch();
    let bystander = write(&prefix, "bystander", "keep me");
    let elsewhere = scratch();
    let install = || script().directory(elsewhere.path()).args(["--prefix", &text(prefix.path())]);

    let output = install().input("").exits(0);
    assert!(output.stdout().contains("hello from wsp"), "the round trip is printed: {}", output.stdout());
    let installed = files(prefix.path());
    for name in [
        "bin/wsp",
        "share/man/man1/wsp.1",
        "share/man/man1/wsp-connect.1",
        "share/man/man1/wsp-listen.1",
        "share/bash-completion/completions/wsp",
        "share/zsh/site-functions/_wsp",
        "share/fish/vendor_completions.d/wsp.fish",
        "share/wscat-plus/monitoring/wsp-alerts.yml",
        "share/wscat-plus/monitoring/wsp-dashboard.json",
    ] {
        assert!(installed.contains(name), "{name} is missing from {installed:?}");
    }

    // Again, while the installed program runs.
    let binary = prefix.path().join("bin/wsp");
    let server = Run::new(&binary).args(["listen", "127.0.0.1:0", "--echo"]).spawn();
    server.wait_for_stderr("listening on");
    install().input("").exits(0);
    assert_eq!(files(prefix.path()), installed, "nothing is left over");
    drop(server);
    Run::new(&binary).arg("--version").input("").exits(0);

    install().arg("--uninstall").input("").exits(0);
    assert_eq!(files(prefix.path()), BTreeSet::from(["bystander".to_owned()]));
    assert_eq!(std::fs::read_to_string(bystander).expect("the file"), "keep me");
    install().arg("--uninstall").input("").exits(0);
}

#[test]
fn help_and_wrong_arguments() {
    let output = script().arg("--help").input("").exits(0);
    for option in ["--prefix", "--uninstall", "--features"] {
        assert!(output.stdout().contains(option), "{option}");
    }
    script().arg("--nonsense").input("").exits(2).complains("--nonsense");
    script().arg("--prefix").input("").exits(2).complains("--prefix");
}

/// A directory with only these programs in it, to be the whole `PATH`.
fn only(programs: &[&str]) -> tempfile::TempDir {
    let directory = scratch();
    for name in programs {
        let program = in_path(name).unwrap_or_else(|| panic!("{name} is in PATH"));
        symlink(program, directory.path().join(name)).expect("a link");
    }
    directory
}

const COMMON: [&str; 12] =
    ["sh", "cat", "sed", "grep", "dirname", "basename", "uname", "mkdir", "rm", "cp", "mv", "mktemp"];

#[test]
fn what_is_missing_is_named_with_the_command_that_installs_it() {
    let path = only(&COMMON);
    let home = scratch();
    let output = Run::new(in_path("sh").expect("sh"))
        .clear_env()
        .env("PATH", path.path())
        .env("HOME", home.path())
        .arg(root().join("install.sh"))
        .input("");
    assert_eq!(output.code, 1, "{}", output.stderr);
    for part in ["cargo", "apt-get", "dnf", "apk", "pacman", "brew"] {
        assert!(output.stderr.contains(part), "{part} in {}", output.stderr);
    }
    assert!(files(home.path()).is_empty(), "nothing is installed");
}

/// A program of that name which does no more than this.
fn fake(path: &tempfile::TempDir, name: &str, does: &str) {
    let file = write(path, name, format!("#!/bin/sh\n{does}\n"));
    std::fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("making it run");
}

/// Runs `install.sh` with a C compiler and these programs alone, for a user of nothing.
fn install_with(path: &tempfile::TempDir) -> Output {
    symlink(in_path("cc").expect("cc"), path.path().join("cc")).expect("a link");
    let home = scratch();
    Run::new(in_path("sh").expect("sh"))
        .clear_env()
        .env("PATH", path.path())
        .env("HOME", home.path())
        .arg(root().join("install.sh"))
        .input("")
}

#[test]
fn a_toolchain_that_is_too_old_is_named() {
    let path = only(&COMMON);
    fake(&path, "cargo", "echo 'cargo 1.70.0 (an old one)'");
    fake(&path, "rustc", "echo 'rustc 1.70.0 (an old one)'");
    let output = install_with(&path);
    assert_eq!(output.code, 1, "{}", output.stderr);
    assert!(output.stderr.contains("1.70.0") && output.stderr.contains("1.90"), "{}", output.stderr);
}

#[test]
fn without_a_compiler_for_it_kafka_alone_is_left_out() {
    let path = only(&COMMON);
    fake(&path, "cargo", "exit 1");
    fake(&path, "rustc", "echo 'rustc 1.999.0 (a new one)'");
    let output = install_with(&path);
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).expect("the manifest");
    let default = manifest.lines().find_map(|line| line.strip_prefix("default = ")).expect("default features");
    let features: Vec<String> = serde_json::from_str(default).expect("a list");
    let rest = features.into_iter().filter(|feature| feature != "kafka").collect::<Vec<_>>().join(",");
    assert!(output.stdout().contains("Kafka: left out, because a C++ compiler and make"), "{}", output.stdout());
    // OpenSSL may have to be built as well.
    assert!(output.stdout().contains(&format!("--no-default-features --features {rest}")), "{}", output.stdout());
}
