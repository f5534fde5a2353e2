//! Pool of idle HTTP/1.1 connections.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Body;
use hyper::client::conn::http1::SendRequest;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::{Instant, timeout};

use super::super::body::ProgressBody;
use super::super::idle::{IdleLimits, POLL_AFTER_IDLE, Retirement};
use super::super::timeouts::{SETTLE_TIMEOUT, UpstreamTimeouts};
use super::super::watchdog::Watchdog;
use crate::rt::clock;

/// A connection that carries one request at a time.
pub(in crate::upstream) struct PooledConnection<B> {
    pub(in crate::upstream) sender: SendRequest<ProgressBody<B>>,
    pub(in crate::upstream) watchdog: Watchdog,
    pub(in crate::upstream) retirement: Retirement,
}

/// The idle connections of one worker, and the requests that wait for one. Only [`retire`] comes
/// from another thread.
///
/// [`retire`]: Self::retire
pub(in crate::upstream) struct Http1Pool<B> {
    /// `None` after [`Self::retire`].
    state: Mutex<Option<PoolState<B>>>,
    pub(in crate::upstream) timeouts: UpstreamTimeouts,
}

struct PoolState<B> {
    /// The most recently used connection is at the back. Empty while a request waits.
    idle: VecDeque<IdleConnection<B>>,
    /// The request that has waited longest is at the front.
    waiting: VecDeque<oneshot::Sender<PooledConnection<B>>>,
}

struct IdleConnection<B> {
    connection: PooledConnection<B>,
    since: Instant,
}

impl<B> IdleConnection<B> {
    /// Returns true if the connection can be used at `time` if no request uses it before.
    fn is_usable_at(&self, time: Instant, limits: &IdleLimits) -> bool {
        let idle_for = time.duration_since(self.since);
        !self.connection.sender.is_closed()
            && !limits.has_expired(self.connection.retirement, idle_for, time)
    }
}

impl<B> Http1Pool<B> {
    pub(in crate::upstream) fn new(timeouts: UpstreamTimeouts) -> Self {
        Http1Pool {
            state: Mutex::new(Some(PoolState {
                idle: VecDeque::new(),
                waiting: VecDeque::new(),
            })),
            timeouts,
        }
    }

    /// Checks out a connection that is idle for [`POLL_AFTER_IDLE`] at most.
    pub(in crate::upstream) fn checkout_recent(&self) -> Option<PooledConnection<B>> {
        self.pop(POLL_AFTER_IDLE).map(|(connection, _)| connection)
    }

    /// Checks out any connection. One that is idle for longer than [`POLL_AFTER_IDLE`] is polled
    /// first.
    pub(in crate::upstream) async fn checkout(&self) -> Option<PooledConnection<B>> {
        let (connection, idle_for) = self.pop(Duration::MAX)?;
        if idle_for > POLL_AFTER_IDLE {
            // The connection's task runs before this one continues, and sees a close that has
            // arrived.
            yield_now().await;
            if !connection.sender.is_ready() {
                return self.pop(Duration::MAX).map(|(connection, _)| connection);
            }
        }
        Some(connection)
    }

    /// Removes the most recently used connection, unless it is idle for longer than `max_idle`: the
    /// API is least likely to close that one just now. Returns its idle time as well.
    fn pop(&self, max_idle: Duration) -> Option<(PooledConnection<B>, Duration)> {
        let mut state = self.state.lock();
        let idle = &mut state.as_mut()?.idle;
        let now = clock::now();
        while let Some(last) = idle.back() {
            let idle_for = now.duration_since(last.since);
            if idle_for > max_idle {
                return None;
            }
            let IdleConnection { connection, .. } = idle.pop_back()?;
            let limits = &self.timeouts.idle;
            if connection.sender.is_ready()
                && !limits.has_expired(connection.retirement, idle_for, now)
            {
                return Some((connection, idle_for));
            }
        }
        None
    }

    /// Queues for the next connection that becomes idle. Never resolves after [`Self::retire`].
    pub(in crate::upstream) fn wait_for_idle(&self) -> oneshot::Receiver<PooledConnection<B>> {
        let (sender, receiver) = oneshot::channel();
        if let Some(PoolState { waiting, .. }) = self.state.lock().as_mut() {
            while waiting.front().is_some_and(oneshot::Sender::is_closed) {
                waiting.pop_front();
            }
            waiting.push_back(sender);
        }
        receiver
    }

