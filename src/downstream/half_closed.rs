//! A caller that has closed its half of an HTTP/1 connection while its answer is still to come.
//!
//! It looks like one that is gone, and only the one that is gone has its request cancelled. TCP tells the two apart when
//! something is sent: a socket that was closed resets the connection. So an interim answer is sent, which a caller that is
//! still there can discard (RFC 9110 section 15.2.1), and another a little later, which finds the connection reset.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::AsyncWrite;
use tokio::time::{Instant, Sleep, sleep};

use super::activity::Activity;

/// An answer that comes before it is the only thing that the caller reads.
const FIRST_LOOK: Duration = Duration::from_millis(50);

/// The longest time between two looks.
const LONGEST: Duration = Duration::from_secs(5);

const INTERIM: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Looks, less and less often, whether the caller is still there.
pub(super) struct HalfClosed {
    timer: Pin<Box<Sleep>>,
    wait: Duration,
}

impl HalfClosed {
    pub(super) fn new() -> Self {
        HalfClosed { timer: Box::pin(sleep(FIRST_LOOK)), wait: FIRST_LOOK }
    }

    /// Ready, with what to tell of it, when the caller is gone.
    pub(super) fn poll_gone<IO>(
        &mut self,
        io: &mut IO,
        activity: &Activity,
        cx: &mut Context<'_>,
    ) -> Poll<io::Error>
    where
        IO: AsyncWrite + Unpin,
    {
        loop {
            ready!(self.timer.as_mut().poll(cx));
            self.wait = LONGEST.min(self.wait * 2);
            self.timer.as_mut().reset(Instant::now() + self.wait);
            if activity.has_paused_for(LONGEST) {
                return Poll::Ready(io::ErrorKind::UnexpectedEof.into());
            }
            if activity.may_send_interim()
                && let Err(error) = ask(io, cx)
            {
                return Poll::Ready(error);
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
