//! Quota of a caller: rate and concurrency, counted for the whole process.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use crate::config::{Config, Rate};
use crate::error::{CallerLimit, Error};
use crate::metrics::Metrics;

/// `Retry-After` of a caller with too many requests in flight, of which one may end any moment.
const CONCURRENCY_RETRY_AFTER: Duration = Duration::from_secs(1);

/// Longest pause that a `Retry-After` of the API causes.
const MAX_PAUSE: Duration = Duration::from_secs(300);

/// The quotas of all callers.
#[derive(Debug)]
pub(in crate::proxy) struct CallerQuotas {
    /// For requests without a caller, where none are configured.
    pub(in crate::proxy) anonymous: Arc<CallerQuota>,
    /// In the order of the configuration.
    pub(in crate::proxy) by_caller: Vec<NamedQuota>,
}

/// A quota with the name and number of its caller.
#[derive(Debug)]
pub(in crate::proxy) struct NamedQuota {
    name: String,
    /// Number of the caller in the metrics.
    pub(in crate::proxy) number: usize,
    pub(in crate::proxy) quota: Arc<CallerQuota>,
}

impl CallerQuotas {
    /// The quotas that `config` asks for. Callers that were in `previous` keep their counters.
    pub(in crate::proxy) fn new(
        config: &Config,
        metrics: &Metrics,
        previous: Option<&CallerQuotas>,
    ) -> Self {
        let previous_of = |name: &str| {
            let mut quotas = previous?.by_caller.iter();
            Some(&*quotas.find(|quota| quota.name == name)?.quota)
        };
        let by_caller = config.callers.iter().map(|caller| NamedQuota {
            name: caller.name.clone(),
            number: metrics.caller_number(&caller.name),
            quota: Arc::new(CallerQuota::reload(
                previous_of(&caller.name),
                caller.rate,
                caller.max_in_flight,
            )),
        });
        let anonymous = previous.map(|previous| &*previous.anonymous);
        CallerQuotas {
            anonymous: Arc::new(CallerQuota::reload(anonymous, None, None)),
            by_caller: by_caller.collect(),
        }
    }
}

/// The quota of one caller, counted for the whole process.
#[derive(Debug, Default)]
pub(in crate::proxy) struct CallerQuota {
    rate: Option<Arc<(Rate, DefaultDirectRateLimiter)>>,
    max_in_flight: Option<u32>,
    state: Arc<QuotaState>,
}

/// Counters of a caller that survive a reload.
#[derive(Debug)]
struct QuotaState {
    /// Only counted with a limit: the workers share this counter.
    in_flight: AtomicU32,
    epoch: Instant,
    /// End of a pause that the API asked for, in milliseconds from `epoch`.
    paused_until: AtomicU64,
}

impl Default for QuotaState {
    fn default() -> Self {
        QuotaState {
            in_flight: AtomicU32::new(0),
            epoch: Instant::now(),
            paused_until: AtomicU64::new(0),
        }
    }
}

impl CallerQuota {
    /// The quota that replaces `previous`: a changed rate starts with a full burst, all other
    /// counters are kept.
    pub(super) fn reload(
        previous: Option<&CallerQuota>,
        rate: Option<Rate>,
        max_in_flight: Option<NonZeroU32>,
    ) -> Self {
        let unchanged = previous
            .and_then(|previous| previous.rate.clone())
            .filter(|limiter| Some(limiter.0) == rate);
        let new = || Some(Arc::new((rate?, RateLimiter::direct(gcra_quota(rate?)?))));
        let state = previous.map(|previous| Arc::clone(&previous.state));
        CallerQuota {
            rate: unchanged.or_else(new),
            max_in_flight: max_in_flight.map(NonZeroU32::get),
            state: state.unwrap_or_default(),
        }
    }

    /// Acquires the permit of one request.
    ///
    /// # Errors
    /// `RateLimited` when the caller sends too much, or is paused.
    pub(in crate::proxy) fn acquire(self: &Arc<Self>) -> Result<CallerPermit, Error> {
        self.check_pause()?;
        // Concurrency first: a request that it rejects does not count towards the rate.
        let permit = self.acquire_concurrency()?;
        if let Some((rate, limiter)) = self.rate.as_deref()
            && let Err(until) = limiter.check()
        {
            return Err(Error::RateLimited {
                retry_after: until.wait_time_from(DefaultClock::default().now()),
                limit: CallerLimit::Rate {
                    requests: rate.requests.get(),
                    seconds: rate.per.as_secs(),
                    burst: rate.burst.get(),
                },
            });
        }
        Ok(permit)
    }

    fn acquire_concurrency(self: &Arc<Self>) -> Result<CallerPermit, Error> {
        let permit = CallerPermit(Arc::clone(self));
        match self.max_in_flight {
            Some(max) if self.state.in_flight.fetch_add(1, Relaxed) >= max => {
                Err(Error::RateLimited {
                    retry_after: CONCURRENCY_RETRY_AFTER,
                    limit: CallerLimit::InFlight { max },
                })
            }
            _ => Ok(permit),
        }
    }

