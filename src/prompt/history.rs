//! What is remembered of what was typed: a file per host, secrets left out.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rustyline::Editor;
use rustyline::history::{FileHistory, History as _};

use super::helper::PromptHelper;
use crate::redact::mentions_secret;

/// Longer lines are not worth remembering.
const LONGEST: usize = 16 * 1024;

/// The history of one host below the directory of the user's state.
#[must_use]
pub(crate) fn history_file(state: &Path, host: &str) -> PathBuf {
    let name: String =
        host.chars().map(|c| if c.is_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '_' }).collect();
    let name = if name.trim_matches('.').is_empty() { "_".to_owned() } else { name };
    state.join("wscat-plus").join("history").join(name)
}

/// Adds to the history file what may be remembered.
pub(super) struct Keeper {
    file: Option<PathBuf>,
}

impl Keeper {
    /// Loads what earlier runs remembered. A missing or unreadable history is ignored.
    pub(super) fn load(editor: &mut Editor<PromptHelper, FileHistory>, file: Option<&Path>) -> Self {
        let file = file.filter(|file| {
            let directory = file.parent().unwrap_or(Path::new("."));
            fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).is_ok()
        });
        if let Some(file) = file {
            let _ = editor.load_history(file);
        }
        Self { file: file.map(Path::to_path_buf) }
    }

    /// Remembers a line, unless it is empty, begins with a space, is huge or names a secret.
    pub(super) fn keep(&mut self, editor: &mut Editor<PromptHelper, FileHistory>, line: &str) {
        if line.trim().is_empty() || line.len() > LONGEST || mentions_secret(line) {
            return;
        }
        if !editor.history_mut().add(line).unwrap_or(false) {
            return;
        }
        if let Some(file) = &self.file
            && editor.append_history(file).is_err()
        {
            self.file = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_per_host_whatever_it_is_called() {
        let table = [
            ("localhost", "localhost"),
            ("127.0.0.1", "127.0.0.1"),
            ("::1", "__1"),
            ("../../etc/passwd", ".._.._etc_passwd"),
            ("..", "_"),
            ("", "_"),
        ];
        for (host, name) in table {
            assert_eq!(history_file(Path::new("/s"), host), Path::new("/s/wscat-plus/history").join(name));
        }
    }
}
