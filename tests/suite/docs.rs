//! The documentation: its commands run, its links lead somewhere, every flag is explained, and nothing outgrows its limits.
//!
//! Leaves what pages and their blocks are, and how they are run, to `support::pages`.

use std::collections::BTreeSet;

use crate::support::pages::{self, Page};
use crate::support::peers::http_server;
use crate::support::{listen, require, root, run};

/// The address that stands for somebody else's stream.
const STREAM: &str = "wss://stream.example.com";

/// The address that stands for somebody else's HTTP service.
const HOOKS: &str = "https://hooks.example.com";

/// What pages need besides `wsp`: a component, and what shows that.
const NEEDS: [(&str, &str); 9] = [
    ("curl", "curl "),
    ("openssl", "openssl "),
    ("python-websockets", "python3 "),
    ("python-websockets", HOOKS),
    ("jq", "| jq "),
    ("kafka", "localhost:9092"),
    ("nats", "localhost:4222"),
    ("postgres", "localhost:5432"),
    ("opensearch", "localhost:9200"),
];

/// Runs the pages that are `chosen`, each with what it needs.
#[track_caller]
fn run_pages(chosen: impl Fn(&Page) -> bool) {
    // What listens is read from /proc.
    if !cfg!(target_os = "linux") {
        return;
    }
    let pages = pages::all();
    let chosen: Vec<_> = pages.iter().filter(|page| chosen(page)).collect();
    assert!(!chosen.is_empty(), "no page was chosen");
    for page in chosen {
        let typed = page.typed();
        let needs = |name: &str| NEEDS.iter().any(|(component, sign)| *component == name && typed.contains(sign));
        if NEEDS.iter().any(|(name, _)| needs(name) && !require(name)) {
            continue;
        }
        let mut hosts = Vec::new();
        let trade = r#"{"seq":{{seq}},"symbol":"AAPL","price":{{rand(100,120)}},"size":{{rand(1,900)}}}"#;
        let stream = page.text.contains(STREAM).then(|| listen(&["--push", "200", "--template", "--payload", trade]));
        if let Some(stream) = &stream {
            hosts.push((STREAM.to_owned(), format!("ws://127.0.0.1:{}", stream.port)));
        }
        let hooks = page.text.contains(HOOKS).then(|| http_server(&serde_json::json!({})));
        if let Some(hooks) = &hooks {
            hosts.push((HOOKS.to_owned(), format!("http://127.0.0.1:{}", hooks.port)));
        }
        #[cfg(feature = "kafka")]
        if needs("kafka") {
            hosts.push(("localhost:9092".to_owned(), crate::support::kafka::shared()));
        }
        #[cfg(feature = "nats")]
        let nats = needs("nats").then(|| crate::support::nats::Nats::start(&[]));
        #[cfg(feature = "nats")]
        if let Some(nats) = &nats {
            hosts.push(("localhost:4222".to_owned(), format!("127.0.0.1:{}", nats.port)));
        }
        if needs("postgres") {
            let port = crate::support::stores::Postgres::shared().port;
            hosts.push(("localhost:5432".to_owned(), format!("127.0.0.1:{port}")));
            hosts.push(("-h localhost".to_owned(), format!("-h 127.0.0.1 -p {port}")));
        }
        if needs("opensearch") {
            let port = crate::support::stores::Search::shared().port;
            hosts.push(("localhost:9200".to_owned(), format!("127.0.0.1:{port}")));
        }
        page.run(&hosts);
    }
}

/// The pages that start a broker or a database, which are slow to start.
fn uses_a_store(page: &Page) -> bool {
    let typed = page.typed();
    ["localhost:9092", "localhost:9200", "localhost:5432", "localhost:4222"].iter().any(|sign| typed.contains(sign))
}

/// A share of the recipes, by the first letter of the name.
#[track_caller]
fn run_recipes(letters: std::ops::RangeInclusive<char>) {
    run_pages(|page| {
        let name = page.path.strip_prefix("docs/recipes/");
        name.is_some_and(|name| name.starts_with(|first| letters.contains(&first))) && !uses_a_store(page)
    });
}

#[test]
fn the_commands_of_the_readme_run() {
    run_pages(|page| page.path == "README.md");
}

#[test]
fn the_commands_of_the_guide_run_a() {
    run_pages(|page| {
        page.path.starts_with("docs/guide/") && page.path.as_str() < "docs/guide/g" && !uses_a_store(page)
    });
}

#[test]
fn the_commands_of_the_guide_run_b() {
    run_pages(|page| {
        page.path.starts_with("docs/guide/") && page.path.as_str() > "docs/guide/g" && !uses_a_store(page)
    });
}

#[test]
fn the_commands_of_reference_and_comparison_run() {
    run_pages(|page| {
        !["README.md", "docs/guide/", "docs/recipes/"].iter().any(|part| page.path.starts_with(part))
            && !uses_a_store(page)
    });
}

#[test]
fn the_commands_of_the_recipes_run_a() {
    run_recipes('a'..='f');
}

#[test]
fn the_commands_of_the_recipes_run_b() {
    run_recipes('g'..='q');
}

#[test]
fn the_commands_of_the_recipes_run_c() {
    run_recipes('r'..='z');
}

