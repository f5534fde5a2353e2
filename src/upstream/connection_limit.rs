//! Limit of one worker's connections to the API, so that requests do not use up the process's open
//! files.
//!
//! Each worker has its own share because it has its own pool, and cannot use the idle connections
//! of another.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::dial::MAX_ATTEMPTS;
use crate::telemetry::throttle::LogThrottle;

/// Sockets of a connection that is opening: one for each concurrent TCP handshake.
const SOCKETS_TO_OPEN: u32 = MAX_ATTEMPTS;

/// See the [module](self).
#[derive(Clone, Debug)]
pub(crate) struct ConnectionLimit {
    sockets: Arc<Semaphore>,
    usage: Arc<LimitUsage>,
}

#[derive(Debug)]
struct LimitUsage {
    max_sockets: usize,
    /// The sockets of a connection that is opening, within a lower limit.
    sockets_to_open: u32,
    open: AtomicUsize,
    /// Number of times that an opened connection left no permit.
    exhaustions: AtomicUsize,
    log_throttle: LogThrottle,
}

/// The state of the limit when a request began to wait for a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct WaitStart {
    is_exhausted: bool,
    exhaustions: usize,
}

/// The error of a connection over the limit.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("as many connections to the API are open, or are being opened, as RLIMIT_NOFILE allows")]
pub(super) struct LimitReached;

/// The permit of one connection, from before it opens until it ends.
#[derive(Debug)]
pub(super) struct ConnectionPermit {
    sockets: OwnedSemaphorePermit,
    is_open: bool,
    usage: Arc<LimitUsage>,
}

impl Default for ConnectionLimit {
    fn default() -> Self {
        ConnectionLimit::new(None)
    }
}

impl ConnectionLimit {
    /// A limit of `sockets`; `None` for no limit.
    pub(crate) fn new(sockets: Option<u32>) -> Self {
        let max_sockets = sockets
            .map_or(usize::MAX, |sockets| sockets as usize)
            .min(Semaphore::MAX_PERMITS);
        ConnectionLimit {
            sockets: Arc::new(Semaphore::new(max_sockets)),
            usage: Arc::new(LimitUsage {
                max_sockets,
                sockets_to_open: SOCKETS_TO_OPEN
                    .min(u32::try_from(max_sockets).unwrap_or(u32::MAX)),
                open: AtomicUsize::new(0),
                exhaustions: AtomicUsize::new(0),
                log_throttle: LogThrottle::default(),
            }),
        }
    }

    pub(super) fn try_acquire(&self) -> Result<ConnectionPermit, LimitReached> {
        let sockets = Arc::clone(&self.sockets);
        self.permit(sockets.try_acquire_many_owned(self.usage.sockets_to_open))
    }

    pub(super) async fn acquire(&self) -> Result<ConnectionPermit, LimitReached> {
        let sockets = Arc::clone(&self.sockets);
        // The semaphore is never closed.
        self.permit(sockets.acquire_many_owned(self.usage.sockets_to_open).await)
    }

    fn permit<E>(
        &self,
        sockets: Result<OwnedSemaphorePermit, E>,
    ) -> Result<ConnectionPermit, LimitReached> {
        Ok(ConnectionPermit {
            sockets: sockets.map_err(|_| LimitReached)?,
            is_open: false,
            usage: Arc::clone(&self.usage),
        })
    }

    /// Whether no permit is free at the moment.
    pub(super) fn is_reached(&self) -> bool {
        self.sockets.available_permits() < self.usage.sockets_to_open as usize
    }

    /// Whether open connections leave no permit. Connections that are only opening do not count:
    /// then requests wait for the API, not for this limit.
    pub(super) fn is_exhausted(&self) -> bool {
        self.usage.is_exhausted(self.usage.open.load(Relaxed))
    }

    pub(super) fn wait_start(&self) -> WaitStart {
        WaitStart {
            is_exhausted: self.is_exhausted(),
            exhaustions: self.usage.exhaustions.load(Relaxed),
        }
    }

