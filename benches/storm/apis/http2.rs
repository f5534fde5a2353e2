//! HTTP/2 side of the API, with prior knowledge.

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

use super::{Api, ReceivedRequest};
use crate::corked::{Cork, Corked};
use crate::http1::pause;
use crate::http2::{end, receive, send, send_and_reset};
use crate::ledger::{Act, Killed, Sent};
use crate::plan::{ApiFault, End, Framing, ResetAt, StreamReset, Writes};

/// Bytes of one request that the proxy may send before they are read.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
/// The same for all requests: those that are never read delay no other.
const CONNECTION_WINDOW_BYTES: u32 = 1 << 28;

/// An action of a request on its connection.
enum Command {
    GoAway,
    GoAwayNow(u32),
    Drop(End),
}

/// The shared part of the requests of one connection.
#[derive(Clone)]
struct ApiConnection {
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
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    let Ok(mut http2) = builder.handshake::<_, Bytes>(io).await else {
        return;
    };
    let (commands, mut command_receiver) = mpsc::unbounded_channel();
    let connection = ApiConnection {
        cork,
        killed: Killed::default(),
        commands,
    };
    let mut requests = JoinSet::new();
    // The last stream of the sent GOAWAY; another GOAWAY must not name a later one.
    let mut last = None;
    let mut is_ending = false;
    loop {
        let command = tokio::select! {
            accepted = http2.accept() => {
                let Some(Ok((request, mut respond))) = accepted else { break };
                let Some(mut begun) = api.receive(request.headers(), &connection.killed) else { break };
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
                    // Dropping it would reset the stream.
                    requests.spawn(async move {
                        let _held = (request, respond);
                        pending::<()>().await;
                    });
                    continue;
                }
                let (api, connection) = (api.clone(), connection.clone());
                requests.spawn(async move { respond_to(begun, request, &mut respond, &api, &connection).await });
                continue;
            }
            Some(command) = command_receiver.recv() => command,
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
    // A request above GOAWAY waits forever; all others end with their streams.
    drop(http2);
    if connection.cork.has_false_goaway() {
        connection.killed.set();
    }
}

async fn respond_to(
    begun: ReceivedRequest,
    request: HttpRequest<RecvStream>,
    respond: &mut SendResponse<Bytes>,
    api: &Api,
    connection: &ApiConnection,
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
    begun.wait_for_newer_token(&api.tokens).await;
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
    // Dropping an unread request after the response resets the stream with NO_ERROR.
    drop(unread);
}

fn head(begun: &ReceivedRequest) -> Response<()> {
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
    begun: &ReceivedRequest,
    respond: &mut SendResponse<Bytes>,
    rng: &mut Rng,
) -> Option<()> {
    let mut stream = respond.send_response(head(begun), false).ok()?;
    if begun.plan.response.framing == Framing::Length {
        // The proxy may take the declared length as the end before END_STREAM arrives.
        begun.record.record_response(Sent::ByLength);
    }
    send(&mut stream, &begun.response_tag().body(), rng).await?;
    begun.record.record_response(Sent::Whole);
    end(&mut stream, begun.plan.response.has_trailers)
}

/// Sends a part of the response, and ends the connection.
async fn break_off(
    begun: &ReceivedRequest,
    respond: &mut SendResponse<Bytes>,
    command: Command,
    connection: &ApiConnection,
    rng: &mut Rng,
) {
    if let Ok(mut stream) = respond.send_response(head(begun), false) {
        let body = begun.response_tag().body();
        let _ = send(&mut stream, &body[..rng.usize(..body.len())], rng).await;
        let _ = connection.commands.send(command);
        // Only the end of the connection ends the stream.
        pending::<()>().await;
    }
}

async fn reset_response(
    begun: &ReceivedRequest,
    respond: &mut SendResponse<Bytes>,
    reset: StreamReset,
    connection: &ApiConnection,
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
