//! Whether something grows. What comes in a burst and goes again is no growth, so it goes by the
//! floor: the least that there was in the first quarter of the time, and in the last.

/// What a floor may rise and still count as none, as a share of it.
const FLAT: f64 = 0.05;

/// The least of the first quarter of `samples`, and of the last; `None` for fewer than four.
pub(crate) fn floors(samples: &[u64]) -> Option<(u64, u64)> {
    let quarter = samples.len() / 4;
    let (first, last) = (
        samples.get(..quarter)?,
        samples.get(samples.len() - quarter..)?,
    );
    first.iter().min().copied().zip(last.iter().min().copied())
}

/// Whether that floor has not risen by more than a twentieth.
pub(crate) fn is_flat((first, last): (u64, u64)) -> bool {
    last as f64 <= first as f64 * (1.0 + FLAT)
}
