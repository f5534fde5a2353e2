//! The API over HTTP/1.1.

use fastrand::Rng;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::WriteHalf;
use tokio::time::timeout;

use super::{Api, Request};
use crate::http1::{Encoded, Ended, Reader, encode, pause, reset_on_close, write_pieces};
use crate::ledger::{Killed, Sent};
use crate::plan::{ApiFault, End, Framing};
use crate::wire::{Tag, UNSOLICITED};

/// How long what is left of a request is read after its connection was to end.
const LINGER: std::time::Duration = std::time::Duration::from_millis(200);

/// Serves the requests of one connection.
pub(super) async fn serve(mut stream: TcpStream, api: Api) {
    let connection = Killed::default();
    let (read, mut write) = stream.split();
    let mut reader = Reader::new(read);
    let end = loop {
        let Some(head) = reader.head(false).await else {
            return;
        };
        let Some(request) = api.request(&head.fields, &connection) else {
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
        request.wait_for_later_token(&api.tokens).await;
        pause(&mut rng).await;
        match answer(&request, &mut write, &mut rng).await {
            None => return,
            Some(Next::Read) => {}
            Some(Next::End(end)) => break end,
        }
    };
    match end {
        End::Reset => reset_on_close(&stream),
        End::Close => {}
        End::HalfClose => {
            // What is unread when a socket closes resets the connection, and the response may be
            // lost with it.
            let _ = write.shutdown().await;
            let _ = timeout(LINGER, async {
                while reader.head(false).await.is_some() {}
            })
            .await;
        }
    }
}

/// What happens to the connection after a response.
enum Next {
    Read,
    End(End),
}

/// Answers; `None` where the proxy is gone.
async fn answer(request: &Request, write: &mut WriteHalf<'_>, rng: &mut Rng) -> Option<Next> {
    let finish = || request.record.record_response(Sent::Whole);
    let response = encoded(request, request.response_tag(), rng);
    match request.fault {
        ApiFault::CloseBefore { end, .. } => Some(Next::End(end)),
        ApiFault::Cut(at, end) => {
            let cut = response.cut(at, rng);
            write_pieces(write, &response.bytes[..cut], rng, || {})
                .await
                .ok()?;
            pause(rng).await;
            Some(Next::End(end))
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
            Some(Next::End(end))
        }
        ApiFault::Unsolicited => {
            let tag = Tag {
                attempt: UNSOLICITED,
                ..request.response_tag()
            };
            let mut both = response.bytes;
            both.extend(encoded(request, tag, rng).bytes);
            finish();
            write.write_all(&both).await.ok()?;
            Some(Next::Read)
        }
        ApiFault::Early => {
            write_pieces(write, &response.bytes, rng, finish)
                .await
                .ok()?;
            Some(Next::End(End::HalfClose))
        }
        _ => {
            write_pieces(write, &response.bytes, rng, finish)
                .await
                .ok()?;
            let is_last = request.plan.response.framing == Framing::Close;
            Some(if is_last {
                Next::End(End::Close)
            } else {
                Next::Read
            })
        }
    }
}

fn encoded(request: &Request, tag: Tag, rng: &mut Rng) -> Encoded {
    let mut start = format!("HTTP/1.1 {} Storm\r\n", request.status());
    for (name, value) in tag.fields() {
        start.push_str(&format!("{name}: {value}\r\n"));
    }
    encode(&start, request.plan.response, &tag.body(), rng)
}
