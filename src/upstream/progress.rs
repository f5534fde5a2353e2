//! How far a request has come, so that silence is measured from the last byte and blamed on the
//! right side.
//!
//! A photo of a passport takes a slow caller minutes to send; the API's time to answer begins when
//! it has it all. One timer serves a connection for all its requests: it is set again only when it
//! has run out.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http_body::{Frame, SizeHint};
use hyper::body::Body;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::rt::clock;
use crate::rt::readiness::Readable;

/// The last sign of life of one request's body.
#[derive(Debug)]
struct Progress {
    epoch: Instant,
    /// Milliseconds since `epoch`.
    last: AtomicU64,
    waits_for_caller: AtomicBool,
    /// Whether a byte has come since the request began.
    heard: AtomicBool,
    /// Whether a byte has gone out since then.
    sent: AtomicBool,
    /// Whether the API has stopped reading in the middle of a request.
    deaf: AtomicBool,
}

impl Progress {
    fn note(&self) {
        let now = clock::now().duration_since(self.epoch);
        let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::Relaxed);
        self.waits_for_caller.store(false, Ordering::Relaxed);
    }

    /// Being asked once more for what has not come is no progress.
    fn note_waiting(&self) {
        self.waits_for_caller.store(true, Ordering::Relaxed);
    }
}

/// Who was silent for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Silent {
    Caller,
    Upstream,
}

/// Watches the requests of one connection.
pub(super) struct Watch {
    progress: Arc<Progress>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Default for Watch {
    fn default() -> Self {
        let progress = Progress {
            epoch: Instant::now(),
            last: AtomicU64::new(0),
            waits_for_caller: AtomicBool::new(false),
            heard: AtomicBool::new(false),
            sent: AtomicBool::new(false),
            deaf: AtomicBool::new(false),
        };
        Watch {
            progress: Arc::new(progress),
            timer: None,
        }
    }
}

impl Watch {
    /// Begins with a request: its body, tracked.
    pub(super) fn track<B>(&self, body: B) -> ProgressBody<B> {
        self.progress.note();
        self.progress.heard.store(false, Ordering::Relaxed);
        self.progress.sent.store(false, Ordering::Relaxed);
        ProgressBody {
            body,
            progress: Arc::clone(&self.progress),
        }
    }

    /// Silence counts from now on.
    pub(super) fn note(&self) {
        self.progress.note();
    }

    /// `io`, which notes what is heard on it.
    pub(super) fn listen<IO>(&self, io: IO) -> UpstreamIo<IO> {
        UpstreamIo {
            io,
            is_drained: false,
            progress: Arc::clone(&self.progress),
        }
    }

    /// Whether a byte has come since the request began.
    pub(super) fn has_heard(&self) -> bool {
        self.progress.heard.load(Ordering::Relaxed)
    }

    /// Whether the API has stopped reading in the middle of a request: the connection carries no
    /// other.
    pub(super) fn is_deaf(&self) -> bool {
        self.progress.deaf.load(Ordering::Relaxed)
    }

    /// Ready when nothing has moved for `limit`.
    pub(super) fn poll_silent(&mut self, cx: &mut Context<'_>, limit: Duration) -> Poll<Silent> {
        let progress = &self.progress;
        let due = || {
            progress.epoch + Duration::from_millis(progress.last.load(Ordering::Relaxed)) + limit
        };
        let mut deadline = due();
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.deadline() > deadline {
            // It was set for a longer limit.
            timer.as_mut().reset(deadline);
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            deadline = due();
            if deadline <= Instant::now() {
                let caller = progress.waits_for_caller.load(Ordering::Relaxed);
                return Poll::Ready(if caller {
                    Silent::Caller
                } else {
                    Silent::Upstream
                });
            }
            timer.as_mut().reset(deadline);
        }
    }
}

/// A request body that notes its progress as it is taken.
pub(super) struct ProgressBody<B> {
    body: B,
    progress: Arc<Progress>,
}

impl<B> ProgressBody<B> {
    /// Progress that is none of the body's: what it gave was taken.
    pub(super) fn note(&self) {
        self.progress.note();
    }

    /// The body that is tracked.
    pub(super) fn into_inner(self) -> B {
        self.body
    }
}

impl<B: Body + Unpin> Body for ProgressBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        match &frame {
            Poll::Ready(_) => self.progress.note(),
            Poll::Pending => self.progress.note_waiting(),
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A connection that notes that bytes come: hyper does not tell an answer that broke off from one
/// that never began.
///
/// An API that has answered may close without having read the whole request, and then hyper would
/// give up at the first write that fails, with the answer unread. So what is written of a request
/// that has begun to go out fails no more: it goes nowhere, and reading tells what there is, the
/// answer or the end.
pub(super) struct UpstreamIo<IO> {
    io: IO,
    /// Whether the last read found nothing: then neither TLS nor the socket holds anything, and
    /// whoever waits is woken by the socket alone.
    is_drained: bool,
    progress: Arc<Progress>,
}

impl<IO> UpstreamIo<IO> {
    /// What hyper is told of having `written` bytes of a request, of which there are `length`.
    fn outlive(&self, written: Poll<io::Result<usize>>, length: usize) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(1..)) => self.progress.sent.store(true, Ordering::Relaxed),
            Poll::Ready(Err(error)) if self.goes_deaf(&error) => return Poll::Ready(Ok(length)),
            _ => {}
        }
        written
    }

    /// Whether `error` says that the API reads no more of a request that has begun to go out. One
    /// of which nothing has gone out fails, as there can be no answer to it.
    fn goes_deaf(&self, error: &io::Error) -> bool {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
        let is_deaf = self.progress.sent.load(Ordering::Relaxed)
            && matches!(
                error.kind(),
                BrokenPipe | ConnectionAborted | ConnectionReset
            );
        if is_deaf {
            self.progress.deaf.store(true, Ordering::Relaxed);
        }
        is_deaf
    }

    fn is_deaf(&self) -> bool {
        self.progress.deaf.load(Ordering::Relaxed)
    }
}

impl<IO: AsyncRead + Readable + Unpin> AsyncRead for UpstreamIo<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_drained {
            ready!(self.io.poll_readable(cx));
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        self.is_drained = read.is_pending();
        if buf.filled().len() > before {
            self.progress.heard.store(true, Ordering::Relaxed);
        } else if self.is_deaf() && matches!(read, Poll::Ready(Ok(()))) {
            // The write that failed has taken the error, but this was no end in order: an answer
            // may lack its rest.
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        read
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for UpstreamIo<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_deaf() {
            return Poll::Ready(Ok(buf.len()));
        }
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.outlive(written, buf.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = bufs.iter().map(|buf| buf.len()).sum();
        if self.is_deaf() {
            return Poll::Ready(Ok(length));
        }
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.outlive(written, length)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_deaf() {
            return Poll::Ready(Ok(()));
        }
        match Pin::new(&mut self.io).poll_flush(cx) {
            Poll::Ready(Err(error)) if self.goes_deaf(&error) => Poll::Ready(Ok(())),
            flushed => flushed,
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
