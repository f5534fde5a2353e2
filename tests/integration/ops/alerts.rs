//! Alert rules: each has its section in the runbook, and the manifest for the operator has the same rules.

use std::path::Path;

use super::documents::{ALERTS, RUNBOOK, read};

const MANIFEST: &str = "deploy/prometheus/prometheusrule.yaml";

const MANIFEST_HEAD: &str = "\
# The rules of alerts.yml for the Prometheus operator. Generated from that file, where the comments are:
# BLESS=1 cargo test the_manifest_has_the_same_rules
# Add the labels by which your Prometheus selects its rules (ruleSelector).
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: gbg-proxy
  namespace: gbg
  labels:
    app.kubernetes.io/name: gbg-proxy
spec:
";

#[test]
fn every_alert_has_its_section_in_the_runbook() {
    let (alerts, runbook) = (read(ALERTS), read(RUNBOOK));
    let values = |key: &str| -> Vec<String> {
        let lines = alerts.lines().map(str::trim);
        lines
            .filter_map(|line| Some(line.strip_prefix(key)?.trim_matches('"').to_owned()))
            .collect()
    };
    let names = values("- alert: ");
    let sections: Vec<_> = runbook
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .filter(|title| title.starts_with("Gbg"))
        .collect();
    assert_eq!(sections, names);
    // Where the book of `docs/` has it.
    let page = RUNBOOK.replace(".md", ".html");
    let urls = names
        .iter()
        .map(|name| format!("https://gbg-proxy.example/{page}#{}", name.to_lowercase()));
    assert_eq!(values("runbook_url: "), urls.collect::<Vec<_>>());
}

#[test]
fn the_manifest_has_the_same_rules() {
    let rules = read(ALERTS);
    let mut expected = MANIFEST_HEAD.to_owned();
    for line in rules.lines().filter(|line| !line.trim().starts_with('#')) {
        let indent = if line.is_empty() { "" } else { "  " };
        expected += &format!("{indent}{line}\n");
    }
    if std::env::var_os("BLESS").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(MANIFEST);
        std::fs::write(path, &expected).unwrap();
    }
    assert!(
        read(MANIFEST) == expected,
        "{MANIFEST} differs from {ALERTS}: BLESS=1 writes it"
    );
}
