//! Activity of one connection, recorded where it happens with an atomic store or two. The
//! connection's deadline follows from it when the timer runs out.

use std::task::Context;
use std::time::Duration;

use futures_util::task::AtomicWaker;
use http::Version;
use tokio::time::Instant;

use super::cells::{Counter, Flag, Millis};
use super::timeouts::Timeouts;
use crate::rt::clock;

/// Value of a time that is not set.
const UNSET: u64 = u64::MAX;

/// Head start of a later step that waits for the same caller with the same timeout: its response
/// says more than closing the connection.
const STALL_GRACE: Duration = Duration::from_millis(10);

/// A deadline of a connection, by its purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DeadlineKind {
    /// The request head is incomplete.
    RequestHead,
    /// There is no request.
    Idle,
    /// There is no request at the moment: the connection can be parked.
    Park,
    /// It is the caller's turn, and no byte moves.
    Stalled,
    /// The connection is too old for another request.
    MaxAge,
}

/// The side that a connection waits for, and since when.
#[derive(Clone, Copy, Debug)]
enum ConnState {
    Idle { since: Instant },
    ReadingHead { since: Instant },
    WaitingForCaller { since: Instant },
    WaitingForApi,
}

/// See the [module](self). Times are milliseconds since `epoch`.
#[derive(Debug)]
pub(super) struct Activity {
    epoch: Instant,
    /// The age from which the connection takes no more requests.
    max_age: Millis,
    /// HTTP/2 connections carry bytes that belong to no request or response.
    is_http1: bool,
    /// Last progress of a request or response, or the start of the caller's turn. PING and chunk
    /// sizes are not progress.
    last_progress: Millis,
    /// Start of the request head that is being read, or [`UNSET`].
    head_since: Millis,
    idle_since: Millis,
    /// Unfinished request bodies and responses.
    in_flight: Counter,
    /// Unfinished responses, from the arrival of their request head.
    responses: Counter,
    /// Responses with data that the caller has not taken.
    deliveries: Counter,
    /// Request bodies that the API reads faster than the caller sends.
    body_waits: Counter,
    body_wait_since: Millis,
    /// Whether the socket takes no more bytes at the moment.
    is_write_blocked: Flag,
    /// Whether the response to the last request has begun.
    has_response: Flag,
    /// Whether the end of that response is the end of the connection.
    is_delimited_by_close: Flag,
    /// Whether the caller supports interim responses (RFC 9110 section 15.2).
    supports_interim: Flag,
    /// Whether a part of the last request's body was left unread.
    has_unread_body: Flag,
    is_half_closed: Flag,
    half_close_waker: AtomicWaker,
}

impl Activity {
    /// An HTTP/1 connection begins with a request head, an HTTP/2 connection without a request.
    pub(super) fn new(epoch: Instant, is_http2: bool) -> Self {
        Activity {
            epoch,
            max_age: Millis::new(UNSET),
            is_http1: !is_http2,
            last_progress: Millis::default(),
            head_since: Millis::new(if is_http2 { UNSET } else { 0 }),
            idle_since: Millis::default(),
            in_flight: Counter::default(),
            responses: Counter::default(),
            deliveries: Counter::default(),
            body_waits: Counter::default(),
            body_wait_since: Millis::default(),
            is_write_blocked: Flag::default(),
            has_response: Flag::default(),
            is_delimited_by_close: Flag::default(),
            supports_interim: Flag::default(),
            has_unread_body: Flag::default(),
            is_half_closed: Flag::default(),
            half_close_waker: AtomicWaker::new(),
        }
    }

    /// The deadline if nothing more happens; `None` while it is the proxy's or the API's turn.
    pub(super) fn deadline(&self, timeouts: &Timeouts) -> Option<(Instant, DeadlineKind)> {
        match self.state() {
            ConnState::Idle { since } => Some((since + timeouts.keep_alive, DeadlineKind::Idle)),
            ConnState::ReadingHead { since } => {
                Some((since + timeouts.header, DeadlineKind::RequestHead))
            }
            ConnState::WaitingForCaller { since } => {
                Some((since + timeouts.body + STALL_GRACE, DeadlineKind::Stalled))
            }
            ConnState::WaitingForApi => None,
        }
    }

