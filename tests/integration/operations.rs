//! What operators read and load beside the proxy: alerts, dashboard and runbook speak of metrics that exist.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use gbg_proxy::metrics::Metrics;

const ALERTS: &str = "deploy/prometheus/alerts.yml";

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The name of every series that the proxy has or can have.
fn series() -> BTreeSet<String> {
    let text = Arc::new(Metrics::new(1)).text();
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    types
        .flat_map(|(name, kind)| {
            let ends: &[&str] = match kind {
                "counter" => &["_total"],
                "gauge" => &[""],
                "histogram" => &["_bucket", "_sum", "_count"],
                "info" => &["_info"],
                _ => panic!("{name} is a {kind}"),
            };
            ends.iter().map(move |end| format!("{name}{end}"))
        })
        .collect()
}

fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words.filter(|word| word.starts_with("gbg_proxy_")).map(str::to_owned).collect()
}

#[test]
fn every_metric_that_is_named_exists() {
    let series = series();
    assert!(series.contains("gbg_proxy_token_expires_seconds"), "{series:?}");
    for (path, least) in [(ALERTS, 8), ("deploy/prometheus/alerts_test.yml", 5)] {
        let named = named(&read(path));
        let unknown: Vec<_> = named.difference(&series).collect();
        assert!(unknown.is_empty(), "{path} names {unknown:?}");
        assert!(named.len() >= least, "{path} names {named:?}");
    }
}
