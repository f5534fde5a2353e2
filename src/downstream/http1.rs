//! HTTP/1 connection of a caller: serves requests, parks while idle, and ends as the caller can
//! notice.

use std::pin::Pin;
use std::sync::Arc;

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::sync::watch;

use super::activity::{Activity, DeadlineKind};
use super::activity_io::ActivityIo;
use super::deadlines::Deadlines;
use super::detect::RewoundIo;
use super::drive::{drive, report_expired};
use super::io::DownstreamIo;
use super::linger::{REQUEST_TIMEOUT, close_lingering};
use super::options::ServerOptions;
use super::park::{park, skip_line_ends};
use super::refusals::RefusalReporter;
use super::request::track_requests;
use super::service::{CallerService, ServiceBody};
use crate::rt::wake_filter::WakeFilter;

/// Serves `io` until it ends.
pub(super) async fn serve_http1<IO, S, B>(
    io: RewoundIo<IO>,
    activity: Arc<Activity>,
    options: &ServerOptions,
    service: S,
    mut drain: watch::Receiver<bool>,
    reporter: RefusalReporter<'_>,
) where
    IO: DownstreamIo,
    S: CallerService<B>,
    B: ServiceBody,
{
    let mut deadlines = Deadlines::with_parking(Arc::clone(&activity), options.timeouts.clone());
    let mut io = TokioIo::new(ActivityIo::http1(io, Arc::clone(&activity)));
    let mut service = track_requests(service, Arc::clone(&activity));
    let (ended, has_leftover) = loop {
        // hyper's header timeout costs a timer per request, and also runs while the connection is
        // idle.
        let connection = http1::Builder::new()
            .header_read_timeout(None)
            .title_case_headers(options.title_case_headers)
            .max_buf_size(options.max_buffer_bytes)
            .serve_connection(io, service);
        // Boxed: a parked connection would have to hold this future as well.
        let mut connection = Box::pin(WakeFilter::new(connection));
        let shut_down = |mut connection: Pin<&mut WakeFilter<http1::Connection<_, _>>>| {
            Pin::new(connection.inner_mut()).graceful_shutdown();
        };
        // Its responses announce the end after a rejected certificate.
        let is_rejected = || false;
        let ended = drive(
            connection.as_mut(),
            &mut deadlines,
            &mut drain,
            is_rejected,
            shut_down,
        )
        .await;
        let parts = Pin::into_inner(connection).into_inner().into_parts();
        (io, service) = (parts.io, parts.service);
        if !matches!(ended, Err(DeadlineKind::Park)) {
            break (ended, !parts.read_buf.is_empty());
        }
        let stream = io.inner_mut().io_mut();
        stream.rewind(skip_line_ends(parts.read_buf));
        if !park(stream, &mut deadlines, &mut drain).await {
            break (ended, false);
        }
    };

    match &ended {
        Ok(Err(error)) => reporter.report_http1(error, activity.is_reading_head()),
        Err(kind) => report_expired(*kind, &activity, reporter),
        Ok(Ok(())) => {}
    }
    let (final_response, is_truncated) = match &ended {
        Err(DeadlineKind::RequestHead) => (REQUEST_TIMEOUT, false),
        Err(DeadlineKind::Stalled) if activity.can_respond() => (REQUEST_TIMEOUT, false),
        Err(DeadlineKind::Stalled) => (&b""[..], activity.is_mid_response()),
        // hyper's "user" is the service.
        Ok(Err(error)) => (&b""[..], error.is_user()),
        _ => (&b""[..], false),
    };
    let io = io.into_inner().into_inner();
    if is_truncated {
        // Over TLS the missing close_notify shows the truncation (RFC 9112 section 9.8). A reset
        // discards sent bytes, so it is used only if nothing else shows it.
        if activity.is_delimited_by_close() {
            io.reset_on_drop();
        }
        return;
    }
    // A request that hyper could not parse, or that timed out, may still be arriving.
    let is_clean = matches!(ended, Ok(Ok(())) | Err(DeadlineKind::Park));
    let has_unread = activity.has_unread_body() || has_leftover || !is_clean;
    close_lingering(io, final_response, has_unread).await;
}
