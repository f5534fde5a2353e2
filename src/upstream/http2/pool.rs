//! Pool of HTTP/2 connections, and the queue of requests that wait for a stream.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::super::idle::{IdleLimits, POLL_AFTER_IDLE};
use super::connection::{Http2Connection, MAX_STREAMS};
use super::lease::StreamSlot;

/// Connections that open at once: a burst of requests at a cold start must not become a burst
/// of handshakes.
const MAX_OPENING: usize = 4;

/// The connections of one worker. A request that waits is sent a `T`.
pub(super) struct Http2Pool<T> {
    /// Filled from the front, so that those at the back can become idle.
    connections: Vec<PooledHttp2>,
    waiting: VecDeque<oneshot::Sender<T>>,
    opening: usize,
    /// The streams that the most recently opened connection allows.
    streams_per_connection: usize,
    next_id: u64,
    /// Whether another upstream has replaced this one.
    is_retired: bool,
}

struct PooledHttp2 {
    id: u64,
    connection: Http2Connection,
    idle_since: Instant,
}

impl PooledHttp2 {
    fn is_usable_at(&mut self, time: Instant) -> bool {
        !self.connection.is_closed() && !self.connection.retirement.has_come(time)
    }

    fn is_in_use(&self) -> bool {
        self.connection.streams.count() > 0
    }

    /// Returns true if the connection can be used at `time` if its active streams last until then.
    fn is_kept_until(&mut self, time: Instant, limits: &IdleLimits) -> bool {
        let idle_for = if self.is_in_use() {
            Duration::ZERO
        } else {
            time.duration_since(self.idle_since)
        };
        !self.connection.is_closed()
            && !limits.has_expired(self.connection.retirement, idle_for, time)
    }
}

impl<T> Http2Pool<T> {
    pub(super) fn new() -> Self {
        Http2Pool {
            connections: Vec::new(),
            waiting: VecDeque::new(),
            opening: 0,
            streams_per_connection: MAX_STREAMS,
            next_id: 0,
            is_retired: false,
        }
    }

    pub(super) fn is_queue_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether the next stream is on a connection that is idle for longer than [`POLL_AFTER_IDLE`].
    pub(super) fn needs_poll(&self) -> bool {
        self.connections.first().is_some_and(|pooled| {
            !pooled.is_in_use() && pooled.idle_since.elapsed() > POLL_AFTER_IDLE
        })
    }

    /// Takes a free stream. Forgets connections that take no more requests; their active streams
    /// continue.
    pub(super) fn try_acquire(&mut self) -> Option<StreamSlot> {
        let now = Instant::now();
        self.connections
            .retain_mut(|pooled| pooled.is_usable_at(now));
        let PooledHttp2 { id, connection, .. } = self
            .connections
            .iter()
            .find(|pooled| pooled.connection.has_free_stream())?;
        connection.streams.increment();
        Some(StreamSlot {
            connection_id: *id,
            sender: connection.sender.clone(),
            streams: connection.streams.clone(),
        })
    }

    pub(super) fn enqueue(&mut self) -> oneshot::Receiver<T> {
        let (waiter, granted) = oneshot::channel();
        self.waiting.push_back(waiter);
        granted
    }

    /// Removes as many requests from the queue as there are free streams, each with its stream.
    pub(super) fn take_served(&mut self) -> Vec<(oneshot::Sender<T>, StreamSlot)> {
        let mut served = Vec::new();
        while let Some(waiter) = self.waiting.pop_front() {
            if waiter.is_closed() {
                continue;
            }
            match self.try_acquire() {
                Some(slot) => served.push((waiter, slot)),
                None => {
                    self.waiting.push_front(waiter);
                    break;
                }
            }
        }
        served
    }

    /// Whether a connection takes requests, though maybe none at the moment.
    pub(super) fn has_connection(&mut self) -> bool {
        let now = Instant::now();
        self.connections
            .iter_mut()
            .any(|pooled| pooled.is_usable_at(now))
    }

    /// Whether a connection stays usable for `duration`, or one is opening.
    pub(super) fn is_ready_for(&mut self, duration: Duration, limits: &IdleLimits) -> bool {
        let time = Instant::now() + duration;
        self.opening > 0
            || self
                .connections
                .iter_mut()
                .any(|pooled| pooled.is_kept_until(time, limits))
    }

    /// Begins to open a connection if the queue needs one more; returns whether it does.
    pub(super) fn begin_opening(&mut self) -> bool {
        let needed = self.waiting.len().div_ceil(self.streams_per_connection);
        let is_needed = self.opening < needed.min(MAX_OPENING);
        self.opening += usize::from(is_needed);
        is_needed
    }

    /// Whether the queue still needs a connection that has begun to open. If not, the opening ends.
    pub(super) fn confirm_opening(&mut self) -> bool {
        self.waiting.retain(|waiter| !waiter.is_closed());
        self.opening -= 1;
        self.begin_opening()
    }

    pub(super) fn finish_opening(&mut self, connection: Http2Connection) {
        self.opening -= 1;
        self.streams_per_connection = connection.max_streams();
        self.add(connection);
    }

    /// Ends an opening that the circuit breaker refused. Returns the requests that wait in vain:
    /// all of them if there is no other connection.
    pub(super) fn refuse_opening(&mut self) -> Vec<oneshot::Sender<T>> {
        self.opening -= 1;
        if self.opening > 0 || self.has_connection() {
            Vec::new()
        } else {
            self.waiting.drain(..).collect()
        }
    }

    /// Ends an opening that failed. Returns the requests that it was for.
    pub(super) fn fail_opening(&mut self) -> Vec<oneshot::Sender<T>> {
        self.opening -= 1;
        let count = self.waiting.len().min(self.streams_per_connection);
        self.waiting.drain(..count).collect()
    }

    /// Ends an opening that came to HTTP/1.1. Returns all waiting requests.
    pub(super) fn decline_opening(&mut self) -> Vec<oneshot::Sender<T>> {
        self.opening -= 1;
        self.waiting.drain(..).collect()
    }

    pub(super) fn add(&mut self, connection: Http2Connection) {
        if self.is_finished() {
            return;
        }
        let id = self.next_id;
        self.next_id += 1;
        self.connections.push(PooledHttp2 {
            id,
            connection,
            idle_since: Instant::now(),
        });
    }

    /// Closes connections that are too old or idle for too long.
    pub(super) fn close_expired(&mut self, limits: &IdleLimits) {
        let now = Instant::now();
        self.connections
            .retain_mut(|pooled| pooled.is_kept_until(now, limits));
    }

    /// Closes one connection without streams.
    pub(super) fn close_unused(&mut self) {
        let last = self
            .connections
            .iter()
            .rposition(|pooled| !pooled.is_in_use());
        if let Some(last) = last {
            self.connections.remove(last);
        }
    }

    /// Closes connections as they become unused. Active streams and waiting requests continue.
    pub(super) fn retire(&mut self) {
        self.is_retired = true;
        self.close_if_finished();
    }

    /// Whether no request will come any more.
    fn is_finished(&self) -> bool {
        self.is_retired && self.waiting.iter().all(oneshot::Sender::is_closed)
    }

    fn close_if_finished(&mut self) {
        if self.is_finished() {
            self.connections.retain(PooledHttp2::is_in_use);
        }
    }

    pub(super) fn record_stream_end(&mut self, connection_id: u64) {
        let mut connections = self.connections.iter_mut();
        if let Some(pooled) = connections.find(|pooled| pooled.id == connection_id) {
            pooled.idle_since = Instant::now();
        }
        self.close_if_finished();
    }
}
