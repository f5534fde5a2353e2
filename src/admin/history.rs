//! The last quarter of an hour: the sums of each five seconds, taken from the counters beside the
//! requests.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval};

use super::outcomes::{Faults, Tally};
use crate::metrics::Metrics;

/// Between two samples.
const PERIOD: Duration = Duration::from_secs(5);
/// How far back it goes.
pub(super) const REACH: Duration = Duration::from_secs(15 * 60);
/// So many samples are kept: one more than there are periods.
const KEPT: usize = (REACH.as_secs() / PERIOD.as_secs()) as usize + 1;
/// Percentiles are of the minute before: those of five seconds would be of a handful of requests.
const SMOOTH: Duration = Duration::from_secs(60);

/// The sums of a moment.
type Sample = (Instant, Tally);

/// What was counted, from time to time.
#[derive(Debug, Default)]
pub(super) struct History(Mutex<VecDeque<Sample>>);

impl History {
    /// Takes samples of `metrics` for as long as it is polled.
    pub(super) async fn follow(&self, metrics: &Metrics) {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.note(Instant::now(), Tally::of(metrics.requests()));
        }
    }

    fn note(&self, at: Instant, tally: Tally) {
        let mut samples = self.samples();
        if samples.len() == KEPT {
            samples.pop_front();
        }
        samples.push_back((at, tally));
    }

    /// What came in the last `window` until it was `tally`, or since the start, and how long that
    /// is.
    pub(super) fn since(&self, now: Instant, tally: &Tally, window: Duration) -> (Tally, Duration) {
        match before(&self.samples(), now, window) {
            Some((at, earlier)) => (tally.since(earlier), now.saturating_duration_since(*at)),
            None => (tally.clone(), Duration::ZERO),
        }
    }

    /// All of it, a list for each figure, the oldest first.
    pub(super) fn json(&self, now: Instant) -> String {
        let samples = self.samples();
        let pairs: Vec<_> = samples.iter().zip(samples.iter().skip(1)).collect();
        let list = |of: &dyn Fn(&Sample, &Sample) -> Value| -> Value {
            pairs
                .iter()
                .map(|(earlier, later)| of(earlier, later))
                .collect()
        };
        let faults = |of: fn(Faults) -> u64| {
            list(&|(_, earlier), (_, later)| json!(of(later.since(earlier).faults())))
        };
        let quantile = |part: f64, is_gbgs: bool| {
            list(&|_, (at, tally)| {
                let times = |tally: &Tally| if is_gbgs { tally.upstream } else { tally.times };
                let earlier = before(&samples, *at, SMOOTH).map(|(_, earlier)| times(earlier));
                json!(
                    times(tally)
                        .since(&earlier.unwrap_or_default())
                        .quantile(part)
                        .map(rounded)
                )
            })
        };
        let seconds = |time: Duration| rounded(time.as_secs_f64());
        let history = json!({
            "period_seconds": PERIOD.as_secs(),
            "seconds_ago": list(&|_, (at, _)| json!(seconds(now.saturating_duration_since(*at)))),
            "requests": list(&|(_, earlier), (_, later)| json!(later.requests - earlier.requests)),
            "requests_per_second": list(&|(from, earlier), (to, later)| {
                let time = to.saturating_duration_since(*from).as_secs_f64().max(1e-3);
                json!(rounded((later.requests - earlier.requests) as f64 / time))
            }),
            "failures": {
                "caller": faults(|faults| faults.caller),
                "proxy": faults(|faults| faults.proxy),
                "upstream": faults(|faults| faults.upstream),
                "disconnected": faults(|faults| faults.gone),
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

    fn samples(&self) -> MutexGuard<'_, VecDeque<Sample>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The last sample that is at least `window` older than `now`, else the oldest.
fn before(samples: &VecDeque<Sample>, now: Instant, window: Duration) -> Option<&Sample> {
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

    fn of(requests: u64) -> Tally {
        Tally {
            requests,
            ..Tally::default()
        }
    }

    #[test]
    fn it_goes_a_quarter_of_an_hour_back_and_no_further() {
        let history = History::default();
        let start = Instant::now();
        for count in 0..1000 {
            history.note(start + seconds(5 * count), of(10 * count));
        }
        let now = start + seconds(5 * 999);
        let json: Value = serde_json::from_str(&history.json(now)).unwrap();
        let rates = json["requests_per_second"].as_array().unwrap();
        assert_eq!(rates.len(), KEPT - 1);
        assert!(
            rates.iter().all(|rate| rate.as_f64() == Some(2.0)),
            "{rates:?}"
        );
        assert_eq!(json["seconds_ago"][0], 895.0);
        assert_eq!(json["latency_seconds"]["p99"][0], Value::Null);

        let (recent, time) = history.since(now, &of(10 * 999), seconds(120));
        assert_eq!((recent.requests, time), (240, seconds(120)));
        let (all, time) = history.since(now, &of(10 * 999), seconds(100_000));
        assert_eq!((all.requests, time), (1800, REACH), "from the oldest");
    }

    #[test]
    fn before_the_first_sample_everything_is_recent() {
        let (recent, _) = History::default().since(Instant::now(), &of(7), REACH);
        assert_eq!(recent.requests, 7);
    }
}
