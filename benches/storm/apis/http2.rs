//! The API over HTTP/2, with prior knowledge.

use std::future::pending;

use bytes::Bytes;
use fastrand::Rng;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::header::CONTENT_LENGTH;
use http::{Request as HttpRequest, Response, StatusCode};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::task::JoinSet;

use super::{Api, Request};
use crate::corked::{Cork, Corked};
use crate::http1::pause;
use crate::http2::{end, receive, send, send_and_reset};
use crate::ledger::{Act, Killed, Sent};
use crate::plan::{ApiFault, End, Framing, ResetAt, StreamReset, Writes};

/// What the proxy may send of one request before it is read.
const STREAM_WINDOW: u32 = 256 << 10;
/// Of all requests: those that are never read hold up no other.
const CONNECTION_WINDOW: u32 = 1 << 28;

/// What a request asks of its connection.
enum Command {
    GoAway,
    GoAwayNow(u32),
    Drop(End),
}

/// What the requests of a connection share.
#[derive(Clone)]
struct Connection {
    cork: Cork,
    killed: Killed,
    commands: UnboundedSender<Command>,
}

/// Serves the requests of one connection.
pub(super) async fn serve(stream: TcpStream, api: Api) {
    let (io, cork) = Corked::new(stream, false);
    let mut builder = h2::server::Builder::new();
    builder
        .max_concurrent_streams(32)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    let Ok(mut http2) = builder.handshake::<_, Bytes>(io).await else {
        return;
    };
    let (commands, mut commanded) = mpsc::unbounded_channel();
    let connection = Connection {
        cork,
        killed: Killed::default(),
        commands,
    };
    let mut requests = JoinSet::new();
    // The last stream that GOAWAY named; a second one must not name a later one.
    let mut last = None;
    let mut is_ending = false;
    loop {
        let command = tokio::select! {
            accepted = http2.accept() => {
                let Some(Ok((request, mut respond))) = accepted else { break };
                let Some(mut begun) = api.request(request.headers(), &connection.killed) else { break };
                let stream: u32 = respond.stream_id().into();
                if let ApiFault::GoAwayBefore(code) = begun.fault {
                    if is_ending {
                        begun.fault = ApiFault::None;
                        begun.record.change(|exchange| exchange.act = Act::Done);
                    } else {
                        let before = stream.saturating_sub(2);
                        last = Some(before);
                        is_ending = true;
                        connection.cork.inject_goaway(before, code);
                    }
                }
                if last.is_some_and(|last| stream > last) {
                    begun.record.change(|exchange| {
                        exchange.act = Act::AboveGoAway;
                        exchange.is_faulty = matches!(begun.fault, ApiFault::GoAwayBefore(_));
                    });
                    // Not dropped, which would reset it.
                    requests.spawn(async move {
                        let _held = (request, respond);
                        pending::<()>().await;
                    });
                    continue;
                }
                let (api, connection) = (api.clone(), connection.clone());
                requests.spawn(async move { answer(begun, request, &mut respond, &api, &connection).await });
                continue;
            }
            Some(command) = commanded.recv() => command,
        };
        match command {
            Command::GoAway if is_ending => {}
            Command::GoAway => {
                is_ending = true;
                http2.graceful_shutdown();
            }
            Command::GoAwayNow(code) => {
                connection.killed.set();
                http2.abrupt_shutdown(code.into());
            }
            Command::Drop(end) => {
                connection.killed.set();
                if end == End::Reset {
                    connection.cork.reset_on_close();
                }
                break;
            }
        }
    }
    // A request above GOAWAY waits for ever; all others end with their streams.
    drop(http2);
    if connection.cork.has_false_goaway() {
        connection.killed.set();
    }
}

