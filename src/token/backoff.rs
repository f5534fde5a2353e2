//! Backoff after a failed fetch: exponential, with full jitter. Pure: takes its random number as an
//! argument.

use std::time::Duration;

/// What the bounds of the delay depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Situation {
    /// The current token still serves requests.
    TokenValid,
    /// Requests fail without a token.
    NoToken,
    /// The endpoint refuses the client: a retry changes nothing, and may lock an account.
    ClientRefused,
}

impl Situation {
    pub(super) fn min_delay(self) -> Duration {
        self.bounds().0
    }

    /// The shortest delay, and the limit of the growing cap.
    fn bounds(self) -> (Duration, Duration) {
        let (min, max) = match self {
            Situation::TokenValid => (1, 30),
            Situation::NoToken => (1, 15),
            Situation::ClientRefused => (5, 60),
        };
        (Duration::from_secs(min), Duration::from_secs(max))
    }
}

/// The cap doubles with each failure; the delay is a random part of it. A change of the situation
/// resets the cap.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
    situation: Option<Situation>,
}

impl Backoff {
    /// The delay after one more failure; `random` is between 0 and 1.
    pub(super) fn next_delay(&mut self, situation: Situation, random: f64) -> Duration {
        let (min, max) = situation.bounds();
        if self.situation.replace(situation) != Some(situation) {
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
        let cap = min.saturating_mul(1 << self.failures.min(16)).min(max);
        cap.mul_f64(random).max(min)
    }

    pub(super) fn reset(&mut self) {
        *self = Backoff::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cap_doubles_up_to_its_maximum() {
        let mut backoff = Backoff::default();
        let delays: Vec<_> = (0..6)
            .map(|_| backoff.next_delay(Situation::NoToken, 1.0).as_secs())
            .collect();
        assert_eq!(delays, [2, 4, 8, 15, 15, 15]);
        backoff.failures = u32::MAX;
        assert_eq!(
            backoff.next_delay(Situation::NoToken, 1.0),
            Duration::from_secs(15)
        );
        backoff.reset();
        assert_eq!(
            backoff.next_delay(Situation::NoToken, 1.0),
            Duration::from_secs(2)
        );
    }

    #[test]
    fn another_situation_resets_the_cap() {
        let mut backoff = Backoff::default();
        let delays: Vec<_> = (0..5)
            .map(|_| backoff.next_delay(Situation::TokenValid, 1.0).as_secs())
            .collect();
        assert_eq!(delays, [2, 4, 8, 16, 30]);
        assert_eq!(
            backoff.next_delay(Situation::NoToken, 1.0),
            Duration::from_secs(2)
        );
        assert_eq!(
            backoff.next_delay(Situation::ClientRefused, 1.0),
            Duration::from_secs(10)
        );
    }

    #[test]
    fn no_delay_is_shorter_than_the_minimum() {
        let mut backoff = Backoff::default();
        assert_eq!(
            backoff.next_delay(Situation::NoToken, 0.0),
            Duration::from_secs(1)
        );
        assert_eq!(
            backoff.next_delay(Situation::ClientRefused, 0.0),
            Duration::from_secs(5)
        );
    }
}
