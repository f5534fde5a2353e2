//! Timeouts of the `[listen]` section.

use std::time::Duration;

use tokio::sync::watch;

use crate::config::Listen;

/// The timeouts of a listener's callers.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// The TLS handshake.
    pub handshake: Duration,
    /// A request head, from its first byte, or from the start of the connection.
    pub header: Duration,
    /// A connection without a request.
    pub keep_alive: Duration,
    /// Silence in the middle of a request, while it is the caller's turn to send or to read.
    pub body: Duration,
    /// The age from which a connection takes no more requests, random by a tenth.
    pub max_age: Duration,
}

impl Timeouts {
    pub(crate) fn new(listen: &Listen) -> Self {
        Timeouts {
            handshake: listen.handshake_timeout,
            header: listen.header_timeout,
            keep_alive: listen.keep_alive_timeout,
            body: listen.body_timeout,
            max_age: listen.max_age,
        }
    }

    /// A receiver of timeouts that never change.
    pub fn fixed(self) -> watch::Receiver<Self> {
        watch::channel(self).1
    }

    /// The shortest timeout of a request.
    pub(super) fn shortest(&self) -> Duration {
        self.header.min(self.keep_alive).min(self.body)
    }
}
