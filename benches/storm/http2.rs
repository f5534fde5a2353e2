//! Bodies of one HTTP/2 stream.

use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use h2::{RecvStream, SendStream};
use http::HeaderMap;
use http::header::HeaderValue;
use tokio::time::timeout;

use crate::corked::Cork;
use crate::http1::{Ended, TRAILER, pause};
use crate::plan::{StreamReset, Writes};

/// Time for writing frames.
const WRITE_TIMEOUT: Duration = Duration::from_secs(2);

/// Most pieces of a body; long ones are split into more frames.
const MAX_PIECES: usize = 4;

/// Reads the body, as far as it arrives.
pub(crate) async fn receive(mut stream: RecvStream) -> (Vec<u8>, Ended) {
    let mut body = Vec::new();
    loop {
        match stream.data().await {
            Some(Ok(data)) => {
                let _ = stream.flow_control().release_capacity(data.len());
                body.extend_from_slice(&data);
            }
            Some(Err(error)) => return (body, broken(&error)),
            None => break,
        }
    }
    let ended = stream
        .trailers()
        .await
        .map_or_else(|error| broken(&error), |_| Ended::Whole);
    (body, ended)
}

/// Classifies the `error` that ended a stream.
pub(crate) fn broken(error: &h2::Error) -> Ended {
    match error.reason() {
        Some(reason) if error.is_reset() && error.is_remote() => Ended::Reset(reason.into()),
        _ => Ended::Broken,
    }
}

/// Sends `body`; `None` if the other side has ended the stream.
pub(crate) async fn send(stream: &mut SendStream<Bytes>, body: &[u8], rng: &mut Rng) -> Option<()> {
    let largest = body.len() / rng.usize(1..=MAX_PIECES) + 1;
    for piece in body.chunks(largest) {
        let mut piece = Bytes::copy_from_slice(piece);
        while !piece.is_empty() {
            stream.reserve_capacity(piece.len());
            while stream.capacity() == 0 {
                poll_fn(|cx| stream.poll_capacity(cx)).await?.ok()?;
            }
            let part = piece.split_to(piece.len().min(stream.capacity()));
            stream.send_data(part, false).ok()?;
        }
        pause(rng).await;
    }
    Some(())
}

/// Ends a body, with trailers or without.
pub(crate) fn end(stream: &mut SendStream<Bytes>, has_trailers: bool) -> Option<()> {
    if !has_trailers {
        return stream.send_data(Bytes::new(), true).ok();
    }
    let mut trailers = HeaderMap::new();
    trailers.insert(TRAILER, HeaderValue::from_static("yes"));
    stream.send_trailers(trailers).ok()
}

/// Sends `part` over a stream whose head was sent, and resets the stream. For one write in all the
/// caller holds `cork`; this releases it.
pub(crate) async fn send_and_reset(
    cork: &Cork,
    stream: &mut SendStream<Bytes>,
    part: &[u8],
    reset: StreamReset,
    rng: &mut Rng,
) {
    let id = stream.stream_id().into();
    if reset.writes != Writes::One {
        let _ = timeout(WRITE_TIMEOUT, cork.wait(id, |written| written.heads > 0)).await;
        pause(rng).await;
    }
    if reset.writes == Writes::HeadApart {
        cork.hold();
    }
    let sent = async {
        send(stream, part, rng).await;
        // h2 drops what it has not written when a stream is reset.
        cork.wait(id, |written| {
            written.heads > 0 && written.data >= part.len()
        })
        .await;
    };
    // While writes are held back, the window does not grow.
    let _ = timeout(WRITE_TIMEOUT, sent).await;
    if reset.writes == Writes::Each {
        pause(rng).await;
    }
    stream.send_reset(reset.code.into());
    if reset.writes != Writes::Each {
        let _ = timeout(WRITE_TIMEOUT, cork.wait(id, |written| written.resets > 0)).await;
        cork.release();
    }
}
