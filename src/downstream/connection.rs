//! One downstream connection, from its first byte to its last.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::activity::{Activity, Late};
use super::certificate::CallerCertificate;
use super::detect::{Rewound, is_http2};
use super::handshake::handshake;
use super::linger::{BAD_REQUEST, REQUEST_TIMEOUT, close};
use super::refusals::{Reporter, tls_refusal};
use super::request::noted;
use super::timeouts::Deadlines;
use super::watched::Watched;
use super::{CallerService, DownstreamIo, PeerInfo, ServerOptions, ServiceBody};
use crate::metrics::ConnectionRefusal;
use crate::rt::wake_filter::WakeFilter;

/// How long a connection without a request may still bring one while the worker drains.
const DRAIN_GRACE: Duration = Duration::from_millis(500);

/// [`ServerOptions::buffer`] where callers' heads may be long.
pub const MAX_BUFFER_BYTES: usize = 128 * 1024;

/// The longest list of fields of an HTTP/2 request.
const H2_HEADER_LIST: u32 = 64 * 1024;

/// What may come on one HTTP/2 stream before it is read, and on all streams of a connection: a
/// stream whose body nobody reads leaves room for others.
const H2_STREAM_WINDOW: u32 = 256 * 1024;
const H2_CONNECTION_WINDOW: u32 = 1024 * 1024;

/// What is held of an answer on an HTTP/2 stream whose caller does not take it, besides one part of
/// it as it came from the API.
const H2_SEND_BUFFER: usize = 64 * 1024;

/// HTTP/2 streams that the caller reset before they were looked at (CVE-2023-44487), and that it
/// made us reset (CVE-2025-8671), before the connection is closed.
const H2_PENDING_RESETS: usize = 20;
const H2_OWN_RESETS: usize = 1024;

/// Serves `io`, at whose other end is `peer`, until it ends. The service is made when all is known
/// of the peer that a handshake tells. When `drain` turns true, the request in flight is the last
/// one.
pub(super) async fn serve<IO, S, B>(
    io: IO,
    mut peer: PeerInfo,
    options: &ServerOptions,
    make_service: impl FnOnce(PeerInfo) -> S,
    drain: watch::Receiver<bool>,
) where
    IO: DownstreamIo,
    S: CallerService<B>,
    B: ServiceBody,
{
    let reporter = options.refusal_log.reporter(&peer);
    let Some(newest) = &options.tls else {
        return serve_http(io, None, None, options, make_service(peer), drain, reporter).await;
    };
    let tls = newest.borrow().clone();
    let acceptor = tls.acceptor.clone();
    // Boxed: what stands in this future is held of a connection without TLS as well.
    let Some(io) = Box::pin(handshake(io, acceptor, options, drain.clone(), reporter)).await else {
        return;
    };
    let session = io.get_ref().1;
    let is_http2 = session.alpn_protocol() == Some(b"h2");
    let certificate = CallerCertificate::of(session, &tls, newest).map(Arc::new);
    drop(tls);
    peer.is_tls = true;
    peer.certificate = certificate.clone();
    serve_http(
        io,
        Some(is_http2),
        certificate,
        options,
        make_service(peer),
        drain,
        reporter,
    )
    .await;
}

/// Serves HTTP/2 or HTTP/1, as was `agreed` or else as the first bytes tell.
async fn serve_http<IO, S, B>(
    io: IO,
    agreed: Option<bool>,
    certificate: Option<Arc<CallerCertificate>>,
    options: &ServerOptions,
    service: S,
    drain: watch::Receiver<bool>,
    reporter: Reporter<'_>,
) where
    IO: DownstreamIo,
    S: CallerService<B>,
    B: ServiceBody,
{
    let began = Instant::now();
    // Waits for the first bytes in any case: hyper, told to drain, closes a connection that has
    // brought none.
    let Some((told, io)) = first_bytes(io, options, &drain, reporter).await else {
        return;
    };
    if agreed.is_none() && io.begins_with_tls() {
        reporter.report(ConnectionRefusal::TlsOnHttpPort);
        return close(io, BAD_REQUEST, true).await;
    }
    let is_http2 = agreed.unwrap_or(told);
    let activity = Arc::new(Activity::new(began, is_http2));
    match is_http2 {
        true => serve_http2(io, activity, certificate, options, service, drain, reporter).await,
        false => serve_http1(io, activity, options, service, drain, reporter).await,
    }
}

