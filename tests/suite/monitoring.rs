//! What `wsp generate monitoring` writes: rules that promtool takes, a dashboard, and no metric that does not exist.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use super::admin::promtool;
use crate::support::http::{admin_port, get};
use crate::support::{listen, require, root, run, scratch, text, write};

/// The metrics that an expression or a text names.
fn metrics_in(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("wsp_") || word.starts_with("process_"))
        .map(|word| {
            ["_bucket", "_sum", "_count"].iter().find_map(|end| word.strip_suffix(end)).unwrap_or(word).to_owned()
        })
        .collect()
}

/// Metrics of relays that fold, make batches, or have a broker as their source.
const OF_RELAYS: [&str; 7] = [
    "wsp_lag",
    "wsp_batches_total",
    "wsp_batch_messages",
    "wsp_batch_age_seconds",
    "wsp_fold_states",
    "wsp_fold_states_max",
    "wsp_fold_states_evicted_total",
];

/// The metrics that a server has, and those of certain relays.
fn metrics_there_are() -> BTreeSet<String> {
    let server = listen(&["--echo", "--admin", "0", "--max-connections", "10"]);
    let answer = get(admin_port(&server), "/metrics").is(200);
    let types = answer.text().lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types.filter_map(|line| line.split(' ').next()).chain(OF_RELAYS).map(str::to_owned).collect()
}

fn written() -> (tempfile::TempDir, String, Value) {
    let files = scratch();
    let folder = files.path().join("made/on the way");
    run(&["generate", "monitoring", &text(&folder)], "").exits(0).prints("");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect("a file");
    let (rules, dashboard) = (read("wsp-alerts.yml"), read("wsp-dashboard.json"));
    (files, rules, serde_json::from_str(&dashboard).expect("JSON"))
}

/// Every expression of the dashboard, with its variables given values.
fn expressions(dashboard: &Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    targets
        .map(|target| target["expr"].as_str().expect("an expression"))
        .map(|text| text.replace("$__rate_interval", "5m").replace("$job", ".*").replace("$instance", ".*"))
        .collect()
}

#[test]
fn rules_and_dashboard_name_the_metrics_that_are() {
    let there = metrics_there_are();
    let (_files, rules, dashboard) = written();
    let missing: Vec<_> = metrics_in(&rules).into_iter().filter(|name| !there.contains(name)).collect();
    assert!(missing.is_empty(), "rules name what is not there: {missing:?}");
    let shown: BTreeSet<_> = expressions(&dashboard).iter().flat_map(|text| metrics_in(text)).collect();
    if cfg!(target_os = "linux") {
        assert_eq!(shown, there, "the dashboard shows each metric, and no other");
    }
}

#[test]
fn the_dashboard_is_in_order() {
    let (_files, _, dashboard) = written();
    let panels = dashboard["panels"].as_array().expect("panels");
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().expect("an id")).collect();
    assert_eq!(ids.len(), panels.len(), "each panel has an id of its own");
    let mut taken = BTreeSet::new();
    for panel in panels {
        let at = |name: &str| panel["gridPos"][name].as_u64().expect("a number");
        assert!(at("x") + at("w") <= 24, "{}", panel["title"]);
        for place in (at("x")..at("x") + at("w")).flat_map(|x| (at("y")..at("y") + at("h")).map(move |y| (x, y))) {
            assert!(taken.insert(place), "{} lies over another panel", panel["title"]);
        }
        if panel["type"] != "row" {
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
            assert!(panel["description"].as_str().is_some_and(|text| text.ends_with('.')), "{}", panel["title"]);
        }
    }
    let variables = dashboard["templating"]["list"].as_array().expect("variables");
    let names: Vec<_> = variables.iter().map(|variable| variable["name"].as_str().expect("a name")).collect();
    assert_eq!(names, ["datasource", "job", "instance"]);
}

#[test]
fn promtool_takes_the_rules_and_every_expression_of_the_dashboard() {
    if !require("promtool") {
        return;
    }
    let (files, rules, dashboard) = written();
    let path = write(&files, "alerts.yml", rules);
    promtool().args(["check", "rules"]).arg(&path).input("").exits(0);
    let records: String = expressions(&dashboard)
        .iter()
        .enumerate()
        .map(|(number, text)| format!("      - record: panel:{number}\n        expr: '{}'\n", text.replace('\'', "''")))
        .collect();
    let recording = format!("groups:\n  - name: dashboard\n    rules:\n{records}");
    let path = write(&files, "dashboard.yml", recording);
    promtool().args(["check", "rules"]).arg(&path).input("").exits(0);
}

#[test]
fn alerts_fire_when_they_should() {
    if !require("promtool") {
        return;
    }
    let (files, rules, _) = written();
    write(&files, "alerts.yml", rules);
    let cases = std::fs::read_to_string(root().join("tests/data/alerts.yml")).expect("the cases");
    let cases = write(&files, "cases.yml", cases);
    promtool().args(["test", "rules"]).arg(&cases).directory(files.path()).input("").exits(0);
}

#[test]
fn a_folder_that_cannot_be_written_to_is_named() {
    let files = scratch();
    let file = write(&files, "file", "");
    let folder = Path::new(&file).join("below");
    run(&["generate", "monitoring", &text(&folder)], "").exits(2).complains(&text(&folder));
}
