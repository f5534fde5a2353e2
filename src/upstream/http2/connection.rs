//! One HTTP/2 connection to the API.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, select};
use h2::client::{Builder, SendRequest};
use h2::{Ping, PingPong};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{sleep, timeout};

use super::super::idle::Retirement;
use super::super::timeouts::UpstreamTimeouts;
use crate::error::BoxError;
use crate::metrics::AccountMetrics;

/// Streams of one connection at once, if the API allows as many: one lost packet delays all of
/// them.
pub(super) const MAX_STREAMS: usize = 100;

/// Bytes of one response that the API may send before they are read. The connection window has room
/// for all streams, so a caller that does not read delays no other.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
const CONNECTION_WINDOW_BYTES: u32 = STREAM_WINDOW_BYTES * MAX_STREAMS as u32;

const MAX_HEADER_LIST_BYTES: u32 = 64 << 10;

/// Interval of PING on a connection with active streams, and the time in which the API has to
/// respond.
const PING_INTERVAL: Duration = Duration::from_secs(20);

/// Marks the stream limit as unknown until the API's SETTINGS arrive. Without a limit in SETTINGS
/// h2 reports `usize::MAX`.
const UNKNOWN_STREAM_LIMIT: usize = usize::MAX - 1;

pub(in crate::upstream) struct Http2Connection {
    pub(super) sender: SendRequest<Bytes>,
    pub(super) streams: ActiveStreams,
    pub(super) retirement: Retirement,
}

/// Counter of the active streams of one connection.
#[derive(Clone, Default)]
pub(super) struct ActiveStreams(Arc<AtomicUsize>);

impl ActiveStreams {
    pub(super) fn count(&self) -> usize {
        self.0.load(Relaxed)
    }

    pub(super) fn increment(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    pub(super) fn decrement(&self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Http2Connection {
    /// Opens an HTTP/2 connection over `io` and starts its task. Waits for the API's SETTINGS: they
    /// prove that it speaks HTTP/2, and contain its stream limit. The value of `on_open` is dropped
    /// when the connection ends.
    pub(in crate::upstream) async fn open<IO, T: Send + 'static>(
        io: IO,
        timeouts: &UpstreamTimeouts,
        account: Arc<AccountMetrics>,
        on_open: impl FnOnce() -> T,
    ) -> Result<Self, BoxError>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, mut connection) = Builder::new()
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_header_list_size(MAX_HEADER_LIST_BYTES)
            .initial_max_send_streams(UNKNOWN_STREAM_LIMIT)
            .handshake(io)
            .await?;
        poll_fn(|cx| match Pin::new(&mut connection).poll(cx) {
            Poll::Ready(Ok(())) => {
                Poll::Ready(Err("the API closed the new connection at once".into()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(BoxError::from(NotHttp2(error)))),
            Poll::Pending if connection.max_concurrent_send_streams() == UNKNOWN_STREAM_LIMIT => {
                Poll::Pending
            }
            Poll::Pending => Poll::Ready(Ok(())),
        })
        .await?;
        let mut opened = Http2Connection {
            sender,
            streams: ActiveStreams::default(),
            retirement: timeouts.idle.retirement(),
        };
        if opened.max_streams() == 0 {
            return Err("the API allows no HTTP/2 streams".into());
        }
        if opened.is_closed() {
            return Err("the API accepts no request on the new connection".into());
        }
        let (streams, guard) = (opened.streams.clone(), on_open());
        tokio::spawn(async move {
            let _guard = guard;
            let ping_pong = connection.ping_pong();
            let unresponsive = async {
                match ping_pong {
                    Some(ping_pong) => wait_until_unresponsive(ping_pong, streams).await,
                    None => std::future::pending().await,
                }
            };
            // Requests on the connection get its error as well.
            match select(pin!(connection), pin!(unresponsive)).await {
                Either::Left((Ok(()), _)) => {}
                Either::Left((Err(error), _)) => {
                    tracing::debug!(account = account.name(), %error, "an upstream connection ended early");
                }
                Either::Right(_) => {
                    tracing::debug!(
                        account = account.name(),
                        "closing an upstream connection that does not respond to PING"
                    )
                }
            }
        });
        Ok(opened)
    }

    pub(super) fn max_streams(&self) -> usize {
        MAX_STREAMS.min(self.sender.current_max_send_streams())
    }

    pub(super) fn has_free_stream(&self) -> bool {
        self.streams.count() < self.max_streams()
    }

    /// Whether the connection has ended, or the API has announced the end (GOAWAY).
    pub(super) fn is_closed(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        !matches!(self.sender.poll_ready(&mut cx), Poll::Ready(Ok(())))
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the API does not speak HTTP/2")]
struct NotHttp2(#[source] h2::Error);

/// Returns when the API leaves a PING without response. Sends none while no stream is active.
async fn wait_until_unresponsive(mut ping_pong: PingPong, streams: ActiveStreams) {
    loop {
        sleep(PING_INTERVAL).await;
        if streams.count() > 0
            && !matches!(
                timeout(PING_INTERVAL, ping_pong.ping(Ping::opaque())).await,
                Ok(Ok(_))
            )
        {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{DuplexStream, duplex};

    use super::*;
    use crate::upstream::timeouts::tests::timeouts;

    /// Opens a connection to `server`.
    async fn open(
        server: impl Future<Output = ()> + Send + 'static,
        io: DuplexStream,
    ) -> Http2Connection {
        tokio::spawn(server);
        Http2Connection::open(io, &timeouts(), Arc::default(), || ())
            .await
            .unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn an_unresponsive_connection_closes_while_requests_wait() {
        let (near, far) = duplex(64 << 10);
        let silent = async {
            let mut connection = h2::server::handshake(far).await.unwrap();
            // Waiting for the first request sends the SETTINGS.
            let _ = timeout(Duration::from_secs(1), connection.accept()).await;
            std::future::pending::<()>().await;
        };
        let mut connection = open(silent, near).await;
        sleep(PING_INTERVAL * 10).await;
        assert!(!connection.is_closed(), "no request waits");
        connection.streams.increment();
        sleep(PING_INTERVAL * 3).await;
        assert!(connection.is_closed());
    }
}
