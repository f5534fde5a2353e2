//! Channel between the refresh task and the requests: the current token, and why there is none.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout};

use super::bearer::Bearer;
use super::deadline::Deadline;
use super::failure::{FetchError, FetchErrorKind, FetchFailure};
use crate::error::Error;
use crate::metrics;

/// Requests that may wait for a token at a time; further ones fail at once.
const MAX_WAITING_REQUESTS: usize = 1024;

/// The shortest `Retry-After`: 0 would make clients loop.
const MIN_RETRY_AFTER: Duration = Duration::from_secs(1);

/// A token request that has ended.
#[derive(Clone, Debug)]
pub(crate) struct Fetch {
    /// `None` if it brought a token.
    pub(crate) failure: Option<FetchFailure>,
    pub(crate) ended: Instant,
    pub(crate) duration: Duration,
}

#[derive(Clone, Debug, Default)]
struct TokenState {
    bearer: Option<Bearer>,
    /// Set while the last fetch is a failed one.
    failure: Option<RefreshFailure>,
    last_fetch: Option<Fetch>,
    last_failed_fetch: Option<Fetch>,
}

#[derive(Clone, Copy, Debug)]
struct RefreshFailure {
    kind: FetchErrorKind,
    next_fetch: Deadline,
}

impl TokenState {
    fn valid(&self) -> Option<&Bearer> {
        self.bearer.as_ref().filter(|bearer| bearer.is_valid())
    }

    fn has_newer_than(&self, generation: u64) -> bool {
        self.valid()
            .is_some_and(|bearer| bearer.generation > generation)
    }

    /// Whether `generation`, which the API rejects, is to be replaced.
    fn must_replace(&self, generation: u64) -> bool {
        self.bearer
            .as_ref()
            .is_some_and(|bearer| bearer.generation == generation && bearer.is_replaceable())
    }

    fn is_refused(&self) -> bool {
        self.failure
            .is_some_and(|failure| failure.kind == FetchErrorKind::Refused)
    }

    /// The error of a request that needs a token.
    fn error(&self) -> Error {
        let next_fetch = self.failure.map(|failure| failure.next_fetch.remaining());
        let retry_after = next_fetch.unwrap_or_default().max(MIN_RETRY_AFTER);
        if self.is_refused() {
            Error::ClientRefused { retry_after }
        } else {
            Error::TokenUnavailable { retry_after }
        }
    }

    fn record_fetch(&mut self, failure: Option<FetchFailure>, duration: Duration) {
        let fetch = Fetch {
            failure,
            ended: Instant::now(),
            duration,
        };
        if fetch.failure.is_some() {
            self.last_failed_fetch = Some(fetch.clone());
        }
        self.last_fetch = Some(fetch);
    }
}

/// Creates both ends. A request waits for a token for at most `wait_timeout`.
pub fn channel(
    wait_timeout: Duration,
    metrics: Arc<metrics::TokenMetrics>,
) -> (TokenPublisher, TokenReader) {
    let state = watch::Sender::new(TokenState::default());
    let rejected_generation = watch::Sender::new(0);
    let waiting = watch::Sender::new(0);
    let publisher = TokenPublisher {
        state: state.clone(),
        rejected_generation: rejected_generation.subscribe(),
        waiting: waiting.subscribe(),
        metrics: Arc::clone(&metrics),
    };
    let shared = Arc::new(SharedByReaders {
        permits: Semaphore::new(MAX_WAITING_REQUESTS),
        waiting,
        rejected_generation,
        metrics,
    });
    let reader = TokenReader {
        cache: Mutex::new(Cache {
            state: state.subscribe(),
            bearer: None,
        }),
        wait_timeout,
        shared,
    };
    (publisher, reader)
}

/// The end of the refresh task.
#[derive(Debug)]
pub struct TokenPublisher {
    state: watch::Sender<TokenState>,
    /// The newest generation that the API rejected.
    rejected_generation: watch::Receiver<u64>,
    /// The number of requests that wait for a token.
    waiting: watch::Receiver<usize>,
    pub(super) metrics: Arc<metrics::TokenMetrics>,
}

