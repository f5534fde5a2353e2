//! The end of an HTTP/1 connection (RFC 9112 section 9.6).
//!
//! A socket that is closed with unread bytes resets its connection, and the reset destroys what the
//! other side has not read yet: the very answer that told it to stop sending. So our half is shut
//! first, and what still comes is read and thrown away for a while.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::DownstreamIo;

/// How long the end of a connection may take.
const LINGER: Duration = Duration::from_secs(2);

/// How much is thrown away; three photos of 5 MiB that nobody wants.
const DISCARD: usize = 16 * 1024 * 1024;

/// The answer to a request that does not come as a whole (RFC 9110 section 15.5.9).
pub(super) const REQUEST_TIMEOUT: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// The response to bytes that cannot be read as a request on this listener.
pub(super) const BAD_REQUEST: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// Sends `last_words` and closes `io`; where it `has_unread` bytes, so that the other side can read
/// what we sent.
pub(super) async fn close<IO: DownstreamIo>(mut io: IO, last_words: &[u8], has_unread: bool) {
    let end = async {
        io.write_all(last_words).await?;
        io.shutdown().await?;
        if has_unread {
            discard(&mut io).await?;
        }
        io::Result::Ok(())
    };
    // Whoever is gone, or does not stop, is left.
    let _ = timeout(LINGER, end).await;
}

async fn discard<IO: DownstreamIo>(io: &mut IO) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    let mut left = DISCARD;
    while left > 0 {
        match io.read(&mut buffer).await? {
            0 => break,
            read => left = left.saturating_sub(read),
        }
    }
    Ok(())
}