async fn answer(
    begun: Request,
    request: HttpRequest<RecvStream>,
    respond: &mut SendResponse<Bytes>,
    api: &Api,
    connection: &Connection,
) {
    let mut rng = Rng::with_seed(begun.plan.chance ^ 1);
    let is_read = match begun.fault {
        ApiFault::Early => false,
        ApiFault::ResetBefore { is_read, .. } => is_read,
        ApiFault::Refused { .. } => rng.bool(),
        _ => true,
    };
    let mut unread = Some(request.into_body());
    if is_read && let Some(body) = unread.take() {
        let (body, ended) = receive(body).await;
        begun.record.record_request(begun.tag, &body, ended);
    }
    begun.wait_for_later_token(&api.tokens).await;
    pause(&mut rng).await;
    match begun.fault {
        ApiFault::ResetBefore { code, .. } => {
            if code == u32::from(Reason::REFUSED_STREAM) {
                begun.record.change(|exchange| exchange.act = Act::Refused);
            }
            respond.send_reset(code.into());
        }
        ApiFault::Refused { .. } => respond.send_reset(Reason::REFUSED_STREAM),
        ApiFault::Reset(reset) => {
            reset_response(&begun, respond, reset, connection, &mut rng).await;
        }
        ApiFault::GoAwayNow(code) => {
            break_off(
                &begun,
                respond,
                Command::GoAwayNow(code),
                connection,
                &mut rng,
            )
            .await
        }
        ApiFault::Drop(end) => {
            break_off(&begun, respond, Command::Drop(end), connection, &mut rng).await
        }
        fault => {
            if fault == ApiFault::GoAwayAfter {
                let _ = connection.commands.send(Command::GoAway);
            }
            let _ = whole_response(&begun, respond, &mut rng).await;
        }
    }
    // Dropped after the response, what is unread of the request is reset with NO_ERROR.
    drop(unread);
}

fn head(begun: &Request) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(begun.status()).unwrap_or_default();
    for (name, value) in begun.response_tag().fields() {
        response.headers_mut().insert(name, value.into());
    }
    if begun.plan.response.framing == Framing::Length {
        response
            .headers_mut()
            .insert(CONTENT_LENGTH, begun.plan.response.length.into());
    }
    response
}

async fn whole_response(
    begun: &Request,
    respond: &mut SendResponse<Bytes>,
    rng: &mut Rng,
) -> Option<()> {
    let mut stream = respond.send_response(head(begun), false).ok()?;
    if begun.plan.response.framing == Framing::Length {
        // The proxy may take the length for the end before the end comes.
        begun.record.record_response(Sent::ByLength);
    }
    send(&mut stream, &begun.response_tag().body(), rng).await?;
    begun.record.record_response(Sent::Whole);
    end(&mut stream, begun.plan.response.has_trailers)
}

/// Sends a part of the response, and has the connection end.
async fn break_off(
    begun: &Request,
    respond: &mut SendResponse<Bytes>,
    command: Command,
    connection: &Connection,
    rng: &mut Rng,
) {
    if let Ok(mut stream) = respond.send_response(head(begun), false) {
        let body = begun.response_tag().body();
        let _ = send(&mut stream, &body[..rng.usize(..body.len())], rng).await;
        let _ = connection.commands.send(command);
        // The stream ends with its connection, and by nothing else.
        pending::<()>().await;
    }
}

async fn reset_response(
    begun: &Request,
    respond: &mut SendResponse<Bytes>,
    reset: StreamReset,
    connection: &Connection,
    rng: &mut Rng,
) {
    let cork = &connection.cork;
    let body = begun.response_tag().body();
    let part = match reset.at {
        ResetAt::AfterHead => &[][..],
        ResetAt::MidBody => &body[..rng.usize(1..body.len())],
        ResetAt::NoEnd => &body[..],
    };
    if reset.at == ResetAt::NoEnd && begun.plan.response.framing == Framing::Length {
        begun.record.record_response(Sent::ByLength);
    }
    if reset.writes == Writes::One {
        cork.hold();
    }
    let Ok(mut stream) = respond.send_response(head(begun), false) else {
        if reset.writes == Writes::One {
            cork.release();
        }
        return;
    };
    send_and_reset(cork, &mut stream, part, reset, rng).await;
}
