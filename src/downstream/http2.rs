//! HTTP/2 connection of a caller.

use std::pin::Pin;
use std::sync::Arc;

use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::sync::watch;

use super::activity::Activity;
use super::activity_io::ActivityIo;
use super::caller_certificate::CallerCertificate;
use super::deadlines::Deadlines;
use super::drive::{drive, report_expired};
use super::io::DownstreamIo;
use super::options::ServerOptions;
use super::refusals::RefusalReporter;
use super::request::track_requests;
use super::service::{CallerService, ServiceBody};

const MAX_HEADER_LIST_BYTES: u32 = 64 * 1024;

/// Bytes that may arrive on one stream, and on all streams of a connection, before they are read: a
/// stream with an unread body leaves room for others.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;

/// Buffer of a response that its caller does not read, besides one frame from the API.
const SEND_BUFFER_BYTES: usize = 64 * 1024;

/// Streams that the caller reset before they were accepted (CVE-2023-44487), and that it made the
/// proxy reset (CVE-2025-8671), before the connection is closed.
const MAX_PENDING_RESETS: usize = 20;
const MAX_LOCAL_RESETS: usize = 1024;

/// Serves `io` until it ends.
pub(super) async fn serve_http2<IO, S, B>(
    io: IO,
    activity: Arc<Activity>,
    certificate: Option<Arc<CallerCertificate>>,
    options: &ServerOptions,
    service: S,
    mut drain: watch::Receiver<bool>,
    reporter: RefusalReporter<'_>,
) where
    IO: DownstreamIo,
    S: CallerService<B>,
    B: ServiceBody,
{
    let mut deadlines = Deadlines::new(Arc::clone(&activity), options.timeouts.clone());
    let io = TokioIo::new(ActivityIo::http2(io, Arc::clone(&activity)));
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(options.max_h2_streams)
        .max_header_list_size(MAX_HEADER_LIST_BYTES)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .max_local_error_reset_streams(MAX_LOCAL_RESETS)
        .serve_connection(io, track_requests(service, Arc::clone(&activity)));
    let shut_down =
        |connection: Pin<&mut http2::Connection<_, _, _>>| connection.graceful_shutdown();
    let is_rejected = || {
        certificate
            .as_ref()
            .is_some_and(|certificate| certificate.is_rejected())
    };
    let mut connection = Box::pin(connection);
    let ended = drive(
        connection.as_mut(),
        &mut deadlines,
        &mut drain,
        is_rejected,
        shut_down,
    )
    .await;
    // Dropping the connection closes it.
    match ended {
        Ok(Err(error)) => reporter.report_http2(&error),
        Err(kind) => report_expired(kind, &activity, reporter),
        Ok(Ok(())) => {}
    }
}
