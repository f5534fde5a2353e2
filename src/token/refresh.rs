//! The refresh task: fetches a token, publishes it, and fetches the next one in time. It never ends.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::backoff::{Backoff, Situation};
use super::bearer::{Bearer, Failure, Publisher};
use super::endpoint::FetchError;
use super::grant::Grant;
use super::schedule;
use crate::error::chain;

/// Between the starts of two fetches, whatever happens.
const LEAST_PAUSE: Duration = Duration::from_secs(1);

/// Publishes tokens from `fetch` for as long as it is polled. `fallback_life` is the life of a token whose answer
/// does not tell it.
pub async fn refresh<F, R>(fetch: F, publisher: Publisher, fallback_life: Duration)
where
    F: Fn() -> R,
    R: Future<Output = Result<Grant, FetchError>>,
{
    let mut generation = 0;
    let mut backoff = Backoff::default();
    let mut health = Health::Starting;
    loop {
        // The life counts from here: the server set the clock going some time after.
        let began = Instant::now();
        let next = match fetch().await {
            Ok(grant) => {
                generation += 1;
                backoff.reset();
                let life = grant.life.unwrap_or(fallback_life);
                let plan = schedule::plan(life, fastrand::f64());
                publisher.publish(Bearer { header: grant.header, generation, stop: began + plan.stop });
                health.become_good(generation, life);
                began + plan.refresh
            }
            Err(error) => {
                let refused = error.is_refusal();
                publisher.publish_failure(if refused {
                    Failure::ClientRefused
                } else {
                    Failure::Unavailable
                });
                let until = publisher.valid_until();
                health.become_bad(&error, refused, until.is_some());
                let situation = match (refused, until) {
                    (true, _) => Situation::Refused,
                    (false, Some(_)) => Situation::Holding,
                    (false, None) => Situation::Without,
                };
                let next = Instant::now() + backoff.next(situation, fastrand::f64());
                match (situation, until) {
                    // Once more when the token ends: from then on each moment counts.
                    (Situation::Holding, Some(until)) => next.min(until),
                    _ => next,
                }
            }
        };
        sleep_until(next.max(began + LEAST_PAUSE)).await;
    }
}

/// What the log has said last, so that it speaks once a change and not once a fetch.
#[derive(Debug, PartialEq)]
enum Health {
    Starting,
    Good,
    Bad { refused: bool, holding: bool },
}

impl Health {
    fn become_good(&mut self, generation: u64, life: Duration) {
        let life = life.as_secs();
        match self {
            Health::Good => tracing::debug!(generation, life, "the access token is refreshed"),
            Health::Starting => tracing::info!(generation, life, "an access token is held"),
            Health::Bad { .. } if generation > 1 => {
                tracing::info!(generation, life, "an access token is held again");
            }
            Health::Bad { .. } => tracing::info!(generation, life, "an access token is held"),
        }
        *self = Health::Good;
    }

    fn become_bad(&mut self, error: &FetchError, refused: bool, holding: bool) {
        let now = Health::Bad { refused, holding };
        if *self == now {
            tracing::debug!(error = chain(error), "still no new access token");
            return;
        }
        *self = now;
        let error = chain(error);
        match holding {
            true => {
                tracing::warn!(error, "no new access token; the one that is held serves until it expires")
            }
            false => tracing::error!(error, "there is no valid access token; requests are answered with 503"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use http::{HeaderValue, StatusCode};

    use super::*;
    use crate::token::{Reader, channel};

    type Answer = fn() -> Result<Grant, FetchError>;

    fn granted() -> Result<Grant, FetchError> {
        Ok(Grant { header: HeaderValue::from_static("Bearer a"), life: Some(Duration::from_secs(100)) })
    }

    fn short_lived() -> Result<Grant, FetchError> {
        Ok(Grant { header: HeaderValue::from_static("Bearer a"), life: Some(Duration::from_secs(1)) })
    }

    fn unavailable() -> Result<Grant, FetchError> {
        Err(FetchError::Status(StatusCode::SERVICE_UNAVAILABLE))
    }

    fn refused() -> Result<Grant, FetchError> {
        Err(FetchError::Refused { status: StatusCode::UNAUTHORIZED, code: None })
    }

    /// Runs the refresh task with `script`, whose last answer repeats, for `time`; the starts of the fetches.
    async fn play(script: &[Answer], time: Duration) -> (Reader, Vec<Duration>) {
        let (publisher, reader) = channel(Duration::from_secs(5));
        let starts = Mutex::new(Vec::new());
        let begin = Instant::now();
        let fetch = || {
            let mut starts = starts.lock().unwrap();
            let answer = script[starts.len().min(script.len() - 1)];
            starts.push(begin.elapsed());
            async move { answer() }
        };
        let task = refresh(fetch, publisher, Duration::from_secs(300));
        assert!(tokio::time::timeout(time, task).await.is_err(), "the refresh task ended");
        (reader, starts.into_inner().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_replaced_before_it_expires() {
        let (reader, starts) = play(&[granted], Duration::from_secs(200)).await;
        assert_eq!(starts.len(), 3, "{starts:?}");
        assert!(
            starts.windows(2).all(|pair| (70..=76).contains(&(pair[1] - pair[0]).as_secs())),
            "{starts:?}"
        );
        assert_eq!(reader.current().unwrap().generation, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_refresh_keeps_the_token_until_it_stops() {
        let (reader, starts) = play(&[granted, unavailable], Duration::from_secs(94)).await;
        assert!(starts.len() > 1);
        assert_eq!(reader.current().unwrap().generation, 1);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(reader.current().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn the_task_goes_on_whatever_fails_and_heals() {
        let script: [Answer; 5] = [unavailable, refused, unavailable, refused, granted];
        let (reader, starts) = play(&script, Duration::from_secs(300)).await;
        assert!(starts.len() >= 5, "{starts:?}");
        assert!(reader.current().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn two_fetches_are_never_closer_than_a_second() {
        for script in [short_lived as Answer, unavailable, refused] {
            let (_, starts) = play(&[script], Duration::from_secs(60)).await;
            assert!(starts.len() > 1);
            assert!(starts.windows(2).all(|pair| pair[1] - pair[0] >= LEAST_PAUSE), "{starts:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_client_is_tried_seldom() {
        let (_, starts) = play(&[refused], Duration::from_secs(600)).await;
        assert!(starts.len() <= 120, "{starts:?}");
        assert!(starts.windows(2).all(|pair| pair[1] - pair[0] >= Duration::from_secs(5)), "{starts:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_a_token_is_not_slept_through() {
        let (_, starts) = play(&[granted, unavailable], Duration::from_secs(96)).await;
        assert!(
            starts.iter().any(|start| start.as_secs() == 95),
            "no fetch as the token stopped: {starts:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_client_is_tried_seldom_also_as_its_token_ends() {
        let (_, starts) = play(&[granted, refused], Duration::from_secs(300)).await;
        let gaps = starts[1..].windows(2).map(|pair| pair[1] - pair[0]);
        assert!(gaps.into_iter().all(|gap| gap >= Duration::from_secs(5)), "{starts:?}");
    }
}
