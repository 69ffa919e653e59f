//! Terminals that go away while nobody sends a signal: whoever shows something on them ends.
//!
//! That is what a program sees whose session leader ignores SIGHUP.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::Command;

use nix::fcntl::OFlag;
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::support::files::wait_until;
use crate::support::{Server, listen, scratch, wsp};

/// Runs it on a terminal of its own, has the terminal go away once something is shown, and waits for the end.
#[track_caller]
fn ends_with_its_terminal(arguments: &[&str]) {
    // Nobody but this test may hold the near side, or it would not go away.
    let near = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let mut master = posix_openpt(near).expect("a terminal");
    grantpt(&master).and_then(|()| unlockpt(&master)).expect("its far side");
    let name = ptsname_r(&master).expect("the name of its far side");
    let far = File::options().read(true).write(true).custom_flags(OFlag::O_NOCTTY.bits()).open(name);
    let far = far.expect("its far side");
    let size = Winsize { ws_row: 30, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&far, size).expect("setting its size");
    let state = scratch();
    let handle = || far.try_clone().expect("another handle");
    let mut child = Command::new(env!("CARGO_BIN_EXE_wsp"))
        .args(arguments)
        .env("TERM", "xterm-256color")
        .env("XDG_CONFIG_HOME", "/nonexistent")
        .env("XDG_STATE_HOME", state.path())
        .stdin(handle())
        .stdout(handle())
        .stderr(handle())
        .spawn()
        .expect("running wsp");
    drop(far);
    let mut shown = Vec::new();
    // The other screen, or pastes marked by the prompt.
    while !shown.windows(5).any(|part| part == b"?2004") {
        let mut block = [0; 4096];
        let read = master.read(&mut block).unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
        shown.extend_from_slice(&block[..read]);
    }
    drop(master);
    wait_until(&format!("the end of {arguments:?}"), || child.try_wait().expect("its status"));
}

#[test]
fn dashboards_and_prompts_end_with_their_terminal() {
    let server = listen(&["--push", "50"]);
    let admin = Server::ready(wsp(["listen", "127.0.0.1:0", "--echo", "--admin", "0"]));
    let line = admin.process.wait_for_stderr("admin on ");
    let admin_url = line.split("admin on ").nth(1).expect("an address").trim();
    let table: [&[&str]; 8] = [
        &["connect", &server.url],
        &["connect", &server.url, "--tui"],
        &["listen", "127.0.0.1:0"],
        &["listen", "127.0.0.1:0", "--tui"],
        &["relay", &server.url, "null:", "--tui"],
        &["bench", &admin.url, "--tui", "-d", "1h", "-c", "2"],
        &["top", admin_url],
        &["demo"],
    ];
    for arguments in table {
        ends_with_its_terminal(arguments);
    }
}
