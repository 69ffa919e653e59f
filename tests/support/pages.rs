//! The pages of the documentation: what is in their Markdown, and the script that does what a reader would do.
//!
//! How a page says what its blocks are:
//! - Blocks of `sh` and `bash` are commands; one of them that fails fails the page. A comment behind a command that says
//!   `first terminal` or `until Ctrl-C` means that it goes on in the background.
//! - Blocks of `console` hold commands behind `$ `, and what they print; `…` stands for anything.
//! - A paragraph that ends in "as `NAME`:" says in which file its reader saves the block that follows.
//! - `<!-- not run: REASON -->` before a block leaves it out.
//!
//! Invariants: ports of four digits that begin with 8 or 9 are replaced by free ones, the same throughout a page; a script
//! waits for what it needs, never for time to pass; what it started ends with it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::process::{Output, Run};
use super::{closed_port, root, scratch};

/// Longest time for one page.
const LIMIT: Duration = Duration::from_secs(120);

/// What every script begins with.
const HEAD: &str = r#"
set -e
at='the beginning'
declare -A running
finish() {
    status=$?
    trap '' TERM
    if [ $status -eq 0 ]; then
        for pid in "${!running[@]}"; do
            kill -0 "$pid" 2>/dev/null || wait "$pid" || { status=$?; at=${running[$pid]}; }
        done
    fi
    [ $status -eq 0 ] || echo "FAILED with $status in the block at $at" >&2
    # Once to end in order, and once more for those who still wait for somebody.
    kill -TERM 0
    sleep 0.3
    kill -TERM 0
    wait
    exit $status
}
trap finish EXIT
until_true() {
    local deadline=$((SECONDS + 30))
    until "$@"; do
        [ $SECONDS -lt $deadline ] || { echo "waited in vain: $*" >&2; return 1; }
        sleep 0.02
    done
}
listens() {
    cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep -q ":$(printf %04X "$1") [0:]* 0A "
}
prints() {
    local printed
    printed=$(cat "$1")
    [[ $printed == $2 ]]
}
"#;

/// `wsp` as pages call it. Tests share the machine with others, so a load test may well say that there was no room for it.
const WSP: &str = r#"#!/bin/bash
[ "$1" = bench ] || exec WSP "$@"
WSP "$@" || { code=$?; [ $code = 40 ] || [ $code = 41 ] || exit $code; }
"#;

/// A Markdown page.
pub struct Page {
    /// Its path below the top of the repository.
    pub path: String,
    pub text: String,
}

/// A fenced block.
pub struct Block {
    pub language: String,
    pub lines: Vec<String>,
    /// Where its fence begins, from 1.
    pub line: usize,
    /// Why it is not run.
    pub left_out: Option<String>,
    /// The file that the reader saves it in.
    pub file: Option<String>,
}

impl Block {
    /// Whether it is meant to be typed.
    pub fn is_command(&self) -> bool {
        ["sh", "bash", "console"].contains(&self.language.as_str())
    }
}

