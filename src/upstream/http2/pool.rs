//! Which connections there are, and who waits for a place on one.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::super::LOOK_AGAIN;
use super::connection::{Connection, STREAMS, Streams};

/// Connections that are being opened at once, at most: a burst of requests at a cold start must not
/// become a burst of handshakes.
const OPENING: usize = 4;

/// The connections of one worker, and those who wait, to whom a `T` is given.
pub(super) struct Places<T> {
    /// Filled from the front, so that those at the back can become idle.
    connections: Vec<Known>,
    waiting: VecDeque<oneshot::Sender<T>>,
    opening: usize,
    /// How many places the connection had that was opened last.
    places_each: usize,
    next_id: u64,
    /// Whether another upstream has taken the place of this one.
    is_retired: bool,
}

struct Known {
    id: u64,
    connection: Connection,
    idle_since: Instant,
}

impl Known {
    fn is_usable(&mut self, now: Instant) -> bool {
        !self.connection.is_closed() && now < self.connection.retires
    }

    /// Whether it is usable at `then`, and not unused for too long.
    fn stays(&mut self, then: Instant, idle: Duration) -> bool {
        let in_use = self.connection.streams.count() > 0;
        self.is_usable(then) && (in_use || then.duration_since(self.idle_since) < idle)
    }
}

/// A place on the connection `id`.
pub(super) struct Ticket {
    id: u64,
    sender: SendRequest<Bytes>,
    streams: Streams,
}

impl<T> Places<T> {
    pub(super) fn new() -> Self {
        Places {
            connections: Vec::new(),
            waiting: VecDeque::new(),
            opening: 0,
            places_each: STREAMS,
            next_id: 0,
            is_retired: false,
        }
    }

