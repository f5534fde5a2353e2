//! What happens on one connection, as far as its deadlines need to know: noted where it happens,
//! with an atomic store or two, and looked at when the connection's timer has run out.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::task::Context;
use std::time::Duration;

use futures_util::task::AtomicWaker;
use http::Version;
use tokio::time::Instant;

use super::Timeouts;
use crate::rt::clock;

/// Nothing of a request's head has come.
const NONE: u64 = u64::MAX;

/// A step of the request that waits for the same caller, and as long, answers first: it says more.
const PRECEDENCE: Duration = Duration::from_millis(10);

/// For what a connection does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Late {
    /// The head of a request does not become whole.
    Head,
    /// There is no request.
    Idle,
    /// There is none for now: what a request needs may go until one comes.
    Resting,
    /// No byte moves, and it is for the caller to move one.
    Stalled,
    /// It is as old as a connection may be: it takes no further request.
    Aged,
}

/// What happens on one connection. Moments are milliseconds since `epoch`.
#[derive(Debug)]
pub(super) struct Activity {
    epoch: Instant,
    /// The age from which the connection takes no further request.
    max_age: AtomicU64,
    /// Whether all bytes are those of requests and answers. HTTP/2 has frames of other kinds.
    is_http1: bool,
    /// When a request or an answer made progress last, or when it became the caller's turn. PING
    /// and chunk sizes are none.
    moved: AtomicU64,
    /// When the head that is being read began, or [`NONE`].
    head: AtomicU64,
    /// Since when there is no request.
    idle: AtomicU64,
    /// Requests' bodies and answers that have not ended.
    in_flight: AtomicU32,
    /// Of these the answers, from the moment that the request is there.
    answers: AtomicU32,
    /// Answers of which the caller has not yet taken what we have.
    held: AtomicU32,
    /// Requests' bodies of which more is wanted than has come.
    awaited: AtomicU32,
    /// Since when.
    expected: AtomicU64,
    /// Whether the caller's side takes no more bytes at the moment.
    blocked: AtomicBool,
    /// Whether the answer to the last request has begun.
    has_answer: AtomicBool,
    /// Whether the end of that answer is the end of the connection, and nothing else.
    is_delimited_by_close: AtomicBool,
    /// Whether the caller of the last request knows interim answers (RFC 9110 section 15.2).
    knows_interim: AtomicBool,
    /// Whether a part of the last request's body was left unread.
    unread: AtomicBool,
    /// Whether the caller has closed its half, so that there is somebody to wake.
    half_closed: AtomicBool,
    waker: AtomicWaker,
}

impl Activity {
    /// A connection that began at `epoch`. The first head of an HTTP/1 connection begins with it;
    /// an HTTP/2 connection begins without a request.
    pub(super) fn new(epoch: Instant, is_http2: bool) -> Self {
        Activity {
            epoch,
            max_age: AtomicU64::new(NONE),
            is_http1: !is_http2,
            moved: AtomicU64::new(0),
            head: AtomicU64::new(if is_http2 { NONE } else { 0 }),
            idle: AtomicU64::new(0),
            in_flight: AtomicU32::new(0),
            answers: AtomicU32::new(0),
            held: AtomicU32::new(0),
            awaited: AtomicU32::new(0),
            expected: AtomicU64::new(0),
            blocked: AtomicBool::new(false),
            has_answer: AtomicBool::new(false),
            is_delimited_by_close: AtomicBool::new(false),
            knows_interim: AtomicBool::new(false),
            unread: AtomicBool::new(false),
            half_closed: AtomicBool::new(false),
            waker: AtomicWaker::new(),
        }
    }

    /// When the connection is to be closed if nothing more is noted, and for what; `None` while it
    /// is for us or for the API to move.
    pub(super) fn due(&self, timeouts: &Timeouts) -> Option<(Instant, Late)> {
        let (since, limit, late) = if self.waits_for_caller() {
            (
                self.moved.load(Relaxed),
                timeouts.body + PRECEDENCE,
                Late::Stalled,
            )
        } else if self.in_flight.load(Relaxed) > 0 {
            return None;
        } else if self.head.load(Relaxed) != NONE {
            (self.head.load(Relaxed), timeouts.header, Late::Head)
        } else {
            (self.idle.load(Relaxed), timeouts.keep_alive, Late::Idle)
        };
        Some((self.epoch + Duration::from_millis(since) + limit, late))
    }

