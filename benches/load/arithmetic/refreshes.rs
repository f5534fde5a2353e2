//! Seconds in which a token was refreshed.

use std::time::Duration;

/// Whether there was a refresh in `second`.
pub(crate) fn has_refresh(second: usize, refreshes: &[Duration]) -> bool {
    refreshes
        .iter()
        .any(|refresh| refresh.as_secs() as usize == second)
}

/// Times at which the generation changed: the middle between two samples.
pub(crate) fn refresh_times(samples: &[(Duration, u64)]) -> Vec<Duration> {
    let changes = samples.windows(2).filter(|pair| pair[0].1 != pair[1].1);
    changes.map(|pair| (pair[0].0 + pair[1].0) / 2).collect()
}
