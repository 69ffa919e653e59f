//! `wsp help TOPIC`: short pages of the documentation as plain text.
//!
//! Owns which pages there are and how they are called. Leaves the text to `docs/`, and laying it out to [`super::plain`].

use clap::Args;

use super::plain;
use crate::config::nearest::nearest;
use crate::error::Error;
use crate::exit::Exit;
use crate::host::Host;

const EXAMPLES: &str = "\
Examples:
  wsp help                         how to call wsp, its subcommands, and the topics
  wsp help relay                   the same as wsp relay --help
  wsp help exit-codes              a page on a topic
  wsp help recipes chat-server     one of the recipes that wsp help recipes lists
";

/// What `wsp help` is asked for.
#[derive(Debug, Args)]
#[command(before_help = EXAMPLES, after_long_help = format!("Topics:\n{}", list().trim_end()))]
pub(crate) struct HelpArgs {
    /// A subcommand or a topic; behind recipes the name of one
    #[arg(required = true)]
    pub topic: Vec<String>,
}

/// A page of the documentation.
struct Page {
    name: &'static str,
    about: &'static str,
    /// Where it is in `docs`.
    file: &'static str,
    text: &'static str,
}

macro_rules! topic {
    ($name:literal, $about:literal, $file:literal) => {
        Page { name: $name, about: $about, file: $file, text: include_str!(concat!("../../docs/", $file)) }
    };
}

macro_rules! page {
    ($name:literal) => {
        ($name, include_str!(concat!("../../docs/recipes/", $name, ".md")))
    };
}

const TOPICS: [Page; 9] = [
    topic!("event-lines", "the lines of --json and of recordings", "reference/event-lines.md"),
    topic!("exit-codes", "what each exit code means", "reference/exit-codes.md"),
    topic!("filters", "jq filters, state, schemas, limits", "guide/filters.md"),
    topic!("meta", "what filters know about where a message comes from", "reference/meta.md"),
    topic!("recipes", "short solutions; wsp help recipes NAME prints one", "recipes/README.md"),
    topic!("reconnect", "reconnecting, pings, heartbeats, time limits", "guide/staying-connected.md"),
    topic!("settings", "variables, profiles, the configuration file", "guide/settings.md"),
    topic!("tls", "certificates, tokens and passwords", "guide/tls-and-credentials.md"),
    topic!("troubleshooting", "what to do about an error", "troubleshooting.md"),
];

const RECIPES: [(&str, &str); 28] = [
    page!("alert-on-a-price"),
    page!("chat-server"),
    page!("chrome-devtools-by-hand"),
    page!("container"),
    page!("edge-to-cloud"),
    page!("exchange-to-file"),
    page!("feed-container"),
    page!("find-the-highest-rate"),
    page!("flume-source"),
    page!("follow-a-file-to-browsers"),
    page!("jq-and-shell-scripts"),
    page!("kafka-gateway"),
    page!("kubernetes-probe"),
    page!("load-test-with-a-threshold"),
    page!("login-then-subscribe"),
    page!("mock-server-with-faults"),
    page!("nifi-flow"),
    page!("program-per-connection"),
    page!("recording-proxy"),
    page!("replay-a-har"),
    page!("share-one-stream"),
    page!("socket-io-by-hand"),
    page!("stream-into-kafka"),
    page!("stream-into-nats"),
    page!("stream-into-postgresql"),
    page!("survive-an-outage"),
    page!("systemd-unit"),
    page!("test-a-server-in-ci"),
];

/// Prints the page.
///
/// # Errors
/// Standard output that cannot be written to.
pub(crate) fn run(args: &HelpArgs, host: &mut Host) -> Result<Exit, Error> {
    let words: Vec<&str> = args.topic.iter().map(String::as_str).collect();
    host.print(page(&words).unwrap_or_default())?;
    Ok(Exit::Done)
}

