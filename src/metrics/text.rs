//! All that is counted, as text that Prometheus reads: OpenMetrics 1.0, and the text before it.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::UNIX_EPOCH;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, MetricEncoder, NoLabelSet, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use rustc_hash::FxHashMap;

use super::histogram::Histogram;
use super::requests::Labels;
use super::{ConnectionMetrics, Metrics, WorkerMetrics};

/// The media type of the text of OpenMetrics.
pub const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The media type of the text that came before it.
pub const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The label of callers whose names are not told. No caller can have this name.
const HIDDEN: &str = "(hidden)";

impl Metrics {
    /// Everything, as it is now; the callers by their names if `with_names`.
    pub fn text(self: &Arc<Self>, with_names: bool) -> String {
        let mut registry = Registry::with_prefix("gbg_proxy");
        registry.register_collector(Box::new(MetricsCollector {
            metrics: Arc::clone(self),
            with_names,
        }));
        let mut text = String::new();
        // Writing into a text does not fail.
        let _ = text::encode(&mut text, &registry);
        text
    }

    /// The same in the older text, for readers that do not ask for the newer: there a counter is
    /// called what its lines are.
    pub fn plain_text(self: &Arc<Self>, with_names: bool) -> String {
        let text = self.text(with_names);
        let counters: HashSet<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"))
            .collect();
        let mut plain = String::with_capacity(text.len());
        for line in text
            .lines()
            .filter(|line| !line.starts_with("# UNIT ") && *line != "# EOF")
        {
            let about = ["# HELP ", "# TYPE "]
                .into_iter()
                .find_map(|mark| Some((mark, line.strip_prefix(mark)?)));
            match about.and_then(|(mark, rest)| Some((mark, rest.split_once(' ')?))) {
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
        let mut page = MetricsEncoder(encoder);
        page.about(metrics)?;
        page.requests(metrics, self.with_names)?;
        page.connections(metrics)?;
        page.token(metrics)
    }
}

struct MetricsEncoder<'a>(DescriptorEncoder<'a>);

impl MetricsEncoder<'_> {
    fn about(&mut self, metrics: &Metrics) -> fmt::Result {
        let version = [("version", env!("GBG_PROXY_VERSION"))];
        // A gauge rather than an info, which readers of the older text do not know.
        let mut info =
            self.0
                .encode_descriptor("build_info", "The version", None, MetricType::Gauge)?;
        info.encode_family(&version)?.encode_gauge(&1.0)?;
        let began = metrics
            .began
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs_f64();
        let reloads = metrics.reloads();
        let mut family = self.counter(
            "config_reloads",
            "Times that the configuration was read again",
        )?;
        for (outcome, count) in [("taken", reloads.taken), ("refused", reloads.refused)] {
            count_of(&mut family, &[("outcome", outcome)], count)?;
        }
        let in_force = if reloads.problem.is_none() { 1.0 } else { 0.0 };
        let help = "Whether the configuration that was read last is in force; 0 where it could not be used";
        self.gauge("config_in_force", help, None, in_force)?;
        self.gauge(
            "start_time",
            "When it started, since 1970",
            Some(Unit::Seconds),
            began,
        )
    }

    fn requests(&mut self, metrics: &Metrics, with_names: bool) -> fmt::Result {
        let (mut counts, mut callers) = (metrics.counts(), metrics.callers());
        if !with_names {
            counts.requests = merged(counts.requests);
            callers = vec![String::new(), HIDDEN.to_owned()];
        }
        let help =
            "Requests by caller, endpoint, status (0 without an answer) and whose answer it was";
        let mut family = self.counter("requests", help)?;
        for ((caller, endpoint, status, source), count) in &counts.requests {
            let caller = callers.get(*caller).map_or("", String::as_str);
            let status = status.to_string();
            let labels = [
                ("caller", caller),
                ("endpoint", endpoint),
                ("status", &status),
                ("source", source.name()),
            ];
            count_of(&mut family, &labels, *count)?;
        }
        let help = "From a request's first byte to its last";
        let mut family = self.histogram("request_duration", help)?;
        for ((endpoint, source), times) in &counts.durations {
            times_of(
                &mut family,
                &[("endpoint", *endpoint), ("source", source.name())],
                times,
            )?;
        }
        let help = "From where a request goes to the API to the head of its answer";
        let mut family = self.histogram("upstream_duration", help)?;
        for (endpoint, times) in &counts.upstream {
            times_of(&mut family, &[("endpoint", *endpoint)], times)?;
        }
        let mut family = self.counter("refusals", "Failures that were answered here, by reason")?;
        for (reason, count) in &counts.refusals {
            count_of(&mut family, &[("reason", *reason)], *count)?;
        }
        let mut family = self.counter("body_bytes", "Bytes of bodies")?;
        for (direction, bytes) in ["received", "sent"].into_iter().zip(counts.bytes) {
            count_of(&mut family, &[("direction", direction)], bytes)?;
        }
        self.count(
            "repeats",
            "Requests that were sent to the API once more",
            counts.repeats,
        )?;
        let places = &metrics.places;
        self.gauge(
            "in_flight",
            "Requests in flight",
            None,
            places.in_flight() as f64,
        )?;
        self.gauge(
            "queue",
            "Requests that wait for a place",
            None,
            places.queue() as f64,
        )?;
        let login_forms = metrics.login_forms.load(Relaxed) as f64;
        self.gauge(
            "login_forms",
            "Login forms that are being read",
            None,
            login_forms,
        )
    }

