//! Last response and lingering close of a connection (RFC 9112 section 9.6).
//!
//! Closing a socket with unread bytes resets its connection, and the reset destroys what the other
//! side has not read yet: the response that made it stop sending. So the close shuts the sending
//! half first, and discards what still arrives for a while.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::io::DownstreamIo;

const LINGER_TIMEOUT: Duration = Duration::from_secs(2);

/// Discarded bytes; enough for an unwanted request with three photos of 5 MiB.
const MAX_DISCARDED_BYTES: usize = 16 * 1024 * 1024;

/// The response to an incomplete request (RFC 9110 section 15.5.9).
pub(super) const REQUEST_TIMEOUT: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// The response to bytes that are not a request on this listener.
pub(super) const BAD_REQUEST: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// The response to plain HTTP on a listener with TLS.
pub(super) const USE_HTTPS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\
    content-type: text/plain\r\ncontent-length: 46\r\n\r\n\
    This port takes TLS connections: use https://\n";

/// Sends `final_response` and closes `io`; if it `has_unread` bytes, so that the other side can
/// read the response.
pub(super) async fn close_lingering<IO: DownstreamIo>(
    mut io: IO,
    final_response: &[u8],
    has_unread: bool,
) {
    let end = async {
        io.write_all(final_response).await?;
        io.shutdown().await?;
        if has_unread {
            discard(&mut io).await?;
        }
        io::Result::Ok(())
    };
    // An error means that the other side is gone, a timeout that it does not stop.
    let _ = timeout(LINGER_TIMEOUT, end).await;
}

async fn discard<IO: DownstreamIo>(io: &mut IO) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    let mut left = MAX_DISCARDED_BYTES;
    while left > 0 {
        match io.read(&mut buffer).await? {
            0 => break,
            read => left = left.saturating_sub(read),
        }
    }
    Ok(())
}
