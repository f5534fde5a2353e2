//! Text exposition for Prometheus: OpenMetrics 1.0, and the older plain text format 0.0.4.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::UNIX_EPOCH;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, MetricEncoder, NoLabelSet, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use rustc_hash::FxHashMap;

use super::connections::ConnectionMetrics;
use super::histogram::Histogram;
use super::registry::{Metrics, WorkerMetrics};
use super::requests::RequestLabels;

/// Media type of OpenMetrics.
pub(crate) const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Media type of the older format.
pub(crate) const PLAIN_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Label in place of callers' names. No caller can have this name.
const HIDDEN: &str = "(hidden)";

impl Metrics {
    /// All metrics as OpenMetrics; without callers' names unless `with_names`.
    pub fn open_metrics(self: &Arc<Self>, with_names: bool) -> String {
        let mut registry = Registry::with_prefix("gbg_proxy");
        registry.register_collector(Box::new(MetricsCollector {
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

#[derive(Debug)]
struct MetricsCollector {
    metrics: Arc<Metrics>,
    with_names: bool,
}

impl Collector for MetricsCollector {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let metrics = &*self.metrics;
        let mut encoder = MetricsEncoder(encoder);
        encoder.process(metrics)?;
        encoder.requests(metrics, self.with_names)?;
        encoder.connections(metrics)?;
        encoder.token(metrics)
    }
}

struct MetricsEncoder<'a>(DescriptorEncoder<'a>);

impl MetricsEncoder<'_> {
    fn process(&mut self, metrics: &Metrics) -> fmt::Result {
        let version = [("version", env!("GBG_PROXY_VERSION"))];
        // A gauge: the older format does not know the type `info`.
        let mut info =
            self.0
                .encode_descriptor("build_info", "The version", None, MetricType::Gauge)?;
        info.encode_family(&version)?.encode_gauge(&1.0)?;
        let reloads = metrics.reloads();
        let mut family = self.counter(
            "config_reloads",
            "Times that the configuration was read again",
        )?;
        for (outcome, count) in [("taken", reloads.applied), ("refused", reloads.rejected)] {
            encode_count(&mut family, &[("outcome", outcome)], count)?;
        }
        let in_force = if reloads.problem.is_none() { 1.0 } else { 0.0 };
        let help = "Whether the configuration that was read last is in force; 0 where it could not be used";
        self.gauge("config_in_force", help, None, in_force)?;
        let started = metrics.started_at().duration_since(UNIX_EPOCH);
        self.gauge(
            "start_time",
            "When it started, since 1970",
            Some(Unit::Seconds),
            started.unwrap_or_default().as_secs_f64(),
        )
    }

    fn requests(&mut self, metrics: &Metrics, with_names: bool) -> fmt::Result {
        let (mut counts, mut callers) = (metrics.request_counts(), metrics.callers());
        if !with_names {
            counts.requests = merge_callers(counts.requests);
            callers = vec![String::new(), HIDDEN.to_owned()];
        }
        let help =
            "Requests by caller, endpoint, status (0 without an answer) and whose answer it was";
        let mut family = self.counter("requests", help)?;
        for (labels, count) in &counts.requests {
            let status = labels.status.to_string();
            let labels = [
                (
                    "caller",
                    callers.get(labels.caller).map_or("", String::as_str),
                ),
                ("endpoint", labels.endpoint),
                ("status", &status),
                ("source", labels.source.name()),
            ];
            encode_count(&mut family, &labels, *count)?;
        }
        let help = "From a request's first byte to its last";
        let mut family = self.histogram("request_duration", help)?;
        for ((endpoint, source), times) in &counts.durations {
            let labels = [("endpoint", *endpoint), ("source", source.name())];
            encode_times(&mut family.encode_family(&labels)?, times)?;
        }
        let help = "From where a request goes to the API to the head of its answer";
        let mut family = self.histogram("upstream_duration", help)?;
        for (endpoint, times) in &counts.upstream {
            encode_times(
                &mut family.encode_family(&[("endpoint", *endpoint)])?,
                times,
            )?;
        }
        let mut family = self.counter("refusals", "Failures that were answered here, by reason")?;
        for (reason, count) in &counts.refusals {
            encode_count(&mut family, &[("reason", *reason)], *count)?;
        }
        let mut family = self.counter("body_bytes", "Bytes of bodies")?;
        for (direction, bytes) in ["received", "sent"].into_iter().zip(counts.bytes) {
            encode_count(&mut family, &[("direction", direction)], bytes)?;
        }
        self.count(
            "repeats",
            "Requests that were sent to the API once more",
            counts.repeats,
        )?;
        let admission = &metrics.admission;
        let login_forms = metrics.login_forms.load(Relaxed);
        for (name, help, value) in [
            ("in_flight", "Requests in flight", admission.in_flight()),
            (
                "queue",
                "Requests that wait for a place",
                admission.queued(),
            ),
            (
                "login_forms",
                "Login forms that are being read",
                login_forms,
            ),
        ] {
            self.gauge(name, help, None, value as f64)?;
        }
        Ok(())
    }

    fn connections(&mut self, metrics: &Metrics) -> fmt::Result {
        type Side = fn(&WorkerMetrics) -> &ConnectionMetrics;
        let upstream: Side = |worker| &worker.api;
        let sides: [(&str, Side); 2] = [
            ("downstream", |worker| &worker.callers),
            ("upstream", upstream),
        ];
        let sum = |side: Side, count: fn(&ConnectionMetrics) -> u64| -> u64 {
            let workers = metrics.workers().iter();
            workers.map(|worker| count(side(worker))).sum()
        };
        let mut family =
            self.0
                .encode_descriptor("connections", "Open connections", None, MetricType::Gauge)?;
        for (name, side) in sides {
            let open = sum(side, ConnectionMetrics::open_now);
            family
                .encode_family(&[("side", name)])?
                .encode_gauge(&(open as f64))?;
        }
        let mut family = self.counter("connections_opened", "Connections that were opened")?;
        for (name, side) in sides {
            let opened = sum(side, ConnectionMetrics::opened);
            encode_count(&mut family, &[("side", name)], opened)?;
        }
        let mut family = self.counter(
            "refused_connections",
            "Connections that were refused or cut off because of what the peer sent or did not send, by listener and reason",
        )?;
        for (listener, refused) in [
            ("callers", &metrics.refused),
            ("admin", &metrics.refused_admin),
        ] {
            for (reason, count) in refused.by_reason() {
                let labels = [("listener", listener), ("reason", reason.name())];
                encode_count(&mut family, &labels, count)?;
            }
        }
        self.count(
            "connections_reused",
            "Requests that found a connection to the API open",
            sum(upstream, ConnectionMetrics::reused),
        )?;
        self.count(
            "circuit_openings",
            "Times that connecting to the API was given up for the moment",
            sum(upstream, ConnectionMetrics::circuit_openings),
        )
    }

    fn token(&mut self, metrics: &Metrics) -> fmt::Result {
        let token = &metrics.token;
        for (name, help, unit, value) in [
            (
                "token_expires",
                "How long the token still serves; 0 without",
                Some(Unit::Seconds),
                token.remaining_seconds() as f64,
            ),
            (
                "token_age",
                "How old the token is",
                Some(Unit::Seconds),
                token.age_seconds() as f64,
            ),
            (
                "token_generation",
                "The number of the token",
                None,
                token.generation() as f64,
            ),
            (
                "token_waiters",
                "Requests that wait for a token",
                None,
                token.waiters() as f64,
            ),
        ] {
            self.gauge(name, help, unit, value)?;
        }
        let fetches = token.fetches();
        let mut family = self.counter("token_fetches", "Token requests, by outcome and reason")?;
        for ((outcome, reason), count) in &fetches.counts {
            let labels = [("outcome", *outcome), ("reason", *reason)];
            encode_count(&mut family, &labels, *count)?;
        }
        let mut times = self.histogram("token_fetch_duration", "How long a token request takes")?;
        encode_times(&mut times, &fetches.times)?;
        self.count(
            "token_rejections",
            "Tokens that were replaced because the API refused them",
            token.rejections(),
        )?;
        self.count(
            "upstream_unauthorized",
            "Answers of the API that refuse the token",
            token.unauthorized(),
        )
    }

    fn counter<'s>(
        &'s mut self,
        name: &'s str,
        help: &str,
    ) -> Result<MetricEncoder<'s>, fmt::Error> {
        self.0
            .encode_descriptor(name, help, None, MetricType::Counter)
    }

