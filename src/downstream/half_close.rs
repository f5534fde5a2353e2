//! A caller that has closed its half of an HTTP/1 connection while its answer is still to come.
//!
//! It looks like one that is gone, and only the one that is gone has its request cancelled. TCP
//! tells the two apart when something is sent: a socket that was closed resets the connection. So
//! an interim answer is sent, which a caller that is still there can discard (RFC 9110 section
//! 15.2.1), and another a little later, which finds the connection reset. Once the answer has begun
//! nothing can be sent to ask with: when it pauses for a second in the middle, the caller is given
//! up.
//!
//! The end of its half may arrive together with the end of a request's body, and then hyper sees it
//! before whoever reads the body has told that it is whole. A body that is still wanted a little
//! later was broken off.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::AsyncWrite;
use tokio::time::{Instant, Sleep, sleep};

use super::activity::Activity;

/// An answer that comes before it is the only thing that the caller reads. Who reads a request's
/// body has by then seen all of it that has come.
const FIRST_LOOK: Duration = Duration::from_millis(50);

/// The longest time between two looks, and the pause in the middle of an answer after which a look
/// finds its caller gone.
const LONGEST: Duration = Duration::from_secs(1);

const INTERIM: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Looks, less and less often, whether the caller is still there.
pub(super) struct HalfClosed {
    /// When the end of its half was seen.
    since: Instant,
    timer: Pin<Box<Sleep>>,
    wait: Duration,
}

impl HalfClosed {
    pub(super) fn new() -> Self {
        HalfClosed {
            since: Instant::now(),
            timer: Box::pin(sleep(FIRST_LOOK)),
            wait: FIRST_LOOK,
        }
    }

    /// Ready when the connection is to be told of its end: as one, where that breaks off a
    /// request's body, and else with what the matter is, because the caller is gone. Woken as well
    /// when the answer has gone out.
    pub(super) fn poll_gone<IO>(
        &mut self,
        io: &mut IO,
        activity: &Activity,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>>
    where
        IO: AsyncWrite + Unpin,
    {
        activity.wake_when_answered(cx);
        loop {
            ready!(self.timer.as_mut().poll(cx));
            if let Some(awaited) = activity.awaited_since() {
                let due = awaited.max(self.since) + FIRST_LOOK;
                if due <= Instant::now() {
                    return Poll::Ready(Ok(()));
                }
                self.timer.as_mut().reset(due);
                continue;
            }
            self.wait = LONGEST.min(self.wait * 2);
            self.timer.as_mut().reset(Instant::now() + self.wait);
            if activity.has_paused_for(LONGEST) {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            if activity.may_send_interim()
                && let Err(error) = ask(io, cx)
            {
                return Poll::Ready(Err(error));
            }
        }
    }
}

/// Sends an interim answer, whole or not at all: nothing is on its way, so there is room for it.
fn ask<IO: AsyncWrite + Unpin>(io: &mut IO, cx: &mut Context<'_>) -> io::Result<()> {
    match Pin::new(&mut *io).poll_write(cx, INTERIM) {
        Poll::Ready(Ok(length)) if length == INTERIM.len() => {}
        Poll::Ready(Err(error)) => return Err(error),
        Poll::Ready(Ok(_)) | Poll::Pending => return Err(io::ErrorKind::BrokenPipe.into()),
    }
    // TLS takes bytes before the socket does.
    match Pin::new(io).poll_flush(cx) {
        Poll::Ready(flushed) => flushed,
        Poll::Pending => Ok(()),
    }
}
