//! Histogram of latencies in microseconds.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Latencies, exact to three digits.
#[derive(Clone, Debug)]
pub(crate) struct Latency(Histogram<u64>);

/// The reported percentiles, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Percentiles {
    pub(crate) count: u64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    #[serde(rename = "p99.9")]
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

impl Latency {
    pub(crate) fn new() -> Self {
        Latency::with_digits(3)
    }

    /// Takes a tenth of the memory: there may be one for each second of a day.
    pub(crate) fn small() -> Self {
        Latency::with_digits(2)
    }

    #[expect(
        clippy::expect_used,
        reason = "it fails for more than five digits alone"
    )]
    fn with_digits(digits: u8) -> Self {
        Latency(Histogram::new(digits).expect("two or three digits"))
    }

    pub(crate) fn record(&mut self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        // The histogram grows, so every value fits.
        let _ = self.0.record(micros);
    }

    pub(crate) fn add(&mut self, other: &Latency) {
        // As above.
        let _ = self.0.add(&other.0);
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// The latency that this fraction does not exceed; `None` without latencies.
    pub(crate) fn quantile(&self, share: f64) -> Option<Duration> {
        (!self.0.is_empty()).then(|| Duration::from_micros(self.0.value_at_quantile(share)))
    }

    pub(crate) fn percentiles(&self) -> Percentiles {
        let at = |share| milliseconds(self.quantile(share).unwrap_or_default());
        Percentiles {
            count: self.count(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: milliseconds(Duration::from_micros(self.0.max())),
        }
    }
}

/// The unit of all tables and files.
pub(crate) fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}