#[cfg(all(feature = "kafka", feature = "nats", feature = "postgres"))]
#[test]
fn the_commands_with_brokers_and_databases_run() {
    run_pages(|page| page.path.starts_with("docs/") && uses_a_store(page));
}

/// Commands for which there is no server, no terminal or no other machine here stay few, and each says why.
#[test]
fn few_commands_are_left_out_and_each_with_a_reason() {
    let mut left_out = Vec::new();
    let mut count = 0;
    for page in pages::all() {
        for block in page.blocks().iter().filter(|block| block.is_command()) {
            count += 1;
            if let Some(reason) = &block.left_out {
                assert!(reason.len() > 5, "{}:{}: no reason", page.path, block.line);
                left_out.push(format!("{}:{}: {reason}", page.path, block.line));
            }
        }
    }
    assert!(count > 100, "{count} blocks of commands");
    let (list, few) = (left_out.join("\n"), count / 20);
    assert!(left_out.len() <= few, "{} of {count} blocks are not run, more than {few}:\n{list}", left_out.len());
}

/// The flags that a help lists; what it says about them is indented further.
fn flags_of(help: &str) -> BTreeSet<String> {
    let lists_a_flag = |line: &&str| line.trim_start().starts_with('-') && !line.starts_with("       ");
    let words = help.lines().filter(lists_a_flag).flat_map(|line| line.split([' ', ',', '[', '=']));
    words.filter(|word| word.starts_with("--")).map(str::to_owned).collect()
}

#[test]
fn every_flag_is_in_the_guide() {
    let mut guide = String::new();
    for page in pages::all().into_iter().filter(|page| page.path.starts_with("docs/guide/")) {
        guide.push_str(&page.text);
    }
    let named: BTreeSet<_> = guide.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).collect();
    let commands = [
        "connect",
        "listen",
        "relay",
        "bench",
        "bench report",
        "bench compare",
        "top",
        "demo",
        "config",
        "config show",
        "generate",
    ];
    let mut missing = BTreeSet::new();
    let mut count = 0;
    for command in commands {
        let words: Vec<_> = command.split(' ').chain(["--help"]).collect();
        let help = run(&words, "").exits(0);
        let flags = flags_of(help.stdout());
        count += flags.len();
        missing.extend(flags.into_iter().filter(|flag| !named.contains(flag.as_str())));
    }
    assert!(count > 300, "{count} flags");
    assert!(missing.is_empty(), "not in docs/guide: {missing:?}");
}

#[test]
fn every_link_leads_to_a_file_and_a_heading_that_exist() {
    let pages = pages::all();
    let mut broken = Vec::new();
    let mut count = 0;
    for page in &pages {
        let folder = root().join(&page.path).parent().expect("a folder").to_owned();
        for (line, target) in page.links() {
            if target.contains("://") {
                continue;
            }
            count += 1;
            let (path, heading) = target.split_once('#').unwrap_or((&target, ""));
            let file = if path.is_empty() { root().join(&page.path) } else { folder.join(path) };
            let leads = match std::fs::canonicalize(&file) {
                Err(_) => false,
                Ok(_) if heading.is_empty() => true,
                Ok(file) => pages.iter().any(|other| {
                    std::fs::canonicalize(root().join(&other.path)).expect("a page") == file
                        && other.anchors().iter().any(|anchor| anchor == heading)
                }),
            };
            if !leads {
                broken.push(format!("{}:{line}: {target}", page.path));
            }
        }
    }
    assert!(count > 50, "{count} links");
    assert!(broken.is_empty(), "links to nowhere:\n{}", broken.join("\n"));
}

#[test]
fn every_page_is_in_the_table_of_contents() {
    let pages = pages::all();
    let summary = pages.iter().find(|page| page.path == "docs/SUMMARY.md").expect("the table of contents");
    let listed: BTreeSet<_> = summary.links().into_iter().map(|(_, target)| format!("docs/{target}")).collect();
    let paths =
        pages.iter().map(|page| &page.path).filter(|path| path.starts_with("docs/") && *path != "docs/SUMMARY.md");
    let missing: Vec<_> = paths.filter(|path| !listed.contains(*path)).collect();
    assert!(missing.is_empty(), "not in docs/SUMMARY.md: {missing:?}");
}

/// Pages that list other pages, or follow the configuration of another system key by key.
const LONGER: [&str; 4] = ["README", "edge-to-cloud", "feed-container", "flume-source"];

#[test]
fn each_recipe_fits_a_screen() {
    let is_recipe = |page: &Page| {
        let name = page.path.strip_prefix("docs/recipes/").and_then(|name| name.strip_suffix(".md"));
        name.is_some_and(|name| !LONGER.contains(&name))
    };
    let recipes: Vec<_> = pages::all().into_iter().filter(is_recipe).collect();
    assert!(recipes.len() >= 20, "{} recipes", recipes.len());
    for page in recipes {
        let lines = page.text.lines().count();
        assert!(lines <= 40, "{} has {lines} lines", page.path);
    }
}

#[test]
fn the_readme_is_short() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("the README");
    let (lines, words) = (readme.lines().count(), readme.split_whitespace().count());
    assert!(lines <= 260 && words <= 1700, "README.md has {lines} lines and {words} words");
    let wide: Vec<_> = readme.lines().filter(|line| line.chars().count() > 120).collect();
    assert!(wide.is_empty(), "lines of README.md with more than 120 characters: {wide:#?}");
}