    fn state(&self) -> ConnState {
        if self.is_callers_turn() {
            let since = self.last_progress();
            ConnState::WaitingForCaller { since }
        } else if self.in_flight.get() > 0 {
            ConnState::WaitingForApi
        } else if self.is_reading_head() {
            let since = self.at(&self.head_since);
            ConnState::ReadingHead { since }
        } else {
            let since = self.idle_since();
            ConnState::Idle { since }
        }
    }

    /// Whether every unfinished response waits for the caller. The API may wait for a request body
    /// before it responds, so with several requests a body wait counts for any response.
    fn is_callers_turn(&self) -> bool {
        let callers_turn = self.deliveries.get() + self.body_waits.get();
        // An HTTP/2 connection without a request is idle, even if its control frames are blocked.
        let is_blocked = self.is_write_blocked.get() && (self.is_http1 || self.in_flight.get() > 0);
        is_blocked || (callers_turn > 0 && self.responses.get() <= callers_turn)
    }

    pub(super) fn set_max_age(&self, max_age: Duration) {
        self.max_age
            .set(u64::try_from(max_age.as_millis()).unwrap_or(UNSET));
    }

    /// The time from which the connection takes no more requests.
    pub(super) fn retires_at(&self) -> Option<Instant> {
        self.epoch
            .checked_add(Duration::from_millis(self.max_age.get()))
    }

    pub(super) fn is_too_old(&self) -> bool {
        self.now() >= self.max_age.get()
    }

    /// The end of the last request. Meaningful while there is none.
    pub(super) fn idle_since(&self) -> Instant {
        self.at(&self.idle_since)
    }

    pub(super) fn last_progress(&self) -> Instant {
        self.at(&self.last_progress)
    }

    /// Whether a response of the proxy itself would be the only one to the last request, and could
    /// be sent.
    pub(super) fn can_respond(&self) -> bool {
        !self.is_write_blocked.get() && !self.has_response.get()
    }

    /// Whether closing now would truncate a response.
    pub(super) fn is_mid_response(&self) -> bool {
        let is_responding = self.has_response.get() && self.responses.get() > 0;
        self.is_write_blocked.get() || is_responding
    }

    pub(super) fn is_reading_head(&self) -> bool {
        self.head_since.get() != UNSET
    }

    /// Whether the caller may still be sending a body that no one reads.
    pub(super) fn has_unread_body(&self) -> bool {
        self.has_unread_body.get()
    }

    /// Whether a response is missing or incomplete. The end of a finished one may still be blocked.
    pub(super) fn owes_response(&self) -> bool {
        self.responses.get() > 0 || self.is_write_blocked.get()
    }

    /// Start of waiting for more of a request body. Unknown while the response is blocked: then the
    /// body is not read, and may have arrived.
    pub(super) fn body_wait_since(&self) -> Option<Instant> {
        let is_waiting = self.body_waits.get() > 0 && !self.is_write_blocked.get();
        is_waiting.then(|| self.at(&self.body_wait_since))
    }

    /// Wakes the connection, whose caller has closed its half, when the response may be complete.
    pub(super) fn wake_when_responded(&self, cx: &Context<'_>) {
        self.is_half_closed.set(true);
        self.half_close_waker.register(cx.waker());
    }

    /// Whether a response has begun, and for `pause` no byte was sent, although it was not the
    /// caller's turn.
    pub(super) fn has_response_paused_for(&self, pause: Duration) -> bool {
        let is_responding = self.has_response.get() && !self.is_write_blocked.get();
        is_responding && self.last_progress().elapsed() >= pause
    }