/// Returns a page as plain text.
fn page(words: &[&str]) -> Option<String> {
    match *words {
        ["recipes", name] => {
            let (_, text) = RECIPES.into_iter().find(|(known, _)| *known == name)?;
            Some(plain::render(text, |_| None))
        }
        ["recipes"] => Some(plain::render(find("recipes")?.text, recipe_behind)),
        [name] => Some(plain::render(find(name)?.text, topic_behind)),
        _ => None,
    }
}

fn find(name: &str) -> Option<&'static Page> {
    TOPICS.iter().find(|page| page.name == name)
}

/// Returns the name of the recipe that a link leads to.
fn recipe_behind(target: &str) -> Option<String> {
    let name = target.strip_suffix(".md")?;
    RECIPES.iter().find(|(known, _)| *known == name).map(|(known, _)| (*known).to_owned())
}

/// Returns how to ask for the page that a link leads to.
fn topic_behind(target: &str) -> Option<String> {
    let file = target.split('#').next()?.trim_start_matches("../");
    let leads_to = |page: &&Page| !file.is_empty() && page.file.rsplit('/').next() == file.rsplit('/').next();
    TOPICS.iter().find(leads_to).map(|page| format!("wsp help {}", page.name))
}

/// Returns the topics and what they are about.
pub(super) fn topics() -> impl Iterator<Item = (String, Option<String>)> {
    TOPICS.iter().map(|page| (page.name.to_owned(), Some(page.about.to_owned())))
}

/// Returns the names of the topics.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    TOPICS.iter().map(|page| page.name)
}

/// Returns a line for each topic.
pub(super) fn list() -> String {
    let lines = TOPICS.iter().map(|page| format!("  {:<16} {}", page.name, page.about));
    lines.collect::<Vec<_>>().join("\n") + "\n"
}

/// Returns whether a word is the name of a topic.
pub(super) fn is_topic(word: &str) -> bool {
    find(word).is_some()
}

/// Returns what is wrong with the words behind `wsp help` that begin with a topic.
pub(super) fn unknown(asked: &[String]) -> Option<String> {
    match asked {
        [topic, name, rest @ ..] if topic == "recipes" => {
            let known: Vec<&str> = RECIPES.iter().map(|(known, _)| *known).collect();
            let is_known = rest.is_empty() && (known.contains(&name.as_str()) || name.starts_with('-'));
            (!is_known).then(|| no_help_on(&asked[1..].join(" "), &known))
        }
        [topic, rest @ ..] if is_topic(topic) && rest.iter().any(|word| !word.starts_with('-')) => {
            Some(format!("'{topic}' has no page on '{}'; wsp help {topic} prints all of it\n", rest.join(" ")))
        }
        _ => None,
    }
}

/// Returns the message for a word that no page has as its name.
pub(super) fn no_help_on(word: &str, known: &[&str]) -> String {
    let meant = nearest(word, known.iter().copied()).map(|name| format!("did you mean '{name}'? ")).unwrap_or_default();
    format!("no help on '{word}'; {meant}topics are {}\n", known.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_recipe_can_be_printed() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/recipes");
        let files = std::fs::read_dir(folder).expect("the recipes").map(|entry| entry.expect("an entry").path());
        let name = |path: std::path::PathBuf| path.file_stem().expect("a name").to_string_lossy().into_owned();
        let mut files: Vec<_> = files.map(name).filter(|name| name != "README").collect();
        files.sort();
        assert_eq!(RECIPES.map(|(name, _)| name).to_vec(), files);
    }

    #[test]
    fn links_name_the_page_that_wsp_help_prints() {
        let filters = page(&["filters"]).expect("a page");
        assert!(filters.contains("(wsp help reconnect)") && filters.contains("(wsp help meta)"), "{filters}");
        let recipes = page(&["recipes"]).expect("a page");
        assert!(recipes.contains("A chat server (chat-server)"), "{recipes}");
        assert_eq!(page(&["nosuch"]), None);
    }
}