impl TokenPublisher {
    /// Publishes `bearer`, which a fetch of `duration` brought.
    pub(super) fn publish(&self, bearer: Bearer, duration: Duration) {
        self.state.send_modify(|state| {
            state.bearer = Some(bearer);
            state.failure = None;
            state.record_fetch(None, duration);
        });
    }

    /// Publishes why a fetch of `duration` failed, and when the next one is. Drops the current token
    /// only if it has expired.
    pub(super) fn publish_failure(
        &self,
        error: &FetchError,
        duration: Duration,
        next_fetch: Deadline,
    ) {
        let failure = FetchFailure::from(error);
        self.state.send_modify(|state| {
            let kind = failure.kind;
            state.failure = Some(RefreshFailure { kind, next_fetch });
            state.bearer.take_if(|bearer| !bearer.is_valid());
            state.record_fetch(Some(failure), duration);
        });
    }

    /// Publishes an earlier time of the next fetch.
    pub(super) fn publish_next_fetch(&self, next_fetch: Deadline) {
        self.state.send_modify(|state| {
            if let Some(failure) = &mut state.failure {
                failure.next_fetch = next_fetch;
            }
            state.bearer.take_if(|bearer| !bearer.is_valid());
        });
    }

    /// The end of the current token; `None` without one, and if the API rejected it.
    pub(super) fn serves_until(&self) -> Option<Deadline> {
        let state = self.state.borrow();
        let rejected = *self.rejected_generation.borrow();
        state
            .valid()
            .filter(|bearer| bearer.generation > rejected)
            .map(|bearer| bearer.usable_until)
    }

    /// Waits until at least one request waits for a token.
    pub(super) async fn awaited(&self) {
        let mut waiting = self.waiting.clone();
        if waiting.wait_for(|requests| *requests > 0).await.is_err() {
            // All readers are gone.
            pending().await
        }
    }

    /// Waits until the API has rejected the current token.
    pub(super) async fn rejected(&mut self) {
        while self.rejected_generation.changed().await.is_ok() {
            let rejected = *self.rejected_generation.borrow_and_update();
            let state = self.state.borrow();
            let current = state.bearer.as_ref();
            if current.is_some_and(|bearer| bearer.generation == rejected) {
                return;
            }
        }
        // All readers are gone.
        pending().await
    }
}

/// The end of the requests. Each worker has its own clone, so that cores share no memory that is
/// written.
#[derive(Debug)]
pub struct TokenReader {
    cache: Mutex<Cache>,
    wait_timeout: Duration,
    shared: Arc<SharedByReaders>,
}

#[derive(Debug)]
struct Cache {
    state: watch::Receiver<TokenState>,
    bearer: Option<Bearer>,
}

/// State that readers share and touch only when there is no usable token.
#[derive(Debug)]
struct SharedByReaders {
    permits: Semaphore,
    /// The number of requests in [`TokenReader::wait`].
    waiting: watch::Sender<usize>,
    rejected_generation: watch::Sender<u64>,
    metrics: Arc<metrics::TokenMetrics>,
}

impl SharedByReaders {
    /// Counts a waiting request until the result is dropped.
    fn count_waiting(&self) -> WaitingRequest<'_> {
        self.waiting.send_if_modified(|requests| {
            *requests += 1;
            *requests == 1
        });
        WaitingRequest(&self.waiting)
    }

    fn report_rejected(&self, generation: u64) {
        self.rejected_generation.send_if_modified(|rejected| {
            let is_newer = *rejected < generation;
            *rejected = generation.max(*rejected);
            is_newer
        });
    }
}

#[derive(Debug)]
struct WaitingRequest<'a>(&'a watch::Sender<usize>);

impl Drop for WaitingRequest<'_> {
    fn drop(&mut self) {
        // The refresh task waits for the first request only, not for the last.
        self.0.send_if_modified(|requests| {
            *requests -= 1;
            false
        });
    }
}

