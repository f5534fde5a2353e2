//! Connection counters of one worker, for one side of the proxy.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Connections of one side: from callers, or to the API.
#[derive(Debug, Default)]
pub struct ConnectionMetrics {
    opened: AtomicU64,
    closed: AtomicU64,
}

impl ConnectionMetrics {
    /// Counts a connection as open until the returned guard is dropped.
    pub(crate) fn open(self: &Arc<Self>) -> OpenConnection {
        self.opened.fetch_add(1, Relaxed);
        OpenConnection(Arc::clone(self))
    }

    pub(super) fn opened(&self) -> u64 {
        self.opened.load(Relaxed)
    }

    /// The number of open connections. `closed` is read first: a connection that opens or closes in
    /// between counts as open.
    pub(super) fn open_now(&self) -> u64 {
        let closed = self.closed.load(Relaxed);
        self.opened().saturating_sub(closed)
    }
}

/// Guard of an open connection.
#[derive(Debug)]
pub(crate) struct OpenConnection(Arc<ConnectionMetrics>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.closed.fetch_add(1, Relaxed);
    }
}
