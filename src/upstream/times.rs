//! How long what may take.

use std::time::Duration;

use tokio::time::Instant;

use crate::config;

/// The times of `[upstream]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) connect: Duration,
    pub(super) response: Duration,
    pub(super) body: Duration,
    pub(super) idle: Duration,
    max_age: Duration,
}

impl Times {
    pub(super) fn new(config: &config::Upstream) -> Self {
        Times {
            connect: config.connect_timeout,
            response: config.response_timeout,
            body: config.body_timeout,
            idle: config.idle_timeout,
            max_age: config.max_age,
        }
    }

    /// When a connection that is opened now takes no further request. Connections that were opened together do not all
    /// end together.
    pub(super) fn retirement(&self) -> Instant {
        Instant::now() + self.max_age.mul_f64(0.9 + 0.2 * fastrand::f64())
    }
}
