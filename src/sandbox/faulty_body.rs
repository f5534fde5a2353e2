//! Faulty bodies: bodies that break off, arrive slowly or never end.

use std::future::ready;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::Response;
use http::header::{CONTENT_LENGTH, HeaderValue};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Body, Frame};
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::sleep;

use super::response::{SandboxBody, SandboxResponse};

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
    let failure = stream::once(ready(Err(io::ErrorKind::BrokenPipe.into())));
    Response::new(StreamBody::new(failure).boxed_unsync())
}

/// Breaks the body of `response` off after half of its length.
pub(super) fn truncate_half(response: SandboxResponse) -> SandboxResponse {
    let length = match response.headers().get(CONTENT_LENGTH) {
        Some(length) => length.to_str().ok().and_then(|text| text.parse().ok()),
        None => response.body().size_hint().exact(),
    };
    let length = length.unwrap_or_default();
    truncate(response, length / 2, length)
}

/// Declares one byte more than the body of `response` has.
pub(super) fn truncate_last_byte(response: SandboxResponse) -> SandboxResponse {
    let length = response.body().size_hint().lower();
    truncate(response, length, length + 1)
}

/// Breaks the body of `response` off after `remaining` bytes of `declared`.
fn truncate(response: SandboxResponse, remaining: u64, declared: u64) -> SandboxResponse {
    let mut response = response.map(|body| {
        let frames = stream::unfold((body, remaining), |(mut body, remaining)| async move {
            let frame = match body.frame().await {
                Some(Ok(frame)) if remaining > 0 => frame.into_data(),
                _ => Err(Frame::data(Bytes::new())),
            };
            let Ok(mut data) = frame else {
                // hyper drops its buffer when a body fails: one more poll lets it write that first.
                yield_now().await;
                return Some((Err(io::ErrorKind::BrokenPipe.into()), (body, 0)));
            };
            data.truncate(usize::try_from(remaining).unwrap_or(usize::MAX));
            let remaining = remaining - data.len() as u64;
            Some((Ok(Frame::data(data)), (body, remaining)))
        });
        StreamBody::new(frames).boxed_unsync()
    });
    let declared = HeaderValue::from(declared);
    response.headers_mut().insert(CONTENT_LENGTH, declared);
    response
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

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::super::response::json_text;
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
        let whole = |text: &str| json_text(StatusCode::OK, text.to_owned());
        for (truncated, declared) in [
            (truncate_last_byte(whole("abc")), "4"),
            (truncate_half(whole("abcdef")), "6"),
        ] {
            assert_eq!(truncated.headers()[CONTENT_LENGTH], declared);
            assert_eq!(
                read_all(truncated.into_body()).await,
                (b"abc".to_vec(), true)
            );
        }
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