    /// Gives the connection to the first request that waits, or keeps it.
    fn insert(&self, mut connection: PooledConnection<B>) {
        let now = clock::now();
        if connection.retirement.has_come(now)
            || connection.watchdog.progress.has_peer_stopped_reading()
        {
            return;
        }
        let mut state = self.state.lock();
        let Some(PoolState { idle, waiting }) = state.as_mut() else {
            return;
        };
        while let Some(sender) = waiting.pop_front() {
            match sender.send(connection) {
                Ok(()) => return,
                // This request does not wait any more.
                Err(returned) => connection = returned,
            }
        }
        idle.push_back(IdleConnection {
            connection,
            since: now,
        });
    }

    /// Number of connections that stay usable for at least `duration`; `usize::MAX` after
    /// [`Self::retire`], so that no more are opened.
    pub(in crate::upstream) fn count_usable_for(&self, duration: Duration) -> usize {
        let time = Instant::now() + duration;
        self.state.lock().as_ref().map_or(usize::MAX, |state| {
            let idle = state.idle.iter();
            idle.filter(|idle| idle.is_usable_at(time, &self.timeouts.idle))
                .count()
        })
    }

    /// Closes connections that are too old or idle for too long.
    pub(in crate::upstream) fn close_expired(&self) {
        let now = Instant::now();
        if let Some(state) = self.state.lock().as_mut() {
            let is_usable = |idle: &IdleConnection<B>| idle.is_usable_at(now, &self.timeouts.idle);
            state.idle.retain(is_usable);
        }
    }

    /// Closes the connection that is idle for longest, to make room for another.
    pub(in crate::upstream) fn close_oldest(&self) {
        if let Some(state) = self.state.lock().as_mut() {
            state.idle.pop_front();
        }
    }

    /// Closes the idle connections, and from now on every connection that becomes idle.
    pub(in crate::upstream) fn retire(&self) {
        self.state.lock().take();
    }
}

impl<B> Http1Pool<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    /// Adds a connection that was opened ahead of requests.
    pub(in crate::upstream) async fn add(&self, mut connection: PooledConnection<B>) {
        if connection.sender.ready().await.is_ok() {
            self.insert(connection);
        }
    }

    /// Takes back a connection whose response has ended.
    pub(in crate::upstream) fn release(self: &Arc<Self>, mut connection: PooledConnection<B>) {
        if connection.sender.is_ready() {
            self.insert(connection);
        } else if !connection.sender.is_closed() {
            let pool = Arc::clone(self);
            tokio::spawn(async move {
                if let Ok(Ok(())) = timeout(SETTLE_TIMEOUT, connection.sender.ready()).await {
                    pool.insert(connection);
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::Empty;
    use hyper::client::conn::http1::handshake;
    use hyper_util::rt::TokioIo;
    use tokio::time::advance;

    use super::*;
    use crate::upstream::timeouts::tests::timeouts;

    #[tokio::test(start_paused = true)]
    async fn the_most_recently_used_connection_is_taken_first() {
        let timeouts = timeouts();
        let pool = Arc::new(Http1Pool::<Empty<Bytes>>::new(timeouts));
        let mut ends = Vec::new();
        for _ in 0..2 {
            let (io, end) = tokio::io::duplex(64);
            ends.push(end);
            let (mut sender, connection) = handshake(TokioIo::new(io)).await.unwrap();
            tokio::spawn(connection);
            sender.ready().await.unwrap();
            pool.release(PooledConnection {
                sender,
                watchdog: Watchdog::default(),
                retirement: timeouts.idle.retirement(),
            });
            advance(Duration::from_millis(2)).await;
        }
        let millisecond = Duration::from_millis(1);
        assert!(pool.pop(millisecond).is_none());
        let idle_for = |max: Duration| pool.pop(max).map(|(_, idle_for)| idle_for);
        assert_eq!(
            idle_for(millisecond * 2),
            Some(millisecond * 2),
            "the refused connection has stayed"
        );
        assert_eq!(idle_for(millisecond * 3), None);
        assert_eq!(idle_for(Duration::MAX), Some(millisecond * 4));
        assert_eq!(idle_for(Duration::MAX), None);
    }
}
