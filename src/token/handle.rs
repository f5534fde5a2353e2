//! The token as a request needs it: a header value that is ready, and where to read it.

use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::HeaderValue;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout};

use super::client_auth::secret_header;
use super::deadline::Deadline;
use crate::error::Error;
use crate::metrics;

/// Requests that may wait for a token at a time; the next is told at once that there is none.
const MOST_WAITING: usize = 1024;

/// A token that is younger than this is not replaced because the API refuses it: another one would
/// fare no better.
const YOUNG: Duration = Duration::from_secs(10);

/// An access token as the value of an Authorization field (RFC 6750 section 2.1).
#[derive(Clone, Debug)]
pub struct Bearer {
    /// `Bearer …`, marked sensitive, so that its `Debug` shows nothing.
    pub header: HeaderValue,
    /// The number of this token, counted from one. Two parts that speak of the same generation
    /// speak of the same token.
    pub generation: u64,
    /// From here on it is not sent: a little before the server lets it expire.
    pub stop: Deadline,
    granted: Instant,
}

impl Bearer {
    pub(super) fn new(header: HeaderValue, generation: u64, stop: Deadline) -> Self {
        Bearer {
            header,
            generation,
            stop,
            granted: Instant::now(),
        }
    }

    /// Whether it may be sent now.
    pub fn is_valid(&self) -> bool {
        !self.stop.has_come()
    }

    /// The same bearer in memory of its own. A clone shares a reference count, which threads on
    /// other cores would fight over.
    fn copy(&self) -> Self {
        let copied = self
            .header
            .to_str()
            .ok()
            .and_then(|text| secret_header([text, ""]));
        Bearer {
            header: copied.unwrap_or_else(|| self.header.clone()),
            ..*self
        }
    }
}

/// Why there is no fresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It cannot be got at the moment.
    Unavailable,
    /// The token endpoint refuses our client: this needs a person.
    ClientRefused,
}

#[derive(Clone, Debug, Default)]
struct State {
    bearer: Option<Bearer>,
    /// Why the last fetch brought none, and when the next one is.
    failure: Option<(Failure, Deadline)>,
}

impl State {
    fn valid(&self) -> Option<&Bearer> {
        self.bearer.as_ref().filter(|bearer| bearer.is_valid())
    }

    /// Whether `generation` is to be replaced because the API refuses it.
    fn is_due(&self, generation: u64) -> bool {
        let is_due =
            |held: &Bearer| held.generation == generation && held.granted.elapsed() >= YOUNG;
        self.bearer.as_ref().is_some_and(is_due)
    }

    fn is_refused(&self) -> bool {
        matches!(self.failure, Some((Failure::ClientRefused, _)))
    }

    /// What a request is told that needs a token and has none.
    fn error(&self) -> Error {
        let next = self
            .failure
            .map(|(_, next)| next.left())
            .unwrap_or_default();
        // Never at once: that would be a loop.
        let retry_after = next.max(Duration::from_secs(1));
        match self.is_refused() {
            true => Error::ClientRefused { retry_after },
            false => Error::TokenUnavailable { retry_after },
        }
    }
}

/// The two ends of a token's way to the requests; a request waits for at most `wait`. What happens
/// is counted in `metrics`.
pub fn channel(wait: Duration, metrics: Arc<metrics::TokenMetrics>) -> (Publisher, Reader) {
    let (sender, receiver) = watch::channel(State::default());
    let (complaints, rejected) = watch::channel(0);
    let (without_token, waiting) = watch::channel(0);
    let permits = Semaphore::new(MOST_WAITING);
    let shared = Arc::new(Shared {
        permits,
        without_token,
        complaints,
        metrics: Arc::clone(&metrics),
    });
    let local = Mutex::new(Local {
        receiver,
        bearer: None,
    });
    (
        Publisher {
            sender,
            rejected,
            waiting,
            metrics,
        },
        Reader {
            local,
            wait,
            shared,
        },
    )
}

/// The end that the refresh task writes.
#[derive(Debug)]
pub struct Publisher {
    sender: watch::Sender<State>,
    /// The newest generation that the API refused.
    rejected: watch::Receiver<u64>,
    /// The number of requests that have no token and wait for one.
    waiting: watch::Receiver<usize>,
    pub(super) metrics: Arc<metrics::TokenMetrics>,
}

impl Publisher {
    /// Makes `bearer` the one that requests carry from now on.
    pub(super) fn publish(&self, bearer: Bearer) {
        self.sender.send_replace(State {
            bearer: Some(bearer),
            failure: None,
        });
    }

    /// Says why there is no fresh token, and when the next try is; the token that is held stays,
    /// unless it has expired.
    pub(super) fn publish_failure(&self, failure: Failure, next: Deadline) {
        self.sender.send_modify(|state| {
            state.failure = Some((failure, next));
            state.bearer.take_if(|bearer| !bearer.is_valid());
        });
    }

    /// When the token that is held, and serves, must no longer be sent. One that the API refused
    /// does not serve.
    pub(super) fn serves_until(&self) -> Option<Deadline> {
        let state = self.sender.borrow();
        let rejected = *self.rejected.borrow();
        state
            .valid()
            .filter(|bearer| bearer.generation > rejected)
            .map(|bearer| bearer.stop)
    }

    /// Waits until at least one request has no token and waits for one.
    pub(super) async fn awaited(&self) {
        let mut waiting = self.waiting.clone();
        if waiting.wait_for(|requests| *requests > 0).await.is_err() {
            // No reader is left.
            pending().await
        }
    }

