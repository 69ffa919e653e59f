//! A page in headless Chromium talks to `wsp listen`, plain and over TLS with the self-signed certificate.
//!
//! The browser runs with a home of its own, whose certificate database trusts the CA that `--tls-ca-out` wrote: what
//! passes here passes for a developer who trusts it too.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::peers::{chromium, node, trust_in_browser};
use crate::support::{listen, require, scratch};

/// What the page says after it has sent each of `messages` to `url`.
fn page(home: &std::path::Path, url: &str, messages: &[&str]) -> Value {
    let run = node("chromium.js").arg(chromium()).arg(home).arg(url).args(messages);
    let output = run.limit(Duration::from_secs(120)).input("");
    assert_eq!(output.code, 0, "stdout: {}\nstderr: {}", output.stdout(), output.stderr);
    serde_json::from_str(output.stdout()).expect("JSON")
}

fn both_ways(messages: &[&str]) -> Value {
    let both = |text: &&str| [json!({"binary": false, "text": text}), json!({"binary": true, "text": text})];
    messages.iter().flat_map(both).collect()
}

#[test]
fn a_page_talks_to_an_echo_server() {
    if !require("chromium") {
        return;
    }
    let home = scratch();
    let long = "a long one ".repeat(5000);
    let messages = ["hello", "ünï ✓", &long];
    for (arguments, extensions) in [(&["--echo"][..], ""), (&["--echo", "--compress"], "permessage-deflate")] {
        let server = listen(arguments);
        let said = page(home.path(), &server.url, &messages);
        assert_eq!(said["replies"], both_ways(&messages));
        assert_eq!((&said["code"], &said["wasClean"]), (&json!(1000), &json!(true)));
        assert!(
            said["extensions"].as_str().is_some_and(|agreed| agreed.starts_with(extensions)),
            "{}",
            said["extensions"]
        );
    }
}

#[test]
fn a_page_talks_over_tls_to_the_self_signed_server_whose_ca_it_trusts() {
    if !require("chromium") {
        return;
    }
    let home = scratch();
    let ca = home.path().join("ca.pem");
    let server = listen(&["--echo", "--tls", "--tls-ca-out", &crate::support::text(&ca)]);
    trust_in_browser(home.path(), &ca);
    for host in ["127.0.0.1", "localhost"] {
        let said = page(home.path(), &format!("wss://{host}:{}/", server.port), &["hello"]);
        assert_eq!(said["replies"], both_ways(&["hello"]));
        assert_eq!(said["code"], 1000);
    }
}
