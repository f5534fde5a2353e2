//! Use of one connection, by which a listener decides which connection to evict.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use tokio::task::AbortHandle;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct ConnectionUse {
    active_requests: AtomicUsize,
    /// The value of `clock` at the last use.
    last_use: AtomicU64,
    /// Logical clock of the listener, which counts uses.
    clock: Arc<AtomicU64>,
    /// The task of the connection, once it is spawned.
    task: OnceLock<AbortHandle>,
}

impl ConnectionUse {
    pub(super) fn new(clock: &Arc<AtomicU64>) -> Arc<Self> {
        let usage = ConnectionUse {
            active_requests: AtomicUsize::new(0),
            last_use: AtomicU64::new(0),
            clock: Arc::clone(clock),
            task: OnceLock::new(),
        };
        usage.record_use();
        Arc::new(usage)
    }

    /// Marks the connection as active until the guard is dropped. Active connections are evicted
    /// last.
    pub(crate) fn begin_request(self: &Arc<Self>) -> ActiveRequest {
        self.active_requests.fetch_add(1, Relaxed);
        ActiveRequest(Arc::clone(self))
    }

    pub(super) fn set_task(&self, task: AbortHandle) {
        // It is set once.
        let _ = self.task.set(task);
    }

    /// Closes the connection at once, even with requests in flight.
    pub(crate) fn abort(&self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }

    /// Orders connections for eviction: the lowest goes first.
    pub(super) fn eviction_order(&self) -> (bool, u64) {
        let is_active = self.active_requests.load(Relaxed) > 0;
        (is_active, self.last_use.load(Relaxed))
    }

    fn record_use(&self) {
        self.last_use
            .store(self.clock.fetch_add(1, Relaxed), Relaxed);
    }
}

/// Guard of an active request.
#[derive(Debug)]
pub(crate) struct ActiveRequest(Arc<ConnectionUse>);

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.0.record_use();
        self.0.active_requests.fetch_sub(1, Relaxed);
    }
}
