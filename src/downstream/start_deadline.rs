//! Deadline of the first bytes of a connection, or of its TLS handshake.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

/// Time in which a connection without a request may still send one while the worker drains.
const DRAIN_GRACE: Duration = Duration::from_millis(500);

/// The reason for giving up a connection that does not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StartExpired {
    TimedOut,
    Draining,
}

/// Waits for `limit`, or until shortly after `drain` has turned true.
pub(super) async fn start_expired(
    limit: Duration,
    mut drain: watch::Receiver<bool>,
) -> StartExpired {
    let drained = async {
        // An error means that the worker is gone, which drains as well.
        let _ = drain.wait_for(|draining| *draining).await;
        sleep(DRAIN_GRACE).await;
    };
    tokio::select! {
        () = sleep(limit) => StartExpired::TimedOut,
        () = drained => StartExpired::Draining,
    }
}
