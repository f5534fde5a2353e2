//! Bound on one worker's connections to the API: callers must not use up the open files of the
//! process.
//!
//! Each worker has its part, as it has its own pool: a connection that is idle in another worker's
//! pool is of no use to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::dial::MAX_ATTEMPTS;
use crate::telemetry::throttle::LogThrottle;

/// Sockets that a connection may take while it opens: one for each TCP handshake that runs at once.
const SOCKETS_TO_OPEN: u32 = MAX_ATTEMPTS;

/// The connections to the API that a worker may have open.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionLimit {
    sockets: Arc<Semaphore>,
    usage: Arc<Usage>,
    log_throttle: Arc<LogThrottle>,
}

/// The connections that are open, as one limit counts them.
#[derive(Debug)]
struct Usage {
    max_sockets: usize,
    sockets_to_open: u32,
    /// Connections that have opened and not ended.
    open: AtomicUsize,
    /// How often one has opened that left no permit.
    exhaustions: AtomicUsize,
}

/// The moment at which a request began to wait for a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct WaitStart {
    is_exhausted: bool,
    exhaustions: usize,
}

/// No further connection may be opened.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("as many connections to the API are open, or are being opened, as RLIMIT_NOFILE allows")]
pub(super) struct LimitReached;

/// One connection, from before it opens until it has ended.
#[derive(Debug)]
pub(super) struct ConnectionPermit {
    sockets: OwnedSemaphorePermit,
    is_open: bool,
    usage: Arc<Usage>,
}

impl Default for ConnectionLimit {
    fn default() -> Self {
        ConnectionLimit::new(None)
    }
}

impl ConnectionLimit {
    /// At most `sockets` at once; any number without.
    pub(crate) fn new(sockets: Option<u32>) -> Self {
        let sockets = sockets
            .map_or(usize::MAX, |sockets| sockets as usize)
            .min(Semaphore::MAX_PERMITS);
        ConnectionLimit {
            sockets: Arc::new(Semaphore::new(sockets)),
            usage: Arc::new(Usage {
                max_sockets: sockets,
                sockets_to_open: SOCKETS_TO_OPEN.min(u32::try_from(sockets).unwrap_or(u32::MAX)),
                open: AtomicUsize::new(0),
                exhaustions: AtomicUsize::new(0),
            }),
            log_throttle: Arc::default(),
        }
    }

    /// A permit, if one is left.
    pub(super) fn try_acquire(&self) -> Result<ConnectionPermit, LimitReached> {
        let permit = Arc::clone(&self.sockets).try_acquire_many_owned(self.usage.sockets_to_open);
        permit
            .map(|sockets| self.permit(sockets))
            .map_err(|_| LimitReached)
    }

    /// Waits for a permit.
    pub(super) async fn acquire(&self) -> Result<ConnectionPermit, LimitReached> {
        let permit = Arc::clone(&self.sockets)
            .acquire_many_owned(self.usage.sockets_to_open)
            .await;
        // It is never closed.
        permit
            .map(|sockets| self.permit(sockets))
            .map_err(|_| LimitReached)
    }

    fn permit(&self, sockets: OwnedSemaphorePermit) -> ConnectionPermit {
        ConnectionPermit {
            sockets,
            is_open: false,
            usage: Arc::clone(&self.usage),
        }
    }

    /// Whether a permit would have to be waited for.
    pub(super) fn is_reached(&self) -> bool {
        self.sockets.available_permits() < self.usage.sockets_to_open as usize
    }

    /// Whether connections that are open leave no permit. Where others are only being opened, it is
    /// the API that keeps requests waiting, and not this limit.
    pub(super) fn is_exhausted(&self) -> bool {
        self.usage.is_exhausted(self.usage.open.load(Relaxed))
    }

    /// The start of a wait for a connection.
    pub(super) fn wait_start(&self) -> WaitStart {
        WaitStart {
            is_exhausted: self.is_exhausted(),
            exhaustions: self.usage.exhaustions.load(Relaxed),
        }
    }

    /// Whether connections that were open left no permit at any moment since `start`. Where the API
    /// closes each after one answer, the next one is being opened most of the time, and
    /// [`Self::is_exhausted`] is a matter of the moment. Before a dead API this is false, at the
    /// latest for those who come when its last connections have ended.
    pub(super) fn was_exhausted_since(&self, start: WaitStart) -> bool {
        start.is_exhausted
            || self.is_exhausted()
            || self.usage.exhaustions.load(Relaxed) != start.exhaustions
    }

