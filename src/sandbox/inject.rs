//! Fault injection: chooses the faults of a call, and applies them to its response.
//!
//! Of faults that exclude each other, a call gets the first one in the list that is not used up:
//! `token-status=500*2` and `token-reset*1` make two 500 responses, and then one reset.

use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode};

use super::faults::{Fault, FaultKind};
use super::faulty_body::{StopSignal, reset_response, sleep_unless_stopped, truncate_half};
use super::response::SandboxResponse;

/// The faults that are active, in the order in which they were set.
pub(super) struct ActiveFaults(Vec<Fault>);

/// The part of the sandbox that a call goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FaultTarget {
    Token,
    Api,
}

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
        let faults = faults.into_iter().filter(|fault| fault.calls != Some(0));
        ActiveFaults(faults.collect())
    }

    pub(super) fn all(&self) -> &[Fault] {
        &self.0
    }

    /// Plans the next call to `target`, which uses up one call of each fault in the plan.
    pub(super) fn plan(&mut self, target: FaultTarget) -> FaultPlan {
        let delay = self.consume(|kind| delay(kind, target));
        let outcome = self.consume(|kind| outcome(kind, target));
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
            retry_after: self.consume(|kind| retry_after(kind, target)),
            truncate: target == FaultTarget::Api && self.consume_kind(&FaultKind::ApiTruncated),
        }
    }

    /// Uses up one call of `kind`; returns false if it is not active.
    pub(super) fn consume_kind(&mut self, kind: &FaultKind) -> bool {
        self.consume(|other| (other == kind).then_some(()))
            .is_some()
    }

    /// Uses up one call of the first fault that `pick` returns a value for.
    pub(super) fn consume<T>(&mut self, pick: impl Fn(&FaultKind) -> Option<T>) -> Option<T> {
        let mut faults = self.0.iter().enumerate();
        let (index, picked) =
            faults.find_map(|(index, fault)| Some((index, pick(&fault.kind)?)))?;
        match &mut self.0[index].calls {
            None => {}
            Some(1) => drop(self.0.remove(index)),
            Some(calls) => *calls -= 1,
        }
        Some(picked)
    }
}

fn delay(kind: &FaultKind, target: FaultTarget) -> Option<Duration> {
    match (target, kind) {
        (FaultTarget::Token, FaultKind::TokenDelay(delay))
        | (FaultTarget::Api, FaultKind::ApiDelay(delay)) => Some(*delay),
        _ => None,
    }
}

fn outcome(kind: &FaultKind, target: FaultTarget) -> Option<ForcedOutcome> {
    match (target, kind) {
        (FaultTarget::Token, FaultKind::TokenHang) | (FaultTarget::Api, FaultKind::ApiHang) => {
            Some(ForcedOutcome::Hang)
        }
        (FaultTarget::Token, FaultKind::TokenReset) | (FaultTarget::Api, FaultKind::ApiReset) => {
            Some(ForcedOutcome::Reset)
        }
        (FaultTarget::Token, FaultKind::TokenStatus(status))
        | (FaultTarget::Api, FaultKind::ApiStatus(status)) => Some(ForcedOutcome::Status(*status)),
        (FaultTarget::Token, FaultKind::RefuseClient) => Some(ForcedOutcome::RefuseClient),
        _ => None,
    }
}

fn retry_after(kind: &FaultKind, target: FaultTarget) -> Option<HeaderValue> {
    match (target, kind) {
        (FaultTarget::Token, FaultKind::TokenRetryAfter(value))
        | (FaultTarget::Api, FaultKind::ApiRetryAfter(value)) => Some(value.clone()),
        _ => None,
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
            response.map(truncate_half)
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
    fn a_fault_for_zero_calls_is_inactive() {
        let faults = ActiveFaults::new([FaultKind::TokenHang.times(0)]);
        assert!(faults.all().is_empty());
    }
}
