//! IO that records the activity of its connection.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::activity::Activity;
use super::data_frames::DataFrameScanner;
use super::half_close::HalfCloseProbe;

/// Scanners of both directions of an HTTP/2 connection.
struct FrameScanners {
    read: DataFrameScanner,
    written: DataFrameScanner,
}

/// See the [module](self).
pub(super) struct ActivityIo<IO> {
    io: IO,
    activity: Arc<Activity>,
    /// Finds the bytes of requests and responses among those of HTTP/2. Boxed: HTTP/1 needs none.
    frames: Option<Box<FrameScanners>>,
    /// Whether shutdown is left to [`close_lingering`](super::linger::close_lingering).
    keeps_open: bool,
    /// Set when the caller closes its half before the response is complete.
    half_close: Option<Box<HalfCloseProbe>>,
}

impl<IO> ActivityIo<IO> {
    pub(super) fn http2(io: IO, activity: Arc<Activity>) -> Self {
        let frames = FrameScanners {
            read: DataFrameScanner::client(),
            written: DataFrameScanner::server(),
        };
        ActivityIo {
            io,
            activity,
            frames: Some(Box::new(frames)),
            keeps_open: false,
            half_close: None,
        }
    }

    /// Shutting the stream down leaves it open.
    pub(super) fn http1(io: IO, activity: Arc<Activity>) -> Self {
        ActivityIo {
            io,
            activity,
            frames: None,
            keeps_open: true,
            half_close: None,
        }
    }

    pub(super) fn io_mut(&mut self) -> &mut IO {
        &mut self.io
    }

    pub(super) fn into_inner(self) -> IO {
        self.io
    }

    /// Records the result of writing `bufs`.
    fn record_write(&mut self, written: &Poll<io::Result<usize>>, bufs: &[IoSlice<'_>]) {
        match (written, &mut self.frames) {
            (Poll::Ready(Ok(_)), None) => self.activity.record_written(),
            (Poll::Ready(Ok(length)), Some(frames)) => {
                let mut left = *length;
                let mut has_data = false;
                for buf in bufs {
                    let part = &buf[..buf.len().min(left)];
                    has_data |= frames.written.scan(part);
                    left -= part.len();
                }
                if has_data {
                    self.activity.record_written();
                } else if *length > 0 {
                    self.activity.record_unblocked();
                }
            }
            (Poll::Ready(Err(_)), _) => {}
            (Poll::Pending, _) => self.activity.record_blocked(),
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for ActivityIo<IO> {
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
                None => self.activity.record_read(bytes),
                Some(frames) => {
                    if frames.read.scan(bytes) {
                        self.activity.record_data();
                    }
                }
            }
        } else if matches!(read, Poll::Ready(Ok(())))
            && self.keeps_open
            && self.activity.owes_response()
        {
            let ActivityIo {
                io,
                activity,
                half_close,
                ..
            } = &mut *self;
            let half_close = half_close.get_or_insert_with(|| Box::new(HalfCloseProbe::new()));
            return half_close.poll_gone(io, activity, cx);
        }
        read
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for ActivityIo<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.record_write(&written, &[IoSlice::new(buf)]);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.record_write(&written, bufs);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        // TLS accepts bytes before the socket does. A finished flush is not progress.
        match &flushed {
            Poll::Ready(_) => self.activity.record_unblocked(),
            Poll::Pending => self.activity.record_blocked(),
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.keeps_open {
            Poll::Ready(Ok(()))
        } else {
            Pin::new(&mut self.io).poll_shutdown(cx)
        }
    }
}