    fn connections(&mut self, metrics: &Metrics) -> fmt::Result {
        type Of = fn(&WorkerMetrics) -> &ConnectionMetrics;
        let sides: [(&str, Of); 2] = [
            ("downstream", |worker| &worker.callers),
            ("upstream", |worker| &worker.api),
        ];
        let sum = |of: Of, what: fn(&ConnectionMetrics) -> &AtomicU64| {
            metrics
                .workers
                .iter()
                .map(|worker| what(of(worker)).load(Relaxed))
                .sum::<u64>()
        };
        let mut family =
            self.0
                .encode_descriptor("connections", "Open connections", None, MetricType::Gauge)?;
        for (side, of) in sides {
            let open = sum(of, |side| &side.opened).saturating_sub(sum(of, |side| &side.closed));
            family
                .encode_family(&[("side", side)])?
                .encode_gauge(&(open as f64))?;
        }
        let mut family = self.counter("connections_opened", "Connections that were opened")?;
        for (side, of) in sides {
            count_of(&mut family, &[("side", side)], sum(of, |side| &side.opened))?;
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
                count_of(
                    &mut family,
                    &[("listener", listener), ("reason", reason.name())],
                    count,
                )?;
            }
        }
        let reused = sum(sides[1].1, |side| &side.reused);
        self.count(
            "connections_reused",
            "Requests that found a connection to the API open",
            reused,
        )?;
        let openings = sum(sides[1].1, |side| &side.given_up);
        self.count(
            "circuit_openings",
            "Times that connecting to the API was given up for the moment",
            openings,
        )
    }

    fn token(&mut self, metrics: &Metrics) -> fmt::Result {
        let token = &metrics.token;
        let left = token.left() as f64;
        self.gauge(
            "token_expires",
            "How long the token still serves; 0 without",
            Some(Unit::Seconds),
            left,
        )?;
        let age = token.age() as f64;
        self.gauge(
            "token_age",
            "How old the token is",
            Some(Unit::Seconds),
            age,
        )?;
        let generation = token.generation() as f64;
        self.gauge(
            "token_generation",
            "The number of the token",
            None,
            generation,
        )?;
        let waiting = token.waiting.load(Relaxed) as f64;
        self.gauge(
            "token_waiters",
            "Requests that wait for a token",
            None,
            waiting,
        )?;
        let fetches = token.fetches();
        let mut family = self.counter("token_fetches", "Token requests, by outcome and reason")?;
        for ((outcome, reason), count) in &fetches.counts {
            count_of(
                &mut family,
                &[("outcome", *outcome), ("reason", *reason)],
                *count,
            )?;
        }
        let mut times = self.histogram("token_fetch_duration", "How long a token request takes")?;
        encode_times(&mut times, &fetches.times)?;
        let rejections = token.rejections.load(Relaxed);
        self.count(
            "token_rejections",
            "Tokens that were replaced because the API refused them",
            rejections,
        )?;
        let unauthorized = token.unauthorized.load(Relaxed);
        self.count(
            "upstream_unauthorized",
            "Answers of the API that refuse the token",
            unauthorized,
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

/// The requests of all callers that have a name under one number.
fn merged(requests: FxHashMap<Labels, u64>) -> FxHashMap<Labels, u64> {
    let mut merged = FxHashMap::default();
    for ((caller, endpoint, status, source), count) in requests {
        *merged
            .entry((caller.min(1), endpoint, status, source))
            .or_default() += count;
    }
    merged
}

fn count_of(
    family: &mut MetricEncoder<'_>,
    labels: &impl EncodeLabelSet,
    count: u64,
) -> fmt::Result {
    family
        .encode_family(labels)?
        .encode_counter::<NoLabelSet, _, u64>(&count, None)
}

fn times_of(
    family: &mut MetricEncoder<'_>,
    labels: &impl EncodeLabelSet,
    times: &Histogram,
) -> fmt::Result {
    encode_times(&mut family.encode_family(labels)?, times)
}

fn encode_times(encoder: &mut MetricEncoder<'_>, times: &Histogram) -> fmt::Result {
    encoder.encode_histogram::<NoLabelSet>(times.sum(), times.count(), &times.buckets(), None)
}
