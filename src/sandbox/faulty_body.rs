//! Bodies that do not end as they should: they break off, crawl, or never end.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::Response;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::{Body as _, Frame, SizeHint};
use tokio::sync::watch;
use tokio::time::sleep;

use super::response::{Answer, Body};

/// Turns true, or closes, when the sandbox stops.
pub(super) type Stopped = watch::Receiver<bool>;

/// What an endless body gives at a time, and how often: enough to pass any limit soon, and not
/// enough to fill the memory of a caller that has none before a person or a test notices.
const BLANKS: &[u8] = &[b' '; 64 << 10];
const BLANKS_EVERY: Duration = Duration::from_millis(10);

/// How often a dripping body gives a byte.
const DRIP_EVERY: Duration = Duration::from_secs(1);

/// Waits.
///
/// # Errors
/// At once when the sandbox stops.
pub(super) async fn pause(stopped: &mut Stopped, time: Duration) -> io::Result<()> {
    tokio::select! {
        biased;
        // An error means that the sandbox is gone.
        _ = stopped.wait_for(|stopped| *stopped) => Err(io::ErrorKind::ConnectionAborted.into()),
        () = sleep(time) => Ok(()),
    }
}

/// No answer: over HTTP/1 the connection closes before a byte of the head has left, because hyper
/// writes a head no sooner than it has asked for the first piece of the body. Over HTTP/2 the
/// stream is reset after the head.
pub(super) fn reset() -> Answer {
    let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
    Response::new(
        BreaksOff {
            body,
            left: 0,
            claimed: 1,
            flushed: true,
        }
        .boxed_unsync(),
    )
}

/// The first half of a body that claims to be whole.
pub(super) fn in_the_middle(body: Body) -> Body {
    let length = body.size_hint().lower();
    BreaksOff {
        body,
        left: length / 2,
        claimed: length,
        flushed: false,
    }
    .boxed_unsync()
}

/// All of `text`, and one byte less than it claims.
pub(super) fn too_short(text: String) -> Body {
    let length = text.len() as u64;
    let body = Full::from(text)
        .map_err(|never| match never {})
        .boxed_unsync();
    BreaksOff {
        body,
        left: length,
        claimed: length + 1,
        flushed: false,
    }
    .boxed_unsync()
}

/// All of `text`, then blanks without end.
pub(super) fn endless(text: String, stopped: Stopped) -> Body {
    let pieces = stream::unfold((Some(text), stopped), |(text, mut stopped)| async {
        let piece = match text {
            Some(text) => Ok(Bytes::from(text)),
            None => pause(&mut stopped, BLANKS_EVERY)
                .await
                .map(|()| Bytes::from_static(BLANKS)),
        };
        Some((piece.map(Frame::data), (None, stopped)))
    });
    StreamBody::new(pieces).boxed_unsync()
}

/// `text` byte by byte, one a second.
pub(super) fn drip(text: String, stopped: Stopped) -> Body {
    let pieces = stream::unfold(
        (Bytes::from(text), stopped, false),
        |(mut left, mut stopped, begun)| async move {
            if left.is_empty() {
                return None;
            }
            let waited = if begun {
                pause(&mut stopped, DRIP_EVERY).await
            } else {
                Ok(())
            };
            Some((
                waited.map(|()| Frame::data(left.split_to(1))),
                (left, stopped, true),
            ))
        },
    );
    StreamBody::new(pieces).boxed_unsync()
}

/// A body that fails after `left` bytes, and whose length is told as `claimed`.
struct BreaksOff {
    body: Body,
    left: u64,
    claimed: u64,
    /// hyper forgets what it has not written yet when a body fails, so it gets a chance to write
    /// first.
    flushed: bool,
}

impl hyper::body::Body for BreaksOff {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        while self.left > 0 {
            let Some(frame) = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx)?) else {
                break;
            };
            if let Ok(mut data) = frame.into_data() {
                data.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
                self.left -= data.len() as u64;
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
        }
        if !self.flushed {
            self.flushed = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Some(Err(io::ErrorKind::BrokenPipe.into())))
    }

    fn is_end_stream(&self) -> bool {
        false
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.claimed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn told(mut body: Body) -> (Vec<u8>, bool) {
        let mut all = Vec::new();
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => all.extend_from_slice(&frame.into_data().unwrap()),
                Err(_) => return (all, true),
            }
        }
        (all, false)
    }

    #[tokio::test]
    async fn what_breaks_off_gave_what_it_was_to_give() {
        assert_eq!(
            told(too_short("abc".to_owned())).await,
            (b"abc".to_vec(), true)
        );
        let body = Full::from("abcdef")
            .map_err(|never| match never {})
            .boxed_unsync();
        let broken = in_the_middle(body);
        assert_eq!(broken.size_hint().exact(), Some(6));
        assert_eq!(told(broken).await, (b"abc".to_vec(), true));
        assert_eq!(told(reset().into_body()).await, (Vec::new(), true));
    }

    #[tokio::test(start_paused = true)]
    async fn a_drip_is_a_byte_a_second() {
        let (_stop, stopped) = watch::channel(false);
        let began = tokio::time::Instant::now();
        assert_eq!(
            told(drip("abcd".to_owned(), stopped)).await,
            (b"abcd".to_vec(), false)
        );
        assert_eq!(began.elapsed().as_secs(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn what_never_ends_ends_with_the_sandbox() {
        let (stop, stopped) = watch::channel(false);
        let mut body = endless("{}".to_owned(), stopped);
        assert_eq!(
            body.frame().await.unwrap().unwrap().into_data().unwrap(),
            "{}"
        );
        assert_eq!(
            body.frame().await.unwrap().unwrap().into_data().unwrap(),
            BLANKS
        );
        drop(stop);
        assert!(body.frame().await.unwrap().is_err());
    }
}
