//! `[drain]`: the end of the process.

use std::time::Duration;

use serde::Deserialize;

use crate::config::types::duration;

/// `[drain]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Drain {
    /// How long it still accepts after the signal to end, while it says that it is not ready.
    #[serde(deserialize_with = "duration::or_zero")]
    pub delay: Duration,
    /// How long requests in flight may take to finish after the signal to end.
    #[serde(deserialize_with = "duration::positive")]
    pub timeout: Duration,
}

impl Default for Drain {
    fn default() -> Self {
        Drain {
            delay: Duration::ZERO,
            timeout: Duration::from_secs(25),
        }
    }
}
