//! Y axis of a plot: linear or logarithmic, with grid lines at round values.

use std::ops::Range;

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint};
use plotters::prelude::Ranged;

/// Fewest grid lines of a linear axis.
const MIN_TICKS: f64 = 5.0;

/// Smallest value of a logarithmic axis, as a fraction of the largest.
const MIN_FRACTION: f64 = 1e-6;

/// An axis from the smallest to the largest of its values; a linear one begins at 0.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Axis {
    low: f64,
    high: f64,
    is_log: bool,
}

impl Axis {
    /// An axis for `values`.
    pub(crate) fn over(values: impl Iterator<Item = f64>, is_log: bool) -> Self {
        let positive = values.filter(|value| *value > 0.0);
        let (low, high) = positive.fold((f64::INFINITY, 0.0f64), |(low, high), value| {
            (low.min(value), high.max(value))
        });
        match (high > 0.0, is_log) {
            (false, _) => Axis {
                low: 0.0,
                high: 1.0,
                is_log: false,
            },
            (true, false) => Axis {
                low: 0.0,
                high,
                is_log,
            },
            // Both ends must differ.
            (true, true) => Axis {
                low: low.max(high * MIN_FRACTION).min(high / 2.0),
                high,
                is_log,
            },
        }
    }

    pub(crate) fn contains(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }

    /// 1, 2 and 5 times powers of ten on a logarithmic axis; multiples of one of those on a linear
    /// one.
    fn ticks(&self) -> Vec<f64> {
        let rounds = |power: i32| [1.0, 2.0, 5.0].map(|round| round * 10f64.powi(power));
        let power = |value: f64| value.log10().floor() as i32;
        if self.is_log {
            let all = (power(self.low)..=power(self.high)).flat_map(rounds);
            return all.filter(|tick| self.contains(*tick)).collect();
        }
        let most = self.high / MIN_TICKS;
        let step = rounds(power(most))
            .into_iter()
            .rfind(|step| *step <= most)
            .unwrap_or(most);
        (0..)
            .map(|index| f64::from(index) * step)
            .take_while(|tick| self.contains(*tick))
            .collect()
    }
}

impl Ranged for Axis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, pixels: (i32, i32)) -> i32 {
        let scaled = |value: f64| if self.is_log { value.log10() } else { value };
        let share = (scaled(*value) - scaled(self.low)) / (scaled(self.high) - scaled(self.low));
        pixels.0 + (f64::from(pixels.1 - pixels.0) * share).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks()
    }

    fn range(&self) -> Range<f64> {
        self.low..self.high
    }
}
