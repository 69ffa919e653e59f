//! Runs `wsp` and other programs as a user's shell would: arguments, stdin, stdout and stderr apart, exit code.
//!
//! Owns the child processes of the tests. Each stream is read by a thread into a buffer whose changes are announced, so
//! a test waits for what it wants to see instead of for time to pass.
//! Invariants: every wait ends at `DEADLINE`; a child never outlives its `Process`; children are ended by id alone.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::DEADLINE;

/// One captured stream.
#[derive(Default)]
struct Captured {
    state: Mutex<(Vec<u8>, bool)>,
    changed: Condvar,
}

impl Captured {
    fn follow(mut stream: impl Read + Send + 'static) -> Arc<Self> {
        let captured = Arc::new(Self::default());
        let writer = Arc::clone(&captured);
        std::thread::spawn(move || {
            let mut block = vec![0; 64 * 1024];
            loop {
                let read = stream.read(&mut block).unwrap_or(0);
                let mut state = writer.state.lock().expect("captured stream");
                state.0.extend_from_slice(&block[..read]);
                state.1 = read == 0;
                writer.changed.notify_all();
                if read == 0 {
                    return;
                }
            }
        });
        captured
    }

    /// Waits until `found` yields something or the stream ends; the bytes so far when neither happens in time.
    fn wait<T>(&self, limit: Duration, found: impl Fn(&[u8], bool) -> Option<T>) -> Result<T, String> {
        let deadline = Instant::now() + limit;
        let mut state = self.state.lock().expect("captured stream");
        loop {
            if let Some(value) = found(&state.0, state.1) {
                return Ok(value);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || state.1 {
                return Err(String::from_utf8_lossy(&state.0).into_owned());
            }
            state = self.changed.wait_timeout(state, left).expect("captured stream").0;
        }
    }

    fn bytes(&self) -> Vec<u8> {
        self.state.lock().expect("captured stream").0.clone()
    }
}

/// What a finished program left behind.
#[derive(Debug)]
pub struct Output {
    /// The exit code, 128 + the signal's number when a signal ended it.
    pub code: i32,
    pub bytes: Vec<u8>,
    pub stderr: String,
    pub took: Duration,
}

impl Output {
    /// stdout as text.
    pub fn stdout(&self) -> &str {
        std::str::from_utf8(&self.bytes).expect("stdout is UTF-8")
    }

    /// Fails the test unless the exit code is `code`.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            code,
            "exit code\nstdout: {:?}\nstderr: {}",
            String::from_utf8_lossy(&self.bytes),
            self.stderr
        );
        self
    }

    /// Fails the test unless stdout is exactly `expected`.
    #[track_caller]
    pub fn prints(self, expected: &str) -> Self {
        assert_eq!(String::from_utf8_lossy(&self.bytes), expected, "stderr: {}", self.stderr);
        self
    }

    /// Fails the test unless stderr contains `part`.
    #[track_caller]
    pub fn complains(self, part: &str) -> Self {
        assert!(self.stderr.contains(part), "no {part:?} in stderr: {}", self.stderr);
        self
    }
}

/// A program about to run.
pub struct Run {
    command: Command,
    limit: Duration,
}

impl Run {
    pub fn new(program: impl AsRef<Path>) -> Self {
        let mut command = Command::new(program.as_ref());
        command.env("NO_COLOR", "1");
        for (name, _) in std::env::vars()
            .filter(|(name, _)| name.starts_with("WSP_") || name.to_ascii_lowercase().ends_with("_proxy"))
        {
            command.env_remove(name);
        }
        Self { command, limit: DEADLINE }
    }

    pub fn arg(mut self, argument: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    pub fn args<S: AsRef<std::ffi::OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.command.args(arguments);
        self
    }

    pub fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Starts it by these words, which take it and its arguments as their own last ones.
    pub fn within<'w>(self, words: impl IntoIterator<Item = &'w str>) -> Self {
        let mut words = words.into_iter();
        let mut command = Command::new(words.next().expect("a program"));
        command.args(words).arg(self.command.get_program()).args(self.command.get_args());
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        Self { command, limit: self.limit }
    }

    pub fn clear_env(mut self) -> Self {
        self.command.env_clear();
        self
    }

    pub fn directory(mut self, path: &Path) -> Self {
        self.command.current_dir(path);
        self
    }

    /// Allows more time than `DEADLINE`.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Starts it with stdin as a pipe that stays open.
    pub fn spawn(mut self) -> Process {
        let mut child = self
            .command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{}: {e}", self.command.get_program().display()));
        Process {
            stdin: child.stdin.take(),
            stdout: Captured::follow(child.stdout.take().expect("stdout")),
            stderr: Captured::follow(child.stderr.take().expect("stderr")),
            started: Instant::now(),
            limit: self.limit,
            child,
        }
    }

    /// Runs it to its end with `input` as the whole of stdin.
    pub fn input(self, input: impl AsRef<[u8]>) -> Output {
        let mut process = self.spawn();
        // A program that leaves without reading all of it is judged by its exit code, not by this.
        let _ = process.try_send(input.as_ref());
        process.finish()
    }
}

