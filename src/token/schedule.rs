//! When a token is replaced, and when it is no longer sent. Pure: a life in, times out.

use std::time::Duration;

const MARGIN_SHARE: f64 = 0.2;
const MARGIN_LEAST: Duration = Duration::from_secs(30);
const MARGIN_MOST: Duration = Duration::from_secs(300);

/// Below this life the least margin would eat most of it; the margin is half the life instead.
const SHORT_LIFE: Duration = Duration::from_secs(60);

/// How much of the margin is left to chance, so that replicas do not refresh together.
const JITTER_SHARE: f64 = 0.2;

/// How long before its expiry a token is no longer sent: the way to the API and a clock that is off
/// both take time.
const STOP_MOST: Duration = Duration::from_secs(5);
const STOP_SHARE: f64 = 0.1;

/// What to do with a token, in time since the request for it was sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Plan {
    /// Fetch the next one.
    pub(super) refresh: Duration,
    /// Send this one no more.
    pub(super) stop: Duration,
}

/// The plan for a token that lives for `life`; `chance` is between 0 and 1.
pub(super) fn plan(life: Duration, chance: f64) -> Plan {
    let margin = if life < SHORT_LIFE {
        life / 2
    } else {
        life.mul_f64(MARGIN_SHARE).clamp(MARGIN_LEAST, MARGIN_MOST)
    };
    let margin = margin.mul_f64(1.0 - JITTER_SHARE * chance);
    Plan {
        refresh: life - margin,
        stop: life - life.mul_f64(STOP_SHARE).min(STOP_MOST),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_token_is_replaced_in_time_and_stopped_before_it_expires() {
        let seconds = |plan: Plan| (plan.refresh.as_secs_f64(), plan.stop.as_secs_f64());
        assert_eq!(
            seconds(plan(Duration::from_secs(3600), 0.0)),
            (3300.0, 3595.0)
        );
        assert_eq!(
            seconds(plan(Duration::from_secs(3600), 1.0)),
            (3360.0, 3595.0)
        );
        assert_eq!(seconds(plan(Duration::from_secs(300), 0.0)), (240.0, 295.0));
        assert_eq!(seconds(plan(Duration::from_secs(100), 0.0)), (70.0, 95.0));
        assert_eq!(seconds(plan(Duration::from_secs(60), 0.0)), (30.0, 55.0));
        assert_eq!(seconds(plan(Duration::from_secs(2), 0.0)), (1.0, 1.8));
    }

    proptest! {
        #[test]
        fn whatever_the_life_the_refresh_comes_before_the_stop_and_the_stop_before_the_expiry(
            life in (1_000_u64..=10 * 365 * 86_400 * 1_000).prop_map(Duration::from_millis),
            chance in 0.0..=1.0,
        ) {
            let plan = plan(life, chance);
            prop_assert!(Duration::ZERO < plan.refresh && plan.refresh < plan.stop && plan.stop < life);
        }

        #[test]
        fn the_margin_is_within_its_bounds_and_its_jitter_is_at_most_a_fifth(
            life in (1_u64..100_000).prop_map(Duration::from_secs),
            chance in 0.0..=1.0,
        ) {
            let margin = (life - plan(life, chance).refresh).as_secs_f64();
            let full = match life.as_secs_f64() {
                life if life < 60.0 => life / 2.0,
                life => (life * 0.2).clamp(30.0, 300.0),
            };
            prop_assert!(margin <= full * 1.0001 && margin >= full * 0.7999, "{margin} of {full}");
        }

        #[test]
        fn a_token_stops_five_seconds_or_a_tenth_of_its_life_before_its_expiry(
            life in (1_u64..100_000).prop_map(Duration::from_secs),
            chance in 0.0..=1.0,
        ) {
            let left = (life - plan(life, chance).stop).as_secs_f64();
            let expected = (life.as_secs_f64() / 10.0).min(5.0);
            prop_assert!((left - expected).abs() < 1e-6, "{left}");
        }
    }
}