    pub(super) fn can_send_interim(&self) -> bool {
        self.supports_interim.get() && self.can_respond()
    }

    /// Records bytes that arrived over HTTP/1. Bytes of a body become progress when its reader asks
    /// for more.
    pub(super) fn record_read(&self, bytes: &[u8]) {
        if self.in_flight.get() == 0
            && !self.is_reading_head()
            // Line ends between requests do not begin a head (RFC 9112 section 2.2).
            && bytes.iter().any(|byte| !matches!(byte, b'\r' | b'\n'))
        {
            self.head_since.set(self.now());
        }
    }

    /// Records body data that arrived over HTTP/2. The reader gets a frame only when all of it has
    /// arrived.
    pub(super) fn record_data(&self) {
        if self.body_waits.get() > 0 {
            self.last_progress.set(self.now());
        }
    }

    /// Records response bytes that were sent.
    pub(super) fn record_written(&self) {
        self.last_progress.set(self.now());
        self.record_unblocked();
    }

    pub(super) fn record_blocked(&self) {
        if self.is_write_blocked.get() {
            return;
        }
        // A caller whose turn it is gets no more time by not reading the responses to its PINGs.
        if !self.is_callers_turn() {
            self.last_progress.set(self.now());
        }
        self.is_write_blocked.set(true);
    }

    pub(super) fn record_unblocked(&self) {
        if self.is_write_blocked.get() {
            self.is_write_blocked.set(false);
            if self.is_http1 {
                // The end of a response may have been blocked: the connection is idle only now.
                self.idle_since.set(self.now());
            }
            self.wake_half_closed();
        }
    }

    /// Records a complete request head; its response is in flight from now on.
    pub(super) fn begin_request(&self, version: Version) {
        self.supports_interim.set(version == Version::HTTP_11);
        self.head_since.set(UNSET);
        self.has_response.set(false);
        self.is_delimited_by_close.set(false);
        self.has_unread_body.set(false);
        self.in_flight.increment();
        self.responses.increment();
    }

    pub(super) fn begin_response(&self) {
        self.has_response.set(true);
    }

    pub(super) fn set_delimited_by_close(&self) {
        self.is_delimited_by_close.set(true);
    }

    /// Whether only the end of the connection ends the last response (RFC 9112 section 6.3).
    pub(super) fn is_delimited_by_close(&self) -> bool {
        self.is_delimited_by_close.get()
    }

    pub(super) fn end_response(&self) {
        self.responses.decrement();
        self.end_message();
        self.wake_half_closed();
    }

    pub(super) fn begin_body(&self) {
        self.in_flight.increment();
    }

    pub(super) fn end_body(&self, is_complete: bool) {
        if !is_complete {
            self.has_unread_body.set(true);
        }
        self.end_message();
    }

    /// Records that the caller has to take more of a response.
    pub(super) fn begin_delivery(&self) {
        self.last_progress.set(self.now());
        self.deliveries.increment();
    }

    pub(super) fn end_delivery(&self) {
        self.deliveries.decrement();
    }

    /// Records that the caller has to send more of a request body.
    pub(super) fn begin_body_wait(&self) {
        let now = self.now();
        self.last_progress.set(now);
        self.body_wait_since.set(now);
        self.body_waits.increment();
    }

    pub(super) fn end_body_wait(&self) {
        self.body_waits.decrement();
    }

    fn wake_half_closed(&self) {
        if self.is_half_closed.get() {
            self.half_close_waker.wake();
        }
    }

    fn end_message(&self) {
        if self.in_flight.decrement() == 0 {
            self.idle_since.set(self.now());
        }
    }

    fn at(&self, time: &Millis) -> Instant {
        self.epoch + Duration::from_millis(time.get())
    }

    fn now(&self) -> u64 {
        u64::try_from(clock::now().duration_since(self.epoch).as_millis()).unwrap_or(UNSET - 1)
    }
}

#[cfg(test)]
mod tests;
