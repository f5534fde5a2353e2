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
pub struct ConnectionLimit {
    sockets: Arc<Semaphore>,
    max_sockets: usize,
    sockets_to_open: u32,
    /// Connections that have opened and not ended.
    open: Arc<AtomicUsize>,
    log_throttle: Arc<LogThrottle>,
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
    /// As the limit counts them.
    open: Arc<AtomicUsize>,
}

impl Default for ConnectionLimit {
    fn default() -> Self {
        ConnectionLimit::new(None)
    }
}

impl ConnectionLimit {
    /// At most `sockets` at once; any number without.
    pub fn new(sockets: Option<u32>) -> Self {
        let sockets = sockets
            .map_or(usize::MAX, |sockets| sockets as usize)
            .min(Semaphore::MAX_PERMITS);
        ConnectionLimit {
            sockets: Arc::new(Semaphore::new(sockets)),
            max_sockets: sockets,
            sockets_to_open: SOCKETS_TO_OPEN.min(u32::try_from(sockets).unwrap_or(u32::MAX)),
            open: Arc::default(),
            log_throttle: Arc::default(),
        }
    }

    /// A permit, if one is left.
    pub(super) fn try_acquire(&self) -> Result<ConnectionPermit, LimitReached> {
        let permit = Arc::clone(&self.sockets).try_acquire_many_owned(self.sockets_to_open);
        permit
            .map(|sockets| self.permit(sockets))
            .map_err(|_| LimitReached)
    }

    /// Waits for a permit.
    pub(super) async fn acquire(&self) -> Result<ConnectionPermit, LimitReached> {
        let permit = Arc::clone(&self.sockets)
            .acquire_many_owned(self.sockets_to_open)
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
            open: Arc::clone(&self.open),
        }
    }

    /// Whether a permit would have to be waited for.
    pub(super) fn is_reached(&self) -> bool {
        self.sockets.available_permits() < self.sockets_to_open as usize
    }

    /// Whether connections that are open leave no permit. Where others are only being opened, it is
    /// the API that keeps requests waiting, and not this limit.
    pub(super) fn is_exhausted(&self) -> bool {
        self.max_sockets.saturating_sub(self.open.load(Relaxed)) < self.sockets_to_open as usize
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

impl ConnectionPermit {
    /// Gives back what only opening took.
    pub(super) fn settle(&mut self) {
        let spare = self.sockets.num_permits().saturating_sub(1);
        drop(self.sockets.split(spare));
    }

    /// Notes that the connection carries requests from now on.
    pub(super) fn opened(mut self) -> Self {
        self.is_open = true;
        self.open.fetch_add(1, Relaxed);
        self
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        if self.is_open {
            self.open.fetch_sub(1, Relaxed);
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