    fn check_pause(&self) -> Result<(), Error> {
        let until = self.state.paused_until.load(Relaxed);
        if until == 0 {
            return Ok(());
        }
        match Duration::from_millis(until).checked_sub(self.state.epoch.elapsed()) {
            Some(retry_after) if !retry_after.is_zero() => Err(Error::RateLimited {
                retry_after,
                limit: CallerLimit::Pause,
            }),
            _ => Ok(()),
        }
    }

    /// Rejects the caller's requests for `time`, 5 minutes at most.
    pub(in crate::proxy) fn pause(&self, time: Duration) {
        let until = (self.state.epoch.elapsed() + time.min(MAX_PAUSE)).as_millis();
        self.state
            .paused_until
            .fetch_max(u64::try_from(until).unwrap_or(u64::MAX), Relaxed);
    }
}

/// `rate` as a GCRA quota; `None` above a thousand million requests a second.
fn gcra_quota(rate: Rate) -> Option<Quota> {
    Some(Quota::with_period(rate.per / rate.requests.get())?.allow_burst(rate.burst))
}

/// One request in flight of a caller.
#[derive(Debug)]
pub(in crate::proxy) struct CallerPermit(Arc<CallerQuota>);

impl Drop for CallerPermit {
    fn drop(&mut self) {
        if self.0.max_in_flight.is_some() {
            self.0.state.in_flight.fetch_sub(1, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(requests: u32, burst: u32) -> Rate {
        Rate {
            requests: NonZeroU32::new(requests).unwrap(),
            per: Duration::from_secs(60),
            burst: NonZeroU32::new(burst).unwrap(),
        }
    }

    #[test]
    fn a_caller_gets_its_burst_then_its_rate() {
        let quota = CallerQuota::reload(None, Some(rate(60, 3)), None);
        let (limited, limiter) = quota.rate.as_deref().unwrap();
        assert_eq!(*limited, rate(60, 3));
        assert_eq!((0..5).filter(|_| limiter.check().is_ok()).count(), 3);
        let until = limiter
            .check()
            .unwrap_err()
            .wait_time_from(DefaultClock::default().now());
        assert!(
            until <= Duration::from_secs(1) && until > Duration::from_millis(500),
            "{until:?}"
        );
    }

    #[test]
    fn a_concurrency_rejection_costs_nothing_of_the_rate() {
        let quota = Arc::new(CallerQuota::reload(
            None,
            Some(rate(1, 2)),
            NonZeroU32::new(1),
        ));
        let first = quota.acquire().unwrap();
        for _ in 0..5 {
            assert!(matches!(
                quota.acquire(),
                Err(Error::RateLimited {
                    limit: CallerLimit::InFlight { max: 1 },
                    ..
                })
            ));
        }
        drop(first);
        drop(quota.acquire().unwrap());
        assert!(matches!(
            quota.acquire(),
            Err(Error::RateLimited {
                limit: CallerLimit::Rate {
                    requests: 1,
                    seconds: 60,
                    burst: 2,
                },
                ..
            })
        ));
    }

    #[test]
    fn a_rate_too_high_to_count_is_unlimited() {
        assert!(
            gcra_quota(Rate {
                per: Duration::from_nanos(1),
                ..rate(2, 1)
            })
            .is_none()
        );
    }

    #[test]
    fn the_api_can_pause_a_caller() {
        let quota = CallerQuota::default();
        assert!(quota.check_pause().is_ok());
        quota.pause(Duration::from_secs(7));
        quota.pause(Duration::from_secs(2));
        let Err(Error::RateLimited {
            retry_after,
            limit: CallerLimit::Pause,
        }) = quota.check_pause()
        else {
            panic!()
        };
        assert!(retry_after > Duration::from_secs(6), "{retry_after:?}");
        quota.pause(Duration::from_secs(1_000_000));
        let Err(Error::RateLimited { retry_after, .. }) = quota.check_pause() else {
            panic!()
        };
        assert!(retry_after <= MAX_PAUSE, "{retry_after:?}");
    }

    #[test]
    fn counters_survive_a_reload() {
        let (one, two) = (NonZeroU32::new(1), NonZeroU32::new(2));
        let first = CallerQuota::reload(None, Some(rate(1, 1)), one);
        first.state.in_flight.fetch_add(1, Relaxed);
        first.pause(Duration::from_secs(9));
        let (_, limiter) = first.rate.as_deref().unwrap();
        limiter.check().unwrap();

        let more = CallerQuota::reload(Some(&first), Some(rate(1, 1)), two);
        assert_eq!(
            (more.max_in_flight, more.state.in_flight.load(Relaxed)),
            (Some(2), 1)
        );
        assert!(more.check_pause().is_err());
        assert!(more.rate.as_deref().unwrap().1.check().is_err());

        let faster = CallerQuota::reload(Some(&more), Some(rate(1, 2)), two);
        assert_eq!(faster.state.in_flight.load(Relaxed), 1);
        assert!(faster.rate.as_deref().unwrap().1.check().is_ok());
    }
}
