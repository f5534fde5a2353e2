//! IO of an HTTP/1.1 connection to the API: records when bytes move, and keeps reading when writing
//! fails.
//!
//! hyper does not distinguish a response that broke off from one that never began. And an API may
//! respond and close without reading the whole request: hyper would give up at the first failed
//! write, and lose the response. So writes of a request that is partly sent never fail: the bytes
//! are dropped, and the next read finds the response or the end.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::watchdog::{Progress, Watchdog};
use crate::rt::readiness::Readable;

/// See the [module](self).
pub(super) struct UpstreamIo<IO> {
    io: IO,
    /// Whether the last read returned `Pending`: neither TLS nor the socket holds a byte, and only
    /// the socket can wake the reader.
    is_drained: bool,
    progress: Arc<Progress>,
}

impl<IO> UpstreamIo<IO> {
    pub(super) fn new(io: IO, watchdog: &Watchdog) -> Self {
        UpstreamIo {
            io,
            is_drained: false,
            progress: Arc::clone(&watchdog.progress),
        }
    }

    /// Records a write of `length` bytes; one that failed because the API stopped reading becomes a
    /// success.
    fn absorb_write_error(
        &self,
        written: Poll<io::Result<usize>>,
        length: usize,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(1..)) => self.progress.record_sent(),
            Poll::Ready(Err(error)) if self.stops_writing(&error) => {
                return Poll::Ready(Ok(length));
            }
            _ => {}
        }
        written
    }

    /// Whether `error` means that the API reads no more of a request that is partly sent. Without a
    /// sent byte there can be no response, and the error is returned.
    fn stops_writing(&self, error: &io::Error) -> bool {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
        let stops = self.progress.has_sent()
            && matches!(
                error.kind(),
                BrokenPipe | ConnectionAborted | ConnectionReset
            );
        if stops {
            self.progress.record_peer_stopped_reading();
        }
        stops
    }

    fn drops_writes(&self) -> bool {
        self.progress.has_peer_stopped_reading()
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
            self.progress.record_received();
        } else if self.drops_writes() && matches!(read, Poll::Ready(Ok(()))) {
            // The failed write has consumed the socket's error. The end is still not an orderly
            // one: the response may be incomplete.
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
        if self.drops_writes() {
            return Poll::Ready(Ok(buf.len()));
        }
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.absorb_write_error(written, buf.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = bufs.iter().map(|buf| buf.len()).sum();
        if self.drops_writes() {
            return Poll::Ready(Ok(length));
        }
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.absorb_write_error(written, length)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.drops_writes() {
            return Poll::Ready(Ok(()));
        }
        match Pin::new(&mut self.io).poll_flush(cx) {
            Poll::Ready(Err(error)) if self.stops_writing(&error) => Poll::Ready(Ok(())),
            flushed => flushed,
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream that behaves like TLS: it decrypts all arrived bytes at once, and returns one per
    /// read.
    #[derive(Default)]
    struct DecryptingIo {
        arrived: Vec<u8>,
        decrypted: Vec<u8>,
        reads: u32,
    }

    impl AsyncRead for DecryptingIo {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            self.reads += 1;
            let arrived = std::mem::take(&mut self.arrived);
            self.decrypted.extend(arrived);
            let Some(byte) = self.decrypted.pop() else {
                return Poll::Pending;
            };
            buf.put_slice(&[byte]);
            Poll::Ready(Ok(()))
        }
    }

    impl Readable for DecryptingIo {
        fn poll_readable(&self, _: &mut Context<'_>) -> Poll<()> {
            if self.arrived.is_empty() {
                Poll::Pending
            } else {
                Poll::Ready(())
            }
        }
    }

    #[test]
    fn a_drained_connection_is_not_read() {
        let mut io = UpstreamIo::new(DecryptingIo::default(), &Watchdog::default());
        let cx = &mut Context::from_waker(std::task::Waker::noop());
        let mut read = |io: &mut UpstreamIo<DecryptingIo>| {
            let mut byte = [0];
            let is_ready = Pin::new(&mut *io)
                .poll_read(cx, &mut ReadBuf::new(&mut byte))
                .is_ready();
            (is_ready, io.io.reads)
        };
        assert_eq!([(); 2].map(|()| read(&mut io)), [(false, 1), (false, 1)]);
        io.io.arrived = b"ab".to_vec();
        let reads = [(); 4].map(|()| read(&mut io));
        assert_eq!(
            reads,
            [(true, 2), (true, 3), (false, 4), (false, 4)],
            "the second byte is decrypted already"
        );
    }
}
