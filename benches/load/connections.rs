//! Connections that are kept and used again, of which there are as many as the open loop needs, up
//! to a bound.

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

/// How often a request is sent that found the connection closed before it could go out.
const TRIES: usize = 3;

/// A connection that has been unused for so long is not used again. A client keeps one for less
/// time than the other side, which keeps it for 75 s or a minute as a rule: or else a request may
/// go out just as it is being closed.
const LONGEST_REST: Duration = Duration::from_secs(30);

/// The connections to one origin.
pub(crate) struct Connections {
    origin: Origin,
    /// Each since when.
    idle: Mutex<Vec<(SendRequest<Pieces>, Instant)>>,
    /// Who waits for a place is served in the order of coming.
    places: Semaphore,
    most: usize,
    busiest: AtomicUsize,
}

/// A whole answer, and when its last byte was there.
pub(crate) struct Answer {
    pub(crate) head: Parts,
    pub(crate) body: Bytes,
    pub(crate) ended: Instant,
}

impl Connections {
    /// Connections to `origin`, `most` at once.
    pub(crate) fn new(origin: Origin, most: usize) -> Self {
        Connections {
            origin,
            idle: Mutex::default(),
            places: Semaphore::new(most),
            most,
            busiest: AtomicUsize::new(0),
        }
    }

    /// How many were in use at once, at most, since this was asked last.
    pub(crate) fn busiest(&self) -> usize {
        self.busiest.swap(0, Relaxed)
    }

    /// Sends a request, and reads its answer to the end.
    ///
    /// # Errors
    /// In a few words, why there is none.
    pub(crate) async fn send(&self, mut request: Request<Pieces>) -> Result<Answer, &'static str> {
        let _place = self.places.acquire().await.map_err(|_| "no connection")?;
        self.busiest
            .fetch_max(self.most - self.places.available_permits(), Relaxed);
        for _ in 0..TRIES {
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
                    return Ok(Answer { head, body, ended });
                }
                // It was closed for want of use, and nothing of the request has gone out.
                Err(mut error) => request = error.take_message().ok_or("the connection broke")?,
            }
        }
        Err("connections close at once")
    }

    /// The one that was used last: those that are not needed end for want of use.
    fn take_idle(&self) -> Option<SendRequest<Pieces>> {
        let mut idle = self.idle();
        let mut latest = std::iter::from_fn(|| idle.pop());
        let (sender, _) =
            latest.find(|(sender, since)| !sender.is_closed() && since.elapsed() < LONGEST_REST)?;
        Some(sender)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<(SendRequest<Pieces>, Instant)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
