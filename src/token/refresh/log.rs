//! Log of the refresh task: one line per change of the state, not per fetch.

use std::time::Duration;

use crate::error::chain;
use crate::token::failure::FetchError;

/// The state that was logged last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum RefreshLog {
    #[default]
    Starting,
    Working,
    Failing {
        is_refusal: bool,
        token_serves: bool,
    },
}

impl RefreshLog {
    pub(super) fn record_success(&mut self, generation: u64, lifetime: Duration) {
        let life = lifetime.as_secs();
        match self {
            RefreshLog::Working => tracing::debug!(generation, life, "refreshed the access token"),
            RefreshLog::Failing { .. } if generation > 1 => {
                tracing::info!(generation, life, "received an access token again");
            }
            RefreshLog::Starting | RefreshLog::Failing { .. } => {
                tracing::info!(generation, life, "received an access token");
            }
        }
        *self = RefreshLog::Working;
    }

    /// `token_serves`: the current token still serves requests.
    pub(super) fn record_failure(&mut self, error: &FetchError, token_serves: bool) {
        let now = RefreshLog::Failing {
            is_refusal: error.is_refusal(),
            token_serves,
        };
        let error = chain(error);
        if *self == now {
            tracing::debug!(error, "still no new access token");
            return;
        }
        *self = now;
        if token_serves {
            tracing::warn!(
                error,
                "no new access token; the current one serves until it expires"
            );
        } else {
            tracing::error!(error, "there is no usable access token; requests fail");
        }
    }
}
