//! Refresh task: fetches a token, publishes it, and fetches the next one before it expires. It
//! never ends.

mod log;

use std::future::pending;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use self::log::RefreshLog;
use super::backoff::{Backoff, Situation};
use super::bearer::Bearer;
use super::deadline::Deadline;
use super::failure::FetchError;
use super::handle::TokenPublisher;
use super::response::TokenResponse;
use super::schedule::RefreshSchedule;
use super::source::TokenSource;
use crate::metrics::FetchOutcome;

/// Minimum time between the starts of two fetches.
const MIN_FETCH_INTERVAL: Duration = Duration::from_secs(1);

/// Longest pause after a failed fetch while requests wait for a token. By default they wait 5 s:
/// this leaves a second for the fetch.
const MAX_PAUSE_WHILE_AWAITED: Duration = Duration::from_secs(4);

/// Publishes tokens of `source` for as long as it is polled. A change of the source cancels the
/// fetch in flight and starts another.
pub async fn refresh(source: &impl TokenSource, publisher: TokenPublisher) {
    let mut task = RefreshTask {
        log: RefreshLog::new(publisher.metrics.account()),
        publisher,
        generation: 0,
        backoff: Backoff::default(),
    };
    let mut is_cancelled = false;
    loop {
        let start = FetchStart {
            instant: Instant::now(),
            deadline: Deadline::now(),
        };
        let fetched = tokio::select! {
            // The fetch first: it uses whatever has changed before.
            biased;
            fetched = source.fetch() => Some(fetched),
            // Not twice in a row: a file that is written every second would cancel every fetch.
            () = source.changed(), if !is_cancelled => None,
        };
        is_cancelled = fetched.is_none();
        let next = match fetched {
            None => Next::Changed,
            Some(fetched) => task.process(source, start, fetched).await,
        };
        if next == Next::Changed {
            tracing::info!(
                account = task.publisher.metrics.account(),
                "the client's settings or credentials have changed; fetching another access token"
            );
            task.backoff.reset();
        }
        sleep_until(start.instant + MIN_FETCH_INTERVAL).await;
    }
}

/// The reason of the next fetch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Due,
    Changed,
}

#[derive(Clone, Copy)]
struct FetchStart {
    instant: Instant,
    /// The lifetime of a token counts from here: the server started it some time later.
    deadline: Deadline,
}

struct RefreshTask {
    publisher: TokenPublisher,
    generation: u64,
    backoff: Backoff,
    log: RefreshLog,
}

impl RefreshTask {
    /// Publishes the result of a fetch and waits until the next one.
    async fn process(
        &mut self,
        source: &impl TokenSource,
        start: FetchStart,
        fetched: Result<TokenResponse, FetchError>,
    ) -> Next {
        let duration = start.instant.elapsed();
        let metrics = &self.publisher.metrics;
        metrics.set_certificate_end(source.certificate_end());
        let fetched = fetched
            .and_then(|response| GrantedToken::new(response, start, source.default_lifetime()));
        match fetched {
            Ok(token) => {
                self.publish(&token, duration);
                self.wait_until_due(source, start.deadline + token.schedule.refresh)
                    .await
            }
            Err(error) => self.pause_after(source, &error, duration).await,
        }
    }

    fn publish(&mut self, token: &GrantedToken, duration: Duration) {
        self.generation += 1;
        self.backoff.reset();
        let generation = self.generation;
        self.publisher.metrics.record_fetch(
            FetchOutcome::Granted {
                generation,
                life: token.usable_until.remaining(),
            },
            duration,
        );
        let bearer = Bearer::new(
            token.response.header.clone(),
            generation,
            token.usable_until,
        );
        self.publisher.publish(bearer, duration);
        self.log.record_success(generation, token.lifetime);
    }

