//! The packages that `packaging/` makes: each is made of the binary under test, unpacked or installed, run, listed and removed.
//!
//! Leaves what `install.sh` puts where to `install`.

use std::path::Path;
use std::time::Duration;

use crate::support::peers::in_path;
use crate::support::{Output, Run, require, root, run, scratch, text, write};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Runs a script of `packaging/` with the binary under test, and returns the files it says it made.
fn make(script: &str, arguments: &[&str]) -> Vec<String> {
    let made = packaging(script, arguments).exits(0);
    made.stdout().lines().map(str::to_owned).collect()
}

fn packaging(script: &str, arguments: &[&str]) -> Output {
    // A day that is not today, so that a package is the same tomorrow. What is packed is large, and gone at once.
    Run::new(root().join("packaging").join(script))
        .args(arguments)
        .limit(Duration::from_secs(600))
        .env("SOURCE_DATE_EPOCH", "1700000000")
        .env("LEVEL", "1")
        .input("")
}

fn program(name: &str, arguments: &[&str]) -> Output {
    let path = in_path(name).unwrap_or_else(|| panic!("{name} is in PATH"));
    Run::new(path).limit(Duration::from_secs(300)).args(arguments).input("")
}

/// Fails unless this binary says what the one under test says.
#[track_caller]
fn is_the_same(binary: &Path) {
    let expected = run(&["version"], "").exits(0);
    Run::new(binary).arg("version").input("").exits(0).prints(expected.stdout());
}

fn exists(folder: &Path, names: &[&str]) {
    for name in names {
        assert!(folder.join(name).is_file(), "{name} is missing below {}", folder.display());
    }
}

#[test]
fn the_tarball_runs_where_it_is_unpacked_and_its_sums_hold() {
    let (dist, place) = (scratch(), scratch());
    let made = make("tarball", &[env!("CARGO_BIN_EXE_wsp"), &text(dist.path())]);
    let [file] = made.as_slice() else { panic!("one file: {made:?}") };
    assert!(file.contains(&format!("/wsp-{VERSION}-")) && file.ends_with(".tar.gz"), "{file}");
    program("tar", &["-xzf", file, "-C", &text(place.path())]).exits(0);
    let name = Path::new(file).file_name().and_then(|name| name.to_str()).expect("a name");
    let folder = place.path().join(name.trim_end_matches(".tar.gz"));
    exists(
        &folder,
        &[
            "LICENSE",
            "README.md",
            "CHANGELOG.md",
            "share/man/man1/wsp.1",
            "share/man/man1/wsp-relay.1",
            "share/bash-completion/completions/wsp",
            "share/zsh/site-functions/_wsp",
            "share/fish/vendor_completions.d/wsp.fish",
        ],
    );
    is_the_same(&folder.join("bin/wsp"));
    let sums = Run::new(in_path("sha256sum").expect("sha256sum")).args(["--check", "--quiet", "SHA256SUMS"]);
    sums.directory(&folder).input("").exits(0);
    let licences = std::fs::read_to_string(folder.join("THIRD-PARTY.txt")).expect("the licences");
    for part in ["\ntokio v", "MIT", "Permission is hereby granted", "Apache License"] {
        assert!(licences.contains(part), "{part}");
    }
    assert!(!licences.contains("/registry/") && !licences.contains(&text(root())), "no path of this machine");
}

/// Whether Debian's packages can be made and unpacked here; on Debian they must be.
fn has_dpkg() -> bool {
    let has_all = ["dpkg", "dpkg-deb", "dpkg-shlibdeps"].iter().all(|name| in_path(name).is_some());
    assert!(has_all || !Path::new("/etc/debian_version").exists(), "dpkg or dpkg-dev is missing on Debian");
    has_all
}