    pub(super) fn nobody_waits(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether the next place is on a connection that has been idle for long enough to be looked at
    /// before it is used.
    pub(super) fn is_to_be_looked_at(&self) -> bool {
        self.connections.first().is_some_and(|known| {
            known.connection.streams.count() == 0 && known.idle_since.elapsed() > LOOK_AGAIN
        })
    }

    /// A place, if one is free. Forgets connections that take no further request; what is in flight
    /// on them goes on.
    pub(super) fn take(&mut self) -> Option<Ticket> {
        let now = Instant::now();
        self.connections.retain_mut(|known| known.is_usable(now));
        let Known { id, connection, .. } = self
            .connections
            .iter()
            .find(|known| known.connection.has_room())?;
        connection.streams.begin();
        let (sender, streams) = (connection.sender.clone(), connection.streams.clone());
        Some(Ticket {
            id: *id,
            sender,
            streams,
        })
    }

    pub(super) fn wait(&mut self, granting: oneshot::Sender<T>) {
        self.waiting.push_back(granting);
    }

    /// Those who wait, with the places that there are for them.
    pub(super) fn matched(&mut self) -> Vec<(oneshot::Sender<T>, Ticket)> {
        let mut matched = Vec::new();
        while let Some(granting) = self.waiting.pop_front() {
            if granting.is_closed() {
                continue;
            }
            match self.take() {
                Some(ticket) => matched.push((granting, ticket)),
                None => {
                    self.waiting.push_front(granting);
                    break;
                }
            }
        }
        matched
    }

    /// Whether there is a connection that takes requests, if not just now.
    pub(super) fn has_connection(&mut self) -> bool {
        let now = Instant::now();
        self.connections
            .iter_mut()
            .any(|known| known.is_usable(now))
    }

    /// Whether there is a connection for so `long` still, one that may be unused for `idle`, or one
    /// that is being opened.
    pub(super) fn is_ready(&mut self, idle: Duration, long: Duration) -> bool {
        let then = Instant::now() + long;
        self.opening > 0
            || self
                .connections
                .iter_mut()
                .any(|known| known.stays(then, idle))
    }

    /// Whether one more connection is to be opened now, for those who wait.
    pub(super) fn wants_opening(&self) -> bool {
        self.opening < self.waiting.len().div_ceil(self.places_each).min(OPENING)
    }

    pub(super) fn begin_opening(&mut self) {
        self.opening += 1;
    }

    /// Whether a connection that has waited to be opened is wanted still; if not, it is not being
    /// opened any more.
    pub(super) fn still_wants_opening(&mut self) -> bool {
        self.waiting.retain(|granting| !granting.is_closed());
        self.opening -= 1;
        let is_wanted = self.wants_opening();
        self.opening += usize::from(is_wanted);
        is_wanted
    }

    /// One of those that are being opened has come.
    pub(super) fn opened(&mut self, connection: Connection) {
        self.opening -= 1;
        self.places_each = connection.places();
        self.add(connection);
    }

    /// One of those that were to be opened may not be: those who wait for nothing else, as there is
    /// no connection and no other is being opened.
    pub(super) fn opening_refused(&mut self) -> Vec<oneshot::Sender<T>> {
        self.opening -= 1;
        match self.opening > 0 || self.has_connection() {
            true => Vec::new(),
            false => self.waiting.drain(..).collect(),
        }
    }

    /// One of those that are being opened has failed: those for whom it was meant.
    pub(super) fn open_failed(&mut self) -> Vec<oneshot::Sender<T>> {
        self.opening -= 1;
        let meant = self.waiting.len().min(self.places_each);
        self.waiting.drain(..meant).collect()
    }

    /// One of those that are being opened has come, and is no HTTP/2: all who wait.
    pub(super) fn open_declined(&mut self) -> Vec<oneshot::Sender<T>> {
        self.opening -= 1;
        self.waiting.drain(..).collect()
    }

    pub(super) fn add(&mut self, connection: Connection) {
        if self.is_over() {
            return;
        }
        let id = self.next_id;
        self.next_id += 1;
        self.connections.push(Known {
            id,
            connection,
            idle_since: Instant::now(),
        });
    }

    pub(super) fn sweep(&mut self, idle: Duration) {
        let now = Instant::now();
        self.connections.retain_mut(|known| known.stays(now, idle));
    }

    /// Closes one connection that nobody uses.
    pub(super) fn close_unused(&mut self) {
        let unused = |known: &Known| known.connection.streams.count() == 0;
        if let Some(last) = self.connections.iter().rposition(unused) {
            self.connections.remove(last);
        }
    }

    /// Closes connections as nobody uses them any more. What is in flight goes on, and so do those
    /// who wait.
    pub(super) fn retire(&mut self) {
        self.is_retired = true;
        self.forget_unused();
    }

    /// Whether nobody is to come any more.
    fn is_over(&self) -> bool {
        self.is_retired && self.waiting.iter().all(oneshot::Sender::is_closed)
    }

    fn forget_unused(&mut self) {
        if self.is_over() {
            self.connections
                .retain(|known| known.connection.streams.count() > 0);
        }
    }

    /// A stream of the connection `id` has ended.
    pub(super) fn note_end(&mut self, id: u64) {
        if let Some(known) = self.connections.iter_mut().find(|known| known.id == id) {
            known.idle_since = Instant::now();
        }
        self.forget_unused();
    }
}

/// A place on a connection, free again when it is dropped.
pub(super) struct Lease {
    ticket: Ticket,
    owner: Arc<dyn Owner>,
}

/// Whose the places are.
pub(super) trait Owner: Send + Sync {
    /// A place on the connection `id` is free again.
    fn take_back(self: Arc<Self>, id: u64);
}

impl Lease {
    pub(super) fn new(ticket: Ticket, owner: Arc<dyn Owner>) -> Self {
        Lease { ticket, owner }
    }

    pub(super) fn sender(&mut self) -> &mut SendRequest<Bytes> {
        &mut self.ticket.sender
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.ticket.streams.end();
        Arc::clone(&self.owner).take_back(self.ticket.id);
    }
}
