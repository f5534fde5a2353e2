//! Faulty bodies: bodies that break off, arrive slowly or never end.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::Response;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::watch;
use tokio::time::sleep;

use super::response::{SandboxBody, SandboxResponse, full};

/// Turns true, or closes, when the sandbox stops.
pub(super) type StopSignal = watch::Receiver<bool>;

/// One frame of an endless body, and the pause between two: 6.4 MB/s pass any limit soon, and do
/// not fill the memory of a client without one before a test or a person notices.
const BLANKS: &[u8] = &[b' '; 64 << 10];
const BLANKS_INTERVAL: Duration = Duration::from_millis(10);

const DRIP_INTERVAL: Duration = Duration::from_secs(1);

/// Sleeps for `time`.
///
/// # Errors
/// At once when the sandbox stops.
pub(super) async fn sleep_unless_stopped(stop: &mut StopSignal, time: Duration) -> io::Result<()> {
    tokio::select! {
        biased;
        // An error means that the sandbox was dropped.
        _ = stop.wait_for(|stopped| *stopped) => Err(io::ErrorKind::ConnectionAborted.into()),
        () = sleep(time) => Ok(()),
    }
}

/// Returns a response that closes its connection unsent: hyper writes an HTTP/1 head only after it
/// has polled the body once, and this body fails at once. An HTTP/2 stream is reset after the head.
pub(super) fn reset_response() -> SandboxResponse {
    let body = TruncatedBody {
        body: full(String::new()),
        remaining: 0,
        declared: 1,
        flushed: true,
    };
    Response::new(body.boxed_unsync())
}

/// Breaks `body` off after half of its declared length.
pub(super) fn truncate_half(body: SandboxBody) -> SandboxBody {
    let declared = body.size_hint().lower();
    TruncatedBody {
        body,
        remaining: declared / 2,
        declared,
        flushed: false,
    }
    .boxed_unsync()
}

/// Returns all of `text`, in a body that declares one byte more.
pub(super) fn truncate_last_byte(text: String) -> SandboxBody {
    let length = text.len() as u64;
    TruncatedBody {
        body: full(text),
        remaining: length,
        declared: length + 1,
        flushed: false,
    }
    .boxed_unsync()
}

/// Returns `text`, and then blanks without end.
pub(super) fn endless(text: String, stop: StopSignal) -> SandboxBody {
    let frames = stream::unfold((Some(text), stop), |(text, mut stop)| async {
        let frame = match text {
            Some(text) => Ok(Bytes::from(text)),
            None => sleep_unless_stopped(&mut stop, BLANKS_INTERVAL)
                .await
                .map(|()| Bytes::from_static(BLANKS)),
        };
        Some((frame.map(Frame::data), (None, stop)))
    });
    StreamBody::new(frames).boxed_unsync()
}

/// Returns `text` one byte at a time, one a second.
pub(super) fn drip(text: String, stop: StopSignal) -> SandboxBody {
    let frames = stream::unfold(
        (Bytes::from(text), stop, true),
        |(mut text, mut stop, is_first)| async move {
            if text.is_empty() {
                return None;
            }
            let waited = if is_first {
                Ok(())
            } else {
                sleep_unless_stopped(&mut stop, DRIP_INTERVAL).await
            };
            let frame = waited.map(|()| Frame::data(text.split_to(1)));
            Some((frame, (text, stop, false)))
        },
    );
    StreamBody::new(frames).boxed_unsync()
}

/// A body that fails after `remaining` bytes, and declares a length of `declared`.
struct TruncatedBody {
    body: SandboxBody,
    remaining: u64,
    declared: u64,
    /// False until hyper has had one more poll to write what it buffered: it drops its buffer when
    /// a body fails.
    flushed: bool,
}

impl Body for TruncatedBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        while self.remaining > 0 {
            let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(cx)?) else {
                break;
            };
            if let Ok(mut data) = frame.into_data() {
                data.truncate(usize::try_from(self.remaining).unwrap_or(usize::MAX));
                self.remaining -= data.len() as u64;
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
        SizeHint::with_exact(self.declared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read_all(mut body: SandboxBody) -> (Vec<u8>, bool) {
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
    async fn a_truncated_body_sends_its_part_first() {
        assert_eq!(
            read_all(truncate_last_byte("abc".to_owned())).await,
            (b"abc".to_vec(), true)
        );
        let broken = truncate_half(full("abcdef".to_owned()));
        assert_eq!(broken.size_hint().exact(), Some(6));
        assert_eq!(read_all(broken).await, (b"abc".to_vec(), true));
        assert_eq!(
            read_all(reset_response().into_body()).await,
            (Vec::new(), true)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_drip_is_one_byte_a_second() {
        let (_stop, stopped) = watch::channel(false);
        let began = tokio::time::Instant::now();
        assert_eq!(
            read_all(drip("abcd".to_owned(), stopped)).await,
            (b"abcd".to_vec(), false)
        );
        assert_eq!(began.elapsed().as_secs(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn an_endless_body_ends_with_the_sandbox() {
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