/// Whether the first bytes of `io` are those of HTTP/2; `None` if they do not come in time.
async fn first_bytes<IO: DownstreamIo>(
    io: IO,
    options: &ServerOptions,
    drain: &watch::Receiver<bool>,
    reporter: Reporter<'_>,
) -> Option<(bool, Rewound<IO>)> {
    let told = tokio::select! {
        told = is_http2(io) => told,
        late = too_late(options.timeouts.borrow().header, drain.clone()) => {
            if late == TooLate::TimedOut {
                reporter.report(ConnectionRefusal::NoRequest);
            }
            return None;
        }
    };
    // A caller of TLS 1.3 may reject the listener's certificate after its side of the handshake.
    told.inspect_err(|error| {
        tls_refusal(error)
            .into_iter()
            .for_each(|reason| reporter.report(reason))
    })
    .ok()
}

/// The reason for which a connection is not waited for any longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TooLate {
    TimedOut,
    Draining,
}

/// Ends when a connection should have begun by now: after `limit`, and soon after `drain` has
/// turned true.
pub(super) async fn too_late(limit: Duration, mut drain: watch::Receiver<bool>) -> TooLate {
    let drained = async {
        // An error means that the worker is gone, which drains as well.
        let _ = drain.wait_for(|draining| *draining).await;
        sleep(DRAIN_GRACE).await;
    };
    tokio::select! {
        () = sleep(limit) => TooLate::TimedOut,
        () = drained => TooLate::Draining,
    }
}

async fn serve_http1<IO, S, B>(
    io: Rewound<IO>,
    activity: Arc<Activity>,
    options: &ServerOptions,
    service: S,
    mut drain: watch::Receiver<bool>,
    reporter: Reporter<'_>,
) where
    IO: DownstreamIo,
    S: CallerService<B>,
    B: ServiceBody,
{
    let mut deadlines = Deadlines::with_rest(Arc::clone(&activity), options.timeouts.clone());
    let mut io = TokioIo::new(Watched::keeping_open(io, Arc::clone(&activity)));
    let mut service = noted(service, Arc::clone(&activity));
    let (ended, has_left) = loop {
        // No header timeout of hyper's: it costs a timer a request, and runs on while a connection
        // is idle.
        let connection = http1::Builder::new()
            .header_read_timeout(None)
            .title_case_headers(options.title_case_headers)
            .max_buf_size(options.max_buffer_bytes)
            .serve_connection(io, service);
        // Boxed: what stands in this future is held while the connection rests as well.
        let mut connection = Box::pin(WakeFilter::new(connection));
        let shut_down = |mut connection: Pin<&mut WakeFilter<http1::Connection<_, _>>>| {
            Pin::new(connection.inner_mut()).graceful_shutdown();
        };
        // Its answers say themselves that they are the last.
        let has_ended = || false;
        let ended = drive(
            connection.as_mut(),
            &mut deadlines,
            &mut drain,
            has_ended,
            shut_down,
        )
        .await;
        let parts = Pin::into_inner(connection).into_inner().into_parts();
        (io, service) = (parts.io, parts.service);
        if !matches!(ended, Err(Late::Resting)) {
            break (ended, !parts.read_buf.is_empty());
        }
        let stream = io.inner_mut().stream();
        stream.rewind(begun(parts.read_buf));
        if !rest(stream, &mut deadlines, &mut drain).await {
            break (ended, false);
        }
    };

    match &ended {
        Ok(Err(error)) => reporter.report_http1(error, activity.is_reading_head()),
        Err(late) => report_late(*late, &activity, reporter),
        Ok(Ok(())) => {}
    }
    let (last_words, breaks_off) = match &ended {
        Err(Late::Head) => (REQUEST_TIMEOUT, false),
        Err(Late::Stalled) if activity.may_answer() => (REQUEST_TIMEOUT, false),
        Err(Late::Stalled) => (&b""[..], activity.breaks_off()),
        // "User" is whoever makes the answer.
        Ok(Err(error)) => (&b""[..], error.is_user()),
        _ => (&b""[..], false),
    };
    let io = io.into_inner().into_inner();
    if breaks_off {
        // Over TLS an end without close_notify says so (RFC 9112 section 9.8). Without, what was
        // sent and not yet taken is given up only where there is no other way to tell.
        if activity.is_delimited_by_close() {
            io.reset_on_drop();
        }
        return;
    }
    // A request that hyper could not read, or that we did not wait for, may still be coming.
    let is_clean = matches!(ended, Ok(Ok(())) | Err(Late::Resting));
    let has_unread = activity.has_unread() || has_left || !is_clean;
    close(io, last_words, has_unread).await;
}

/// What of `read` is the beginning of a request (RFC 9112 section 2.2); what is none holds no
/// buffer either.
fn begun(read: Bytes) -> Bytes {
    match read.iter().position(|byte| !matches!(byte, b'\r' | b'\n')) {
        Some(from) => read.slice(from..),
        None => Bytes::new(),
    }
}

