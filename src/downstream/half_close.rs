//! Probe of a caller that has closed its half of an HTTP/1 connection before its response is
//! complete.
//!
//! The request of a caller that is gone is cancelled, and that of a caller that only closed its
//! half is not. TCP distinguishes the two when something is sent: a closed socket resets the
//! connection. So the probe sends an interim response, which a present caller discards (RFC 9110
//! section 15.2.1), and another later, which finds the reset. After the response has begun nothing
//! can be sent as a probe: the caller counts as gone when the response pauses for a second.
//!
//! The end of the half may arrive together with the end of a request body, and hyper may see it
//! before the reader of the body has reported completion. A body that is still awaited a little
//! later was broken off.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::AsyncWrite;
use tokio::time::{Instant, Sleep, sleep};

use super::activity::Activity;

/// Delay of the first probe. A response within it arrives without an interim one, and the reader of
/// a request body has by then seen all that has arrived.
const FIRST_PROBE_DELAY: Duration = Duration::from_millis(50);

/// The longest interval of probes, and the pause of a response after which its caller is gone.
const MAX_PROBE_INTERVAL: Duration = Duration::from_secs(1);

const INTERIM_RESPONSE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// See the [module](self). The interval of probes doubles.
pub(super) struct HalfCloseProbe {
    /// When the half was closed.
    since: Instant,
    timer: Pin<Box<Sleep>>,
    interval: Duration,
}

impl HalfCloseProbe {
    pub(super) fn new() -> Self {
        HalfCloseProbe {
            since: Instant::now(),
            timer: Box::pin(sleep(FIRST_PROBE_DELAY)),
            interval: FIRST_PROBE_DELAY,
        }
    }

    /// Ready with the end of the connection if it breaks off a request body, and with an error if
    /// the caller is gone. Also woken when the response is complete.
    pub(super) fn poll_gone<IO>(
        &mut self,
        io: &mut IO,
        activity: &Activity,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>>
    where
        IO: AsyncWrite + Unpin,
    {
        activity.wake_when_responded(cx);
        loop {
            ready!(self.timer.as_mut().poll(cx));
            if let Some(since) = activity.body_wait_since() {
                let due = since.max(self.since) + FIRST_PROBE_DELAY;
                if due <= Instant::now() {
                    return Poll::Ready(Ok(()));
                }
                self.timer.as_mut().reset(due);
                continue;
            }
            self.interval = MAX_PROBE_INTERVAL.min(self.interval * 2);
            self.timer.as_mut().reset(Instant::now() + self.interval);
            if activity.has_response_paused_for(MAX_PROBE_INTERVAL) {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            if activity.can_send_interim()
                && let Err(error) = send_interim(io, cx)
            {
                return Poll::Ready(Err(error));
            }
        }
    }
}

/// Sends an interim response, in one write: nothing else is in the send buffer, so it has room.
fn send_interim<IO: AsyncWrite + Unpin>(io: &mut IO, cx: &mut Context<'_>) -> io::Result<()> {
    match Pin::new(&mut *io).poll_write(cx, INTERIM_RESPONSE) {
        Poll::Ready(Ok(length)) if length == INTERIM_RESPONSE.len() => {}
        Poll::Ready(Err(error)) => return Err(error),
        Poll::Ready(Ok(_)) | Poll::Pending => return Err(io::ErrorKind::BrokenPipe.into()),
    }
    // TLS accepts bytes before the socket does.
    match Pin::new(io).poll_flush(cx) {
        Poll::Ready(flushed) => flushed,
        Poll::Pending => Ok(()),
    }
}
