//! Schedule of a token: when it is refreshed, and when it is no longer sent. Pure: takes its random
//! number as an argument.

use std::time::Duration;

/// Part of the lifetime that is left at the refresh, and its bounds.
const REFRESH_MARGIN: f64 = 0.2;
const MIN_REFRESH_MARGIN: Duration = Duration::from_secs(30);
const MAX_REFRESH_MARGIN: Duration = Duration::from_secs(300);

/// Below this lifetime the minimal margin would take most of it; the margin is half of it instead.
const SHORT_LIFETIME: Duration = Duration::from_secs(60);

/// Random part of the margin, so that replicas do not refresh together.
const JITTER: f64 = 0.2;

/// Part of the lifetime that is left when a token is sent for the last time, and its bound: the way
/// to the API and a deviating clock both take time.
const EXPIRY_MARGIN: f64 = 0.1;
const MAX_EXPIRY_MARGIN: Duration = Duration::from_secs(5);

/// Times since the token request was sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct RefreshSchedule {
    /// The next fetch.
    pub(super) refresh: Duration,
    /// The end of the token's use.
    pub(super) stop: Duration,
}

impl RefreshSchedule {
    /// The schedule of a token with this `lifetime`; `random` is between 0 and 1.
    pub(super) fn new(lifetime: Duration, random: f64) -> Self {
        let margin = if lifetime < SHORT_LIFETIME {
            lifetime / 2
        } else {
            lifetime
                .mul_f64(REFRESH_MARGIN)
                .clamp(MIN_REFRESH_MARGIN, MAX_REFRESH_MARGIN)
        };
        let margin = margin.mul_f64(1.0 - JITTER * random);
        RefreshSchedule {
            refresh: lifetime - margin,
            stop: lifetime - lifetime.mul_f64(EXPIRY_MARGIN).min(MAX_EXPIRY_MARGIN),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_token_is_refreshed_and_stopped_before_expiry() {
        let seconds = |lifetime, random| {
            let schedule = RefreshSchedule::new(Duration::from_secs(lifetime), random);
            (schedule.refresh.as_secs_f64(), schedule.stop.as_secs_f64())
        };
        assert_eq!(seconds(3600, 0.0), (3300.0, 3595.0));
        assert_eq!(seconds(3600, 1.0), (3360.0, 3595.0));
        assert_eq!(seconds(300, 0.0), (240.0, 295.0));
        assert_eq!(seconds(100, 0.0), (70.0, 95.0));
        assert_eq!(seconds(60, 0.0), (30.0, 55.0));
        assert_eq!(seconds(2, 0.0), (1.0, 1.8));
    }

    proptest! {
        #[test]
        fn refresh_precedes_stop_and_stop_precedes_expiry(
            lifetime in (1_000_u64..=10 * 365 * 86_400 * 1_000).prop_map(Duration::from_millis),
            random in 0.0..=1.0,
        ) {
            let schedule = RefreshSchedule::new(lifetime, random);
            prop_assert!(Duration::ZERO < schedule.refresh);
            prop_assert!(schedule.refresh < schedule.stop && schedule.stop < lifetime);
        }

        #[test]
        fn the_bounded_margin_has_20_percent_jitter(
            lifetime in (1_u64..100_000).prop_map(Duration::from_secs),
            random in 0.0..=1.0,
        ) {
            let margin = (lifetime - RefreshSchedule::new(lifetime, random).refresh).as_secs_f64();
            let full = match lifetime.as_secs_f64() {
                seconds if seconds < 60.0 => seconds / 2.0,
                seconds => (seconds * 0.2).clamp(30.0, 300.0),
            };
            prop_assert!(margin <= full * 1.0001 && margin >= full * 0.7999, "{margin} of {full}");
        }

        #[test]
        fn tokens_stop_five_seconds_or_ten_percent_early(
            lifetime in (1_u64..100_000).prop_map(Duration::from_secs),
            random in 0.0..=1.0,
        ) {
            let left = (lifetime - RefreshSchedule::new(lifetime, random).stop).as_secs_f64();
            let expected = (lifetime.as_secs_f64() / 10.0).min(5.0);
            prop_assert!((left - expected).abs() < 1e-6, "{left}");
        }
    }
}
