//! The timer of a connection: one for all its requests, set again only when it has run out.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep};

use super::Timeouts;
use super::activity::{Activity, Late};

/// Tells when a connection is to be closed.
pub(super) struct Deadlines {
    activity: Arc<Activity>,
    timeouts: watch::Receiver<Timeouts>,
    /// Since when the connection takes no further requests.
    closing: Option<Instant>,
    timer: Pin<Box<Sleep>>,
}

impl Deadlines {
    pub(super) fn new(activity: Arc<Activity>, timeouts: watch::Receiver<Timeouts>) -> Self {
        let timer = Box::pin(sleep(timeouts.borrow().shortest()));
        Deadlines { activity, timeouts, closing: None, timer }
    }

    /// Notes that the connection takes no further requests.
    pub(super) fn note_closing(&mut self) {
        self.closing.get_or_insert_with(Instant::now);
    }

    /// Ready when the connection is to be closed.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Late> {
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let now = Instant::now();
            let timeouts = *self.timeouts.borrow();
            // What comes next may have the shortest limit of all.
            let mut next = now + timeouts.shortest();
            if let Some((due, late)) = self.due(&timeouts) {
                if due <= now {
                    return Poll::Ready(late);
                }
                next = next.min(due);
            }
            self.timer.as_mut().reset(next);
        }
    }

    fn due(&self, timeouts: &Timeouts) -> Option<(Instant, Late)> {
        match (self.activity.due(timeouts), self.closing) {
            // HTTP/2 keeps the end of an answer that its caller is slow to take beyond the end of the request.
            (Some((_, Late::Idle)), Some(closing)) => {
                Some((closing.max(self.activity.moved()) + timeouts.body, Late::Idle))
            }
            (due, _) => due,
        }
    }
}

impl Timeouts {
    fn shortest(&self) -> Duration {
        self.header.min(self.keep_alive).min(self.body)
    }
}
