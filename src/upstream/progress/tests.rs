//! Tests of the watch over progress in both directions.

use std::future::poll_fn;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full};
use tokio::time::{advance, sleep};

use super::*;

const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn silence_counts_from_the_last_progress_and_the_timer_serves_many_requests() {
    let mut watch = Watch::default();
    let first = watch.track(Empty::<Bytes>::new());
    assert!(first.is_end_stream());
    assert!(
        tokio::time::timeout(LIMIT / 2, poll_fn(|cx| watch.poll_silent(cx, LIMIT)))
            .await
            .is_err()
    );

    let mut second = watch.track(Full::new(Bytes::from_static(b"x")));
    let began = Instant::now();
    advance(Duration::from_secs(20)).await;
    second.frame().await.unwrap().unwrap();
    assert_eq!(
        poll_fn(|cx| watch.poll_silent(cx, LIMIT)).await,
        Silent::Upstream
    );
    assert_eq!(began.elapsed(), Duration::from_secs(80));
}

#[tokio::test(start_paused = true)]
async fn a_shorter_limit_is_kept_although_the_timer_was_set_for_a_longer_one() {
    let mut watch = Watch::default();
    let _body = watch.track(Empty::<Bytes>::new());
    assert!(
        tokio::time::timeout(LIMIT / 2, poll_fn(|cx| watch.poll_silent(cx, LIMIT)))
            .await
            .is_err()
    );
    watch.note();
    let began = Instant::now();
    assert_eq!(
        poll_fn(|cx| watch.poll_silent(cx, LIMIT / 6)).await,
        Silent::Upstream
    );
    assert_eq!(began.elapsed(), LIMIT / 6);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_sends_nothing_is_to_blame_itself() {
    let mut watch = Watch::default();
    let mut body = watch.track(Never);
    let read = async { body.frame().await };
    let silent = poll_fn(|cx| watch.poll_silent(cx, LIMIT));
    tokio::select! {
        _ = read => unreachable!("the body never gives a frame"),
        silent = silent => assert_eq!(silent, Silent::Caller),
        () = sleep(LIMIT * 2) => panic!("the silence was not seen"),
    }
}

/// As TLS does: what comes at once is decrypted at once, and read byte by byte.
#[derive(Default)]
struct Decrypting {
    coming: Vec<u8>,
    decrypted: Vec<u8>,
    reads: u32,
}

impl AsyncRead for Decrypting {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.reads += 1;
        let coming = std::mem::take(&mut self.coming);
        self.decrypted.extend(coming);
        let Some(byte) = self.decrypted.pop() else {
            return Poll::Pending;
        };
        buf.put_slice(&[byte]);
        Poll::Ready(Ok(()))
    }
}

impl Readable for Decrypting {
    fn poll_readable(&self, _: &mut Context<'_>) -> Poll<()> {
        if self.coming.is_empty() {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    }
}

#[test]
fn only_where_nothing_more_has_come_nothing_is_read() {
    let mut heard = Watch::default().listen(Decrypting::default());
    let cx = &mut Context::from_waker(std::task::Waker::noop());
    let mut read = |heard: &mut UpstreamIo<Decrypting>| {
        let mut byte = [0];
        let is_ready = Pin::new(&mut *heard)
            .poll_read(cx, &mut ReadBuf::new(&mut byte))
            .is_ready();
        (is_ready, heard.io.reads)
    };
    assert_eq!([(); 2].map(|()| read(&mut heard)), [(false, 1), (false, 1)]);
    heard.io.coming = b"ab".to_vec();
    let reads = [(); 4].map(|()| read(&mut heard));
    assert_eq!(
        reads,
        [(true, 2), (true, 3), (false, 4), (false, 4)],
        "the second byte is decrypted already"
    );
}

struct Never;

impl Body for Never {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Pending
    }
}