/// Waits, without what a request needs, until there is something to read from `io`; false if it is
/// to be closed instead.
async fn rest<IO: DownstreamIo>(
    io: &IO,
    deadlines: &mut Deadlines,
    drain: &mut watch::Receiver<bool>,
) -> bool {
    deadlines.note_resting();
    let awake = tokio::select! {
        // What has come before it is to be closed is answered.
        biased;
        () = poll_fn(|cx| io.poll_readable(cx)) => true,
        // An error means that the worker is gone, which drains as well.
        _ = drain.wait_for(|draining| *draining) => false,
        _ = poll_fn(|cx| deadlines.poll(cx)) => false,
    };
    deadlines.note_awake();
    awake
}

async fn serve_http2<IO, S, B>(
    io: IO,
    activity: Arc<Activity>,
    certificate: Option<Arc<CallerCertificate>>,
    options: &ServerOptions,
    service: S,
    mut drain: watch::Receiver<bool>,
    reporter: Reporter<'_>,
) where
    IO: DownstreamIo,
    S: CallerService<B>,
    B: ServiceBody,
{
    let mut deadlines = Deadlines::new(Arc::clone(&activity), options.timeouts.clone());
    let io = Watched::http2(io, Arc::clone(&activity));
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(options.max_h2_streams)
        .max_header_list_size(H2_HEADER_LIST)
        .initial_stream_window_size(H2_STREAM_WINDOW)
        .initial_connection_window_size(H2_CONNECTION_WINDOW)
        .max_send_buf_size(H2_SEND_BUFFER)
        .max_pending_accept_reset_streams(H2_PENDING_RESETS)
        .max_local_error_reset_streams(H2_OWN_RESETS)
        .serve_connection(TokioIo::new(io), noted(service, Arc::clone(&activity)));
    // What is late is dropped, and closed by that.
    let shut_down =
        |connection: Pin<&mut http2::Connection<_, _, _>>| connection.graceful_shutdown();
    let has_ended = || {
        certificate
            .as_ref()
            .is_some_and(|certificate| certificate.has_ended())
    };
    match drive(
        Box::pin(connection).as_mut(),
        &mut deadlines,
        &mut drain,
        has_ended,
        shut_down,
    )
    .await
    {
        Ok(Err(error)) => reporter.report_http2(&error),
        Err(late) => report_late(late, &activity, reporter),
        Ok(Ok(())) => {}
    }
}

/// Reports a connection that is closed because its caller is too slow.
fn report_late(late: Late, activity: &Activity, reporter: Reporter<'_>) {
    match late {
        Late::Head => reporter.report(ConnectionRefusal::RequestTimeout),
        Late::Stalled if activity.may_answer() => {
            reporter.report(ConnectionRefusal::RequestTimeout)
        }
        Late::Stalled => reporter.report(ConnectionRefusal::ResponseTimeout),
        Late::Idle | Late::Resting | Late::Aged => {}
    }
}

/// Drives `connection` to its end, or until it is late or may rest. It is told by `shut_down`,
/// once, when it has had no request for too long, or for long enough to rest, when it is too old,
/// when its caller `has_ended` to be accepted, or when `drain` turns true.
async fn drive<C>(
    mut connection: Pin<&mut C>,
    deadlines: &mut Deadlines,
    drain: &mut watch::Receiver<bool>,
    has_ended: impl Fn() -> bool,
    shut_down: impl Fn(Pin<&mut C>),
) -> Result<hyper::Result<()>, Late>
where
    C: Future<Output = hyper::Result<()>>,
{
    // An error means that the worker is gone, which drains as well.
    let mut draining = pin!(drain.wait_for(|draining| *draining));
    let mut closing = false;
    let ended = poll_fn(|cx| {
        let mut resting_since = None;
        loop {
            if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                // One more request may have come at the last moment, and have left a part of its
                // body unread, which must not be taken for the next request.
                let may_rest = ended.is_ok() && resting_since == Some(deadlines.idle_since());
                return Poll::Ready(if may_rest {
                    Err(Late::Resting)
                } else {
                    Ok(ended)
                });
            }
            if closing || (draining.as_mut().poll(cx).is_pending() && !has_ended()) {
                match deadlines.poll(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Late::Idle | Late::Aged) if !closing => {}
                    // hyper ends at once if it has nothing in hand either, and else with the answer
                    // that it has.
                    Poll::Ready(Late::Resting) => resting_since = Some(deadlines.idle_since()),
                    Poll::Ready(late) => return Poll::Ready(Err(late)),
                }
            }
            closing = true;
            deadlines.note_closing();
            shut_down(connection.as_mut());
        }
    });
    let ended = ended.await;
    match &ended {
        Ok(Ok(())) | Err(Late::Resting) => {}
        // A caller that hangs up, or one that speaks no HTTP; hyper has answered the latter.
        // Without its causes: they may quote what the caller sent.
        Ok(Err(error)) => tracing::debug!(%error, "a connection ended early"),
        Err(late) => tracing::debug!(?late, "a connection is closed: its caller is too slow"),
    }
    ended
}
