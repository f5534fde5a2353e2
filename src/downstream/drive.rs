//! Driver of an HTTP connection: polls it together with its deadlines and the worker's drain.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;

use tokio::sync::watch;

use super::activity::{Activity, DeadlineKind};
use super::deadlines::Deadlines;
use super::refusals::RefusalReporter;
use crate::metrics::ConnectionRefusal;

/// Drives `connection` until it ends, a deadline expires or it can be parked. Calls `shut_down`
/// once when the connection has to take no more requests: it is idle, too old or to be parked, its
/// caller's certificate `is_rejected`, or `drain` turns true.
pub(super) async fn drive<C>(
    mut connection: Pin<&mut C>,
    deadlines: &mut Deadlines,
    drain: &mut watch::Receiver<bool>,
    is_rejected: impl Fn() -> bool,
    shut_down: impl Fn(Pin<&mut C>),
) -> Result<hyper::Result<()>, DeadlineKind>
where
    C: Future<Output = hyper::Result<()>>,
{
    // An error means that the worker is gone, which drains as well.
    let mut draining = pin!(drain.wait_for(|draining| *draining));
    let mut is_closing = false;
    let ended = poll_fn(|cx| {
        let mut parking_since = None;
        loop {
            if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                // A last request may have arrived, and left a part of its body unread, which must
                // not be parsed as the next request.
                let can_park = ended.is_ok() && parking_since == Some(deadlines.idle_since());
                return Poll::Ready(if can_park {
                    Err(DeadlineKind::Park)
                } else {
                    Ok(ended)
                });
            }
            if is_closing || (draining.as_mut().poll(cx).is_pending() && !is_rejected()) {
                match deadlines.poll(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(DeadlineKind::Idle | DeadlineKind::MaxAge) if !is_closing => {}
                    // hyper ends at once without a request, and with its response otherwise.
                    Poll::Ready(DeadlineKind::Park) => parking_since = Some(deadlines.idle_since()),
                    Poll::Ready(kind) => return Poll::Ready(Err(kind)),
                }
            }
            is_closing = true;
            deadlines.begin_closing();
            shut_down(connection.as_mut());
        }
    });
    let ended = ended.await;
    match &ended {
        Ok(Ok(())) | Err(DeadlineKind::Park) => {}
        // The caller has hung up, or does not speak HTTP; hyper has responded to the latter. The
        // sources of the error are not logged: they may quote the caller's bytes.
        Ok(Err(error)) => tracing::debug!(%error, "a connection ended early"),
        Err(late) => tracing::debug!(?late, "a connection is closed: its caller is too slow"),
    }
    ended
}

/// Reports a connection that is closed because its caller is too slow.
pub(super) fn report_expired(
    kind: DeadlineKind,
    activity: &Activity,
    reporter: RefusalReporter<'_>,
) {
    match kind {
        DeadlineKind::RequestHead => reporter.report(ConnectionRefusal::RequestTimeout),
        DeadlineKind::Stalled if activity.can_respond() => {
            reporter.report(ConnectionRefusal::RequestTimeout);
        }
        DeadlineKind::Stalled => reporter.report(ConnectionRefusal::ResponseTimeout),
        DeadlineKind::Idle | DeadlineKind::Park | DeadlineKind::MaxAge => {}
    }
}
