//! The compose file for users: it can be read, names what it needs, and calls `wsp` with endpoints it knows.

use crate::support::{peers, require, root, text};

fn read(name: &str) -> serde_json::Value {
    let path = root().join("tests/compose").join(name);
    let output = peers::python("yaml_to_json.py").arg(text(&path)).input("").exits(0);
    serde_json::from_str(output.stdout()).expect("JSON")
}

#[test]
fn the_compose_file_has_two_wsp_beside_brokers_and_dashboards() {
    if !require("python-websockets") {
        return;
    }
    let compose = read("compose.yaml");
    let services = compose["services"].as_object().expect("services");
    for name in ["wsp-1", "wsp-2", "kafka", "nats", "prometheus", "grafana"] {
        let service = services.get(name).unwrap_or_else(|| panic!("{name} is there"));
        assert!(service["image"].is_string() || service["build"].is_object(), "{name}: {service}");
        for mount in service["volumes"].as_array().into_iter().flatten() {
            let source = mount.as_str().and_then(|mount| mount.split(':').next()).expect("a mount");
            let is_there = match source.strip_prefix("./") {
                Some(file) => root().join("tests/compose").join(file).is_file(),
                None => compose["volumes"].as_object().is_some_and(|volumes| volumes.contains_key(source)),
            };
            assert!(is_there, "{name} mounts {source}");
        }
        let needs = service["depends_on"].as_object().into_iter().flatten();
        assert!(needs.into_iter().all(|(needed, _)| services.contains_key(needed)), "{name}");
    }
    for name in ["wsp-1", "wsp-2"] {
        let command: Vec<&str> =
            services[name]["command"].as_array().expect("a command").iter().filter_map(|word| word.as_str()).collect();
        assert_eq!(command[0], "relay");
        assert!(command.iter().any(|word| word.starts_with("kafka://kafka:9092/")), "{command:?}");
    }
}

#[test]
fn what_prometheus_scrapes_and_grafana_shows_are_services_of_it() {
    if !require("python-websockets") {
        return;
    }
    let targets = &read("prometheus.yml")["scrape_configs"][0]["static_configs"][0]["targets"];
    assert_eq!(targets, &serde_json::json!(["wsp-1:9100", "wsp-2:9100"]));
    assert_eq!(read("grafana-datasource.yml")["datasources"][0]["url"], "http://prometheus:9090");
}
