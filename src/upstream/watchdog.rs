//! Watchdog of a connection to the API: measures silence from the last byte that moved, and blames
//! the side whose turn it is.
//!
//! A slow caller takes minutes to send a photo; the response timeout begins when the API has all of
//! it. One timer serves all requests of a connection, and is set again only when it has run out.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::rt::clock;

/// Progress of the current request of a connection, recorded by its body and its IO.
#[derive(Debug)]
pub(super) struct Progress {
    epoch: Instant,
    /// The last progress, in milliseconds since `epoch`.
    last: AtomicU64,
    is_waiting_for_caller: AtomicBool,
    has_received: AtomicBool,
    has_sent: AtomicBool,
    has_peer_stopped_reading: AtomicBool,
}

impl Progress {
    pub(super) fn record_request(&self) {
        self.record_progress();
        self.has_received.store(false, Relaxed);
        self.has_sent.store(false, Relaxed);
    }

    pub(super) fn record_progress(&self) {
        let now = clock::now().duration_since(self.epoch);
        let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Relaxed);
        self.is_waiting_for_caller.store(false, Relaxed);
    }

    /// Records that the caller has to send more of the request body. Not progress.
    pub(super) fn record_waiting_for_caller(&self) {
        self.is_waiting_for_caller.store(true, Relaxed);
    }

    pub(super) fn record_received(&self) {
        self.has_received.store(true, Relaxed);
    }

    /// Whether a byte was received since the request began.
    pub(super) fn has_received(&self) -> bool {
        self.has_received.load(Relaxed)
    }

    pub(super) fn record_sent(&self) {
        self.has_sent.store(true, Relaxed);
    }

    /// Whether a byte of the current request was sent.
    pub(super) fn has_sent(&self) -> bool {
        self.has_sent.load(Relaxed)
    }

    pub(super) fn record_peer_stopped_reading(&self) {
        self.has_peer_stopped_reading.store(true, Relaxed);
    }

    /// Whether the API has stopped reading in the middle of a request: the connection carries no
    /// other.
    pub(super) fn has_peer_stopped_reading(&self) -> bool {
        self.has_peer_stopped_reading.load(Relaxed)
    }

    fn deadline(&self, limit: Duration) -> Instant {
        self.epoch + Duration::from_millis(self.last.load(Relaxed)) + limit
    }
}

/// The side that was silent for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Silent {
    Caller,
    Upstream,
}

/// Detects silence on one connection.
pub(super) struct Watchdog {
    pub(super) progress: Arc<Progress>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Default for Watchdog {
    fn default() -> Self {
        let progress = Progress {
            epoch: Instant::now(),
            last: AtomicU64::new(0),
            is_waiting_for_caller: AtomicBool::new(false),
            has_received: AtomicBool::new(false),
            has_sent: AtomicBool::new(false),
            has_peer_stopped_reading: AtomicBool::new(false),
        };
        Watchdog {
            progress: Arc::new(progress),
            timer: None,
        }
    }
}

impl Watchdog {
    /// Ready when nothing has moved for `limit`.
    pub(super) fn poll_silent(&mut self, cx: &mut Context<'_>, limit: Duration) -> Poll<Silent> {
        let progress = &self.progress;
        let mut deadline = progress.deadline(limit);
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if timer.deadline() > deadline {
            // The timer was set for a longer limit.
            timer.as_mut().reset(deadline);
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            deadline = progress.deadline(limit);
            if deadline <= Instant::now() {
                let is_caller = progress.is_waiting_for_caller.load(Relaxed);
                return Poll::Ready(if is_caller {
                    Silent::Caller
                } else {
                    Silent::Upstream
                });
            }
            timer.as_mut().reset(deadline);
        }
    }
}
