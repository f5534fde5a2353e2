//! Recovery time after an overload.

use std::time::Duration;

/// Largest median of a recovered span, as a multiple of the one before the overload.
const MAX_MEDIAN_FACTOR: u32 = 2;

/// The requests that were due in one short span of time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    /// Requests without a good response.
    pub(crate) failed: u64,
    /// Median latency of the others; `None` without any.
    pub(crate) median: Option<Duration>,
}

/// The index of the first span from which on no request fails and the median is about that of
/// `before`; `None` if the last span is not like that.
pub(crate) fn recovered(spans: &[Span], before: Duration) -> Option<usize> {
    let is_well = |span: &Span| {
        span.failed == 0
            && span
                .median
                .is_none_or(|median| median <= before.saturating_mul(MAX_MEDIAN_FACTOR))
    };
    let index = spans
        .iter()
        .rposition(|span| !is_well(span))
        .map_or(0, |last| last + 1);
    (index < spans.len()).then_some(index)
}
