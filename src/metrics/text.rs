//! Text exposition for Prometheus: OpenMetrics 1.0, and the older plain text format 0.0.4.

use std::collections::HashSet;
use std::sync::Arc;

use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;

use super::families::MetricsCollector;
use super::process::ProcessCollector;
use super::registry::Metrics;

/// Media type of OpenMetrics.
pub(crate) const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Media type of the older format.
pub(crate) const PLAIN_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

impl Metrics {
    /// All metrics as OpenMetrics; without callers' names unless `with_names`.
    pub fn open_metrics(self: &Arc<Self>, with_names: bool) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(ProcessCollector {
            started_at: self.started_at(),
        }));
        let own = registry.sub_registry_with_prefix("gbg_proxy");
        own.register_collector(Box::new(MetricsCollector {
            metrics: Arc::clone(self),
            with_names,
        }));
        let mut text = String::new();
        // Writing to a `String` does not fail.
        let _ = text::encode(&mut text, &registry);
        text
    }

    /// The same in the older format: there the name of a counter ends in `_total` in HELP and TYPE
    /// lines, too.
    pub(crate) fn plain_text(self: &Arc<Self>, with_names: bool) -> String {
        let text = self.open_metrics(with_names);
        let counters: HashSet<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"))
            .collect();
        let mut plain = String::with_capacity(text.len());
        for line in text
            .lines()
            .filter(|line| !line.starts_with("# UNIT ") && *line != "# EOF")
        {
            let descriptor = ["# HELP ", "# TYPE "]
                .into_iter()
                .find_map(|mark| Some((mark, line.strip_prefix(mark)?)));
            match descriptor.and_then(|(mark, rest)| Some((mark, rest.split_once(' ')?))) {
                Some((mark, (name, rest))) if counters.contains(name) => {
                    plain.extend([mark, name, "_total ", rest, "\n"]);
                }
                _ => plain.extend([line, "\n"]),
            }
        }
        plain
    }
}
