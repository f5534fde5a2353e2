//! How long to wait after a failed fetch. Pure: a failure and a chance in, a delay out.

use std::time::Duration;

/// What the wait depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Situation {
    /// Requests are served with a token that is still valid.
    Holding,
    /// Requests fail for want of a token.
    Without,
    /// The client is refused: trying again changes nothing, and may lock an account.
    Refused,
}

impl Situation {
    /// The shortest wait.
    pub(super) fn least(self) -> Duration {
        self.bounds().0
    }

    /// The shortest wait, and what the longest one grows to.
    fn bounds(self) -> (Duration, Duration) {
        let (least, most) = match self {
            Situation::Holding => (1, 30),
            Situation::Without => (1, 15),
            Situation::Refused => (5, 60),
        };
        (Duration::from_secs(least), Duration::from_secs(most))
    }
}

/// Exponential backoff with full jitter: the cap doubles, the delay is anywhere below it. Another
/// situation begins anew.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
    situation: Option<Situation>,
}

impl Backoff {
    /// The wait after one more failure; `chance` is between 0 and 1.
    pub(super) fn next(&mut self, situation: Situation, chance: f64) -> Duration {
        let (least, most) = situation.bounds();
        if self.situation.replace(situation) != Some(situation) {
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
        let cap = least.saturating_mul(1 << self.failures.min(16)).min(most);
        cap.mul_f64(chance).max(least)
    }

    /// Forgets the failures.
    pub(super) fn reset(&mut self) {
        *self = Backoff::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cap_doubles_up_to_its_most_and_never_stops() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..6)
            .map(|_| backoff.next(Situation::Without, 1.0).as_secs())
            .collect();
        assert_eq!(waits, [2, 4, 8, 15, 15, 15]);
        backoff.failures = u32::MAX;
        assert_eq!(
            backoff.next(Situation::Without, 1.0),
            Duration::from_secs(15)
        );
        backoff.reset();
        assert_eq!(
            backoff.next(Situation::Without, 1.0),
            Duration::from_secs(2)
        );
    }

    #[test]
    fn another_situation_begins_anew() {
        let mut backoff = Backoff::default();
        let holding: Vec<_> = (0..5)
            .map(|_| backoff.next(Situation::Holding, 1.0).as_secs())
            .collect();
        assert_eq!(holding, [2, 4, 8, 16, 30]);
        assert_eq!(
            backoff.next(Situation::Without, 1.0),
            Duration::from_secs(2)
        );
        assert_eq!(
            backoff.next(Situation::Refused, 1.0),
            Duration::from_secs(10)
        );
    }

    #[test]
    fn no_wait_is_shorter_than_the_least() {
        let mut backoff = Backoff::default();
        assert_eq!(
            backoff.next(Situation::Without, 0.0),
            Duration::from_secs(1)
        );
        assert_eq!(
            backoff.next(Situation::Refused, 0.0),
            Duration::from_secs(5)
        );
    }
}
