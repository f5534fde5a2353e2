//! Bodies over one HTTP/2 stream.

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

/// How long frames may take to be written.
const WRITE_TIMEOUT: Duration = Duration::from_secs(2);

/// DATA frames that a body is sent in, at least; long ones are split further.
const MAX_PIECES: usize = 4;

/// Reads the body to its end, as far as it comes.
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

/// How a stream ended that `error` ended.
pub(crate) fn broken(error: &h2::Error) -> Ended {
    match error.reason() {
        Some(reason) if error.is_reset() && error.is_remote() => Ended::Reset(reason.into()),
        _ => Ended::Broken,
    }
}

/// Sends `body`; `None` where the other side has ended the stream.
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

/// Sends `part` over a stream whose head was sent, and resets it. Where all is to leave in one
/// write, `cork` is held already; it is released here.
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
        // What h2 has not written when a stream is reset, it throws away.
        cork.wait(id, |written| {
            written.heads > 0 && written.data >= part.len()
        })
        .await;
    };
    // While writes are held back, nothing makes room for more.
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
