//! Tests of the refresh task, with a paused clock.

mod backoff;
mod change;
mod rejection;
mod waiting;

use std::cell::{Cell, RefCell};

use http::{HeaderValue, StatusCode};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::*;
use crate::error::Error;
use crate::token::deadline::tests::sleep_machine;
use crate::token::{TokenReader, channel};

type FetchResult = Result<TokenResponse, FetchError>;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn granted(token: &str, lifetime: u64) -> FetchResult {
    let header = HeaderValue::try_from(format!("Bearer {token}")).unwrap();
    Ok(TokenResponse {
        header,
        lifetime: Some(seconds(lifetime)),
    })
}

fn unavailable() -> FetchResult {
    Err(FetchError::Status {
        status: StatusCode::SERVICE_UNAVAILABLE,
        retry_after: None,
    })
}

fn busy(wait: u64) -> FetchResult {
    Err(FetchError::Status {
        status: StatusCode::TOO_MANY_REQUESTS,
        retry_after: Some(seconds(wait)),
    })
}

fn refused() -> FetchResult {
    Err(FetchError::Refused {
        status: StatusCode::UNAUTHORIZED,
        code: None,
        retry_after: None,
    })
}

fn refused_for(wait: u64) -> FetchResult {
    let retry_after = Some(seconds(wait));
    Err(FetchError::Refused {
        status: StatusCode::UNAUTHORIZED,
        code: None,
        retry_after,
    })
}

/// A token source that returns `respond(n)` for its n-th fetch, counted from 0, after `delay`.
struct FakeEndpoint<F> {
    respond: F,
    delay: Duration,
    began: Instant,
    starts: RefCell<Vec<Duration>>,
    completed: Cell<usize>,
    changed: Notify,
}

impl<F: Fn(usize) -> FetchResult> TokenSource for FakeEndpoint<F> {
    async fn fetch(&self) -> FetchResult {
        let number = self.starts.borrow().len();
        self.starts.borrow_mut().push(self.began.elapsed());
        sleep(self.delay).await;
        self.completed.set(self.completed.get() + 1);
        (self.respond)(number)
    }

    async fn changed(&self) {
        self.changed.notified().await;
    }

    fn default_lifetime(&self) -> Duration {
        seconds(300)
    }
}

impl<F: Fn(usize) -> FetchResult> FakeEndpoint<F> {
    fn new(respond: F) -> Self {
        FakeEndpoint {
            respond,
            delay: Duration::ZERO,
            began: Instant::now(),
            starts: RefCell::default(),
            completed: Cell::new(0),
            changed: Notify::new(),
        }
    }

    fn slow(self, delay: Duration) -> Self {
        FakeEndpoint { delay, ..self }
    }

    /// Runs the refresh task during `scenario`.
    async fn run<T>(&self, scenario: impl AsyncFnOnce(TokenReader) -> T) -> T {
        let (publisher, reader) = channel(seconds(5), std::sync::Arc::default());
        tokio::select! {
            () = refresh(self, publisher) => panic!("the refresh task ended"),
            result = scenario(reader) => result,
        }
    }

    fn calls(&self) -> usize {
        self.starts.borrow().len()
    }

    fn gaps(&self) -> Vec<Duration> {
        self.starts
            .borrow()
            .windows(2)
            .map(|pair| pair[1] - pair[0])
            .collect()
    }
}

