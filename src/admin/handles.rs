//! Handles to the parts of the process that the admin server reports on.

use std::sync::Arc;

use tokio::sync::{Notify, watch};

use super::callers::CallerLimits;
use crate::metrics::Metrics;
use crate::rt::liveness::LivenessProbe;
use crate::token::TokenReader;

/// Handles to the parts of the process.
#[derive(Debug)]
pub(crate) struct Handles {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) instance: Instance,
    /// In the order of the configuration.
    pub(crate) accounts: Vec<AccountHandle>,
    /// Turns true when the process starts to shut down.
    pub(crate) draining: watch::Receiver<bool>,
    /// Notified by `POST /quit`.
    pub(crate) quit: Arc<Notify>,
    pub(crate) limits: watch::Receiver<Vec<CallerLimits>>,
    /// One for each worker.
    pub(crate) workers: Vec<LivenessProbe>,
}

/// Identity of the process: which proxy this is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Instance {
    pub(crate) hostname: String,
    /// The address of the listener for callers.
    pub(crate) listen: String,
    /// The address of the admin listener.
    pub(crate) admin: String,
}

/// Handle to one account.
#[derive(Debug)]
pub(crate) struct AccountHandle {
    pub(crate) name: Box<str>,
    /// The origin of the API.
    pub(crate) api: String,
    pub(crate) tokens: TokenReader,
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::*;
    use crate::token;

    /// Handles to a process with these accounts and one worker.
    pub(in crate::admin) fn handles(
        accounts: Vec<(&str, TokenReader)>,
        worker: LivenessProbe,
    ) -> Handles {
        let accounts = accounts.into_iter().map(|(name, tokens)| AccountHandle {
            name: name.into(),
            api: "http://localhost".to_owned(),
            tokens,
        });
        Handles {
            metrics: Arc::new(Metrics::new(1)),
            instance: Instance::default(),
            accounts: accounts.collect(),
            draining: watch::channel(false).1,
            quit: Arc::new(Notify::new()),
            limits: watch::channel(Vec::new()).1,
            workers: vec![worker],
        }
    }

    pub(in crate::admin) fn without_token() -> TokenReader {
        token::channel(Duration::from_secs(1), Arc::default()).1
    }
}
