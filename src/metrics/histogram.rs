//! Duration histogram with fixed buckets.

use std::time::Duration;

/// Upper bounds of the buckets in seconds: from a response over loopback to beyond the default of
/// `upstream.response_timeout`.
const BUCKETS: [f64; 16] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 90.0,
];

/// A histogram of durations.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Histogram {
    /// The last bucket has no upper bound.
    counts: [u64; BUCKETS.len() + 1],
    sum: Duration,
}

impl Histogram {
    pub(super) fn record(&mut self, time: Duration) {
        let seconds = time.as_secs_f64();
        let bucket = BUCKETS
            .iter()
            .position(|&bound| seconds <= bound)
            .unwrap_or(BUCKETS.len());
        self.counts[bucket] += 1;
        self.sum += time;
    }

    pub(super) fn add(&mut self, other: &Histogram) {
        self.sum += other.sum;
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The difference to an `earlier` state.
    pub(crate) fn since(&self, earlier: &Histogram) -> Histogram {
        let mut counts = self.counts;
        for (count, before) in counts.iter_mut().zip(earlier.counts) {
            *count = count.saturating_sub(before);
        }
        Histogram {
            counts,
            sum: self.sum.saturating_sub(earlier.sum),
        }
    }

    /// The quantile `q` in seconds, interpolated linearly within its bucket. A duration above all
    /// buckets counts as the bound of the last. `None` for an empty histogram.
    pub(crate) fn quantile(&self, q: f64) -> Option<f64> {
        let rank = q * self.count() as f64;
        let mut below = 0.0;
        let mut start = 0.0;
        for (end, count) in BUCKETS.into_iter().zip(self.counts) {
            let count = count as f64;
            if count > 0.0 && below + count >= rank {
                return Some(start + (end - start) * ((rank - below) / count).clamp(0.0, 1.0));
            }
            below += count;
            start = end;
        }
        (self.count() > 0).then_some(start)
    }

    pub(super) fn sum_seconds(&self) -> f64 {
        self.sum.as_secs_f64()
    }

    /// The upper bound of each bucket, and its count without the lower buckets.
    pub(super) fn buckets(&self) -> Vec<(f64, u64)> {
        BUCKETS
            .into_iter()
            .chain([f64::INFINITY])
            .zip(self.counts)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_includes_its_upper_bound() {
        let mut histogram = Histogram::default();
        for milliseconds in [1, 2, 9_000, 66_000, 91_000] {
            histogram.record(Duration::from_millis(milliseconds));
        }
        let filled: Vec<_> = histogram
            .buckets()
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .collect();
        assert_eq!(
            filled,
            [
                (0.001, 1),
                (0.0025, 1),
                (10.0, 1),
                (90.0, 1),
                (f64::INFINITY, 1)
            ]
        );
        let mut sum = histogram;
        sum.add(&histogram);
        assert_eq!((sum.count(), sum.sum_seconds()), (10, 2.0 * 166.003));
        assert_eq!(sum.since(&histogram).buckets(), histogram.buckets());
    }

    #[test]
    fn quantiles_are_interpolated_within_a_bucket() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), None);
        for _ in 0..90 {
            histogram.record(Duration::from_millis(40));
        }
        for _ in 0..10 {
            histogram.record(Duration::from_millis(900));
        }
        let of = |part| histogram.quantile(part).unwrap();
        assert!((0.025..=0.05).contains(&of(0.5)), "{}", of(0.5));
        assert!((0.5..=1.0).contains(&of(0.95)), "{}", of(0.95));
        histogram = Histogram::default();
        histogram.record(Duration::from_secs(600));
        assert_eq!(histogram.quantile(0.5), Some(90.0));
    }
}