    async fn wait_until_due(&mut self, source: &impl TokenSource, refresh_at: Deadline) -> Next {
        tokio::select! {
            () = refresh_at.wait() => Next::Due,
            () = source.changed() => Next::Changed,
            () = self.publisher.rejected() => {
                self.publisher.metrics.record_rejection();
                tracing::warn!(
                    account = self.publisher.metrics.account(),
                    generation = self.generation,
                    "the API refuses a request with this access token; fetching another"
                );
                Next::Due
            }
        }
    }

    async fn pause_after(
        &mut self,
        source: &impl TokenSource,
        error: &FetchError,
        duration: Duration,
    ) -> Next {
        let reason = error.kind().name();
        self.publisher
            .metrics
            .record_fetch(FetchOutcome::Failed { reason }, duration);
        let serves_until = self.publisher.serves_until();
        self.log.record_failure(error, serves_until.is_some());
        let failed_at = Deadline::now();
        let next_fetch = next_fetch(error, serves_until, &mut self.backoff);
        self.publisher.publish_failure(error, duration, next_fetch);

        // Requests that arrive during the pause shorten it.
        let shortened = async {
            let latest = failed_at + MAX_PAUSE_WHILE_AWAITED;
            if !may_shorten_pause(error) || next_fetch.remaining() <= MAX_PAUSE_WHILE_AWAITED {
                return pending().await;
            }
            self.publisher.awaited().await;
            self.publisher.publish_next_fetch(latest);
            latest.wait().await;
        };
        // Logged when the token ends, which may be minutes before the next fetch.
        let log_end = async {
            match serves_until {
                Some(end) => end.wait().await,
                None => pending().await,
            }
            self.log.record_failure(error, false);
            pending::<()>().await;
        };
        tokio::select! {
            () = next_fetch.wait() => Next::Due,
            () = shortened => Next::Due,
            () = source.changed() => Next::Changed,
            () = log_end => Next::Due,
        }
    }
}

struct GrantedToken {
    response: TokenResponse,
    lifetime: Duration,
    schedule: RefreshSchedule,
    usable_until: Deadline,
}

impl GrantedToken {
    /// Fails with `TooLate` if the token has expired already: requests fail with a reason then,
    /// instead of waiting in vain.
    fn new(
        response: TokenResponse,
        start: FetchStart,
        default_lifetime: Duration,
    ) -> Result<Self, FetchError> {
        let lifetime = response.lifetime.unwrap_or(default_lifetime);
        let schedule = RefreshSchedule::new(lifetime, fastrand::f64());
        let usable_until = start.deadline + schedule.stop;
        if usable_until.has_passed() {
            return Err(FetchError::TooLate {
                lifetime: lifetime.as_secs(),
            });
        }
        Ok(GrantedToken {
            response,
            lifetime,
            schedule,
            usable_until,
        })
    }
}

/// Whether waiting requests may shorten the pause after `error`. A `Retry-After` stands, and an
/// endpoint that refuses the client or limits its rate may lock it out after more attempts.
fn may_shorten_pause(error: &FetchError) -> bool {
    !error.is_refusal() && !error.is_limited() && error.retry_after().is_none()
}

/// The time of the next fetch after `error`; `serves_until` is the end of the current token.
fn next_fetch(
    error: &FetchError,
    serves_until: Option<Deadline>,
    backoff: &mut Backoff,
) -> Deadline {
    let situation = match serves_until {
        _ if error.is_refusal() => Situation::ClientRefused,
        Some(_) => Situation::TokenValid,
        None => Situation::NoToken,
    };
    let delay = backoff.next_delay(situation, fastrand::f64());
    match (error.retry_after(), situation, serves_until) {
        (Some(retry_after), ..) => Deadline::now() + retry_after.max(situation.min_delay()),
        // No later than the end of the token: requests fail from then on.
        (_, Situation::TokenValid, Some(end)) => (Deadline::now() + delay).min(end),
        _ => Deadline::now() + delay,
    }
}

#[cfg(test)]
mod tests;
