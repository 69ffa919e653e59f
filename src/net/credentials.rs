//! What a client shows of itself: `-u`, `--bearer` and files of headers, read anew at every attempt.
//!
//! A token that is renewed while the program runs is the one the next attempt shows. Invariants: a command that is
//! given up ends with everything it started; no secret is in an error or in debug output.

use std::fmt;
use std::path::PathBuf;
use std::process::Stdio;

use base64::Engine as _;
use http::header::HeaderValue;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::upgrade::{HeaderEdit, parse_header};
use crate::message::io_text::io_text;

/// A secret, or where it comes from.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Secret {
    Text(String),
    /// In this file, less its last newline.
    File(PathBuf),
    /// What `sh -c` prints for this, less white space at both ends.
    Command(String),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text(_) => "Text",
            Self::File(_) => "File",
            Self::Command(_) => "Command",
        })
    }
}

impl Secret {
    async fn read(&self) -> Result<String, String> {
        match self {
            Self::Command(command) => run(command).await,
            other => other.read_now(),
        }
    }

    fn read_now(&self) -> Result<String, String> {
        match self {
            Self::Text(text) => Ok(text.clone()),
            Self::File(path) => {
                let text = read_file(path)?;
                let text = text.trim_end_matches(['\r', '\n']);
                // As it is for a moment while another program writes it.
                if text.is_empty() { Err(format!("{} is empty", path.display())) } else { Ok(text.to_owned()) }
            }
            Self::Command(_) => Ok(String::new()),
        }
    }
}

/// Everything that says who the client is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Credentials {
    /// `USER:PASSWORD` for Basic authentication.
    pub user: Option<Secret>,
    /// A bearer token, which comes before `user`.
    pub bearer: Option<Secret>,
    /// Files of header lines.
    pub header_files: Vec<PathBuf>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Identity {
    pub authorization: Option<HeaderValue>,
    /// Headers from files.
    pub headers: Vec<HeaderEdit>,
}

impl Credentials {
    /// Returns whether there will be an Authorization header.
    #[must_use]
    pub(crate) fn authorizes(&self) -> bool {
        self.user.is_some() || self.bearer.is_some()
    }

    /// Returns whether something is read from files, and no command runs.
    #[must_use]
    pub(crate) fn are_in_files(&self) -> bool {
        let shown = self.bearer.as_ref().or(self.user.as_ref());
        let runs = matches!(shown, Some(Secret::Command(_)));
        !runs && (matches!(shown, Some(Secret::File(_))) || !self.header_files.is_empty())
    }

    /// Reads everything, and runs the command if there is one.
    ///
    /// # Errors
    /// A line that names the file or the flag at fault.
    pub(crate) async fn read(&self) -> Result<Identity, String> {
        let authorization = match (&self.bearer, &self.user) {
            (Some(token), _) => Some(bearer(&token.read().await?)?),
            (None, Some(user)) => Some(basic(&user.read().await?)?),
            (None, None) => None,
        };
        Ok(Identity { authorization, headers: self.header_edits()? })
    }

    /// Checks everything but what a command would print.
    ///
    /// # Errors
    /// As [`Credentials::read`].
    pub(crate) fn check(&self) -> Result<(), String> {
        if let Some(token) = &self.bearer {
            bearer(&token.read_now()?)?;
        }
        if let Some(user) = &self.user {
            basic(&user.read_now()?)?;
        }
        self.header_edits().map(drop)
    }

    /// Reads the files of headers.
    ///
    /// # Errors
    /// A line that names the file and the line at fault.
    pub(crate) fn header_edits(&self) -> Result<Vec<HeaderEdit>, String> {
        let mut edits = Vec::new();
        for path in &self.header_files {
            for (index, line) in read_file(path)?.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
                // The line may be a secret.
                let named = |error| format!("{}:{}: {error}", path.display(), index + 1);
                edits.push(parse_header(line).map_err(named)?);
            }
        }
        Ok(edits)
    }
}

fn bearer(token: &str) -> Result<HeaderValue, String> {
    sensitive(&format!("Bearer {token}")).ok_or_else(|| {
        "the bearer token contains a character not allowed in a \
    header"
            .into()
    })
}

