//! Background work of an upstream: closes idle connections, and keeps `min_idle` ready.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::acquire::ConnectionSource;
use super::body::OutgoingBody;
use super::connector::NewConnection;

/// Interval of counting the ready connections.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The longest interval, while connections cannot be opened or do not last.
const MAX_CHECK_INTERVAL: Duration = Duration::from_secs(30);

impl<B: OutgoingBody> ConnectionSource<B> {
    /// Runs for as long as it is polled.
    pub(super) async fn maintain(&self, min_idle: usize) {
        tokio::join!(self.close_expired(), self.keep_ready(min_idle));
    }

    async fn close_expired(&self) {
        loop {
            sleep(self.pool.timeouts.idle.timeout / 2).await;
            self.pool.close_expired();
            if let Some(http2) = &self.http2 {
                http2.close_expired();
            }
        }
    }

    async fn keep_ready(&self, min_idle: usize) {
        if min_idle == 0 {
            return;
        }
        let mut interval = CHECK_INTERVAL;
        loop {
            if self.has_min_idle(min_idle) {
                interval = CHECK_INTERVAL;
            } else {
                self.open_idle(min_idle).await;
                interval = (interval * 2).min(MAX_CHECK_INTERVAL);
            }
            sleep(interval).await;
        }
    }

    /// Whether enough connections are ready, and will be at the next check.
    fn has_min_idle(&self, min_idle: usize) -> bool {
        let duration = (CHECK_INTERVAL * 2).min(self.pool.timeouts.idle.timeout / 2);
        self.is_ready_for(duration, min_idle)
    }

    /// Opens connections one after the other, until enough are ready or one cannot be opened.
    async fn open_idle(&self, min_idle: usize) {
        for _ in 0..min_idle {
            let connector = Arc::clone(&self.connector);
            // A task of its own confines a panic.
            let opened = tokio::spawn(async move { connector.open_unconditionally().await })
                .await
                .unwrap_or_else(|panicked| Err(panicked.into()));
            match (&self.http2, opened) {
                (Some(http2), Ok(opened)) => http2.add_any(opened).await,
                (None, Ok(NewConnection::Http1(connection))) => self.pool.add(connection).await,
                // Without a client HTTP/2 is not offered.
                (None, Ok(NewConnection::Http2(_))) => {}
                (_, Err(error)) => {
                    let account = self.connector.account.name();
                    tracing::debug!(
                        account,
                        error,
                        "no connection could be opened ahead of requests"
                    );
                    return;
                }
            }
            if self.has_min_idle(min_idle) {
                return;
            }
        }
    }
}
