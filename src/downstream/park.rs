//! Parking of an idle HTTP/1 connection: it gives up its buffers and everything else that only a
//! request needs, until bytes arrive.

use std::future::poll_fn;

use bytes::Bytes;
use tokio::sync::watch;

use super::deadlines::Deadlines;
use super::io::DownstreamIo;

/// Waits until `io` is readable. Returns false if the connection has to be closed instead.
pub(super) async fn park<IO: DownstreamIo>(
    io: &IO,
    deadlines: &mut Deadlines,
    drain: &mut watch::Receiver<bool>,
) -> bool {
    deadlines.park();
    let is_readable = tokio::select! {
        // A request that arrives before the end gets its response.
        biased;
        () = poll_fn(|cx| io.poll_readable(cx)) => true,
        // An error means that the worker is gone, which drains as well.
        _ = drain.wait_for(|draining| *draining) => false,
        _ = poll_fn(|cx| deadlines.poll(cx)) => false,
    };
    deadlines.unpark();
    is_readable
}

/// The bytes of `read` from the start of a request on (RFC 9112 section 2.2). The line ends before
/// it must not keep the buffer alive.
pub(super) fn skip_line_ends(read: Bytes) -> Bytes {
    match read.iter().position(|byte| !matches!(byte, b'\r' | b'\n')) {
        Some(start) => read.slice(start..),
        None => Bytes::new(),
    }
}