fn token(reader: &TokenReader) -> String {
    reader
        .current()
        .map(|bearer| bearer.header.to_str().unwrap().to_owned())
        .unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn a_token_is_refreshed_before_it_expires() {
    let endpoint = FakeEndpoint::new(|_| granted("a", 100));
    let generation = endpoint.run(async |reader| {
        sleep(seconds(200)).await;
        reader.current().unwrap().generation
    });
    assert_eq!(generation.await, 3);
    assert!(
        endpoint
            .gaps()
            .iter()
            .all(|gap| (70..=76).contains(&gap.as_secs())),
        "{:?}",
        endpoint.gaps()
    );
}

#[tokio::test(start_paused = true)]
async fn without_expires_in_the_default_lifetime_counts() {
    let endpoint = FakeEndpoint::new(|_| {
        Ok(TokenResponse {
            lifetime: None,
            ..granted("a", 1).unwrap()
        })
    });
    endpoint.run(async |_| sleep(seconds(260)).await).await;
    assert_eq!(endpoint.calls(), 2);
    assert!((240..=252).contains(&endpoint.gaps()[0].as_secs()));
}

#[tokio::test(start_paused = true)]
async fn a_failed_refresh_keeps_the_token_until_stop() {
    let endpoint = FakeEndpoint::new(|call| {
        if call == 0 {
            granted("a", 100)
        } else {
            unavailable()
        }
    });
    endpoint
        .run(async |reader| {
            sleep(seconds(94)).await;
            assert!(endpoint.calls() > 1);
            assert_eq!(token(&reader), "Bearer a");
            sleep(seconds(1)).await;
            assert!(reader.current().is_none());
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn the_lifetime_counts_from_the_request() {
    let endpoint = FakeEndpoint::new(|call| {
        if call == 0 {
            granted("a", 100)
        } else {
            unavailable()
        }
    });
    let endpoint = endpoint.slow(seconds(8));
    endpoint
        .run(async |reader| {
            sleep(seconds(94)).await;
            assert_eq!(token(&reader), "Bearer a");
            sleep(seconds(1)).await;
            assert!(reader.current().is_none());
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_fetch_never_replaces_a_valid_token() {
    let endpoint = FakeEndpoint::new(|call| match call {
        0 => granted("good", 100),
        1 => Err(FetchError::Response("the body is empty")),
        2 => Err(FetchError::Broken("cut off".into())),
        _ => refused(),
    });
    endpoint
        .run(async |reader| {
            sleep(seconds(90)).await;
            assert!(endpoint.calls() > 3);
            assert_eq!(reader.wait().await.unwrap().header, "Bearer good");
        })
        .await;
}

/// Publishing it would make each request wait in vain.
#[tokio::test(start_paused = true)]
async fn a_token_that_arrives_expired_is_a_failure() {
    let endpoint = FakeEndpoint::new(|_| granted("dead", 3)).slow(seconds(4));
    endpoint
        .run(async |reader| {
            sleep(seconds(6)).await;
            // Between two fetches: Retry-After is the time until the next one.
            let error = reader.error();
            assert!(matches!(error, Error::TokenUnavailable { .. }), "{error:?}");
            sleep(seconds(594)).await;
        })
        .await;
    assert!(
        endpoint.calls() < 100,
        "{} calls in 600 s",
        endpoint.calls()
    );
}

#[tokio::test(start_paused = true)]
async fn a_fetch_starts_when_the_token_ends() {
    let endpoint = FakeEndpoint::new(|call| {
        if call == 0 {
            granted("a", 100)
        } else {
            unavailable()
        }
    });
    endpoint.run(async |_| sleep(seconds(96)).await).await;
    let starts = endpoint.starts.borrow();
    assert!(
        starts.iter().any(|start| start.as_secs() == 95),
        "{starts:?}"
    );
}

/// A server that returns the same token until it expires, with its remaining lifetime.
#[tokio::test(start_paused = true)]
async fn the_same_expiring_token_causes_no_busy_loop() {
    let began = Instant::now();
    let endpoint = FakeEndpoint::new(|_| {
        let age = began.elapsed().as_secs();
        match 600 - age % 600 {
            600 => granted(&format!("number-{}", age / 600), 600),
            left => granted(&format!("number-{}", age / 600), left),
        }
    });
    endpoint
        .run(async |reader| {
            sleep(seconds(605)).await;
            assert_eq!(token(&reader), "Bearer number-1");
        })
        .await;
    assert!(endpoint.calls() <= 14, "{:?}", endpoint.starts);
    assert!(endpoint.gaps().iter().all(|gap| *gap >= MIN_FETCH_INTERVAL));
}

#[tokio::test(start_paused = true)]
async fn after_sleep_a_token_arrives_within_one_second() {
    let endpoint = FakeEndpoint::new(|call| granted(["a", "b"][call], 3600));
    endpoint
        .run(async |reader| {
            sleep(seconds(10)).await;
            assert_eq!(token(&reader), "Bearer a");
            sleep_machine(seconds(8 * 3600));
            assert!(reader.current().is_none());
            assert_eq!(reader.wait().await.unwrap().header, "Bearer b");
        })
        .await;
    assert!(endpoint.gaps()[0] <= seconds(11));
}