    /// Waits until the API has refused the token that is held.
    pub(super) async fn rejected(&mut self) {
        while self.rejected.changed().await.is_ok() {
            let rejected = *self.rejected.borrow_and_update();
            if self
                .sender
                .borrow()
                .bearer
                .as_ref()
                .is_some_and(|bearer| bearer.generation == rejected)
            {
                return;
            }
        }
        // No reader is left to complain.
        pending().await
    }
}

/// The end that requests read. Each worker has a clone of its own, so that cores share nothing that
/// is written.
#[derive(Debug)]
pub struct Reader {
    local: Mutex<Local>,
    wait: Duration,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Local {
    receiver: watch::Receiver<State>,
    bearer: Option<Bearer>,
}

/// What the readers share, and touch only when something is wrong.
#[derive(Debug)]
struct Shared {
    permits: Semaphore,
    /// The number of requests in [`Reader::wait`].
    without_token: watch::Sender<usize>,
    complaints: watch::Sender<u64>,
    metrics: Arc<metrics::TokenMetrics>,
}

impl Shared {
    /// Counts a request without a token until the result is dropped.
    fn count_waiting(&self) -> WaitingRequest<'_> {
        self.without_token.send_if_modified(|requests| {
            *requests += 1;
            *requests == 1
        });
        WaitingRequest(&self.without_token)
    }

    fn complain(&self, generation: u64) {
        self.complaints.send_if_modified(|rejected| {
            let is_news = *rejected < generation;
            *rejected = generation.max(*rejected);
            is_news
        });
    }
}

/// A request that waits for a token.
#[derive(Debug)]
struct WaitingRequest<'a>(&'a watch::Sender<usize>);

impl Drop for WaitingRequest<'_> {
    fn drop(&mut self) {
        // Nobody waits for the number to fall.
        self.0.send_if_modified(|requests| {
            *requests -= 1;
            false
        });
    }
}

impl Clone for Reader {
    fn clone(&self) -> Self {
        let mut receiver = self.receiver();
        receiver.mark_changed();
        let local = Mutex::new(Local {
            receiver,
            bearer: None,
        });
        Reader {
            local,
            wait: self.wait,
            shared: Arc::clone(&self.shared),
        }
    }
}

impl Reader {
    /// The same, which waits for at most `wait`.
    pub fn waiting(self, wait: Duration) -> Self {
        Reader { wait, ..self }
    }

    /// The valid bearer, if there is one. While nothing was published since the last call this is
    /// one atomic load, a look at two clocks, and a lock and a reference count of this reader's
    /// own.
    pub fn current(&self) -> Option<Bearer> {
        let mut local = self.local.lock().unwrap_or_else(PoisonError::into_inner);
        let local = &mut *local;
        // An error means that the publisher is gone; what it published last stays good until it
        // expires.
        if local.receiver.has_changed().unwrap_or(true) {
            local.bearer = local
                .receiver
                .borrow_and_update()
                .bearer
                .as_ref()
                .map(Bearer::copy);
        }
        let bearer = local
            .bearer
            .as_ref()
            .filter(|bearer| bearer.is_valid())
            .cloned();
        if bearer.is_none() {
            // What has expired is not kept in memory.
            local.bearer = None;
        }
        bearer
    }

    /// The valid bearer, waited for if there is none.
    ///
    /// # Errors
    /// `TokenUnavailable` when none came in time, or too many wait already; `ClientRefused` at
    /// once, since waiting is of no use.
    pub async fn wait(&self) -> Result<Bearer, Error> {
        let mut receiver = self.receiver();
        let Ok(_permit) = self.shared.permits.try_acquire() else {
            return Err(receiver.borrow().error());
        };
        let _waiting = self.shared.count_waiting();
        let _counted = self.shared.metrics.count_waiter();
        let decided = receiver.wait_for(|state| state.valid().is_some() || state.is_refused());
        if let Ok(Ok(state)) = timeout(self.wait, decided).await
            && let Some(bearer) = state.valid()
        {
            return Ok(bearer.copy());
        }
        Err(self.error())
    }

    /// What a request is told that needs a token and has none.
    pub fn error(&self) -> Error {
        self.receiver().borrow().error()
    }

    /// Whether there is a newer token than `generation`, which the API refused. Asks for one if it
    /// is due, and waits for it: one is asked for, however many wait, and none while this one is
    /// young or the token endpoint gives none.
    pub async fn renewed(&self, generation: u64) -> bool {
        let mut receiver = self.receiver();
        let is_newer = |state: &State| {
            state
                .valid()
                .is_some_and(|bearer| bearer.generation > generation)
        };
        {
            let state = receiver.borrow();
            if is_newer(&state) {
                return true;
            }
            if !state.is_due(generation) {
                return false;
            }
        }
        let Ok(_permit) = self.shared.permits.try_acquire() else {
            return false;
        };
        self.shared.complain(generation);
        let decided = receiver.wait_for(|state| is_newer(state) || state.failure.is_some());
        matches!(timeout(self.wait, decided).await, Ok(Ok(state)) if is_newer(&state))
    }

    /// Counts an answer of the API that refuses the token.
    pub fn record_unauthorized(&self) {
        self.shared.metrics.record_unauthorized();
    }

    /// Asks for a newer token than `generation`, which the API refused, if one is due, for those
    /// who come later.
    pub fn complain(&self, generation: u64) {
        if self.receiver().borrow().is_due(generation) {
            self.shared.complain(generation);
        }
    }

    fn receiver(&self) -> watch::Receiver<State> {
        self.local
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .receiver
            .clone()
    }
}

#[cfg(test)]
mod tests;
