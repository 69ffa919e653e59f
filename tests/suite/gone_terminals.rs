//! Terminals that go away, as a program sees it whose session leader ignores SIGHUP, and terminals that nobody reads:
//! whoever shows something on them ends.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Child, Command};

use nix::fcntl::OFlag;
use nix::pty::{PtyMaster, grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::support::files::wait_until;
use crate::support::process::sending_without_end;
use crate::support::{Server, listen, scratch, wsp};

/// Runs it on a terminal of its own and waits until something is shown; the near side of the terminal comes first.
#[track_caller]
fn on_a_terminal(arguments: &[&str]) -> (PtyMaster, Child) {
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
    let child = Command::new(env!("CARGO_BIN_EXE_wsp"))
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
    (master, child)
}

/// Has the terminal go away once something is shown, and waits for the end.
#[track_caller]
fn ends_with_its_terminal(arguments: &[&str]) {
    let (master, mut child) = on_a_terminal(arguments);
    drop(master);
    wait_until(&format!("the end of {arguments:?}"), || child.try_wait().expect("its status"));
}

/// Waits for a terminal that holds all it can, sends SIGTERM, and checks that the program ends and gives it back.
#[track_caller]
fn ends_on_an_unread_terminal(master: &PtyMaster, mut child: Child) {
    let is_full = || rustix::io::ioctl_fionread(master).is_ok_and(|held| held > 2048).then_some(());
    wait_until("a full terminal", is_full);
    kill(Pid::from_raw(i32::try_from(child.id()).expect("a process")), Signal::SIGTERM).expect("a signal");
    let status = wait_until("its end", || child.try_wait().expect("its status"));
    assert_eq!(status.code(), Some(143));
    let modes = tcgetattr(master).expect("the terminal's settings").local_modes;
    assert!(modes.contains(LocalModes::ICANON | LocalModes::ECHO), "it is given back: {modes:?}");
}

#[test]
fn a_signal_ends_a_prompt_whose_terminal_nobody_reads() {
    let server = listen(&["--push", "5k", "--payload-size", "500"]);
    let (master, child) = on_a_terminal(&["connect", &server.url]);
    ends_on_an_unread_terminal(&master, child);
}

#[test]
fn a_signal_ends_a_server_prompt_whose_terminal_nobody_reads() {
    let folder = scratch();
    let path = folder.path().join("socket");
    let (master, child) = on_a_terminal(&["listen", &format!("unix:{}", path.display()), "--grace", "1"]);
    let _sender = sending_without_end(&path);
    ends_on_an_unread_terminal(&master, child);
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
