//! Since when all is well again after an overload.

use std::time::Duration;

/// A median of up to so many times that of before counts as well.
const WELL: u32 = 2;

/// What was due in one short span of time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    /// Requests that were not answered as they should be.
    pub(crate) failed: u64,
    /// The median of the others; `None` where there are none.
    pub(crate) median: Option<Duration>,
}

/// The index of the first span since which all are well: nothing fails, and the median is as it was
/// `before`; `None` if the last one is not.
pub(crate) fn recovered(spans: &[Span], before: Duration) -> Option<usize> {
    let is_well = |span: &Span| {
        span.failed == 0
            && span
                .median
                .is_none_or(|median| median <= before.saturating_mul(WELL))
    };
    let index = spans
        .iter()
        .rposition(|span| !is_well(span))
        .map_or(0, |last| last + 1);
    (index < spans.len()).then_some(index)
}
