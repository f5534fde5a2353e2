//! Deadline of opening a connection, shared by its steps. The error names the step that took too
//! long and the configuration key.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

/// See the [module](self).
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectDeadline {
    at: Instant,
    timeout: Duration,
    key: &'static str,
}

impl ConnectDeadline {
    /// A deadline `timeout` from now, which the configuration sets as `key`.
    pub(crate) fn after(timeout: Duration, key: &'static str) -> Self {
        ConnectDeadline {
            at: Instant::now() + timeout,
            timeout,
            key,
        }
    }

    /// This deadline, `time` later.
    pub(crate) fn extended(self, time: Duration) -> Self {
        ConnectDeadline {
            at: self.at + time,
            ..self
        }
    }

    /// The time until the deadline.
    pub(crate) fn remaining(&self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    /// Runs `work`, the `step` towards `peer`, until the deadline.
    pub(crate) async fn limit<T>(
        &self,
        step: ConnectStep,
        peer: impl fmt::Display,
        work: impl Future<Output = T>,
    ) -> Result<T, DeadlineExceeded> {
        timeout_at(self.at, work)
            .await
            .map_err(|_| DeadlineExceeded {
                key: self.key,
                timeout: humantime::format_duration(self.timeout).to_string(),
                step,
                peer: peer.to_string(),
            })
    }
}

/// A step of opening a connection, or of the exchange on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConnectStep {
    /// The name lookup.
    Lookup,
    /// The TCP handshake.
    Tcp,
    /// CONNECT through the egress proxy.
    Tunnel,
    /// The TLS handshake.
    Tls,
    /// The server's SETTINGS.
    Http2,
    /// The whole response.
    Response,
}

impl fmt::Display for ConnectStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ConnectStep::Lookup => "the name lookup of",
            ConnectStep::Tcp => "the TCP connection to",
            ConnectStep::Tunnel => "CONNECT to",
            ConnectStep::Tls => "the TLS handshake with",
            ConnectStep::Http2 => "the HTTP/2 handshake with",
            ConnectStep::Response => "the response of",
        })
    }
}

/// The error of a step that exceeded the deadline.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{key} ({timeout}) expired during {step} {peer}")]
pub struct DeadlineExceeded {
    key: &'static str,
    timeout: String,
    /// The step that had not ended.
    pub(crate) step: ConnectStep,
    peer: String,
}
