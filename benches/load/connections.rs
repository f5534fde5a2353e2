//! Connection pool of the generator: as many connections as the open loop needs, up to a limit.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http::response::Parts;
use http_body_util::BodyExt;
use hyper::client::conn::http1::SendRequest;
use tokio::sync::Semaphore;

use crate::origin::Origin;
use crate::pieces::Pieces;

/// Attempts to send a request whose connection closed before a byte was sent.
const MAX_ATTEMPTS: usize = 3;

/// Idle time after which a connection is not reused. Shorter than that of servers, usually 60 or 75
/// s: otherwise a request may be sent just as the server closes.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// The connections to one origin.
pub(crate) struct Connections {
    origin: Origin,
    /// Each with the start of its idle time.
    idle: Mutex<Vec<(SendRequest<Pieces>, Instant)>>,
    /// Fair: requests wait in the order of arrival.
    places: Semaphore,
    most: usize,
    take_peak: AtomicUsize,
}

/// A complete response, and the time of its last byte.
pub(crate) struct TimedResponse {
    pub(crate) head: Parts,
    pub(crate) body: Bytes,
    pub(crate) ended: Instant,
}

impl Connections {
    /// At most `most` concurrent connections to `origin`.
    pub(crate) fn new(origin: Origin, most: usize) -> Self {
        Connections {
            origin,
            idle: Mutex::default(),
            places: Semaphore::new(most),
            most,
            take_peak: AtomicUsize::new(0),
        }
    }

    /// Most concurrent connections since the last call.
    pub(crate) fn take_peak(&self) -> usize {
        self.take_peak.swap(0, Relaxed)
    }

    /// Sends a request, and reads the complete response.
    ///
    /// # Errors
    /// The reason in a few words.
    pub(crate) async fn send(
        &self,
        mut request: Request<Pieces>,
    ) -> Result<TimedResponse, &'static str> {
        let _place = self.places.acquire().await.map_err(|_| "no connection")?;
        self.take_peak
            .fetch_max(self.most - self.places.available_permits(), Relaxed);
        for _ in 0..MAX_ATTEMPTS {
            let mut sender = match self.take_idle() {
                Some(sender) => sender,
                None => self.origin.connect().await.map_err(|_| "cannot connect")?,
            };
            match sender.try_send_request(request).await {
                Ok(response) => {
                    let (head, body) = response.into_parts();
                    let body = body
                        .collect()
                        .await
                        .map_err(|_| "the answer broke off")?
                        .to_bytes();
                    let ended = Instant::now();
                    if sender.ready().await.is_ok() {
                        self.idle().push((sender, ended));
                    }
                    return Ok(TimedResponse { head, body, ended });
                }
                // The idle connection was closed, and nothing of the request was sent.
                Err(mut error) => request = error.take_message().ok_or("the connection broke")?,
            }
        }
        Err("connections close at once")
    }

    /// The most recently used connection, so that unneeded ones reach the idle timeout.
    fn take_idle(&self) -> Option<SendRequest<Pieces>> {
        let mut idle = self.idle();
        let mut latest = std::iter::from_fn(|| idle.pop());
        let (sender, _) =
            latest.find(|(sender, since)| !sender.is_closed() && since.elapsed() < IDLE_TIMEOUT)?;
        Some(sender)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<(SendRequest<Pieces>, Instant)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
