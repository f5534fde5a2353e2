//! HTTP/1.1 callers.

use fastrand::Rng;
use http::header::CONNECTION;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::ReadHalf;
use tokio::time::timeout;

use super::{Callers, Ids, RESPONSE_TIMEOUT, outcome};
use crate::http1::{Encoded, Ended, Reader, encode, pause, reset_on_close, write_pieces};
use crate::ledger::{Outcome, Sent};
use crate::plan::{CallerFault, End};

/// Sends the requests one after the other, over one connection while it lasts.
pub(super) async fn session(callers: &Callers, ids: Ids) {
    let mut open = None;
    for id in ids.take_while(|_| !callers.is_over()) {
        let is_reused = open.is_some();
        let connected = match open.take() {
            Some(stream) => Some(stream),
            None => callers.connect(id).await,
        };
        let Some(stream) = connected else {
            callers
                .ledger
                .record_outcome(id, Outcome::NoHead(Ended::Broken));
            continue;
        };
        open = exchange(callers, id, stream).await;
        if is_reused {
            callers.ledger.change(id, |entry| {
                if matches!(entry.outcome, Outcome::NoHead(_)) {
                    entry.outcome = Outcome::Closed;
                }
            });
        }
    }
}

/// Sends the request `id` over `stream`. Returns the stream if it can carry another request.
async fn exchange(callers: &Callers, id: u64, mut stream: TcpStream) -> Option<TcpStream> {
    let plan = callers.plans.plan(id);
    let mut rng = Rng::with_seed(plan.chance);
    let request = encode_request(callers, id, &mut rng);
    let finish = || callers.ledger.record_sent(id, Sent::Whole);
    let (sent, end) = match plan.caller {
        CallerFault::Cut(at, end) => {
            let cut = request.cut(at, &mut rng);
            let _ = write_pieces(&mut stream, &request.bytes[..cut], &mut rng, || {}).await;
            (None, end)
        }
        CallerFault::Leave(end, _) => {
            let _ = write_pieces(&mut stream, &request.bytes, &mut rng, finish).await;
            (None, end)
        }
        _ => (Some(request), End::HalfClose),
    };
    if sent.is_none() {
        if rng.bool() {
            callers.ledger.wait_until_begun(id).await;
        }
        pause(&mut rng).await;
    }
    match end {
        End::Close => {
            callers.ledger.record_outcome(id, Outcome::GaveUp);
            return None;
        }
        End::Reset => {
            callers.ledger.record_outcome(id, Outcome::GaveUp);
            reset_on_close(&stream);
            return None;
        }
        End::HalfClose => {}
    }
    let (outcome, is_reusable) = {
        let (read, mut write) = stream.split();
        let received = receive(read);
        tokio::pin!(received);
        match sent {
            // The request was cut.
            None => {
                let _ = write.shutdown().await;
                (received.await.0, false)
            }
            Some(request) => {
                let upload = write_pieces(&mut write, &request.bytes, &mut rng, finish);
                tokio::pin!(upload);
                tokio::select! {
                    // An early response: the rest of the request is not sent.
                    (outcome, _) = &mut received => (outcome, false),
                    written = &mut upload => {
                        let (outcome, stays) = received.await;
                        (outcome, stays && written.is_ok())
                    }
                }
            }
        }
    };
    callers.ledger.record_outcome(id, outcome);
    is_reusable.then_some(stream)
}

fn encode_request(callers: &Callers, id: u64, rng: &mut Rng) -> Encoded {
    let (plan, tag) = (callers.plans.plan(id), callers.tag(id));
    let method = if plan.is_get { "GET" } else { "POST" };
    let mut start = format!("{method} {} HTTP/1.1\r\nhost: localhost\r\n", plan.path);
    for (name, value) in tag.fields() {
        start.push_str(&format!("{name}: {value}\r\n"));
    }
    if rng.bool() {
        start.push_str("te: trailers\r\n");
    }
    encode(&start, plan.request, &tag.body(), rng)
}

/// Receives the response. Also returns whether the connection can carry another request.
async fn receive(read: ReadHalf<'_>) -> (Outcome, bool) {
    let mut reader = Reader::new(read);
    let received = async {
        let Some(head) = reader.head(true).await else {
            return (Outcome::NoHead(Ended::Broken), false);
        };
        let (body, ended) = reader.body(&head.fields, true).await;
        let stays = ended == Ended::Whole && !head.fields.contains_key(CONNECTION);
        (outcome(head.status, &head.fields, &body, ended), stays)
    };
    timeout(RESPONSE_TIMEOUT, received)
        .await
        .unwrap_or((Outcome::Silent, false))
}
