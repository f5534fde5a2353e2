//! Whether something grows: the straight line through its samples.

/// What growth over the whole time still counts as none, as a share of the first sample.
const FLAT: f64 = 0.05;

/// The slope of the line of least squares; `None` for fewer than two moments.
pub(crate) fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let count = points.len() as f64;
    let (sum_x, sum_y) = points.iter().fold((0.0, 0.0), |(x, y), point| (x + point.0, y + point.1));
    let (mean_x, mean_y) = (sum_x / count, sum_y / count);
    let (over, under) = points.iter().fold((0.0, 0.0), |(over, under), &(x, y)| {
        (over + (x - mean_x) * (y - mean_y), under + (x - mean_x).powi(2))
    });
    (under > 0.0).then(|| over / under)
}

/// Whether that line grows by no more than a twentieth of the first sample, over all of them.
pub(crate) fn is_flat(points: &[(f64, f64)]) -> bool {
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return true };
    slope(points).is_none_or(|slope| slope * (last.0 - first.0) <= first.1 * FLAT)
}
