//! Request bodies, and the wrapper that records progress as the connection takes their frames.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Body;

use super::watchdog::{Progress, Watchdog};
use crate::error::BoxError;

/// A request body that can be sent to the API.
pub(crate) trait OutgoingBody:
    Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static
{
}

impl<B> OutgoingBody for B where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static
{
}

/// A request body whose frames are progress.
pub(super) struct ProgressBody<B> {
    body: B,
    progress: Arc<Progress>,
}

impl<B> ProgressBody<B> {
    /// Begins a request on the connection of `watchdog`.
    pub(super) fn new(body: B, watchdog: &Watchdog) -> Self {
        let progress = Arc::clone(&watchdog.progress);
        progress.record_request();
        ProgressBody { body, progress }
    }

    /// Records that the API took what the body gave before.
    pub(super) fn record_progress(&self) {
        self.progress.record_progress();
    }

    pub(super) fn into_inner(self) -> B {
        self.body
    }
}

impl<B: Body + Unpin> Body for ProgressBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        match &frame {
            Poll::Ready(_) => self.progress.record_progress(),
            Poll::Pending => self.progress.record_waiting_for_caller(),
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::poll_fn;
    use std::time::Duration;

    use http_body_util::{BodyExt, Empty, Full};
    use tokio::time::{Instant, advance, sleep, timeout};

    use super::super::watchdog::Silent;
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn silence_counts_from_the_last_progress() {
        let mut watchdog = Watchdog::default();
        let first = ProgressBody::new(Empty::<Bytes>::new(), &watchdog);
        assert!(first.is_end_stream());
        assert!(
            timeout(LIMIT / 2, poll_fn(|cx| watchdog.poll_silent(cx, LIMIT)))
                .await
                .is_err()
        );

        let mut second = ProgressBody::new(Full::new(Bytes::from_static(b"x")), &watchdog);
        let start = Instant::now();
        advance(Duration::from_secs(20)).await;
        second.frame().await.unwrap().unwrap();
        assert_eq!(
            poll_fn(|cx| watchdog.poll_silent(cx, LIMIT)).await,
            Silent::Upstream
        );
        assert_eq!(start.elapsed(), Duration::from_secs(80));
    }

    #[tokio::test(start_paused = true)]
    async fn a_shorter_limit_resets_the_timer() {
        let mut watchdog = Watchdog::default();
        let _body = ProgressBody::new(Empty::<Bytes>::new(), &watchdog);
        assert!(
            timeout(LIMIT / 2, poll_fn(|cx| watchdog.poll_silent(cx, LIMIT)))
                .await
                .is_err()
        );
        watchdog.progress.record_progress();
        let start = Instant::now();
        assert_eq!(
            poll_fn(|cx| watchdog.poll_silent(cx, LIMIT / 6)).await,
            Silent::Upstream
        );
        assert_eq!(start.elapsed(), LIMIT / 6);
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_sends_nothing_is_blamed() {
        let mut watchdog = Watchdog::default();
        let mut body = ProgressBody::new(PendingBody, &watchdog);
        let read = async { body.frame().await };
        let silent = poll_fn(|cx| watchdog.poll_silent(cx, LIMIT));
        tokio::select! {
            _ = read => unreachable!("the body never gives a frame"),
            silent = silent => assert_eq!(silent, Silent::Caller),
            () = sleep(LIMIT * 2) => panic!("the silence was not detected"),
        }
    }

    struct PendingBody;

    impl Body for PendingBody {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            Poll::Pending
        }
    }
}