fn basic(pair: &str) -> Result<HeaderValue, String> {
    let colon = if pair.contains(':') { "" } else { ":" };
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{pair}{colon}"));
    sensitive(&format!("Basic {encoded}")).ok_or_else(|| "invalid user name".into())
}

fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn read_file(path: &PathBuf) -> Result<String, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("cannot read {}: {}", path.display(), io_text(&error)))?;
    String::from_utf8(bytes).map_err(|_| format!("{} is not UTF-8", path.display()))
}

/// A process group that is ended when its command is given up.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}

async fn run(command: &str) -> Result<String, String> {
    let failed = |text: &str| format!("--bearer-command: {text}");
    let child = tokio::process::Command::new("sh")
        .arg("-c")
        .arg(command)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(&format!("cannot run sh: {}", io_text(&error))))?;
    let mut group = Group(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw));
    let output = child.wait_with_output().await.map_err(|error| failed(&io_text(&error)))?;
    group.0 = None;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
        let said = if last.is_empty() { String::new() } else { format!(": {}", last.escape_debug()) };
        return Err(failed(&format!("{}{said}", output.status)));
    }
    let token = String::from_utf8(output.stdout).map_err(|_| failed("its output is not UTF-8"))?;
    let token = token.trim();
    if token.is_empty() { Err(failed("it printed nothing")) } else { Ok(token.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block_on<F: Future>(future: F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(future)
    }

    fn shown(credentials: &Credentials) -> Result<String, String> {
        let identity = block_on(credentials.read())?;
        let text = |value: HeaderValue| value.to_str().expect("text").to_owned();
        Ok(identity.authorization.map(text).unwrap_or_default())
    }

    #[test]
    fn every_reading_sees_what_is_there_then() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("token");
        let token = Credentials { bearer: Some(Secret::File(path.clone())), ..Credentials::default() };
        std::fs::write(&path, "one\n").expect("written");
        assert_eq!(shown(&token).as_deref(), Ok("Bearer one"));
        std::fs::write(&path, "two\r\n").expect("written");
        assert_eq!(shown(&token).as_deref(), Ok("Bearer two"));
        std::fs::write(&path, "\n").expect("written");
        assert!(shown(&token).expect_err("empty").ends_with("token is empty"));
        std::fs::remove_file(&path).expect("removed");
        assert!(shown(&token).expect_err("gone").starts_with("cannot read "));
        let user = Credentials { user: Some(Secret::File(path.clone())), ..Credentials::default() };
        std::fs::write(&path, "me:secret\n").expect("written");
        assert_eq!(shown(&user).as_deref(), Ok("Basic bWU6c2VjcmV0"));
        let headers = Credentials { header_files: vec![path.clone()], ..Credentials::default() };
        std::fs::write(&path, "X-One: 1\n\nCookie: a=b\r\n").expect("written");
        assert_eq!(headers.header_edits().map(|edits| edits.len()), Ok(2));
        std::fs::write(&path, "X-One: 1\nsecret\n").expect("written");
        let error = headers.header_edits().expect_err("no header");
        assert!(error.contains("token:2: ") && !error.contains("secret"), "{error}");
    }

    #[test]
    fn a_command_prints_the_token() {
        for (command, expected) in [
            ("printf ' abc\n\n'", Ok("Bearer abc")),
            ("true", Err("--bearer-command: it printed nothing")),
            ("echo first >&2; echo no such vault >&2; exit 3", Err("--bearer-command: exit status: 3: no such vault")),
            ("printf 'a\\nb'", Err("the bearer token contains a character not allowed in a header")),
        ] {
            let token = Secret::Command(command.to_owned());
            assert_eq!(format!("{token:?}"), "Command");
            let credentials = Credentials { bearer: Some(token), ..Credentials::default() };
            assert_eq!(shown(&credentials).as_deref().map_err(String::as_str), expected, "{command}");
            assert_eq!(credentials.check(), Ok(()), "a command is not run to check it");
        }
    }
}