    pub(super) fn set_max_age(&self, max_age: Duration) {
        self.max_age
            .store(u64::try_from(max_age.as_millis()).unwrap_or(NONE), Relaxed);
    }

    /// When the connection is so old that it takes no further request.
    pub(super) fn retirement(&self) -> Option<Instant> {
        self.epoch
            .checked_add(Duration::from_millis(self.max_age.load(Relaxed)))
    }

    /// Whether it is that old.
    pub(super) fn is_aged(&self) -> bool {
        self.now() >= self.max_age.load(Relaxed)
    }

    /// Since when there is no request, where there is none.
    pub(super) fn idle_since(&self) -> Instant {
        self.epoch + Duration::from_millis(self.idle.load(Relaxed))
    }

    /// An answer that is not held waits for the API, unless a body that is awaited is what the API
    /// waits for: with several requests on a connection the doubt is in favour of those.
    fn waits_for_caller(&self) -> bool {
        let callers_turn = self.held.load(Relaxed) + self.awaited.load(Relaxed);
        // An HTTP/2 connection without a request is idle, whatever else of its own it cannot write.
        let is_blocked =
            self.blocked.load(Relaxed) && (self.is_http1 || self.in_flight.load(Relaxed) > 0);
        is_blocked || (callers_turn > 0 && self.answers.load(Relaxed) <= callers_turn)
    }

    /// When the last byte moved.
    pub(super) fn moved(&self) -> Instant {
        self.epoch + Duration::from_millis(self.moved.load(Relaxed))
    }

    /// Whether an answer of ours to the last request would be its only one, and be taken.
    pub(super) fn may_answer(&self) -> bool {
        !self.blocked.load(Relaxed) && !self.has_answer.load(Relaxed)
    }

    /// Whether the end of the connection now would be the end of an answer that is not whole.
    pub(super) fn breaks_off(&self) -> bool {
        let answering = self.has_answer.load(Relaxed) && self.answers.load(Relaxed) > 0;
        self.blocked.load(Relaxed) || answering
    }

    /// Whether a request head has begun and is not whole.
    pub(super) fn is_reading_head(&self) -> bool {
        self.head.load(Relaxed) != NONE
    }

    /// Whether the caller may still be sending a body that nobody reads.
    pub(super) fn has_unread(&self) -> bool {
        self.unread.load(Relaxed)
    }

    /// Whether a request waits for its answer, or for the rest of it: one that has ended may not
    /// have gone out.
    pub(super) fn owes_answer(&self) -> bool {
        self.answers.load(Relaxed) > 0 || self.blocked.load(Relaxed)
    }

    /// Since when more of a request's body is wanted than has come, as far as is known: what has
    /// come is told by those who read it, and they do not while the caller takes nothing of their
    /// answer.
    pub(super) fn awaited_since(&self) -> Option<Instant> {
        let awaits = self.awaited.load(Relaxed) > 0 && !self.blocked.load(Relaxed);
        awaits.then(|| self.epoch + Duration::from_millis(self.expected.load(Relaxed)))
    }

    /// Wakes the connection, whose caller has closed its half, when it may owe no answer any more.
    pub(super) fn wake_when_answered(&self, cx: &Context<'_>) {
        self.half_closed.store(true, Relaxed);
        self.waker.register(cx.waker());
    }

    /// Whether an answer has begun, and since so long neither has a byte of it gone out nor is it
    /// the caller's turn.
    pub(super) fn has_paused_for(&self, pause: Duration) -> bool {
        let has_begun = self.has_answer.load(Relaxed) && !self.blocked.load(Relaxed);
        has_begun && self.moved().elapsed() >= pause
    }

    /// Whether an interim answer to the last request may be sent.
    pub(super) fn may_send_interim(&self) -> bool {
        self.knows_interim.load(Relaxed) && self.may_answer()
    }

