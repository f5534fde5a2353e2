//! Filter for unnecessary wake-ups of HTTP/1 connections.
//!
//! Taking a frame of a body from hyper wakes the body's connection, which reads the next one. After
//! the last frame of a body of known length there is nothing to read, and hyper is ready for the
//! next message already: the wake-up would cost one more poll on either side of each request.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming};

use crate::rt::clock::ClockScope;

thread_local! {
    static FRAME_POLL: RefCell<FramePoll> = const { RefCell::new(FramePoll::Inactive) };
}

/// The state of [`poll_frame`] in this thread.
enum FramePoll {
    Inactive,
    /// Polling. Holds back the wake-up of this connection, if there was one.
    Active(Option<Arc<FilteredTask>>),
}

/// Polls the next frame of `body`. The last one does not wake the connection.
pub(crate) fn poll_frame(
    body: &mut Incoming,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
    let hold = WakeHold::start();
    let frame = Pin::new(&mut *body).poll_frame(cx);
    if body.is_end_stream() {
        FRAME_POLL.set(FramePoll::Inactive);
    }
    drop(hold);
    frame
}

/// Holds wake-ups back until it is dropped, also in a panic. Dropping makes up for those held.
struct WakeHold;

impl WakeHold {
    fn start() -> Self {
        FRAME_POLL.set(FramePoll::Active(None));
        WakeHold
    }
}

impl Drop for WakeHold {
    fn drop(&mut self) {
        if let FramePoll::Active(Some(task)) = FRAME_POLL.replace(FramePoll::Inactive) {
            task.0.wake_by_ref();
        }
    }
}

/// An HTTP/1 connection whose bodies are read with [`poll_frame`]. HTTP/2 connections need the
/// wake-up for flow control. Each poll is a [`ClockScope`].
pub(crate) struct WakeFilter<C> {
    connection: C,
    /// The waker that the connection sees, and its task.
    waker: Option<(Arc<FilteredTask>, Waker)>,
}

/// The task of a connection, woken through the filter.
struct FilteredTask(Waker);

impl Wake for FilteredTask {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let is_held = FRAME_POLL.try_with(|poll| match &mut *poll.borrow_mut() {
            FramePoll::Active(task @ None) => {
                *task = Some(Arc::clone(self));
                true
            }
            _ => false,
        });
        // An error means that the thread is ending.
        if !is_held.unwrap_or(false) {
            self.0.wake_by_ref();
        }
    }
}

impl<C> WakeFilter<C> {
    pub(crate) fn new(connection: C) -> Self {
        WakeFilter {
            connection,
            waker: None,
        }
    }

    pub(crate) fn inner_mut(&mut self) -> &mut C {
        &mut self.connection
    }

    pub(crate) fn into_inner(self) -> C {
        self.connection
    }
}

impl<C: Future + Unpin> Future for WakeFilter<C> {
    type Output = C::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
        let WakeFilter { connection, waker } = &mut *self;
        let current = waker
            .take()
            .filter(|(task, _)| task.0.will_wake(cx.waker()));
        let (_, waker) = waker.insert(current.unwrap_or_else(|| {
            let task = Arc::new(FilteredTask(cx.waker().clone()));
            (Arc::clone(&task), Waker::from(task))
        }));
        let _scope = ClockScope::enter();
        Pin::new(connection).poll(&mut Context::from_waker(waker))
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::pending;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use http::{Request, Response};
    use http_body_util::Empty;
    use hyper::client::conn::http1 as client;
    use hyper::server::conn::http1 as server;
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[derive(Default)]
    struct WakeCounter(AtomicU32);