impl Clone for TokenReader {
    fn clone(&self) -> Self {
        let mut state = self.subscribe();
        state.mark_changed();
        TokenReader {
            cache: Mutex::new(Cache {
                state,
                bearer: None,
            }),
            wait_timeout: self.wait_timeout,
            shared: Arc::clone(&self.shared),
        }
    }
}

impl TokenReader {
    /// The same reader with another limit for [`wait`](Self::wait).
    pub(crate) fn with_wait_timeout(self, wait_timeout: Duration) -> Self {
        TokenReader {
            wait_timeout,
            ..self
        }
    }

    /// The valid bearer, if there is one. Between two publications this costs one atomic load, two
    /// clock reads, and a lock and a reference count that only this reader uses.
    pub fn current(&self) -> Option<Bearer> {
        let mut cache = self.cache.lock();
        let cache = &mut *cache;
        // An error means that the publisher is gone; its last token stays valid until it expires.
        if cache.state.has_changed().unwrap_or(true) {
            cache.bearer = cache
                .state
                .borrow_and_update()
                .bearer
                .as_ref()
                .map(Bearer::deep_copy);
        }
        let bearer = cache
            .bearer
            .as_ref()
            .filter(|bearer| bearer.is_valid())
            .cloned();
        if bearer.is_none() {
            // No expired token stays in memory.
            cache.bearer = None;
        }
        bearer
    }

    /// The valid bearer; waits for it if there is none.
    ///
    /// # Errors
    /// `TokenUnavailable` after the wait timeout, or if too many requests wait already;
    /// `ClientRefused` at once, since waiting does not help.
    pub async fn wait(&self) -> Result<Bearer, Error> {
        let mut state = self.subscribe();
        let Ok(_permit) = self.shared.permits.try_acquire() else {
            return Err(state.borrow().error());
        };
        let _waiting = self.shared.count_waiting();
        let _counted = self.shared.metrics.count_waiter();
        let decided = state.wait_for(|state| state.valid().is_some() || state.is_refused());
        if let Ok(Ok(state)) = timeout(self.wait_timeout, decided).await
            && let Some(bearer) = state.valid()
        {
            return Ok(bearer.deep_copy());
        }
        Err(self.error())
    }

    /// The error of a request that needs a token.
    pub(crate) fn error(&self) -> Error {
        self.subscribe().borrow().error()
    }

    pub(crate) fn last_fetch(&self) -> Option<Fetch> {
        self.subscribe().borrow().last_fetch.clone()
    }

    pub(crate) fn last_failed_fetch(&self) -> Option<Fetch> {
        self.subscribe().borrow().last_failed_fetch.clone()
    }

    /// Waits for a newer token than `generation`, which the API rejected, and returns whether there
    /// is one. Any number of waiting requests cause one fetch; a young token causes none, and
    /// neither does a failing token endpoint.
    pub(crate) async fn wait_for_newer(&self, generation: u64) -> bool {
        let mut state = self.subscribe();
        {
            let state = state.borrow();
            if state.has_newer_than(generation) {
                return true;
            }
            if !state.must_replace(generation) {
                return false;
            }
        }
        let Ok(_permit) = self.shared.permits.try_acquire() else {
            return false;
        };
        self.shared.report_rejected(generation);
        let decided =
            state.wait_for(|state| state.has_newer_than(generation) || state.failure.is_some());
        matches!(
            timeout(self.wait_timeout, decided).await,
            Ok(Ok(state)) if state.has_newer_than(generation)
        )
    }

    /// Counts a response of the API that rejects the token.
    pub(crate) fn record_unauthorized(&self) {
        self.shared.metrics.record_unauthorized();
    }

    /// Requests a newer token than `generation`, which the API rejected, for later requests.
    pub(crate) fn report_rejected(&self, generation: u64) {
        if self.subscribe().borrow().must_replace(generation) {
            self.shared.report_rejected(generation);
        }
    }

    fn subscribe(&self) -> watch::Receiver<TokenState> {
        self.cache.lock().state.clone()
    }
}

#[cfg(test)]
mod tests;
