//! A stream that notes when bytes come and go.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::activity::Activity;
use super::half_closed::HalfClosed;

/// A stream whose bytes are noted.
pub(super) struct Watched<IO> {
    io: IO,
    activity: Arc<Activity>,
    /// Whether whoever drives the connection leaves its end to [`close`](super::close::close).
    keeps_open: bool,
    /// There once the caller has closed its half before its answer had gone out.
    half_closed: Option<Box<HalfClosed>>,
}

impl<IO> Watched<IO> {
    pub(super) fn new(io: IO, activity: Arc<Activity>) -> Self {
        Watched { io, activity, keeps_open: false, half_closed: None }
    }

    /// One that is not shut down when it is told to.
    pub(super) fn keeping_open(io: IO, activity: Arc<Activity>) -> Self {
        Watched { io, activity, keeps_open: true, half_closed: None }
    }

    pub(super) fn stream(&mut self) -> &mut IO {
        &mut self.io
    }

    pub(super) fn into_inner(self) -> IO {
        self.io
    }

    fn note<T>(&self, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match &written {
            Poll::Ready(Ok(_)) => self.activity.note_written(),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.activity.note_blocked(),
        }
        written
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for Watched<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.activity.note_read(&buf.filled()[before..]);
        } else if matches!(read, Poll::Ready(Ok(()))) && self.keeps_open && self.activity.owes_answer() {
            let Watched { io, activity, half_closed, .. } = &mut *self;
            let half_closed = half_closed.get_or_insert_with(|| Box::new(HalfClosed::new()));
            return half_closed.poll_gone(io, activity, cx);
        }
        read
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Watched<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        // TLS takes bytes before the socket does. That nothing is left to flush moves none.
        match &flushed {
            Poll::Ready(_) => self.activity.note_unblocked(),
            Poll::Pending => self.activity.note_blocked(),
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.keeps_open {
            true => Poll::Ready(Ok(())),
            false => Pin::new(&mut self.io).poll_shutdown(cx),
        }
    }
}