    impl Wake for WakeCounter {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    /// The number of wake-ups of the connection by each poll of the body of this request, after
    /// which no more bytes arrive.
    async fn count_wakes(request: &str) -> Vec<u32> {
        let (mut caller, io) = tokio::io::duplex(1024);
        let received = Arc::new(Mutex::new(None));
        let slot = Arc::clone(&received);
        let service = service_fn(move |req: Request<Incoming>| {
            *slot.lock().unwrap() = Some(req.into_body());
            pending::<Result<Response<String>, Infallible>>()
        });
        let connection = server::Builder::new()
            .header_read_timeout(None)
            .serve_connection(TokioIo::new(io), service);
        let mut connection = WakeFilter::new(connection);
        caller.write_all(request.as_bytes()).await.unwrap();
        let count = Arc::new(WakeCounter::default());
        let waker = Waker::from(Arc::clone(&count));
        let mut poll = || {
            Pin::new(&mut connection)
                .poll(&mut Context::from_waker(&waker))
                .is_pending()
        };
        assert!(poll());
        let mut body = received.lock().unwrap().take().unwrap();
        let mut wakes = Vec::new();
        loop {
            count.0.store(0, Relaxed);
            let frame = poll_frame(&mut body, &mut Context::from_waker(Waker::noop()));
            if matches!(frame, Poll::Ready(None)) {
                return wakes;
            }
            wakes.push(count.0.load(Relaxed));
            if frame.is_pending() {
                return wakes;
            }
            assert!(poll());
        }
    }

    #[tokio::test]
    async fn a_read_response_leaves_the_connection_ready() {
        let (io, mut api) = tokio::io::duplex(1024);
        let (mut sender, connection) = client::handshake(TokioIo::new(io)).await.unwrap();
        let mut connection = WakeFilter::new(connection);
        let count = Arc::new(WakeCounter::default());
        let waker = Waker::from(Arc::clone(&count));
        let mut poll = || {
            Pin::new(&mut connection)
                .poll(&mut Context::from_waker(&waker))
                .is_pending()
        };
        assert!(poll());
        let res = sender.send_request(Request::new(Empty::<Bytes>::new()));
        assert!(poll());
        api.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbody")
            .await
            .unwrap();
        assert!(poll());
        let mut body = res.await.unwrap().into_body();
        count.0.store(0, Relaxed);
        let frame = poll_frame(&mut body, &mut Context::from_waker(Waker::noop()));
        assert!(matches!(frame, Poll::Ready(Some(Ok(_)))));
        assert_eq!(count.0.load(Relaxed), 0);
        assert!(sender.is_ready());
    }

    #[test]
    fn a_panic_releases_held_wakes() {
        let count = Arc::new(WakeCounter::default());
        let task = Arc::new(FilteredTask(Waker::from(Arc::clone(&count))));
        let panicked = std::panic::catch_unwind(|| {
            let _hold = WakeHold::start();
            task.wake_by_ref();
            assert_eq!(count.0.load(Relaxed), 0);
            std::panic::resume_unwind(Box::new(()));
        });
        assert!(panicked.is_err());
        assert_eq!(count.0.load(Relaxed), 1);
        task.wake_by_ref();
        assert_eq!(count.0.load(Relaxed), 2);
    }

    #[tokio::test]
    async fn the_last_frame_does_not_wake_the_connection() {
        let head = "POST / HTTP/1.1\r\nhost: a\r\n";
        assert_eq!(
            count_wakes(&format!("{head}content-length: 4\r\n\r\nbody")).await,
            [0]
        );
        assert_eq!(
            count_wakes(&format!("{head}content-length: 9\r\n\r\nbody")).await,
            [1, 0]
        );
        let expecting = format!("{head}expect: 100-continue\r\ncontent-length: 4\r\n\r\n");
        assert_eq!(count_wakes(&expecting).await, [1], "it has to send 100");
        // Only the next chunk shows that a chunk was the last.
        let chunks = "4\r\nbody\r\n1\r\n.\r\n0\r\n\r\n";
        assert_eq!(
            count_wakes(&format!("{head}transfer-encoding: chunked\r\n\r\n{chunks}")).await,
            [1, 1]
        );
    }
}