fn markdown_below(folder: &Path, paths: &mut Vec<PathBuf>) {
    for path in super::files::list(folder) {
        if path.is_dir() {
            markdown_below(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            paths.push(path);
        }
    }
}

/// The README and everything in `docs`.
pub fn all() -> Vec<Page> {
    let mut paths = vec![root().join("README.md")];
    markdown_below(&root().join("docs"), &mut paths);
    let page = |path: PathBuf| Page {
        text: std::fs::read_to_string(&path).expect("a page"),
        path: super::text(path.strip_prefix(root()).expect("a path below the top")),
    };
    paths.into_iter().map(page).collect()
}

impl Page {
    pub fn blocks(&self) -> Vec<Block> {
        let mut blocks: Vec<Block> = Vec::new();
        let mut open = false;
        let mut before = String::new();
        for (index, line) in self.text.lines().enumerate() {
            if open && line.trim() == "```" {
                open = false;
                before.clear();
            } else if open {
                blocks.last_mut().expect("a block").lines.push(line.to_owned());
            } else if let Some(language) = line.strip_prefix("```") {
                open = true;
                let left_out = before.strip_prefix("<!-- not run: ").and_then(|rest| rest.strip_suffix(" -->"));
                blocks.push(Block {
                    language: language.to_owned(),
                    lines: Vec::new(),
                    line: index + 1,
                    left_out: left_out.map(str::to_owned),
                    file: file_of(&before),
                });
            } else if !line.is_empty() {
                line.clone_into(&mut before);
            }
        }
        assert!(!open, "{}: a block does not end", self.path);
        blocks
    }

    /// The lines outside blocks, by their number.
    pub fn prose(&self) -> Vec<(usize, &str)> {
        let mut open = false;
        let outside = |(index, line): (usize, _)| {
            let fence = str::starts_with(line, "```");
            open ^= fence;
            (!open && !fence).then_some((index + 1, line))
        };
        self.text.lines().enumerate().filter_map(outside).collect()
    }

    /// The targets of its links, with the number of the line.
    pub fn links(&self) -> Vec<(usize, String)> {
        let targets = |(number, line): (usize, &str)| {
            let targets = line.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
            targets.map(|target| (number, target.to_owned())).collect::<Vec<_>>()
        };
        self.prose().into_iter().flat_map(targets).collect()
    }

    /// The names by which links reach its headings.
    pub fn anchors(&self) -> Vec<String> {
        let headings = self.prose().into_iter().filter(|(_, line)| line.starts_with('#'));
        headings.map(|(_, line)| anchor(line.trim_start_matches('#').trim())).collect()
    }

    /// What its reader types, but for what is left out.
    pub fn typed(&self) -> String {
        let blocks = self.blocks().into_iter().filter(|block| block.is_command() && block.left_out.is_none());
        blocks.map(|block| block.lines.join("\n") + "\n").collect()
    }

    /// The script that does what its reader would, but for what is left out; nothing where that is everything.
    pub fn script(&self, hosts: &[(String, String)]) -> Option<String> {
        let blocks: Vec<_> = self.blocks().into_iter().filter(|block| block.left_out.is_none()).collect();
        if !blocks.iter().any(Block::is_command) {
            return None;
        }
        let mut text = String::new();
        for block in &blocks {
            let at = format!("{}:{}", self.path, block.line);
            if let Some(file) = &block.file {
                let _ =
                    writeln!(text, "cat > {} <<'END OF FILE'\n{}\nEND OF FILE", quoted(file), block.lines.join("\n"));
            } else if block.language == "console" {
                let _ = writeln!(text, "at={}", quoted(&at));
                session(block, &mut text);
            } else if block.is_command() {
                let _ = writeln!(text, "at={}", quoted(&at));
                commands(&block.lines, &at, &mut text);
            }
        }
        for (from, to) in hosts {
            text = text.replace(from, to);
        }
        Some(format!("{HEAD}{}", with_free_ports(&text)))
    }

    /// Does what its reader would.
    #[track_caller]
    pub fn run(&self, hosts: &[(String, String)]) {
        let Some(script) = self.script(hosts) else { return };
        let folder = scratch();
        let (home, work) = (folder.path().join("home"), folder.path().join("work"));
        for path in [&home, &work] {
            std::fs::create_dir(path).expect("a folder");
        }
        let path = super::write(&folder, "script", script);
        super::write(&folder, "wsp", WSP.replace("WSP", env!("CARGO_BIN_EXE_wsp")));
        Run::new("chmod").args(["+x".as_ref(), folder.path().join("wsp").as_os_str()]).input("").exits(0);
        let run = Run::new("setsid")
            .args(["bash".as_ref(), path.as_os_str()])
            .env("PATH", format!("{}:{}", super::text(folder.path()), std::env::var("PATH").unwrap_or_default()))
            .env("HOME", &home)
            .env("XDG_CONFIG_HOME", home.join(".config"))
            .env("XDG_STATE_HOME", home.join(".local/state"))
            .env("LANG", "C.UTF-8")
            .directory(&work)
            .limit(LIMIT);
        let process = run.spawn();
        let group = Group(i32::try_from(process.id()).expect("a process id"));
        let Output { code, stderr, bytes, .. } = process.finish();
        drop(group);
        assert_eq!(code, 0, "{}\nstderr: {stderr}\nstdout: {}", self.path, String::from_utf8_lossy(&bytes));
    }
}

/// Everything that a script started.
struct Group(i32);

impl Drop for Group {
    fn drop(&mut self) {
        // Nobody is left of a script that ended in order.
        let _ = killpg(Pid::from_raw(self.0), Signal::SIGKILL);
    }
}

/// The file named at the end of a paragraph: "Save this as `NAME`:".
fn file_of(paragraph: &str) -> Option<String> {
    let (_, name) = paragraph.strip_suffix("`:")?.rsplit_once(" as `")?;
    Some(name.to_owned())
}

/// The name by which links reach a heading, as forges make it.
fn anchor(heading: &str) -> String {
    let kept = |character: &char| character.is_alphanumeric() || " -_".contains(*character);
    heading
        .to_lowercase()
        .chars()
        .filter(kept)
        .map(|character| if character == ' ' { '-' } else { character })
        .collect()
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// The command without the comment that says it goes on in the background.
fn background(line: &str) -> Option<&str> {
    let (command, comment) = line.split_once("  # ")?;
    let marks = ["first terminal", "until Ctrl-C"];
    marks.iter().any(|mark| comment.contains(mark)).then_some(command)
}

fn commands(lines: &[String], at: &str, text: &mut String) {
    let mut waited = 0;
    for (index, line) in lines.iter().enumerate() {
        let in_background = background(line);
        let own = line.split(" # ").next().is_some_and(|command| command.trim_end().ends_with(" &"));
        match in_background {
            Some(command) => {
                let _ = writeln!(text, "{} &\nrunning[$!]={}", command.trim_end(), quoted(at));
            }
            None => {
                let _ = writeln!(text, "{line}");
            }
        }
        if in_background.is_some() || own {
            waits(&lines[waited..=index].join("\n"), text);
            waited = index + 1;
        }
    }
}

/// Lines that wait until what a command in the background opens is there.
fn waits(command: &str, text: &mut String) {
    let words: Vec<_> = command.split_whitespace().map(|word| word.trim_matches(['\'', '"'])).collect();
    for pair in words.windows(2) {
        let port = if ["listen", "-l", "--admin", "http.server"].contains(&pair[0]) {
            pair[1].rsplit(':').next()
        } else {
            pair[1].split_once("-listen://").and_then(|(_, rest)| rest.split('/').next()?.rsplit(':').next())
        };
        if let Some(port) = port.and_then(|port| port.parse::<u16>().ok()).filter(|port| *port != 0) {
            let _ = writeln!(text, "until_true listens {port}");
        } else if let Some(path) = pair[1].strip_prefix("file:")
            && !command.contains("-listen://")
        {
            // A server writes once somebody has come.
            let _ = writeln!(text, "until_true [ -s {} ]", quoted(path));
        }
    }
}

fn session(block: &Block, text: &mut String) {
    let mut lines = block.lines.iter().peekable();
    let mut count = 0;
    while let Some(line) = lines.next() {
        let mut command = line.strip_prefix("$ ").expect("a command before what is printed").to_owned();
        while command.ends_with('\\') {
            let _ = write!(command, "\n{}", lines.next().expect("the rest of a command"));
        }
        let mut printed = Vec::new();
        while let Some(line) = lines.next_if(|line| !line.starts_with("$ ")) {
            printed.push(line.as_str());
        }
        count += 1;
        let file = format!("../printed-{}-{count}", block.line);
        let in_background =
            background(&command).map(str::to_owned).or_else(|| command.strip_suffix(" &").map(str::to_owned));
        let end = if in_background.is_some() { "&" } else { "|| true" };
        let body = in_background.as_ref().unwrap_or(&command);
        let _ = writeln!(text, "{{ {body}\n}} > {file} 2>&1 {end}");
        if let Some(command) = &in_background {
            waits(command, text);
        }
        let check = format!("prints {file} {}", quoted(&pattern_of(&printed.join("\n"))));
        if in_background.is_some() {
            let _ = writeln!(text, "until_true {check}");
        } else {
            let _ = writeln!(text, "{check} || {{ echo \"$(cat {file})\" >&2; exit 1; }}");
        }
    }
}

/// A pattern for `[[ ]]` in which `…` stands for anything, and every other sign for itself.
fn pattern_of(printed: &str) -> String {
    let mut pattern = String::new();
    for character in printed.chars() {
        if r"\*?[]".contains(character) {
            pattern.push('\\');
        }
        pattern.push(if character == '…' { '*' } else { character });
    }
    pattern
}

/// Replaces numbers that look like ports of examples.
fn with_free_ports(text: &str) -> String {
    let mut ports: BTreeMap<&str, String> = BTreeMap::new();
    let mut result = String::new();
    let bytes = text.as_bytes();
    let mut copied = 0;
    let mut place = 0;
    while place < bytes.len() {
        let digits = bytes[place..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 {
            place += 1;
            continue;
        }
        let before = place.checked_sub(1).map_or(b' ', |index| bytes[index]);
        let apart = !(before.is_ascii_alphanumeric() || b"._".contains(&before));
        if digits == 4 && apart && b"89".contains(&bytes[place]) {
            result.push_str(&text[copied..place]);
            let port = ports.entry(&text[place..place + 4]).or_insert_with(|| closed_port().to_string());
            result.push_str(port);
            copied = place + 4;
        }
        place += digits;
    }
    result.push_str(&text[copied..]);
    result
}