    fn histogram<'s>(
        &'s mut self,
        name: &'s str,
        help: &str,
    ) -> Result<MetricEncoder<'s>, fmt::Error> {
        self.0
            .encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)
    }

    fn count(&mut self, name: &str, help: &str, count: u64) -> fmt::Result {
        self.counter(name, help)?
            .encode_counter::<NoLabelSet, _, u64>(&count, None)
    }

    fn gauge(&mut self, name: &str, help: &str, unit: Option<Unit>, value: f64) -> fmt::Result {
        self.0
            .encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?
            .encode_gauge(&value)
    }
}

/// Counts all callers that have a name as number 1.
fn merge_callers(requests: FxHashMap<RequestLabels, u64>) -> FxHashMap<RequestLabels, u64> {
    let mut merged = FxHashMap::default();
    for (mut labels, count) in requests {
        labels.caller = labels.caller.min(1);
        *merged.entry(labels).or_default() += count;
    }
    merged
}

fn encode_count(
    family: &mut MetricEncoder<'_>,
    labels: &impl EncodeLabelSet,
    count: u64,
) -> fmt::Result {
    family
        .encode_family(labels)?
        .encode_counter::<NoLabelSet, _, u64>(&count, None)
}

fn encode_times(encoder: &mut MetricEncoder<'_>, times: &Histogram) -> fmt::Result {
    let (sum, count) = (times.sum_seconds(), times.count());
    encoder.encode_histogram::<NoLabelSet>(sum, count, &times.buckets(), None)
}
