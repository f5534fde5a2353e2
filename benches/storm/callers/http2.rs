//! HTTP/2 callers, with prior knowledge.

use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use futures_util::future::join_all;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, SendStream};
use http::header::CONTENT_LENGTH;
use http::{Method, Request};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::{Callers, Ids, RESPONSE_TIMEOUT, outcome};
use crate::corked::{Cork, Corked};
use crate::http1::{Ended, pause};
use crate::http2::{broken, end, receive, send, send_and_reset};
use crate::ledger::{Killed, Outcome, Sent};
use crate::plan::{CallerFault, End, Framing, Plan, ResetAt, StreamReset, Writes};
use crate::wire::mix;

/// Bytes of a response that the proxy may send before they are read.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;

/// Time for the orderly end of a connection.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A connection that requests share.
#[derive(Clone)]
struct CallerConnection {
    sender: SendRequest<Bytes>,
    cork: Cork,
    killed: Killed,
    task: AbortHandle,
}

/// Sends the requests over one connection, concurrently or one after the other.
pub(super) async fn session(callers: &Callers, session: u64, ids: Ids) {
    let refuse = |ids: Ids| {
        ids.for_each(|id| {
            callers
                .ledger
                .record_outcome(id, Outcome::NoHead(Ended::Broken))
        })
    };
    let Some(stream) = callers.connect(ids.start).await else {
        return refuse(ids);
    };
    let (io, cork) = Corked::new(stream, true);
    let mut builder = h2::client::Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(STREAM_WINDOW_BYTES * 8);
    let Ok((sender, connection)) = builder.handshake::<_, Bytes>(io).await else {
        return refuse(ids);
    };
    let task = tokio::spawn(connection);
    let connection = CallerConnection {
        sender,
        cork,
        killed: Killed::default(),
        task: task.abort_handle(),
    };
    if mix(callers.plans.seed, session).is_multiple_of(3) {
        for id in ids.take_while(|_| !callers.is_over()) {
            exchange(callers, id, connection.clone()).await;
        }
    } else {
        join_all(ids.map(|id| exchange(callers, id, connection.clone()))).await;
    }
    let abort = connection.task.clone();
    drop(connection);
    // Without handles the connection ends with GOAWAY.
    if timeout(CLOSE_TIMEOUT, task).await.is_err() {
        abort.abort();
    }
}

async fn exchange(callers: &Callers, id: u64, connection: CallerConnection) {
    let plan = callers.plans.plan(id);
    let killed = connection.killed.clone();
    let outcome = match timeout(RESPONSE_TIMEOUT, attempt(callers, id, &plan, connection)).await {
        Err(_) => Outcome::Silent,
        Ok(
            Outcome::NoHead(Ended::Broken)
            | Outcome::Response {
                ended: Ended::Broken,
                ..
            },
        ) if killed.is_set() => Outcome::GaveUp,
        Ok(outcome) => outcome,
    };
    callers.ledger.record_outcome(id, outcome);
}

async fn attempt(callers: &Callers, id: u64, plan: &Plan, connection: CallerConnection) -> Outcome {
    let mut rng = Rng::with_seed(plan.chance);
    pause(&mut rng).await;
    let mut sender = match connection.sender.clone().ready().await {
        Ok(sender) => sender,
        Err(error) => return Outcome::NoHead(broken(&error)),
    };
    let cork = &connection.cork;
    let body = callers.tag(id).body();
    let is_bare = body.is_empty() && !plan.request.has_trailers && plan.caller == CallerFault::None;
    if is_bare {
        callers.ledger.record_sent(id, Sent::Whole);
    }
    let is_one_write = matches!(
        plan.caller,
        CallerFault::Reset(StreamReset {
            writes: Writes::One,
            ..
        })
    );
    if is_one_write {
        cork.hold();
    }
    let begun = sender.send_request(head(callers, id, plan, &mut rng), is_bare);
    let Ok((response, mut stream)) = begun else {
        if is_one_write {
            cork.release();
        }
        return Outcome::NoHead(Ended::Broken);
    };
    drop(sender);
    match plan.caller {
        CallerFault::Reset(reset) => {
            let part = match reset.at {
                ResetAt::AfterHead => &[][..],
                ResetAt::MidBody => &body[..rng.usize(1..body.len())],
                ResetAt::NoEnd => &body[..],
            };
            if reset.at == ResetAt::NoEnd && plan.request.framing == Framing::Length {
                callers.ledger.record_sent(id, Sent::ByLength);
            }
            if !is_one_write && rng.bool() {
                callers.ledger.wait_until_begun(id).await;
            }
            send_and_reset(cork, &mut stream, part, reset, &mut rng).await;
            Outcome::GaveUp
        }
        CallerFault::Drop(end) => {
            let _ = send(&mut stream, &body[..rng.usize(..body.len())], &mut rng).await;
            connection.killed.set();
            if end == End::Reset {
                cork.reset_on_close();
            }
            connection.task.abort();
            Outcome::GaveUp
        }
        CallerFault::Leave(_, code) => {
            upload(callers, id, plan, &mut stream, &body, &mut rng).await;
            sleep(Duration::from_millis(rng.u64(..3))).await;
            stream.send_reset(Reason::from(code));
            Outcome::GaveUp
        }
        _ if is_bare => received(response).await,
        _ => {
            let upload = upload(callers, id, plan, &mut stream, &body, &mut rng);
            let received = received(response);
            tokio::pin!(received);
            tokio::select! {
                outcome = &mut received => outcome,
                () = upload => received.await,
            }
        }
    }
}

async fn upload(
    callers: &Callers,
    id: u64,
    plan: &Plan,
    stream: &mut SendStream<Bytes>,
    body: &[u8],
    rng: &mut Rng,
) {
    if plan.request.framing == Framing::Length && !body.is_empty() {
        // The proxy may take the declared length as the end before END_STREAM arrives.
        callers.ledger.record_sent(id, Sent::ByLength);
    }
    if send(stream, body, rng).await.is_some() {
        callers.ledger.record_sent(id, Sent::Whole);
        let _ = end(stream, plan.request.has_trailers);
    }
}

fn head(callers: &Callers, id: u64, plan: &Plan, rng: &mut Rng) -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = if plan.is_get {
        Method::GET
    } else {
        Method::POST
    };
    if let Ok(uri) = format!("http://localhost{}", plan.path).parse() {
        *request.uri_mut() = uri;
    }
    for (name, value) in callers.tag(id).fields() {
        request.headers_mut().insert(name, value.into());
    }
    if plan.request.framing == Framing::Length {
        request
            .headers_mut()
            .insert(CONTENT_LENGTH, plan.request.length.into());
    }
    if rng.bool() {
        request
            .headers_mut()
            .insert("te", http::HeaderValue::from_static("trailers"));
    }
    request
}

async fn received(response: ResponseFuture) -> Outcome {
    match response.await {
        Ok(response) => {
            let (head, body) = response.into_parts();
            let (body, ended) = receive(body).await;
            outcome(head.status.as_u16(), &head.headers, &body, ended)
        }
        Err(error) => Outcome::NoHead(broken(&error)),
    }
}
