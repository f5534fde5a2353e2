//! Trend of a series: whether its floor, the smallest value of a quarter, rises from the first to
//! the last quarter. A burst is not growth.

/// Largest rise of a flat floor, as a fraction of it.
const MAX_FLAT_RISE: f64 = 0.05;

/// The smallest samples of the first and the last quarter; `None` for fewer than four samples.
pub(crate) fn floors(samples: &[u64]) -> Option<(u64, u64)> {
    let quarter = samples.len() / 4;
    let (first, last) = (
        samples.get(..quarter)?,
        samples.get(samples.len() - quarter..)?,
    );
    first.iter().min().copied().zip(last.iter().min().copied())
}

/// Whether the floor has risen by at most a twentieth.
pub(crate) fn is_flat((first, last): (u64, u64)) -> bool {
    last as f64 <= first as f64 * (1.0 + MAX_FLAT_RISE)
}
