//! History of the last 15 minutes in steps of 5 s, for the charts of the status page. It samples
//! the metrics: requests do not pay for it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval};

use super::outcomes::{FailuresByParty, OutcomeCounts};
use crate::metrics::Metrics;

/// Interval of the samples.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(5);
/// Age of the oldest sample.
pub(super) const HISTORY_LENGTH: Duration = Duration::from_secs(15 * 60);
/// One more than there are intervals.
const MAX_SAMPLES: usize = (HISTORY_LENGTH.as_secs() / SAMPLE_INTERVAL.as_secs()) as usize + 1;
/// Window of the recent requests, unless there were fewer than [`MIN_RECENT_REQUESTS`].
const RECENT_WINDOW: Duration = Duration::from_secs(120);
/// A verdict about fewer would depend on each of them.
const MIN_RECENT_REQUESTS: u64 = 10;
/// Window of the percentiles: 5 s would hold only a handful of requests.
const PERCENTILE_WINDOW: Duration = Duration::from_secs(60);

/// Totals at one time.
type Sample = (Instant, OutcomeCounts);

/// Samples of the metrics, the oldest first.
#[derive(Debug, Default)]
pub(super) struct History(Mutex<VecDeque<Sample>>);

impl History {
    /// Samples `metrics` until it is dropped.
    pub(super) async fn sample(&self, metrics: &Metrics) {
        let mut ticks = interval(SAMPLE_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.push(
                Instant::now(),
                OutcomeCounts::new(metrics.requests(), &metrics.refused),
            );
        }
    }

    fn push(&self, at: Instant, counts: OutcomeCounts) {
        let mut samples = self.0.lock();
        if samples.len() == MAX_SAMPLES {
            samples.pop_front();
        }
        samples.push_back((at, counts));
    }

    /// The outcomes of the last `window` before `counts`, at most since the start, and the actual
    /// length of that window.
    pub(super) fn since(
        &self,
        now: Instant,
        counts: &OutcomeCounts,
        window: Duration,
    ) -> (OutcomeCounts, Duration) {
        match sample_before(&self.0.lock(), now, window) {
            Some((at, earlier)) => (counts.since(earlier), now.saturating_duration_since(*at)),
            None => (counts.clone(), Duration::ZERO),
        }
    }

    /// The outcomes of the recent requests before `counts`, and the time that they cover: the last
    /// two minutes, or longer until there are ten requests.
    pub(super) fn recent(&self, now: Instant, counts: &OutcomeCounts) -> (OutcomeCounts, Duration) {
        let samples = self.0.lock();
        let is_enough = |(at, earlier): &&Sample| {
            now.saturating_duration_since(*at) >= RECENT_WINDOW
                && counts.since(earlier).admitted() >= MIN_RECENT_REQUESTS
        };
        match samples.iter().rev().find(is_enough).or(samples.front()) {
            Some((at, earlier)) => (counts.since(earlier), now.saturating_duration_since(*at)),
            None => (counts.clone(), Duration::ZERO),
        }
    }

