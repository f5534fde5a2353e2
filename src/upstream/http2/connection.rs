//! One HTTP/2 connection, from its preface to its end.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, poll_fn, select};
use h2::client::{Builder, SendRequest};
use h2::{Ping, PingPong};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep, timeout};

use super::super::Times;
use crate::error::BoxError;

/// Requests on one connection at once, where the API allows so many. One lost packet holds all of
/// them up.
pub(super) const STREAMS: usize = 100;

/// What the API may send of one answer before it is read. The connection's window has room for all
/// streams: callers that do not read hold up nobody else.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * STREAMS as u32;

/// The longest head of an answer.
const LONGEST_HEAD: u32 = 64 << 10;

/// After so long a connection with requests in flight is asked whether it lives, and has as long to
/// say so.
const PING_AFTER: Duration = Duration::from_secs(20);

/// Stands for "not told yet" until the API's SETTINGS have come; without a bound of the API's it
/// becomes `usize::MAX`.
const UNTOLD: usize = usize::MAX - 1;

/// A connection, and what is known of it.
pub(in crate::upstream) struct Connection {
    pub(super) sender: SendRequest<Bytes>,
    pub(super) streams: Streams,
    /// When it takes no further request.
    pub(super) retires: Instant,
}

/// The streams in flight on a connection.
#[derive(Clone, Default)]
pub(super) struct Streams(Arc<AtomicUsize>);

impl Streams {
    pub(super) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn begin(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn end(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Connection {
    /// Makes an HTTP/2 connection of `io` and starts its task. Waits for the API's SETTINGS: they
    /// are the proof that it speaks HTTP/2, and tell how many requests may be sent at once. What
    /// `open` gives then is dropped when the connection has ended.
    pub(in crate::upstream) async fn open<IO, T: Send + 'static>(
        io: IO,
        times: &Times,
        open: impl FnOnce() -> T,
    ) -> Result<Self, BoxError>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, mut connection) = Builder::new()
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(LONGEST_HEAD)
            .initial_max_send_streams(UNTOLD)
            .handshake(io)
            .await?;
        poll_fn(|cx| match std::pin::Pin::new(&mut connection).poll(cx) {
            Poll::Ready(Ok(())) => Poll::Ready(Err("the API closed the connection at once".into())),
            Poll::Ready(Err(error)) => Poll::Ready(Err(BoxError::from(NoHttp2(error)))),
            Poll::Pending if connection.max_concurrent_send_streams() == UNTOLD => Poll::Pending,
            Poll::Pending => Poll::Ready(Ok(())),
        })
        .await?;
        let mut opened = Connection {
            sender,
            streams: Streams::default(),
            retires: times.retirement(),
        };
        if opened.places() == 0 {
            return Err("the API allows no HTTP/2 streams".into());
        }
        if opened.is_closed() {
            return Err(
                "the API takes no request on the connection that it has just let open".into(),
            );
        }
        let (streams, open) = (opened.streams.clone(), open());
        tokio::spawn(async move {
            let _open = open;
            let death = connection.ping_pong().map(|pings| death(pings, streams));
            let death = async {
                match death {
                    Some(death) => death.await,
                    None => std::future::pending().await,
                }
            };
            // Whoever waits for an answer on it is told as well.
            match select(pin!(connection), pin!(death)).await {
                Either::Left((Ok(()), _)) => {}
                Either::Left((Err(error), _)) => {
                    tracing::debug!(%error, "an upstream connection ended early");
                }
                Either::Right(_) => {
                    tracing::debug!("an upstream connection answers no ping; closing it")
                }
            }
        });
        Ok(opened)
    }

    /// How many requests it may carry at once.
    pub(super) fn places(&self) -> usize {
        STREAMS.min(self.sender.current_max_send_streams())
    }

    pub(super) fn has_room(&self) -> bool {
        self.streams.count() < self.places()
    }

    /// Whether it has ended, or the API has announced its end (GOAWAY).
    pub(super) fn is_closed(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        !matches!(self.sender.poll_ready(&mut cx), Poll::Ready(Ok(())))
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the API does not speak HTTP/2")]
struct NoHttp2(#[source] h2::Error);

/// Ends when the other side does not answer any more. A connection without requests is not asked.
async fn death(mut pings: PingPong, streams: Streams) {
    loop {
        sleep(PING_AFTER).await;
        if streams.count() > 0
            && !matches!(
                timeout(PING_AFTER, pings.ping(Ping::opaque())).await,
                Ok(Ok(_))
            )
        {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;
    use crate::upstream::timeouts::tests::times;

    /// A connection to a server that reads and writes until it is dropped; then it is silent.
    async fn opened(
        server: impl Future<Output = ()> + Send + 'static,
        io: tokio::io::DuplexStream,
    ) -> Connection {
        tokio::spawn(server);
        let open = std::sync::Arc::<crate::metrics::ConnectionMetrics>::default().open();
        Connection::open(io, &times(), || open).await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_answers_no_ping_is_given_up_while_requests_wait_for_it() {
        let (near, far) = duplex(64 << 10);
        let silent = async {
            let mut connection = h2::server::handshake(far).await.unwrap();
            // Its SETTINGS are sent as the first request is waited for.
            let _ = timeout(Duration::from_secs(1), connection.accept()).await;
            std::future::pending::<()>().await;
        };
        let mut connection = opened(silent, near).await;
        sleep(PING_AFTER * 10).await;
        assert!(!connection.is_closed(), "nobody waits for it");
        connection.streams.begin();
        sleep(PING_AFTER * 3).await;
        assert!(connection.is_closed());
    }
}
