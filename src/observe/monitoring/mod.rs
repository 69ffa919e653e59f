//! What Prometheus and Grafana are given to watch a run with: alerts and a dashboard, files beside this one.
//!
//! Invariant: every metric they name is one that `/metrics` has, and the other way round for the dashboard; a test
//! keeps this.

/// Each file by its name.
pub(crate) const FILES: [(&str, &str); 2] =
    [("wsp-alerts.yml", include_str!("wsp-alerts.yml")), ("wsp-dashboard.json", include_str!("wsp-dashboard.json"))];