    /// The history as JSON: a list for each figure, the oldest value first.
    pub(super) fn json(&self, now: Instant) -> String {
        let samples = self.0.lock();
        let pairs: Vec<_> = samples.iter().zip(samples.iter().skip(1)).collect();
        let list = |of: &dyn Fn(&Sample, &Sample) -> Value| -> Value {
            pairs
                .iter()
                .map(|(earlier, later)| of(earlier, later))
                .collect()
        };
        let failures = |of: fn(FailuresByParty) -> u64| {
            list(&|(_, earlier), (_, later)| json!(of(later.since(earlier).failures_by_party())))
        };
        let quantile = |q: f64, is_upstream: bool| {
            list(&|_, (at, counts)| {
                let times = |counts: &OutcomeCounts| {
                    if is_upstream {
                        counts.upstream
                    } else {
                        counts.times
                    }
                };
                let earlier = sample_before(&samples, *at, PERCENTILE_WINDOW)
                    .map(|(_, earlier)| times(earlier));
                json!(
                    times(counts)
                        .since(&earlier.unwrap_or_default())
                        .quantile(q)
                        .map(rounded)
                )
            })
        };
        let seconds = |time: Duration| rounded(time.as_secs_f64());
        let history = json!({
            "period_seconds": SAMPLE_INTERVAL.as_secs(),
            "seconds_ago": list(&|_, (at, _)| json!(seconds(now.saturating_duration_since(*at)))),
            "requests": list(&|(_, earlier), (_, later)| json!(later.requests - earlier.requests)),
            "requests_per_second": list(&|(from, earlier), (to, later)| {
                let time = to.saturating_duration_since(*from).as_secs_f64().max(1e-3);
                json!(rounded((later.requests - earlier.requests) as f64 / time))
            }),
            "failures": {
                "caller": failures(|failures| failures.caller),
                "proxy": failures(|failures| failures.proxy),
                "upstream": failures(|failures| failures.upstream),
                "disconnected": failures(|failures| failures.disconnected),
            },
            "latency_seconds": {
                "p50": quantile(0.5, false),
                "p95": quantile(0.95, false),
                "p99": quantile(0.99, false),
                "upstream_p95": quantile(0.95, true),
            },
        });
        format!("{history}\n")
    }
}

/// The last sample that is at least `window` older than `now`, or the oldest.
fn sample_before(samples: &VecDeque<Sample>, now: Instant, window: Duration) -> Option<&Sample> {
    let old_enough =
        samples.partition_point(|(at, _)| now.saturating_duration_since(*at) >= window);
    samples.get(old_enough.saturating_sub(1))
}

fn rounded(number: f64) -> f64 {
    (number * 1e4).round() / 1e4
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    fn counts(requests: u64) -> OutcomeCounts {
        OutcomeCounts {
            requests,
            ..OutcomeCounts::default()
        }
    }

    #[test]
    fn the_history_covers_fifteen_minutes() {
        let history = History::default();
        let start = Instant::now();
        for count in 0..1000 {
            history.push(start + seconds(5 * count), counts(10 * count));
        }
        let now = start + seconds(5 * 999);
        let json: Value = serde_json::from_str(&history.json(now)).unwrap();
        let rates = json["requests_per_second"].as_array().unwrap();
        assert_eq!(rates.len(), MAX_SAMPLES - 1);
        assert!(
            rates.iter().all(|rate| rate.as_f64() == Some(2.0)),
            "{rates:?}"
        );
        assert_eq!(json["seconds_ago"][0], 895.0);
        assert_eq!(json["latency_seconds"]["p99"][0], Value::Null);

        let (recent, time) = history.since(now, &counts(10 * 999), seconds(120));
        assert_eq!((recent.requests, time), (240, seconds(120)));
        let (all, time) = history.since(now, &counts(10 * 999), seconds(100_000));
        assert_eq!(
            (all.requests, time),
            (1800, HISTORY_LENGTH),
            "from the oldest"
        );
    }

    #[test]
    fn recent_requests_are_ten_or_two_minutes() {
        let history = History::default();
        let start = Instant::now();
        // One request per minute for half an hour.
        for count in 0..360 {
            history.push(start + seconds(5 * count), counts(count / 12));
        }
        let now = start + seconds(1800);
        let (recent, time) = history.recent(now, &counts(30));
        assert_eq!((recent.requests, time), (10, seconds(545)));
        let (recent, time) = history.recent(now, &counts(500));
        assert_eq!((recent.requests, time), (472, seconds(120)));
        let (recent, time) = history.recent(now, &counts(29));
        assert!((recent.requests, time) == (10, seconds(605)), "{time:?}");
        let idle = History::default();
        (0..300).for_each(|count| idle.push(start + seconds(5 * count), counts(7)));
        let (recent, time) = idle.recent(start + seconds(1500), &counts(7));
        assert_eq!((recent.requests, time), (0, seconds(905)));
    }

    #[test]
    fn without_samples_all_requests_are_recent() {
        let (recent, _) = History::default().since(Instant::now(), &counts(7), HISTORY_LENGTH);
        assert_eq!(recent.requests, 7);
    }
}