#[test]
fn the_debian_package_is_installed_runs_lists_its_files_and_leaves_nothing() {
    if !has_dpkg() {
        return;
    }
    let (dist, place) = (scratch(), scratch());
    let made = make("deb", &[env!("CARGO_BIN_EXE_wsp"), &text(dist.path())]);
    let [file] = made.as_slice() else { panic!("one file: {made:?}") };
    let field = |name: &str| program("dpkg-deb", &["--field", file, name]).exits(0).stdout().trim().to_owned();
    assert_eq!((field("Package").as_str(), field("Version").as_str()), ("wscat-plus", VERSION));
    assert!(field("Depends").contains("libc6 (>= 2."), "{}", field("Depends"));

    // A system of its own, which has no libraries: what it depends on is the business of the real one.
    let database = place.path().join("var/lib/dpkg");
    for folder in ["info", "updates", "triggers"] {
        std::fs::create_dir_all(database.join(folder)).expect("a folder");
    }
    write(&place, "var/lib/dpkg/status", "");
    write(&place, "var/lib/dpkg/available", "");
    let at = format!("--root={}", place.path().display());
    let dpkg = |arguments: &[&str]| {
        // The path must name what dpkg calls for scripts of packages, of which this one has none.
        let all = [&[at.as_str(), "--force-not-root", "--force-depends", "--force-bad-path"], arguments].concat();
        program("dpkg", &all)
    };
    dpkg(&["--install", file]).exits(0);
    exists(
        place.path(),
        &[
            "usr/share/man/man1/wsp.1.gz",
            "usr/share/man/man1/wsp-connect.1.gz",
            "usr/share/bash-completion/completions/wsp",
            "usr/share/zsh/vendor-completions/_wsp",
            "usr/share/fish/vendor_completions.d/wsp.fish",
            "usr/share/doc/wscat-plus/copyright",
            "usr/share/doc/wscat-plus/changelog.gz",
            "usr/share/doc/wscat-plus/THIRD-PARTY.txt.gz",
        ],
    );
    is_the_same(&place.path().join("usr/bin/wsp"));
    program("gzip", &["--test", &text(&place.path().join("usr/share/man/man1/wsp.1.gz"))]).exits(0);
    let listed = dpkg(&["--listfiles", "wscat-plus"]).exits(0);
    assert!(listed.stdout().lines().any(|line| line == "/usr/bin/wsp"), "{}", listed.stdout());
    dpkg(&["--verify", "wscat-plus"]).exits(0).prints("");
    dpkg(&["--purge", "wscat-plus"]).exits(0);
    assert!(!place.path().join("usr/bin/wsp").exists() && !place.path().join("usr/share/doc").exists());
}

#[test]
fn the_rpm_package_lists_its_files_and_holds_the_binary() {
    if !require("rpmbuild") {
        return;
    }
    let dist = scratch();
    let made = make("rpm", &[env!("CARGO_BIN_EXE_wsp"), &text(dist.path())]);
    let [file] = made.as_slice() else { panic!("one file: {made:?}") };
    let listed = program("rpm", &["-qlp", file]).exits(0);
    for name in ["/usr/bin/wsp", "/usr/share/man/man1/wsp-bench.1.gz", "/usr/share/zsh/site-functions/_wsp"] {
        assert!(listed.stdout().lines().any(|line| line == name), "{name}: {}", listed.stdout());
    }
    let needs = program("rpm", &["-qp", "--requires", file]).exits(0);
    assert!(needs.stdout().contains("libc.so.6"), "{}", needs.stdout());
    let about = program("rpm", &["-qp", "--queryformat", "%{NAME} %{VERSION} %{LICENSE}", file]).exits(0);
    about.prints(&format!("wscat-plus {VERSION} MIT OR Apache-2.0"));
}

#[test]
fn the_same_binary_makes_the_same_tarball() {
    let digest = || {
        let dist = scratch();
        let made = make("tarball", &[env!("CARGO_BIN_EXE_wsp"), &text(dist.path())]);
        program("sha256sum", &[&made[0]]).exits(0).stdout().split(' ').next().map(str::to_owned)
    };
    assert_eq!(digest(), digest());
}

#[test]
fn a_binary_of_another_version_and_no_binary_are_refused() {
    let folder = scratch();
    let old = write(&folder, "wsp", "#!/bin/sh\necho wsp 0.0.1\n");
    std::fs::set_permissions(&old, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("making it run");
    for script in ["tarball", "deb", "rpm"] {
        let refused = packaging(script, &[&text(&old), &text(folder.path())]).exits(1);
        refused.complains("is wsp 0.0.1, but the sources are of");
        packaging(script, &["/nonexistent/wsp", &text(folder.path())]).exits(1).complains("no program at");
        packaging(script, &[]).exits(2).complains("usage: ");
    }
    packaging("build", &[]).exits(2).complains("usage: ");
    packaging("source", &[]).exits(2).complains("usage: ");
}

/// The recipes for other package managers name things that are in this repository.
#[test]
fn recipes_of_other_package_managers_name_files_that_exist() {
    let read = |name: &str| std::fs::read_to_string(root().join("packaging").join(name)).expect("a recipe");
    let formula = read("homebrew/wscat-plus.rb");
    for name in ["completions/wsp.bash", "completions/_wsp", "completions/wsp.fish"] {
        assert!(formula.contains(&format!("\"{name}\"")) && root().join(name).is_file(), "{name}");
    }
    let container = read("Containerfile");
    let copied = container.lines().filter(|line| line.starts_with("COPY ") && !line.contains("--from"));
    let mut count = 0;
    for name in copied.flat_map(|line| line.split(' ').skip(1)).filter(|name| *name != "./") {
        assert!(root().join(name).exists(), "{name}");
        count += 1;
    }
    assert!(count >= 5, "{count} files");
    for recipe in ["homebrew/wscat-plus.rb", "arch/PKGBUILD"] {
        for place in ["@URL@", "@SHA256@", "@VERSION@"] {
            assert!(read(recipe).contains(place), "{recipe}: {place}");
        }
    }
    let syntax = Run::new(in_path("bash").expect("bash")).arg("-n").arg(root().join("packaging/arch/PKGBUILD"));
    syntax.input("").exits(0);
}