    /// Whether open connections left no permit at any time since `start`. If the API closes each
    /// connection after one response, connections are opening most of the time, and
    /// [`Self::is_exhausted`] changes by the moment. For a dead API this is false as soon as its
    /// last connections have ended.
    pub(super) fn was_exhausted_since(&self, start: WaitStart) -> bool {
        start.is_exhausted
            || self.is_exhausted()
            || self.usage.exhaustions.load(Relaxed) != start.exhaustions
    }

    pub(super) fn log_exhausted(&self) {
        if self.usage.log_throttle.is_due() {
            tracing::warn!(
                "reached the limit of connections to the API, which keeps open files for other uses; raise \
                 LimitNOFILE (ulimit -n)"
            );
        }
    }
}

impl LimitUsage {
    fn is_exhausted(&self, open: usize) -> bool {
        self.max_sockets.saturating_sub(open) < self.sockets_to_open as usize
    }
}

impl ConnectionPermit {
    /// Releases the sockets that only opening needs.
    pub(super) fn release_spare(&mut self) {
        let spare = self.sockets.num_permits().saturating_sub(1);
        drop(self.sockets.split(spare));
    }

    /// The permit of a connection that carries requests.
    pub(super) fn into_open(mut self) -> Self {
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
    fn an_opening_connection_takes_two_sockets() {
        let limit = ConnectionLimit::new(Some(3));
        let mut first = limit.try_acquire().unwrap();
        assert!(limit.try_acquire().is_err() && limit.is_reached());
        first.release_spare();
        let mut second = limit.try_acquire().unwrap();
        second.release_spare();
        assert!(limit.try_acquire().is_err());
        drop(first);
        assert!(limit.try_acquire().is_ok());
    }

    #[test]
    fn opening_connections_do_not_exhaust_the_limit() {
        for sockets in [1, 2, 3] {
            let limit = ConnectionLimit::new(Some(sockets));
            let mut held = Vec::new();
            while let Ok(mut permit) = limit.try_acquire() {
                permit.release_spare();
                assert!(!limit.is_exhausted(), "{sockets}");
                held.push(permit);
            }
            let open = held
                .into_iter()
                .map(ConnectionPermit::into_open)
                .collect::<Vec<_>>();
            assert!(limit.is_exhausted(), "{sockets}");
            drop(open);
            assert!(!limit.is_exhausted(), "{sockets}");
        }
        assert!(!ConnectionLimit::default().is_exhausted());
    }

    fn open_permit(limit: &ConnectionLimit) -> ConnectionPermit {
        let mut permit = limit.try_acquire().unwrap();
        permit.release_spare();
        permit.into_open()
    }

    #[test]
    fn a_wait_is_exhausted_if_it_ever_was() {
        let limit = ConnectionLimit::new(Some(4));
        let mut open: Vec<_> = (0..3).map(|_| open_permit(&limit)).collect();
        let full = limit.wait_start();
        open.pop();
        let opening = limit.try_acquire().unwrap();
        assert!(limit.is_reached() && !limit.is_exhausted());
        assert!(limit.was_exhausted_since(full), "at the start");

        let between = limit.wait_start();
        assert!(!limit.was_exhausted_since(between));
        open.push(opening.into_open());
        assert!(limit.was_exhausted_since(between), "at the end");
        open.pop();
        assert!(!limit.is_exhausted());
        assert!(limit.was_exhausted_since(between), "in between");
    }

    #[test]
    fn connections_that_never_open_exhaust_nothing() {
        let limit = ConnectionLimit::new(Some(4));
        let _open = [open_permit(&limit), open_permit(&limit)];
        let start = limit.wait_start();
        for _ in 0..3 {
            let failing = limit.try_acquire().unwrap();
            assert!(limit.is_reached() && !limit.was_exhausted_since(start));
            drop(failing);
        }
        assert!(!limit.was_exhausted_since(start));
    }

    #[test]
    fn any_number_of_sockets_is_valid() {
        for sockets in [None, Some(u32::MAX)] {
            assert!(ConnectionLimit::new(sockets).try_acquire().is_ok());
        }
    }

    #[test]
    fn a_limit_of_one_allows_one_connection() {
        let limit = ConnectionLimit::new(Some(1));
        let mut only = limit.try_acquire().unwrap();
        only.release_spare();
        assert!(limit.try_acquire().is_err());
    }
}
