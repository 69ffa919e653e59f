//! A terminal with a person at it: tmux, real keys, the screen read back.
//!
//! Every terminal has a tmux server of its own, on a socket in a scratch folder, that ends with it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::DEADLINE;

/// A terminal that runs a shell.
pub struct Terminal {
    folder: tempfile::TempDir,
    state: PathBuf,
}

impl Terminal {
    /// A shell at 100 by 30.
    pub fn open() -> Self {
        Self::sized(100, 30)
    }

    /// A shell at this size.
    pub fn sized(columns: u32, rows: u32) -> Self {
        let folder = super::scratch();
        let state = folder.path().join("state");
        let mut terminal = Self { folder, state };
        terminal.shell(columns, rows);
        terminal
    }

    /// A second shell for the same user, who has the history of the first.
    pub fn again(&self) -> Self {
        let mut terminal = Self { folder: super::scratch(), state: self.state.clone() };
        terminal.shell(100, 30);
        terminal
    }

    fn shell(&mut self, columns: u32, rows: u32) {
        let state = self.state.display();
        let shell = format!("exec env -u NO_COLOR PS1='$ ' ENV= XDG_STATE_HOME='{state}' sh");
        let size = [columns.to_string(), rows.to_string()];
        // No settings of the user's own; the history of the pane must hold what a flood scrolls by.
        self.tmux(&["new-session", "-d", "-x", &size[0], "-y", &size[1], &shell]);
        self.wait_for("$ ");
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let output = Command::new("tmux")
            .args(["-f", "/dev/null", "-S"])
            .arg(self.folder.path().join("tmux"))
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("running tmux");
        assert!(output.status.success(), "tmux {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Where the programs of this terminal keep their state.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// Presses keys by their names: `Enter`, `Tab`, `C-c`, `Up`.
    pub fn keys(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// Types text as it is.
    pub fn type_in(&self, text: &str) {
        self.tmux(&["send-keys", "-l", "--", text]);
    }

    /// Types a line and presses Enter.
    pub fn line(&self, text: &str) {
        self.type_in(text);
        self.keys(&["Enter"]);
    }

    /// Pastes, as terminals do when the program asked to be told of it.
    pub fn paste(&self, text: &str) {
        let mut load = Command::new("tmux")
            .args(["-f", "/dev/null", "-S"])
            .arg(self.folder.path().join("tmux"))
            .args(["load-buffer", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("running tmux");
        load.stdin.take().expect("its input").write_all(text.as_bytes()).expect("handing over what is pasted");
        assert!(load.wait().expect("tmux ends").success());
        self.tmux(&["paste-buffer", "-p"]);
    }

    /// Changes the size.
    pub fn resize(&self, columns: u32, rows: u32) {
        self.tmux(&["resize-window", "-x", &columns.to_string(), "-y", &rows.to_string()]);
    }

    /// What is on the screen now, lines that were wrapped joined again.
    pub fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p", "-J"])
    }

    /// The screen with its colours, as escape sequences.
    pub fn coloured(&self) -> String {
        self.tmux(&["capture-pane", "-p", "-e"])
    }

    /// Has all that programs write from now on kept in a file, as they wrote it.
    pub fn keep_output(&self, file: &Path) {
        self.tmux(&["pipe-pane", "-o", &format!("cat > '{}'", file.display())]);
    }

    /// Whether the program is told of the mouse, and in the newer form: two digits.
    pub fn mouse(&self) -> String {
        let told = self.tmux(&["display-message", "-p", "#{mouse_standard_flag}#{mouse_sgr_flag}"]);
        told.trim().to_owned()
    }

    /// Waits until the screen is as wanted, and gives it.
    pub fn wait_until(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let screen = self.screen();
            if wanted(&screen) {
                return screen;
            }
            assert!(Instant::now() < deadline, "never saw {what} on this screen:\n{screen}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for a text on the screen.
    pub fn wait_for(&self, text: &str) -> String {
        self.wait_until(text, |screen| screen.contains(text))
    }

    /// Starts `wsp` and waits for its prompt.
    pub fn wsp(&self, arguments: &str) {
        self.line(&format!("clear; {} {arguments}", env!("CARGO_BIN_EXE_wsp")));
        self.wait_until("the open prompt", |screen| screen.contains(" open ") && screen.contains("> "));
    }

    /// Waits until the shell is back and gives the exit code; fails when the terminal is broken.
    pub fn ended(&self) -> i32 {
        self.wait_until("the shell's prompt", |screen| screen.lines().any(|line| line.trim_end() == "$"));
        self.line(
            "code=$?; clear; echo code=$code; stty -a | tr ' ;' '\\n\\n' | grep -cx -e icanon -e echo -e isig -e icrnl; echo end=.",
        );
        let screen = self.wait_until("its answer", |screen| screen.lines().any(|line| line == "end=."));
        assert!(screen.lines().any(|line| line.trim() == "4"), "the terminal is as it was: {screen}");
        let code = screen.lines().find_map(|line| line.strip_prefix("code=")).expect("an exit code");
        code.trim().parse().expect("a number")
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = Command::new("tmux")
            .arg("-S")
            .arg(self.folder.path().join("tmux"))
            .arg("kill-server")
            .stderr(Stdio::null())
            .status();
    }
}
