//! Whether a read is worth the try: a question that costs less than a read, above all where TLS is
//! in between.

use std::task::{Context, Poll};

use crate::joined::Joined;

/// What is read from until there is nothing more.
pub trait Readable {
    /// Ready when there may be more to read, be it the end, for whoever has read until there was
    /// nothing more. What TLS has decrypted and nobody has read is not looked at.
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()>;
}

impl Readable for Joined {
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
    /// It does not tell.
    fn poll_readable(&self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}
