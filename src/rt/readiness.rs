//! Cheap readiness check before a read: polling the socket costs about 100 instructions, a failed
//! read through TLS 350.

use std::task::{Context, Poll};

use crate::rt::tcp::CoalescingTcp;

/// A stream whose readiness can be checked without a read.
pub(crate) trait Readable {
    /// Ready when bytes or the end may have arrived since a read that returned `Pending`. Does not
    /// see bytes that TLS has already decrypted.
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()>;
}

impl Readable for CoalescingTcp {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.poll_read_ready(cx).map(drop)
    }
}

#[cfg(unix)]
impl Readable for tokio::net::UnixStream {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_read_ready(cx).map(drop)
    }
}

impl<IO: Readable> Readable for tokio_rustls::client::TlsStream<IO> {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.get_ref().0.poll_readable(cx)
    }
}

impl<IO: Readable> Readable for Box<tokio_rustls::server::TlsStream<IO>> {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.get_ref().0.poll_readable(cx)
    }
}

#[cfg(any(test, fuzzing))]
impl Readable for tokio::io::DuplexStream {
    /// A duplex stream cannot be checked.
    fn poll_readable(&self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}
