//! Connections that wait for their next request.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Body;
use hyper::client::conn::http1::SendRequest;
use tokio::time::{Instant, sleep, timeout};

use super::progress::{Tracked, Watch};

/// How long a connection may take, after an answer has ended, to be ready for the next request. It waits for the
/// rest of the request's body, which an answer may overtake.
const SETTLE: Duration = Duration::from_secs(5);

/// A connection that carries one request at a time, with what belongs to it.
pub(super) struct Slot<B> {
    pub(super) sender: SendRequest<Tracked<B>>,
    pub(super) watch: Watch,
}

impl<B> Slot<B> {
    pub(super) fn new(sender: SendRequest<Tracked<B>>) -> Self {
        Slot { sender, watch: Watch::default() }
    }
}

/// Idle connections, the one used last at the back. Its lock is the worker's own, and never waited for.
pub(super) struct Pool<B> {
    idle: Mutex<VecDeque<Idle<B>>>,
    idle_timeout: Duration,
}

struct Idle<B> {
    slot: Slot<B>,
    since: Instant,
}

impl<B> Pool<B> {
    pub(super) fn new(idle_timeout: Duration) -> Self {
        Pool { idle: Mutex::default(), idle_timeout }
    }

    /// The living connection that was used last: it is the least likely to be closed by the other side just now.
    pub(super) fn take(&self) -> Option<Slot<B>> {
        let mut idle = self.lock();
        while let Some(Idle { slot, since }) = idle.pop_back() {
            if slot.sender.is_ready() && since.elapsed() < self.idle_timeout {
                return Some(slot);
            }
        }
        None
    }

    fn put(&self, slot: Slot<B>) {
        self.lock().push_back(Idle { slot, since: Instant::now() });
    }

    /// Closes connections that have been idle for too long, for as long as it is polled.
    pub(super) async fn close_idle(&self) {
        loop {
            sleep(self.idle_timeout / 2).await;
            let mut idle = self.lock();
            while idle.front().is_some_and(|oldest| oldest.since.elapsed() >= self.idle_timeout) {
                idle.pop_front();
            }
            idle.retain(|kept| !kept.slot.sender.is_closed());
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Idle<B>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B> Pool<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    /// Takes a connection back whose answer has ended.
    pub(super) fn take_back(self: &Arc<Self>, mut slot: Slot<B>) {
        if slot.sender.is_ready() {
            self.put(slot);
        } else if !slot.sender.is_closed() {
            let pool = Arc::clone(self);
            tokio::spawn(async move {
                if let Ok(Ok(())) = timeout(SETTLE, slot.sender.ready()).await {
                    pool.put(slot);
                }
            });
        }
    }
}
