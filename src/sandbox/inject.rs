//! Fault injection: chooses the faults of a call, and applies them to its response.
//!
//! Of faults that exclude each other, a call gets the first one in the list that is not used up:
//! `token-status=500*2` and `token-reset*1` make two 500 responses, and then one reset.

use std::num::NonZeroU32;
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode};

use super::faults::{Fault, FaultEffect, FaultTarget};
use super::faulty_body::{StopSignal, reset_response, sleep_unless_stopped, truncate_half};
use super::response::SandboxResponse;

/// The faults that are active, in the order in which they were set.
pub(super) struct ActiveFaults(Vec<Fault>);

/// The faults of one call, except those of the token that it may get.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct FaultPlan {
    /// The outcome that replaces the regular one.
    pub(super) outcome: Option<ForcedOutcome>,
    delay: Option<Duration>,
    retry_after: Option<HeaderValue>,
    truncate: bool,
}

/// An outcome that a fault forces on a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ForcedOutcome {
    /// No response, on a connection that stays open.
    Hang,
    /// No response, on a connection that closes.
    Reset,
    Status(StatusCode),
    RefuseClient,
}

impl ActiveFaults {
    pub(super) fn new(faults: impl IntoIterator<Item = Fault>) -> Self {
        ActiveFaults(faults.into_iter().collect())
    }

    pub(super) fn all(&self) -> &[Fault] {
        &self.0
    }

    /// Plans the next call to `target`, which uses up one call of each fault in the plan.
    pub(super) fn plan(&mut self, target: FaultTarget) -> FaultPlan {
        let delay = self.consume(target, |effect| match effect {
            FaultEffect::Delay(delay) => Some(*delay),
            _ => None,
        });
        let outcome = self.consume(target, |effect| match effect {
            FaultEffect::Hang => Some(ForcedOutcome::Hang),
            FaultEffect::Reset => Some(ForcedOutcome::Reset),
            FaultEffect::Status(status) => Some(ForcedOutcome::Status(*status)),
            FaultEffect::RefuseClient => Some(ForcedOutcome::RefuseClient),
            _ => None,
        });
        if matches!(outcome, Some(ForcedOutcome::Hang | ForcedOutcome::Reset)) {
            return FaultPlan {
                outcome,
                delay,
                ..FaultPlan::default()
            };
        }
        FaultPlan {
            outcome,
            delay,
            retry_after: self.consume(target, |effect| match effect {
                FaultEffect::RetryAfter(value) => Some(value.clone()),
                _ => None,
            }),
            truncate: self.consume_effect(target, &FaultEffect::Truncate),
        }
    }

    /// Returns the value of the first fault of `target` that `pick` returns one for; uses up nothing.
    pub(super) fn find<T>(
        &self,
        target: FaultTarget,
        pick: impl Fn(&FaultEffect) -> Option<T>,
    ) -> Option<T> {
        self.position(target, pick).map(|(_, picked)| picked)
    }

    /// Uses up one call of `effect`; returns false if it is not active.
    pub(super) fn consume_effect(&mut self, target: FaultTarget, effect: &FaultEffect) -> bool {
        self.consume(target, |other| (other == effect).then_some(()))
            .is_some()
    }

    /// Uses up one call of the first fault of `target` that `pick` returns a value for.
    pub(super) fn consume<T>(
        &mut self,
        target: FaultTarget,
        pick: impl Fn(&FaultEffect) -> Option<T>,
    ) -> Option<T> {
        let (index, picked) = self.position(target, pick)?;
        if let Some(calls) = &mut self.0[index].calls {
            match NonZeroU32::new(calls.get() - 1) {
                Some(left) => *calls = left,
                None => drop(self.0.remove(index)),
            }
        }
        Some(picked)
    }

    fn position<T>(
        &self,
        target: FaultTarget,
        pick: impl Fn(&FaultEffect) -> Option<T>,
    ) -> Option<(usize, T)> {
        self.0.iter().enumerate().find_map(|(index, fault)| {
            let picked = (fault.target == target).then(|| pick(&fault.effect))?;
            Some((index, picked?))
        })
    }
}

impl FaultPlan {
    /// Applies the plan to `response`, and returns when it is to be sent. `stop` ends each wait
    /// with a reset.
    pub(super) async fn apply(
        self,
        mut response: SandboxResponse,
        stop: &StopSignal,
    ) -> SandboxResponse {
        let wait = match self.outcome {
            Some(ForcedOutcome::Hang) => Some(Duration::MAX),
            _ => self.delay,
        };
        if let Some(wait) = wait
            && sleep_unless_stopped(&mut stop.clone(), wait).await.is_err()
        {
            return reset_response();
        }
        if matches!(
            self.outcome,
            Some(ForcedOutcome::Hang | ForcedOutcome::Reset)
        ) {
            return reset_response();
        }
        if let Some(value) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, value);
        }
        if self.truncate {
            truncate_half(response)
        } else {
            response
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn active(texts: &[&str]) -> ActiveFaults {
        ActiveFaults::new(texts.iter().map(|text| text.parse().unwrap()))
    }

    fn texts(faults: &ActiveFaults) -> Vec<String> {
        faults.all().iter().map(Fault::to_string).collect()
    }

    #[test]
    fn exclusive_faults_apply_one_after_the_other() {
        let mut faults = active(&["token-status=500*2", "token-reset*1", "refuse-client"]);
        let outcomes: Vec<_> = (0..5)
            .map(|_| faults.plan(FaultTarget::Token).outcome.unwrap())
            .collect();
        let status = ForcedOutcome::Status(StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(
            outcomes,
            [
                status,
                status,
                ForcedOutcome::Reset,
                ForcedOutcome::RefuseClient,
                ForcedOutcome::RefuseClient
            ]
        );
        assert_eq!(texts(&faults), ["refuse-client"]);
    }

    #[test]
    fn a_call_uses_up_only_its_own_faults() {
        let all = [
            "token-hang*2",
            "token-retry-after=7*2",
            "api-truncated*2",
            "token-body=html*2",
            "api-delay=1s*2",
        ];
        let mut faults = active(&all);
        faults.plan(FaultTarget::Token);
        assert_eq!(
            texts(&faults),
            ["token-hang*1", all[1], all[2], all[3], all[4]]
        );
        faults.plan(FaultTarget::Api);
        assert_eq!(
            texts(&faults)[2..],
            ["api-truncated*1", "token-body=html*2", "api-delay=1s*1"]
        );
    }

    #[test]
    fn a_fault_ends_with_its_last_call() {
        let mut faults = active(&["api-truncated*1", "token-same"]);
        assert!(faults.consume_effect(FaultTarget::Api, &FaultEffect::Truncate));
        assert!(!faults.consume_effect(FaultTarget::Api, &FaultEffect::Truncate));
        assert!(!faults.consume_effect(FaultTarget::Api, &FaultEffect::Same));
        assert_eq!(texts(&faults), ["token-same"]);
    }
}
