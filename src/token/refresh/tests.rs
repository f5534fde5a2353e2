//! The refresh task with a clock of the test's own.

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
use crate::token::{Reader, channel};

type Answer = Result<Grant, FetchError>;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn granted(token: &str, life: u64) -> Answer {
    let header = HeaderValue::try_from(format!("Bearer {token}")).unwrap();
    Ok(Grant {
        header,
        life: Some(seconds(life)),
    })
}

fn unavailable() -> Answer {
    Err(FetchError::Status {
        status: StatusCode::SERVICE_UNAVAILABLE,
        retry_after: None,
    })
}

fn busy(wait: u64) -> Answer {
    Err(FetchError::Status {
        status: StatusCode::TOO_MANY_REQUESTS,
        retry_after: Some(seconds(wait)),
    })
}

fn refused() -> Answer {
    Err(FetchError::Refused {
        status: StatusCode::UNAUTHORIZED,
        code: None,
        retry_after: None,
    })
}

fn refused_for(wait: u64) -> Answer {
    let retry_after = Some(seconds(wait));
    Err(FetchError::Refused {
        status: StatusCode::UNAUTHORIZED,
        code: None,
        retry_after,
    })
}

/// A token endpoint that answers its n-th call, counted from 0, with `answer(n)`, after `delay`.
struct Endpoint<F> {
    answer: F,
    delay: Duration,
    began: Instant,
    starts: RefCell<Vec<Duration>>,
    answered: Cell<usize>,
    changed: Notify,
}

impl<F: Fn(usize) -> Answer> Endpoint<F> {
    fn new(answer: F) -> Self {
        Endpoint {
            answer,
            delay: Duration::ZERO,
            began: Instant::now(),
            starts: RefCell::default(),
            answered: Cell::new(0),
            changed: Notify::new(),
        }
    }

    fn slow(self, delay: Duration) -> Self {
        Endpoint { delay, ..self }
    }

    async fn fetch(&self) -> Answer {
        let number = self.starts.borrow().len();
        self.starts.borrow_mut().push(self.began.elapsed());
        sleep(self.delay).await;
        self.answered.set(self.answered.get() + 1);
        (self.answer)(number)
    }

    /// Runs the refresh task beside `story`.
    async fn play<T>(&self, story: impl AsyncFnOnce(Reader) -> T) -> T {
        let (publisher, reader) = channel(seconds(5), std::sync::Arc::default());
        let task = refresh(
            || self.fetch(),
            || self.changed.notified(),
            publisher,
            || seconds(300),
        );
        tokio::select! {
            () = task => panic!("the refresh task ended"),
            told = story(reader) => told,
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

fn token(reader: &Reader) -> String {
    reader
        .current()
        .map(|bearer| bearer.header.to_str().unwrap().to_owned())
        .unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn a_token_is_replaced_before_it_expires() {
    let endpoint = Endpoint::new(|_| granted("a", 100));
    let generation = endpoint.play(async |reader| {
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

/// What `changed` tells is what the client that asked last does not have, and the fetch makes it
/// the one that asks.
#[tokio::test(start_paused = true)]
async fn an_answer_without_expires_in_lives_for_the_fallback_life() {
    let endpoint = Endpoint::new(|_| {
        Ok(Grant {
            life: None,
            ..granted("a", 1).unwrap()
        })
    });
    endpoint.play(async |_| sleep(seconds(260)).await).await;
    assert_eq!(endpoint.calls(), 2);
    assert!((240..=252).contains(&endpoint.gaps()[0].as_secs()));
}

#[tokio::test(start_paused = true)]
async fn a_failed_refresh_keeps_the_token_until_it_stops() {
    let endpoint = Endpoint::new(|call| {
        if call == 0 {
            granted("a", 100)
        } else {
            unavailable()
        }
    });
    endpoint
        .play(async |reader| {
            sleep(seconds(94)).await;
            assert!(endpoint.calls() > 1);
            assert_eq!(token(&reader), "Bearer a");
            sleep(seconds(1)).await;
            assert!(reader.current().is_none());
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn the_life_of_a_token_counts_from_the_request_for_it() {
    let endpoint = Endpoint::new(|call| {
        if call == 0 {
            granted("a", 100)
        } else {
            unavailable()
        }
    });
    let endpoint = endpoint.slow(seconds(8));
    endpoint
        .play(async |reader| {
            sleep(seconds(94)).await;
            assert_eq!(token(&reader), "Bearer a");
            sleep(seconds(1)).await;
            assert!(reader.current().is_none());
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_bad_answer_never_replaces_a_good_token() {
    let endpoint = Endpoint::new(|call| match call {
        0 => granted("good", 100),
        1 => Err(FetchError::Answer("the answer is empty")),
        2 => Err(FetchError::Broken("cut off".into())),
        _ => refused(),
    });
    endpoint
        .play(async |reader| {
            sleep(seconds(90)).await;
            assert!(endpoint.calls() > 3);
            assert_eq!(reader.wait().await.unwrap().header, "Bearer good");
        })
        .await;
}

/// It would be logged as held, and each request would wait in vain.
#[tokio::test(start_paused = true)]
async fn a_token_that_comes_after_its_end_is_a_failure_and_no_reason_to_hurry() {
    let endpoint = Endpoint::new(|_| granted("dead", 3)).slow(seconds(4));
    endpoint
        .play(async |reader| {
            sleep(seconds(6)).await;
            // Between two calls: what is told is when the next one is.
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
async fn the_end_of_a_token_is_not_slept_through() {
    let endpoint = Endpoint::new(|call| {
        if call == 0 {
            granted("a", 100)
        } else {
            unavailable()
        }
    });
    endpoint.play(async |_| sleep(seconds(96)).await).await;
    let starts = endpoint.starts.borrow();
    assert!(
        starts.iter().any(|start| start.as_secs() == 95),
        "{starts:?}"
    );
}

/// A server that gives out the token it has until that is dead, and says each time what is left of
/// its life.
#[tokio::test(start_paused = true)]
async fn the_same_almost_dead_token_returned_again_does_not_spin() {
    let began = Instant::now();
    let endpoint = Endpoint::new(|_| {
        let age = began.elapsed().as_secs();
        match 600 - age % 600 {
            600 => granted(&format!("number-{}", age / 600), 600),
            left => granted(&format!("number-{}", age / 600), left),
        }
    });
    endpoint
        .play(async |reader| {
            sleep(seconds(605)).await;
            assert_eq!(token(&reader), "Bearer number-1");
        })
        .await;
    assert!(endpoint.calls() <= 14, "{:?}", endpoint.starts);
    assert!(endpoint.gaps().iter().all(|gap| *gap >= LEAST_PAUSE));
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_slept_sends_no_dead_token_and_gets_a_new_one_within_a_second() {
    let endpoint = Endpoint::new(|call| granted(["a", "b"][call], 3600));
    endpoint
        .play(async |reader| {
            sleep(seconds(10)).await;
            assert_eq!(token(&reader), "Bearer a");
            sleep_machine(seconds(8 * 3600));
            assert!(reader.current().is_none());
            assert_eq!(reader.wait().await.unwrap().header, "Bearer b");
        })
        .await;
    assert!(endpoint.gaps()[0] <= seconds(11));
}
