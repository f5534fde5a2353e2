//! Filter for needless wake-ups of HTTP/1 connections.
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
    static TAKING: RefCell<Taking> = const { RefCell::new(Taking::Nothing) };
}

/// What this thread takes at the moment.
enum Taking {
    Nothing,
    /// A piece of a body, for which so far this connection, if any, was to be woken.
    Piece(Option<Arc<Task>>),
}

/// The next frame of `body`, whose connection is not woken by it if it was the last one.
pub(crate) fn poll_frame(
    body: &mut Incoming,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
    let held = Held::begin();
    let frame = Pin::new(&mut *body).poll_frame(cx);
    if body.is_end_stream() {
        TAKING.set(Taking::Nothing);
    }
    drop(held);
    frame
}

/// Holds wakes, until it is dropped: then those are made that are held still, be it in a panic.
struct Held;

impl Held {
    fn begin() -> Self {
        TAKING.set(Taking::Piece(None));
        Held
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Taking::Piece(Some(task)) = TAKING.replace(Taking::Nothing) {
            task.0.wake_by_ref();
        }
    }
}

/// A connection of HTTP/1, whose bodies are taken by [`poll_frame`]. One of HTTP/2 has other
/// reasons to be woken by it. Each poll is a [`ClockScope`].
pub(crate) struct WakeFilter<C> {
    connection: C,
    /// Its task's waker as it sees it.
    waker: Option<(Arc<Task>, Waker)>,
}

/// The task of a connection.
struct Task(Waker);

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let is_held = TAKING.try_with(|taking| match &mut *taking.borrow_mut() {
            Taking::Piece(task @ None) => {
                *task = Some(Arc::clone(self));
                true
            }
            _ => false,
        });
        // An error means that the thread ends.
        if !is_held.unwrap_or(false) {
            self.0.wake_by_ref();
        }
    }
}

impl<C> WakeFilter<C> {
    /// Filters the wake-ups of `connection`.
    pub(crate) fn new(connection: C) -> Self {
        WakeFilter {
            connection,
            waker: None,
        }
    }

    /// The connection itself.
    pub(crate) fn inner_mut(&mut self) -> &mut C {
        &mut self.connection
    }

    /// The connection itself.
    pub(crate) fn into_inner(self) -> C {
        self.connection
    }
}

impl<C: Future + Unpin> Future for WakeFilter<C> {
    type Output = C::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
        let WakeFilter { connection, waker } = &mut *self;
        let known = waker
            .take()
            .filter(|(task, _)| task.0.will_wake(cx.waker()));
        let (_, waker) = waker.insert(known.unwrap_or_else(|| {
            let task = Arc::new(Task(cx.waker().clone()));
            (Arc::clone(&task), Waker::from(task))
        }));
        let _tick = ClockScope::enter();
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
    struct Count(AtomicU32);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    /// How often the connection is woken by each look for a piece of the body of this request, of
    /// which no more comes.
    async fn wakes(request: &str) -> Vec<u32> {
        let (mut caller, io) = tokio::io::duplex(1024);
        let came = Arc::new(Mutex::new(None));
        let coming = Arc::clone(&came);
        let service = service_fn(move |req: Request<Incoming>| {
            *coming.lock().unwrap() = Some(req.into_body());
            pending::<Result<Response<String>, Infallible>>()
        });
        let connection = server::Builder::new()
            .header_read_timeout(None)
            .serve_connection(TokioIo::new(io), service);
        let mut connection = WakeFilter::new(connection);
        caller.write_all(request.as_bytes()).await.unwrap();
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let mut poll = || {
            Pin::new(&mut connection)
                .poll(&mut Context::from_waker(&waker))
                .is_pending()
        };
        assert!(poll());
        let mut body = came.lock().unwrap().take().unwrap();
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

    /// Of an answer the connection is free for the next request at once.
    #[tokio::test]
    async fn a_connection_whose_answer_was_taken_is_ready_without_being_woken() {
        let (io, mut api) = tokio::io::duplex(1024);
        let (mut sender, connection) = client::handshake(TokioIo::new(io)).await.unwrap();
        let mut connection = WakeFilter::new(connection);
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let mut poll = || {
            Pin::new(&mut connection)
                .poll(&mut Context::from_waker(&waker))
                .is_pending()
        };
        assert!(poll());
        let answer = sender.send_request(Request::new(Empty::<Bytes>::new()));
        assert!(poll());
        api.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbody")
            .await
            .unwrap();
        assert!(poll());
        let mut body = answer.await.unwrap().into_body();
        count.0.store(0, Relaxed);
        let frame = poll_frame(&mut body, &mut Context::from_waker(Waker::noop()));
        assert!(matches!(frame, Poll::Ready(Some(Ok(_)))));
        assert_eq!(count.0.load(Relaxed), 0);
        assert!(sender.is_ready());
    }

    #[test]
    fn what_is_held_in_a_panic_is_made_up_for() {
        let count = Arc::new(Count::default());
        let task = Arc::new(Task(Waker::from(Arc::clone(&count))));
        let panicked = std::panic::catch_unwind(|| {
            let _held = Held::begin();
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
    async fn who_takes_the_last_piece_of_a_body_wakes_nobody() {
        let head = "POST / HTTP/1.1\r\nhost: a\r\n";
        assert_eq!(
            wakes(&format!("{head}content-length: 4\r\n\r\nbody")).await,
            [0]
        );
        assert_eq!(
            wakes(&format!("{head}content-length: 9\r\n\r\nbody")).await,
            [1, 0]
        );
        let expecting = format!("{head}expect: 100-continue\r\ncontent-length: 4\r\n\r\n");
        assert_eq!(wakes(&expecting).await, [1], "it is to send 100");
        // Whether a chunk is the last one is told by the next.
        let chunks = "4\r\nbody\r\n1\r\n.\r\n0\r\n\r\n";
        assert_eq!(
            wakes(&format!("{head}transfer-encoding: chunked\r\n\r\n{chunks}")).await,
            [1, 1]
        );
    }
}