    /// Notes that `bytes` have come over HTTP/1. Those of a body are progress when its reader asks
    /// for more.
    pub(super) fn note_read(&self, bytes: &[u8]) {
        if self.in_flight.load(Relaxed) == 0
            && self.head.load(Relaxed) == NONE
            // Line ends between requests are no head (RFC 9112 section 2.2).
            && bytes.iter().any(|byte| !matches!(byte, b'\r' | b'\n'))
        {
            self.head.store(self.now(), Relaxed);
        }
    }

    /// Notes that data has come over HTTP/2: a part of a frame, whose reader gets it once all of it
    /// has come.
    pub(super) fn note_data(&self) {
        if self.awaited.load(Relaxed) > 0 {
            self.moved.store(self.now(), Relaxed);
        }
    }

    /// Notes that bytes of an answer have gone out.
    pub(super) fn note_written(&self) {
        self.moved.store(self.now(), Relaxed);
        self.note_unblocked();
    }

    pub(super) fn note_blocked(&self) {
        if self.blocked.load(Relaxed) {
            return;
        }
        // Where it is the caller's turn already, taking answers to its pings gives it no more time.
        if !self.waits_for_caller() {
            self.moved.store(self.now(), Relaxed);
        }
        self.blocked.store(true, Relaxed);
    }

    pub(super) fn note_unblocked(&self) {
        if self.blocked.load(Relaxed) {
            self.blocked.store(false, Relaxed);
            if self.is_http1 {
                // The end of an answer may have been held up; only now there is no request.
                self.idle.store(self.now(), Relaxed);
            }
            self.wake_half_closed();
        }
    }

    /// Notes that the head of a request of `version` is whole: its answer is now in flight.
    pub(super) fn begin_request(&self, version: Version) {
        self.knows_interim
            .store(version == Version::HTTP_11, Relaxed);
        self.head.store(NONE, Relaxed);
        self.has_answer.store(false, Relaxed);
        self.is_delimited_by_close.store(false, Relaxed);
        self.unread.store(false, Relaxed);
        self.in_flight.fetch_add(1, Relaxed);
        self.answers.fetch_add(1, Relaxed);
    }

    pub(super) fn begin_answer(&self) {
        self.has_answer.store(true, Relaxed);
    }

    pub(super) fn note_delimited_by_close(&self) {
        self.is_delimited_by_close.store(true, Relaxed);
    }

    /// Whether the last answer has no end but that of the connection (RFC 9112 section 6.3).
    pub(super) fn is_delimited_by_close(&self) -> bool {
        self.is_delimited_by_close.load(Relaxed)
    }

    pub(super) fn end_answer(&self) {
        self.answers.fetch_sub(1, Relaxed);
        self.end_one();
        self.wake_half_closed();
    }

    pub(super) fn begin_body(&self) {
        self.in_flight.fetch_add(1, Relaxed);
    }

    /// Notes the end of a request's body; `whole` if all of it was read.
    pub(super) fn end_body(&self, whole: bool) {
        if !whole {
            self.unread.store(true, Relaxed);
        }
        self.end_one();
    }

    /// Notes that it is the caller's turn to take more of an answer.
    pub(super) fn hold(&self) {
        self.moved.store(self.now(), Relaxed);
        self.held.fetch_add(1, Relaxed);
    }

    pub(super) fn release(&self) {
        self.held.fetch_sub(1, Relaxed);
    }

    /// Notes that it is the caller's turn to send more of a body.
    pub(super) fn expect(&self) {
        let now = self.now();
        self.moved.store(now, Relaxed);
        self.expected.store(now, Relaxed);
        self.awaited.fetch_add(1, Relaxed);
    }

    pub(super) fn expect_no_more(&self) {
        self.awaited.fetch_sub(1, Relaxed);
    }

    fn wake_half_closed(&self) {
        if self.half_closed.load(Relaxed) {
            self.waker.wake();
        }
    }

    fn end_one(&self) {
        if self.in_flight.fetch_sub(1, Relaxed) == 1 {
            self.idle.store(self.now(), Relaxed);
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(clock::now().duration_since(self.epoch).as_millis()).unwrap_or(NONE - 1)
    }
}

#[cfg(test)]
mod tests;
