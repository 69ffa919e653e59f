//! Tells the program which commit and target it is built from and for, and which OpenSSL: from version 3 on, old ciphers are
//! in a provider of their own.

use std::path::Path;
use std::process::Command;

/// What the commit is looked up for: what else changes does not change the program.
const SOURCES: [&str; 4] = ["src", "build.rs", "Cargo.toml", "Cargo.lock"];

fn main() {
    println!("cargo::rustc-check-cfg=cfg(openssl3)");
    let version = std::env::var("DEP_OPENSSL_VERSION_NUMBER").ok();
    let version = version.and_then(|digits| u64::from_str_radix(&digits, 16).ok());
    if version.is_some_and(|version| version >= 0x3000_0000) {
        println!("cargo::rustc-cfg=openssl3");
    }
    println!("cargo::rustc-env=BUILD_TARGET={}", std::env::var("TARGET").unwrap_or_default());
    println!("cargo::rustc-env=BUILD_COMMIT={}", commit().unwrap_or_else(|| "unknown".to_owned()));
    // The program is built again after a change to these anyway, so asking git again costs nothing.
    for path in SOURCES {
        println!("cargo::rerun-if-changed={path}");
    }
    println!("cargo::rerun-if-env-changed=COMMIT");
}

/// Returns the commit that the sources are of: as `COMMIT` says, else git, else the file that `cargo package` puts beside them.
fn commit() -> Option<String> {
    let given = std::env::var("COMMIT").ok().filter(|given| !given.is_empty());
    given.or_else(of_git).or_else(of_package)
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").arg("--no-optional-locks").args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Returns the last commit to the sources, marked where they differ from it.
fn of_git() -> Option<String> {
    // An unpacked package may be in somebody else's repository.
    if !git(&["rev-parse", "--show-prefix"])?.is_empty() {
        return None;
    }
    let about = |before: &[&str]| git(&[before, &["--"], &SOURCES].concat());
    let commit = about(&["log", "-1", "--format=%h"]).filter(|commit| !commit.is_empty())?;
    let is_changed = about(&["status", "--porcelain"]).is_some_and(|changes| !changes.is_empty());
    // What is released is built from what is committed; a commit alone does not make other builds start again.
    if std::env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        for path in ["HEAD", "logs/HEAD"].iter().filter_map(|name| git(&["rev-parse", "--git-path", name])) {
            if Path::new(&path).exists() {
                println!("cargo::rerun-if-changed={path}");
            }
        }
    }
    Some(if is_changed { format!("{commit} with changes") } else { commit })
}

fn of_package() -> Option<String> {
    let path = ".cargo_vcs_info.json";
    let text = std::fs::read_to_string(path).ok()?;
    // Named only where it is: a file that is missing starts every build again.
    println!("cargo::rerun-if-changed={path}");
    let (_, rest) = text.split_once("\"sha1\"")?;
    let sha = rest.split('"').nth(1)?;
    Some(sha.chars().take(10).collect())
}
