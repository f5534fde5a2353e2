//! A stream that notes when bytes come and go.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::activity::Activity;
use super::data_frames::DataFrames;
use super::half_close::HalfClosed;

/// The two directions of an HTTP/2 connection.
struct Frames {
    read: DataFrames,
    written: DataFrames,
}

/// A stream whose bytes are noted.
pub(super) struct Watched<IO> {
    io: IO,
    activity: Arc<Activity>,
    /// What comes and goes, where not all of it is a request's or an answer's. Boxed: HTTP/1 has
    /// none.
    frames: Option<Box<Frames>>,
    /// Whether whoever drives the connection leaves its end to [`close`](super::linger::close).
    keeps_open: bool,
    /// There once the caller has closed its half before its answer had gone out.
    half_closed: Option<Box<HalfClosed>>,
}

impl<IO> Watched<IO> {
    /// One that carries HTTP/2.
    pub(super) fn http2(io: IO, activity: Arc<Activity>) -> Self {
        let frames = Frames {
            read: DataFrames::of_client(),
            written: DataFrames::of_server(),
        };
        Watched {
            io,
            activity,
            frames: Some(Box::new(frames)),
            keeps_open: false,
            half_closed: None,
        }
    }

    /// One that carries HTTP/1, and is not shut down when it is told to.
    pub(super) fn keeping_open(io: IO, activity: Arc<Activity>) -> Self {
        Watched {
            io,
            activity,
            frames: None,
            keeps_open: true,
            half_closed: None,
        }
    }

    pub(super) fn stream(&mut self) -> &mut IO {
        &mut self.io
    }

    pub(super) fn into_inner(self) -> IO {
        self.io
    }

    /// Notes what was `written` of `bufs`.
    fn note(&mut self, written: &Poll<io::Result<usize>>, bufs: &[IoSlice<'_>]) {
        match (written, &mut self.frames) {
            (Poll::Ready(Ok(_)), None) => self.activity.note_written(),
            (Poll::Ready(Ok(length)), Some(frames)) => {
                let mut left = *length;
                let mut has_data = false;
                for buf in bufs {
                    let part = &buf[..buf.len().min(left)];
                    has_data |= frames.written.read(part);
                    left -= part.len();
                }
                if has_data {
                    self.activity.note_written();
                } else if *length > 0 {
                    self.activity.note_unblocked();
                }
            }
            (Poll::Ready(Err(_)), _) => {}
            (Poll::Pending, _) => self.activity.note_blocked(),
        }
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
            let bytes = &buf.filled()[before..];
            match &mut self.frames {
                None => self.activity.note_read(bytes),
                Some(frames) => {
                    if frames.read.read(bytes) {
                        self.activity.note_data();
                    }
                }
            }
        } else if matches!(read, Poll::Ready(Ok(())))
            && self.keeps_open
            && self.activity.owes_answer()
        {
            let Watched {
                io,
                activity,
                half_closed,
                ..
            } = &mut *self;
            let half_closed = half_closed.get_or_insert_with(|| Box::new(HalfClosed::new()));
            return half_closed.poll_gone(io, activity, cx);
        }
        read
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Watched<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.note(&written, &[IoSlice::new(buf)]);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.note(&written, bufs);
        written
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
