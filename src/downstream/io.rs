//! IO of a caller's connection.

use tokio::io::{AsyncRead, AsyncWrite};

use crate::rt::readiness::Readable;
use crate::rt::tcp::CoalescingTcp;

/// A byte stream to a caller.
pub(super) trait DownstreamIo:
    AsyncRead + AsyncWrite + Readable + Unpin + Send + Sync + 'static
{
    /// Makes dropping the stream a reset instead of an orderly end.
    fn reset_on_drop(&self);
}

impl DownstreamIo for CoalescingTcp {
    fn reset_on_drop(&self) {
        // Fails only on a broken connection.
        let _ = self.0.set_zero_linger();
    }
}

#[cfg(unix)]
impl DownstreamIo for tokio::net::UnixStream {
    /// Unix sockets have no reset.
    fn reset_on_drop(&self) {}
}

impl<IO: DownstreamIo> DownstreamIo for Box<tokio_rustls::server::TlsStream<IO>> {
    fn reset_on_drop(&self) {
        self.get_ref().0.reset_on_drop();
    }
}

#[cfg(any(test, fuzzing))]
impl DownstreamIo for tokio::io::DuplexStream {
    fn reset_on_drop(&self) {}
}
