//! The token as a request needs it: a header value that is ready, and where to read it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::HeaderValue;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::error::Error;

/// An access token as the value of an Authorization field (RFC 6750 section 2.1).
#[derive(Clone, Debug)]
pub struct Bearer {
    /// `Bearer …`, marked sensitive, so that its `Debug` shows nothing.
    pub header: HeaderValue,
    /// The number of this token, counted from one. Two parts that speak of the same generation speak of the same
    /// token.
    pub generation: u64,
    /// From here on it is not sent: a little before the server lets it expire.
    pub stop: Instant,
}

impl Bearer {
    /// Whether it may be sent now.
    pub fn is_valid(&self) -> bool {
        Instant::now() < self.stop
    }

    /// The same bearer in memory of its own. A clone shares a reference count, which threads on other cores would
    /// fight over.
    fn copy(&self) -> Self {
        let mut header =
            HeaderValue::from_bytes(self.header.as_bytes()).unwrap_or_else(|_| self.header.clone());
        header.set_sensitive(true);
        Bearer { header, ..*self }
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
    failure: Option<Failure>,
}

/// The two ends of a token's way to the requests; a request waits for at most `wait`.
pub fn channel(wait: Duration) -> (Publisher, Reader) {
    let (sender, receiver) = watch::channel(State::default());
    (Publisher { sender }, Reader { local: Mutex::new(Local { receiver, bearer: None }), wait })
}

/// The end that the refresh task writes.
#[derive(Debug)]
pub struct Publisher {
    sender: watch::Sender<State>,
}

impl Publisher {
    /// Makes `bearer` the one that requests carry from now on.
    pub(super) fn publish(&self, bearer: Bearer) {
        self.sender.send_replace(State { bearer: Some(bearer), failure: None });
    }

    /// Says why there is no fresh token; the token that is held stays.
    pub(super) fn publish_failure(&self, failure: Failure) {
        self.sender.send_if_modified(|state| {
            let changed = state.failure != Some(failure);
            state.failure = Some(failure);
            changed
        });
    }

    /// When the token that is held, and may be sent now, must no longer be.
    pub(super) fn valid_until(&self) -> Option<Instant> {
        self.sender.borrow().bearer.as_ref().filter(|bearer| bearer.is_valid()).map(|bearer| bearer.stop)
    }
}

/// The end that requests read. Each worker has a clone of its own, so that cores share nothing that is written.
#[derive(Debug)]
pub struct Reader {
    local: Mutex<Local>,
    wait: Duration,
}

#[derive(Debug)]
struct Local {
    receiver: watch::Receiver<State>,
    bearer: Option<Bearer>,
}

impl Clone for Reader {
    fn clone(&self) -> Self {
        let mut receiver = self.receiver();
        receiver.mark_changed();
        Reader { local: Mutex::new(Local { receiver, bearer: None }), wait: self.wait }
    }
}

impl Reader {
    /// The valid bearer, if there is one. While nothing was published since the last call this is one atomic load, one
    /// look at the clock, and a lock and a reference count of this reader's own.
    pub fn current(&self) -> Option<Bearer> {
        let mut local = self.local.lock().unwrap_or_else(PoisonError::into_inner);
        let local = &mut *local;
        // An error means that the publisher is gone; what it published last stays good until it expires.
        if local.receiver.has_changed().unwrap_or(true) {
            local.bearer = local.receiver.borrow_and_update().bearer.as_ref().map(Bearer::copy);
        }
        local.bearer.as_ref().filter(|bearer| bearer.is_valid()).cloned()
    }

    /// The valid bearer, waited for if there is none.
    ///
    /// # Errors
    /// `TokenUnavailable` when none came in time, `ClientRefused` at once when waiting is of no use.
    pub async fn wait(&self) -> Result<Bearer, Error> {
        let mut receiver = self.receiver();
        let decided = receiver.wait_for(|state| {
            state.bearer.as_ref().is_some_and(Bearer::is_valid)
                || state.failure == Some(Failure::ClientRefused)
        });
        match timeout(self.wait, decided).await {
            Ok(Ok(state)) => match state.bearer.as_ref().filter(|bearer| bearer.is_valid()) {
                Some(bearer) => Ok(bearer.copy()),
                None if state.failure == Some(Failure::ClientRefused) => Err(Error::ClientRefused),
                None => Err(Error::TokenUnavailable),
            },
            Ok(Err(_)) | Err(_) => Err(Error::TokenUnavailable),
        }
    }

    fn receiver(&self) -> watch::Receiver<State> {
        self.local.lock().unwrap_or_else(PoisonError::into_inner).receiver.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(generation: u64, life: Duration) -> Bearer {
        let mut header = HeaderValue::from_static("Bearer abc");
        header.set_sensitive(true);
        Bearer { header, generation, stop: Instant::now() + life }
    }

    #[tokio::test(start_paused = true)]
    async fn the_current_bearer_is_the_last_published_and_never_an_expired_one() {
        let (publisher, reader) = channel(Duration::from_secs(5));
        assert!(reader.current().is_none());
        publisher.publish(bearer(1, Duration::from_secs(10)));
        let other = reader.clone();
        assert_eq!(reader.current().unwrap().generation, 1);
        publisher.publish(bearer(2, Duration::from_secs(10)));
        assert_eq!((reader.current().unwrap().generation, other.current().unwrap().generation), (2, 2));
        publisher.publish_failure(Failure::Unavailable);
        assert_eq!(reader.current().unwrap().generation, 2);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(reader.current().is_none());
        assert!(publisher.valid_until().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_ends_with_the_token_with_the_deadline_or_with_a_refusal() {
        let (publisher, reader) = channel(Duration::from_secs(5));
        let began = Instant::now();
        assert!(matches!(reader.wait().await, Err(Error::TokenUnavailable)));
        assert_eq!(began.elapsed(), Duration::from_secs(5));

        let publish = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            publisher.publish(bearer(1, Duration::from_secs(10)));
        };
        let (waited, ()) = tokio::join!(reader.wait(), publish);
        assert_eq!(waited.unwrap().generation, 1);

        tokio::time::advance(Duration::from_secs(60)).await;
        publisher.publish_failure(Failure::ClientRefused);
        let began = Instant::now();
        assert!(matches!(reader.wait().await, Err(Error::ClientRefused)));
        assert_eq!(began.elapsed(), Duration::ZERO);
    }

    #[tokio::test]
    async fn a_bearer_is_not_printed() {
        let (publisher, reader) = channel(Duration::from_secs(1));
        publisher.publish(bearer(1, Duration::from_secs(10)));
        let text = format!("{publisher:?} {:?} {reader:?}", reader.current());
        assert!(!text.contains("abc"), "{text}");
    }
}
