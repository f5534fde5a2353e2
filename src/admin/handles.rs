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

/// Handle to one account.
#[derive(Debug)]
pub(crate) struct AccountHandle {
    pub(crate) name: Box<str>,
    pub(crate) tokens: TokenReader,
}
