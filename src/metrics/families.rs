//! Metric families: name, help text and labels of each, encoded from the counters of a process.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;
use rustc_hash::FxHashMap;

use super::connections::ConnectionMetrics;
use super::expiry::CertificateEnd;
use super::histogram::Histogram;
use super::registry::Metrics;
use super::requests::RequestLabels;
use super::token::TokenMetrics;

/// Label in place of callers' names. No caller can have this name.
const HIDDEN: &str = "(hidden)";

#[derive(Debug)]
pub(super) struct MetricsCollector {
    pub(super) metrics: Arc<Metrics>,
    /// Whether the names of callers are shown.
    pub(super) with_names: bool,
}

impl Collector for MetricsCollector {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let metrics = &*self.metrics;
        let mut encoder = MetricsEncoder(encoder);
        encoder.process(metrics)?;
        encoder.requests(metrics, self.with_names)?;
        encoder.connections(metrics)?;
        encoder.tokens(metrics)?;
        encoder.expiries(metrics, self.with_names)
    }
}

struct MetricsEncoder<'a>(DescriptorEncoder<'a>);

impl MetricsEncoder<'_> {
    fn process(&mut self, metrics: &Metrics) -> fmt::Result {
        let version = [("version", env!("GBG_PROXY_VERSION"))];
        // A gauge: the older format does not know the type `info`.
        let mut info = self.0.encode_descriptor(
            "build_info",
            "Version of the proxy",
            None,
            MetricType::Gauge,
        )?;
        info.encode_family(&version)?.encode_gauge(&1.0)?;
        let reloads = metrics.reloads();
        let mut family =
            self.counter("config_reloads", "Reloads of the configuration, by outcome")?;
        for (outcome, count) in [
            ("accepted", reloads.applied),
            ("rejected", reloads.rejected),
        ] {
            encode_count(&mut family, &[("outcome", outcome)], count)?;
        }
        let in_force = if reloads.problem.is_none() { 1.0 } else { 0.0 };
        let help =
            "1 if the current configuration file is active, 0 if the last reload rejected it";
        self.gauge("config_in_force", help, None, in_force)
    }

    fn requests(&mut self, metrics: &Metrics, with_names: bool) -> fmt::Result {
        let (mut counts, mut callers) = (metrics.request_counts(), metrics.callers());
        if !with_names {
            for counts in counts.values_mut() {
                counts.requests = merge_callers(std::mem::take(&mut counts.requests));
            }
            callers = vec![String::new(), HIDDEN.to_owned()];
        }
        let help = "Requests by account, caller, endpoint, status (0 without a response) and source of the response";
        let mut family = self.counter("requests", help)?;
        for (account, counts) in &counts {
            for (labels, count) in &counts.requests {
                let caller = callers.get(labels.caller).map_or("", String::as_str);
                let labels = [
                    ("account", &**account),
                    ("caller", caller),
                    ("endpoint", labels.endpoint),
                    ("status", &labels.status.to_string()),
                    ("source", labels.source.name()),
                ];
                encode_count(&mut family, &labels, *count)?;
            }
        }
        let help = "Time from the first byte of a request to the last byte of its response";
        let mut family = self.histogram("request_duration", help)?;
        for (account, counts) in &counts {
            for ((endpoint, source), times) in &counts.durations {
                let labels = [
                    ("account", &**account),
                    ("endpoint", endpoint),
                    ("source", source.name()),
                ];
                encode_times(&mut family.encode_family(&labels)?, times)?;
            }
        }
        let help = "Time from the start of sending a request to the API to the head of its response, of requests with a response";
        let mut family = self.histogram("upstream_duration", help)?;
        for (account, counts) in &counts {
            for (endpoint, times) in &counts.upstream {
                let labels = [("account", &**account), ("endpoint", endpoint)];
                encode_times(&mut family.encode_family(&labels)?, times)?;
            }
        }
        let mut family =
            self.counter("refusals", "Error responses of the proxy itself, by reason")?;
        for (account, counts) in &counts {
            for (reason, count) in &counts.refusals {
                let labels = [("account", &**account), ("reason", reason)];
                encode_count(&mut family, &labels, *count)?;
            }
        }
        let mut family = self.counter(
            "body_bytes",
            "Bytes of request bodies received from callers and of response bodies sent to them",
        )?;
        for (account, counts) in &counts {
            for (direction, bytes) in ["received", "sent"].into_iter().zip(counts.bytes) {
                let labels = [("account", &**account), ("direction", direction)];
                encode_count(&mut family, &labels, bytes)?;
            }
        }
        let forwarded = counts.iter().filter(|(account, _)| !account.is_empty());
        self.count_by_account(
            "repeats",
            "Retries of requests to the API",
            forwarded.map(|(account, counts)| (&**account, counts.repeats)),
        )?;
        let admission = &metrics.admission;
        let login_forms = metrics.login_forms.load(Relaxed);
        for (name, help, value) in [
            (
                "in_flight",
                "Admitted requests whose response has not ended",
                admission.in_flight(),
            ),
            (
                "queued",
                "Requests that wait for admission",
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
        let sum = |count: fn(&ConnectionMetrics) -> u64| -> u64 {
            let workers = metrics.workers().iter();
            workers.map(|worker| count(&worker.callers)).sum()
        };
        let downstream = [("side", "downstream")];
        let upstream = metrics.upstream_counts();
        let upstream = || {
            upstream
                .iter()
                .map(|(account, counts)| (&**account, counts))
        };
        let labels = |account| [("side", "upstream"), ("account", account)];
        let mut family =
            self.0
                .encode_descriptor("connections", "Open connections", None, MetricType::Gauge)?;
        let open = sum(ConnectionMetrics::open_now);
        family
            .encode_family(&downstream)?
            .encode_gauge(&(open as f64))?;
        for (account, counts) in upstream() {
            family
                .encode_family(&labels(account))?
                .encode_gauge(&(counts.open as f64))?;
        }
        let mut family = self.counter("connections_opened", "Connections opened")?;
        encode_count(&mut family, &downstream, sum(ConnectionMetrics::opened))?;
        for (account, counts) in upstream() {
            encode_count(&mut family, &labels(account), counts.opened)?;
        }
        let mut family = self.counter(
            "refused_connections",
            "Connections that a listener refused or aborted because of the peer, by listener and reason",
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
        self.count_by_account(
            "connections_reused",
            "Requests sent over an existing connection to the API",
            upstream().map(|(account, counts)| (account, counts.reused)),
        )?;
        self.count_by_account(
            "circuit_openings",
            "Times that the circuit breaker to the API opened",
            upstream().map(|(account, counts)| (account, counts.circuit_openings)),
        )
    }

    fn tokens(&mut self, metrics: &Metrics) -> fmt::Result {
        type Gauge = (
            &'static str,
            &'static str,
            Option<Unit>,
            fn(&TokenMetrics) -> f64,
        );
        let gauges: [Gauge; 4] = [
            (
                "token_expires",
                "Time until the token expires; 0 without a token",
                Some(Unit::Seconds),
                |token| token.remaining_seconds() as f64,
            ),
            (
                "token_age",
                "Age of the token",
                Some(Unit::Seconds),
                |token| token.age_seconds() as f64,
            ),
            (
                "token_generation",
                "Generation of the token",
                None,
                |token| token.generation() as f64,
            ),
            (
                "token_waiters",
                "Requests that wait for a token",
                None,
                |token| token.waiters() as f64,
            ),
        ];
        let tokens = metrics.tokens();
        for (name, help, unit, value) in gauges {
            let mut family =
                self.0
                    .encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?;
            for token in &tokens {
                family
                    .encode_family(&[("account", token.account())])?
                    .encode_gauge(&value(token))?;
            }
        }
        let fetches: Vec<_> = tokens
            .iter()
            .map(|token| (token.account(), token.fetches()))
            .collect();
        let mut family = self.counter("token_fetches", "Token requests, by outcome and reason")?;
        for (account, fetches) in &fetches {
            for ((outcome, reason), count) in &fetches.counts {
                let labels = [
                    ("account", *account),
                    ("outcome", outcome),
                    ("reason", reason),
                ];
                encode_count(&mut family, &labels, *count)?;
            }
        }
        let mut family = self.histogram("token_fetch_duration", "Duration of token requests")?;
        for (account, fetches) in &fetches {
            let labels = [("account", *account)];
            encode_times(&mut family.encode_family(&labels)?, &fetches.times)?;
        }
        self.count_by_account(
            "token_rejections",
            "Tokens replaced because the API rejected them",
            tokens
                .iter()
                .map(|token| (token.account(), token.rejections())),
        )?;
        self.count_by_account(
            "upstream_unauthorized",
            "Responses of the API that reject the token",
            tokens
                .iter()
                .map(|token| (token.account(), token.unauthorized())),
        )
    }

    fn expiries(&mut self, metrics: &Metrics, with_names: bool) -> fmt::Result {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default().as_secs_f64();
        let unit = Some(&Unit::Seconds);
        let mut family = self.0.encode_descriptor(
            "certificate_expires",
            "Time until a certificate expires; negative after that",
            unit,
            MetricType::Gauge,
        )?;
        for CertificateEnd { used, account, end } in metrics.certificates() {
            let labels = [("use", used.name()), ("account", &account)];
            family
                .encode_family(&labels)?
                .encode_gauge(&(end as f64 - now))?;
        }
        let mut family = self.0.encode_descriptor(
            "caller_expires",
            "Time until the access of a caller ends; negative after that",
            unit,
            MetricType::Gauge,
        )?;
        let mut callers = metrics.expiries.callers();
        if !with_names {
            let first = callers.iter().map(|(_, end)| *end).min();
            callers = first
                .map(|end| (HIDDEN.to_owned(), end))
                .into_iter()
                .collect();
        }
        for (caller, end) in callers {
            family
                .encode_family(&[("caller", caller)])?
                .encode_gauge(&(end as f64 - now))?;
        }
        Ok(())
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

    fn count_by_account<'c>(
        &mut self,
        name: &str,
        help: &str,
        counts: impl Iterator<Item = (&'c str, u64)>,
    ) -> fmt::Result {
        let mut family = self.counter(name, help)?;
        for (account, count) in counts {
            encode_count(&mut family, &[("account", account)], count)?;
        }
        Ok(())
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

#[cfg(test)]
mod tests;
