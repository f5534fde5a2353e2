//! HTTP/1.1 side of the API.

use std::time::Duration;

use fastrand::Rng;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::WriteHalf;
use tokio::time::timeout;

use super::{Api, ReceivedRequest};
use crate::http1::{Encoded, Ended, Reader, encode, pause, reset_on_close, write_pieces};
use crate::ledger::{Killed, Sent};
use crate::plan::{ApiFault, End, Framing};
use crate::wire::{Tag, UNSOLICITED};

/// Time for reading the rest of a request before its connection closes.
const LINGER_TIMEOUT: Duration = Duration::from_millis(200);

/// Serves the requests of one connection.
pub(super) async fn serve(mut stream: TcpStream, api: Api) {
    let connection = Killed::default();
    let (read, mut write) = stream.split();
    let mut reader = Reader::new(read);
    let end = loop {
        let Some(head) = reader.head(false).await else {
            return;
        };
        let Some(request) = api.receive(&head.fields, &connection) else {
            return;
        };
        let mut rng = Rng::with_seed(request.plan.chance ^ 1);
        let is_read = match request.fault {
            ApiFault::Early => false,
            ApiFault::CloseBefore { is_read, .. } => is_read,
            _ => true,
        };
        if is_read {
            let (body, ended) = reader.body(&head.fields, false).await;
            request.record.record_request(request.tag, &body, ended);
            if ended != Ended::Whole {
                return;
            }
        }
        request.wait_for_newer_token(&api.tokens).await;
        pause(&mut rng).await;
        match respond(&request, &mut write, &mut rng).await {
            None => return,
            Some(NextStep::Read) => {}
            Some(NextStep::End(end)) => break end,
        }
    };
    match end {
        End::Reset => reset_on_close(&stream),
        End::Close => {}
        End::HalfClose => {
            // Closing a socket with unread bytes resets the connection, and may lose the response.
            let _ = write.shutdown().await;
            let _ = timeout(LINGER_TIMEOUT, async {
                while reader.head(false).await.is_some() {}
            })
            .await;
        }
    }
}

/// The step of a connection after a response.
enum NextStep {
    Read,
    End(End),
}

/// Responds; `None` if the proxy is gone.
async fn respond(
    request: &ReceivedRequest,
    write: &mut WriteHalf<'_>,
    rng: &mut Rng,
) -> Option<NextStep> {
    let finish = || request.record.record_response(Sent::Whole);
    let response = encode_response(request, request.response_tag(), rng);
    match request.fault {
        ApiFault::CloseBefore { end, .. } => Some(NextStep::End(end)),
        ApiFault::Cut(at, end) => {
            let cut = response.cut(at, rng);
            write_pieces(write, &response.bytes[..cut], rng, || {})
                .await
                .ok()?;
            pause(rng).await;
            Some(NextStep::End(end))
        }
        ApiFault::CloseAfter(end) => {
            // A reset may destroy what the proxy has not read yet.
            let sent = if end == End::Reset {
                Sent::ByLength
            } else {
                Sent::Whole
            };
            request.record.record_response(sent);
            write_pieces(write, &response.bytes, rng, || {})
                .await
                .ok()?;
            pause(rng).await;
            Some(NextStep::End(end))
        }
        ApiFault::Unsolicited => {
            let tag = Tag {
                attempt: UNSOLICITED,
                ..request.response_tag()
            };
            let mut both = response.bytes;
            both.extend(encode_response(request, tag, rng).bytes);
            finish();
            write.write_all(&both).await.ok()?;
            Some(NextStep::Read)
        }
        ApiFault::Early => {
            write_pieces(write, &response.bytes, rng, finish)
                .await
                .ok()?;
            Some(NextStep::End(End::HalfClose))
        }
        _ => {
            write_pieces(write, &response.bytes, rng, finish)
                .await
                .ok()?;
            let is_last = request.plan.response.framing == Framing::Close;
            Some(if is_last {
                NextStep::End(End::Close)
            } else {
                NextStep::Read
            })
        }
    }
}

fn encode_response(request: &ReceivedRequest, tag: Tag, rng: &mut Rng) -> Encoded {
    let mut start = format!("HTTP/1.1 {} Storm\r\n", request.status());
    for (name, value) in tag.fields() {
        start.push_str(&format!("{name}: {value}\r\n"));
    }
    encode(&start, request.plan.response, &tag.body(), rng)
}
