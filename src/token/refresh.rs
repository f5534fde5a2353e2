//! The refresh task: fetches a token, publishes it, and fetches the next one in time. It never
//! ends.

use std::future::{Future, pending};
use std::time::Duration;

use http::HeaderValue;
use tokio::time::{Instant, sleep_until};

use super::backoff::{Backoff, Situation};
use super::deadline::Deadline;
use super::endpoint::FetchError;
use super::handle::{Bearer, Failure, Publisher};
use super::response::Grant;
use super::schedule::{self, Plan};
use crate::error::chain;
use crate::metrics::FetchOutcome;

/// Between the starts of two fetches, whatever happens.
const LEAST_PAUSE: Duration = Duration::from_secs(1);

/// Between a failed fetch and the next while requests wait for a token. By default each waits for 5
/// s: this leaves it a second for the fetch.
const MAX_PAUSE_WHILE_AWAITED: Duration = Duration::from_secs(4);

/// Publishes tokens from `fetch` for as long as it is polled. When `changed` returns, the client
/// asks as another, or otherwise: a token is fetched at once, and a fetch with the old ones, should
/// one be on its way, is given up. `default_lifetime` tells the life of a token whose answer does not.
pub async fn refresh<F, R, C, D>(
    fetch: F,
    changed: C,
    mut publisher: Publisher,
    default_lifetime: impl Fn() -> Duration,
) where
    F: Fn() -> R,
    R: Future<Output = Result<Grant, FetchError>>,
    C: Fn() -> D,
    D: Future<Output = ()>,
{
    let mut generation = 0;
    let mut backoff = Backoff::default();
    let mut health = Health::Starting;
    let mut given_up = false;
    loop {
        let start = Instant::now();
        // The life counts from here: the server set the clock going some time after.
        let began = Deadline::now();
        let fetched = tokio::select! {
            // In this order: what has changed before is what the fetch asks with.
            biased;
            fetched = fetch() => Some(fetched),
            // Once in a row: a file that is written every second would let no fetch come to its
            // end.
            () = changed(), if !given_up => None,
        };
        given_up = fetched.is_none();
        let took = start.elapsed();
        let fetched = fetched
            .map(|fetched| fetched.and_then(|grant| in_time(grant, began, default_lifetime())));
        let is_changed = match fetched {
            None => true,
            Some(Ok((header, life, plan))) => {
                generation += 1;
                backoff.reset();
                let life_left = (began + plan.stop).left();
                publisher.metrics.record_fetch(
                    FetchOutcome::Granted {
                        generation,
                        life: life_left,
                    },
                    took,
                );
                publisher.publish(Bearer::new(header, generation, began + plan.stop));
                health.become_good(generation, life);
                tokio::select! {
                    () = (began + plan.refresh).reached() => false,
                    () = changed() => true,
                    () = publisher.rejected() => {
                        publisher.metrics.record_rejection();
                        tracing::warn!(generation, "the API refuses a request with this access token; asking for another");
                        false
                    }
                }
            }
            Some(Err(error)) => {
                publisher.metrics.record_fetch(
                    FetchOutcome::Failed {
                        reason: error.reason(),
                    },
                    took,
                );
                let until = publisher.serves_until();
                health.become_bad(&error, until.is_some());
                let failed = Deadline::now();
                let next = next_try(&error, until, &mut backoff);
                publisher.publish_failure(failure(&error), next);
                // Also a pause that has begun: what was long enough for nobody is too long for a
                // request.
                let is_hurried = async {
                    let latest = failed + MAX_PAUSE_WHILE_AWAITED;
                    if !may_be_hurried(&error) || next.left() <= MAX_PAUSE_WHILE_AWAITED {
                        return pending().await;
                    }
                    publisher.awaited().await;
                    publisher.publish_failure(failure(&error), latest);
                    latest.reached().await;
                };
                // The next try may be minutes after the end of the token that serves: the log must
                // not wait for it.
                let tell_the_end = async {
                    match until {
                        Some(until) => until.reached().await,
                        None => pending().await,
                    }
                    health.become_bad(&error, false);
                    pending::<()>().await;
                };
                tokio::select! {
                    () = next.reached() => false,
                    () = is_hurried => false,
                    () = changed() => true,
                    () = tell_the_end => false,
                }
            }
        };
        if is_changed {
            tracing::info!(
                "the client, or how it asks, has changed; asking for another access token"
            );
            backoff.reset();
        }
        sleep_until(start + LEAST_PAUSE).await;
    }
}

/// What was granted, with its life and its plan, unless it is over already: such a token helps
/// nobody, and whoever waits for one should be told why there is none.
fn in_time(
    grant: Grant,
    began: Deadline,
    default_lifetime: Duration,
) -> Result<(HeaderValue, Duration, Plan), FetchError> {
    let life = grant.life.unwrap_or(default_lifetime);
    let plan = schedule::plan(life, fastrand::f64());
    match (began + plan.stop).has_come() {
        true => Err(FetchError::TooLate {
            life: life.as_secs(),
        }),
        false => Ok((grant.header, life, plan)),
    }
}

fn failure(error: &FetchError) -> Failure {
    if error.is_refusal() {
        Failure::ClientRefused
    } else {
        Failure::Unavailable
    }
}

/// Whether requests that wait for a token may shorten the pause after `error`. An endpoint that
/// names a time is not asked earlier, and one that refuses the client or limits its rate may lock
/// it out after more tries.
fn may_be_hurried(error: &FetchError) -> bool {
    use http::StatusCode;

    let is_limited = matches!(
        error,
        FetchError::Status {
            status: StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS,
            ..
        }
    );
    !error.is_refusal() && !is_limited && error.retry_after().is_none_or(|asked| asked.is_zero())
}

/// When to try again after `error`; `until` is the end of the token that serves.
fn next_try(error: &FetchError, until: Option<Deadline>, backoff: &mut Backoff) -> Deadline {
    let situation = match (error.is_refusal(), until) {
        (true, _) => Situation::Refused,
        (false, Some(_)) => Situation::Holding,
        (false, None) => Situation::Without,
    };
    let wait = backoff.next(situation, fastrand::f64());
    match (error.retry_after(), situation, until) {
        // A wait of nothing is no wish, and a client that is refused is in no hurry, whatever the
        // endpoint says.
        (Some(asked), ..) if !asked.is_zero() => Deadline::now() + asked.max(situation.least()),
        // Once more when the token ends: from then on each moment counts.
        (_, Situation::Holding, Some(until)) => (Deadline::now() + wait).min(until),
        _ => Deadline::now() + wait,
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

    fn become_bad(&mut self, error: &FetchError, holding: bool) {
        let now = Health::Bad {
            refused: error.is_refusal(),
            holding,
        };
        if *self == now {
            tracing::debug!(error = chain(error), "still no new access token");
            return;
        }
        *self = now;
        let error = chain(error);
        match holding {
            true => {
                tracing::warn!(
                    error,
                    "no new access token; the one that is held serves until it expires"
                )
            }
            false => tracing::error!(error, "there is no usable access token; requests fail"),
        }
    }
}

#[cfg(test)]
mod tests;
