//! Log of the refresh task: one line per change of the state, not per fetch.

use std::time::Duration;

use crate::error::chain;
use crate::token::failure::FetchError;

/// Log of the token of one account.
#[derive(Debug)]
pub(super) struct RefreshLog {
    account: Box<str>,
    last: LoggedState,
}

/// The state that was logged last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LoggedState {
    Starting,
    Working,
    Failing {
        is_refusal: bool,
        token_serves: bool,
    },
}

impl RefreshLog {
    pub(super) fn new(account: &str) -> Self {
        RefreshLog {
            account: account.into(),
            last: LoggedState::Starting,
        }
    }

    pub(super) fn record_success(&mut self, generation: u64, lifetime: Duration) {
        let (account, life) = (&*self.account, lifetime.as_secs());
        match self.last {
            LoggedState::Working => {
                tracing::debug!(account, generation, life, "refreshed the access token");
            }
            LoggedState::Failing { .. } if generation > 1 => {
                tracing::info!(account, generation, life, "received an access token again");
            }
            LoggedState::Starting | LoggedState::Failing { .. } => {
                tracing::info!(account, generation, life, "received an access token");
            }
        }
        self.last = LoggedState::Working;
    }

    /// `token_serves`: the current token still serves requests.
    pub(super) fn record_failure(&mut self, error: &FetchError, token_serves: bool) {
        let now = LoggedState::Failing {
            is_refusal: error.is_refusal(),
            token_serves,
        };
        let (account, error) = (&*self.account, chain(error));
        if self.last == now {
            tracing::debug!(account, error, "still no new access token");
            return;
        }
        self.last = now;
        if token_serves {
            tracing::warn!(
                account,
                error,
                "no new access token; the current one serves until it expires"
            );
        } else {
            tracing::error!(
                account,
                error,
                "there is no usable access token; requests fail"
            );
        }
    }
}
