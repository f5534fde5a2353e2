//! Log of the refresh task: one line per change of the state or of the cause, not per fetch.

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
#[derive(Debug, PartialEq, Eq)]
enum LoggedState {
    Starting,
    Working,
    Failing { error: String, token_serves: bool },
}

impl RefreshLog {
    pub(super) fn new(account: &str) -> Self {
        RefreshLog {
            account: account.into(),
            last: LoggedState::Starting,
        }
    }

    pub(super) fn record_success(&mut self, generation: u64, lifetime: Duration) {
        let (account, lifetime_s) = (&*self.account, lifetime.as_secs());
        match self.last {
            LoggedState::Working => {
                tracing::debug!(
                    account,
                    generation,
                    lifetime_s,
                    "refreshed the access token"
                );
            }
            LoggedState::Failing { .. } if generation > 1 => {
                tracing::info!(
                    account,
                    generation,
                    lifetime_s,
                    "received an access token again"
                );
            }
            LoggedState::Starting | LoggedState::Failing { .. } => {
                tracing::info!(account, generation, lifetime_s, "received an access token");
            }
        }
        self.last = LoggedState::Working;
    }

    /// `token_serves`: the current token still serves requests.
    pub(super) fn record_failure(&mut self, error: &FetchError, token_serves: bool) {
        let (account, error) = (&*self.account, chain(error));
        let now = LoggedState::Failing {
            error: error.clone(),
            token_serves,
        };
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