    /// Logs that no further connection may be opened.
    pub(super) fn log_exhausted(&self) {
        if self.log_throttle.is_due() {
            tracing::warn!(
                "no further connection to the API may be opened, to keep open files for other uses; raise LimitNOFILE \
                 (ulimit -n)"
            );
        }
    }
}

impl Usage {
    /// Whether so many open connections leave no permit.
    fn is_exhausted(&self, open: usize) -> bool {
        self.max_sockets.saturating_sub(open) < self.sockets_to_open as usize
    }
}

impl ConnectionPermit {
    /// Gives back what only opening took.
    pub(super) fn settle(&mut self) {
        let spare = self.sockets.num_permits().saturating_sub(1);
        drop(self.sockets.split(spare));
    }

    /// Notes that the connection carries requests from now on.
    pub(super) fn opened(mut self) -> Self {
        self.is_open = true;
        let open = self.usage.open.fetch_add(1, Relaxed) + 1;
        if self.usage.is_exhausted(open) {
            self.usage.exhaustions.fetch_add(1, Relaxed);
        }
        self
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        if self.is_open {
            self.usage.open.fetch_sub(1, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit_counts_two_sockets_until_it_has_opened() {
        let limit = ConnectionLimit::new(Some(3));
        let mut first = limit.try_acquire().unwrap();
        assert!(limit.try_acquire().is_err() && limit.is_reached());
        first.settle();
        let mut second = limit.try_acquire().unwrap();
        second.settle();
        assert!(limit.try_acquire().is_err());
        drop(first);
        assert!(limit.try_acquire().is_ok());
    }

    #[test]
    fn connections_that_are_being_opened_exhaust_nothing() {
        for sockets in [1, 2, 3] {
            let limit = ConnectionLimit::new(Some(sockets));
            let mut held = Vec::new();
            while let Ok(mut permit) = limit.try_acquire() {
                permit.settle();
                assert!(!limit.is_exhausted(), "{sockets}");
                held.push(permit);
            }
            let open = held
                .into_iter()
                .map(ConnectionPermit::opened)
                .collect::<Vec<_>>();
            assert!(limit.is_exhausted(), "{sockets}");
            drop(open);
            assert!(!limit.is_exhausted(), "{sockets}");
        }
        assert!(!ConnectionLimit::default().is_exhausted());
    }

    /// A permit as a connection that is open has it.
    fn opened(limit: &ConnectionLimit) -> ConnectionPermit {
        let mut permit = limit.try_acquire().unwrap();
        permit.settle();
        permit.opened()
    }

    #[test]
    fn a_wait_in_which_connections_left_no_permit_is_the_limits_whatever_its_last_moment() {
        let limit = ConnectionLimit::new(Some(4));
        let mut open: Vec<_> = (0..3).map(|_| opened(&limit)).collect();
        let full = limit.wait_start();
        open.pop();
        let opening = limit.try_acquire().unwrap();
        assert!(limit.is_reached() && !limit.is_exhausted());
        assert!(limit.was_exhausted_since(full), "at its beginning");

        let between = limit.wait_start();
        assert!(!limit.was_exhausted_since(between));
        open.push(opening.opened());
        assert!(limit.was_exhausted_since(between), "at its end");
        open.pop();
        assert!(!limit.is_exhausted());
        assert!(limit.was_exhausted_since(between), "in its midst");
    }

    #[test]
    fn a_wait_for_connections_that_never_open_is_not_the_limits() {
        let limit = ConnectionLimit::new(Some(4));
        let _open = [opened(&limit), opened(&limit)];
        let start = limit.wait_start();
        for _ in 0..3 {
            let failing = limit.try_acquire().unwrap();
            assert!(limit.is_reached() && !limit.was_exhausted_since(start));
            drop(failing);
        }
        assert!(!limit.was_exhausted_since(start));
    }

    #[test]
    fn any_number_of_sockets_is_a_limit() {
        for sockets in [None, Some(u32::MAX)] {
            assert!(ConnectionLimit::new(sockets).try_acquire().is_ok());
        }
    }

    #[test]
    fn a_limit_of_one_still_lets_one_open() {
        let limit = ConnectionLimit::new(Some(1));
        let mut only = limit.try_acquire().unwrap();
        only.settle();
        assert!(limit.try_acquire().is_err());
    }
}