/// A running program.
pub struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Arc<Captured>,
    stderr: Arc<Captured>,
    started: Instant,
    limit: Duration,
}

impl Process {
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has left, or at least closed its streams.
    pub fn has_ended(&self) -> bool {
        self.stdout.state.lock().expect("captured stream").1
    }

    /// The whole lines of stdout until now.
    pub fn lines_so_far(&self) -> Vec<String> {
        let bytes = self.stdout.bytes();
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        String::from_utf8_lossy(&bytes[..whole]).lines().map(str::to_owned).collect()
    }

    fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let stdin = self.stdin.as_mut().expect("stdin still open");
        stdin.write_all(bytes)?;
        stdin.flush()
    }

    /// Writes to stdin.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes.as_ref()).expect("writing to stdin");
    }

    /// Its standard input, for somebody else to write to.
    pub fn take_input(&mut self) -> std::process::ChildStdin {
        self.stdin.take().expect("nobody has taken it")
    }

    /// Ends stdin.
    pub fn end_input(&mut self) {
        self.stdin = None;
    }

    pub fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).expect("process id");
        kill(Pid::from_raw(id), signal).expect("sending a signal");
    }

    /// Sends a signal that has been heeded once already: twice within a moment would be once.
    pub fn signal_again(&self, signal: Signal) {
        std::thread::sleep(Duration::from_millis(120));
        self.signal(signal);
    }

    /// Waits until a whole line of stderr contains `part`; that line.
    #[track_caller]
    pub fn wait_for_stderr(&self, part: &str) -> String {
        match self.stderr.wait(self.limit, |bytes, _| line_with(bytes, part)) {
            Ok(line) => line,
            Err(seen) => panic!("no {part:?} on stderr: {seen}"),
        }
    }

    /// Whether a whole line of stderr contains both by now.
    pub fn has_said(&self, one: &str, other: &str) -> bool {
        let bytes = self.stderr.bytes();
        String::from_utf8_lossy(&bytes).lines().any(|line| line.contains(one) && line.contains(other))
    }

    /// How many whole lines of stderr contain this by now.
    pub fn count_said(&self, part: &str) -> usize {
        let bytes = self.stderr.bytes();
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        String::from_utf8_lossy(&bytes[..whole]).lines().filter(|line| line.contains(part)).count()
    }

    /// Whether it has read so many bytes from all its files and pipes together.
    pub fn has_read(&self, bytes: u64) -> bool {
        let counts = std::fs::read_to_string(format!("/proc/{}/io", self.id())).unwrap_or_default();
        let read = counts.lines().find_map(|line| line.strip_prefix("rchar: ")?.parse::<u64>().ok());
        read.is_some_and(|read| read >= bytes)
    }

    /// Whether a whole line of stdout contains `part` by now.
    pub fn has_printed(&self, part: &str) -> bool {
        line_with(&self.stdout.bytes(), part).is_some()
    }

    /// Waits until a whole line of stdout contains `part`; that line.
    #[track_caller]
    pub fn wait_for_stdout(&self, part: &str) -> String {
        match self.stdout.wait(self.limit, |bytes, _| line_with(bytes, part)) {
            Ok(line) => line,
            Err(seen) => {
                panic!("no {part:?} on stdout: {seen}\nstderr: {}", String::from_utf8_lossy(&self.stderr.bytes()))
            }
        }
    }

    /// Waits until a whole line of stdout contains one of these; which one.
    #[track_caller]
    pub fn wait_for_stdout_of(&self, parts: &[&str]) -> usize {
        let one = |bytes: &[u8], _| parts.iter().position(|part| line_with(bytes, part).is_some());
        match self.stdout.wait(self.limit, one) {
            Ok(place) => place,
            Err(seen) => {
                panic!("none of {parts:?} on stdout: {seen}\nstderr: {}", String::from_utf8_lossy(&self.stderr.bytes()))
            }
        }
    }

    /// Ends stdin and waits for the program to leave by itself.
    #[track_caller]
    pub fn finish(mut self) -> Output {
        self.end_input();
        self.outcome()
    }

    /// Waits for the program to leave by itself, stdin still open.
    #[track_caller]
    pub fn outcome(mut self) -> Output {
        let ended = |_: &[u8], closed: bool| closed.then_some(());
        let deadline = Instant::now() + self.limit;
        for stream in [&self.stdout, &self.stderr] {
            let left = deadline.saturating_duration_since(Instant::now());
            if stream.wait(left, ended).is_err() {
                let _ = self.child.kill();
                panic!(
                    "still running after {:?}\nstdout: {}\nstderr: {}",
                    self.limit,
                    String::from_utf8_lossy(&self.stdout.bytes()),
                    String::from_utf8_lossy(&self.stderr.bytes())
                );
            }
        }
        let status = self.child.wait().expect("the exit status");
        let signal = std::os::unix::process::ExitStatusExt::signal(&status).unwrap_or(0);
        Output {
            code: status.code().unwrap_or(128 + signal),
            bytes: self.stdout.bytes(),
            stderr: String::from_utf8_lossy(&self.stderr.bytes()).into_owned(),
            took: self.started.elapsed(),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn line_with(bytes: &[u8], part: &str) -> Option<String> {
    bytes
        .split_inclusive(|byte| *byte == b'\n')
        .filter(|line| line.ends_with(b"\n"))
        .map(|line| String::from_utf8_lossy(line).trim_end().to_owned())
        .find(|line| line.contains(part))
}

/// The program under test, in an environment without a user's settings.
pub fn wsp<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> Run {
    Run::new(env!("CARGO_BIN_EXE_wsp"))
        .env("XDG_CONFIG_HOME", "/nonexistent")
        .env("XDG_STATE_HOME", "/nonexistent")
        .args(arguments)
}

/// Runs `wsp` to its end with `input` as stdin.
#[track_caller]
pub fn run(arguments: &[&str], input: impl AsRef<[u8]>) -> Output {
    wsp(arguments).input(input)
}

/// A running `wsp listen`.
pub struct Server {
    pub process: Process,
    pub port: u16,
    pub url: String,
}

/// Starts `wsp listen` on a free port of loopback with these further arguments and waits for its ready line.
#[track_caller]
pub fn listen(arguments: &[&str]) -> Server {
    listen_at("127.0.0.1:0", arguments)
}

/// Sends messages over a unix socket as fast as they are taken, each larger than a pipe or a terminal holds.
#[track_caller]
pub fn sending_without_end(socket: &Path) -> Process {
    let arguments = ["bench", "ws://localhost/", "--mode", "send", "--payload-size", "100000", "-c", "1", "-d", "1h"];
    wsp(arguments).arg("--unix-socket").arg(socket).spawn()
}

/// The same at a given address.
#[track_caller]
pub fn listen_at(address: &str, arguments: &[&str]) -> Server {
    if arguments.contains(&"-q") {
        return Server::quiet(address, arguments);
    }
    Server::ready(wsp(["listen", address]).args(arguments))
}

impl Server {
    /// Starts one that says nothing and waits for the file with its port.
    #[track_caller]
    fn quiet(address: &str, arguments: &[&str]) -> Self {
        let folder = super::scratch();
        let file = folder.path().join("port");
        let process = wsp(["listen", address, "--port-file"]).arg(&file).args(arguments).spawn();
        let port = super::files::wait_until("its port", || super::files::read(&file).trim().parse().ok());
        let scheme = if arguments.contains(&"--tls") { "wss" } else { "ws" };
        Self { process, port, url: format!("{scheme}://127.0.0.1:{port}/") }
    }

    /// Starts it as it stands and waits for its ready line.
    #[track_caller]
    pub fn ready(run: Run) -> Self {
        let process = run.spawn();
        let line = process.wait_for_stderr("listening on ");
        let url = line.split("listening on ").nth(1).expect("an address").trim().to_owned();
        // A unix socket has none.
        let port = url
            .split_once("://")
            .and_then(|(_, rest)| rest.split('/').next()?.rsplit_once(':'))
            .and_then(|(_, port)| port.parse().ok())
            .unwrap_or(0);
        Self { process, port, url }
    }

    /// Stops it as a service manager would; what it left behind.
    #[track_caller]
    pub fn stop(self) -> Output {
        self.process.signal(Signal::SIGTERM);
        self.process.outcome()
    }
}
