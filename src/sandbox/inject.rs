//! The faults in force, what of them the next call gets, and how its answer then leaves.
//!
//! Of the faults that exclude each other (a hanging call is not refused as well) a call gets the
//! first in the list that is not used up: `token-status=500*2` and `token-reset*1` are two calls
//! answered with 500, and then one reset.

use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode};

use super::faults::{Fault, FaultKind};
use super::faulty_body;
use super::faulty_body::Stopped;
use super::response::{Answer, with};

/// The faults in force.
pub(super) struct InForce(Vec<Fault>);

/// Where a call goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// To the token endpoint.
    Token,
    /// To the API.
    Api,
}

/// What goes wrong with one call, but for what may be wrong with a token.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Fate {
    /// How the call ends, if not as it should.
    pub(super) end: Option<End>,
    delay: Option<Duration>,
    retry_after: Option<HeaderValue>,
    breaks_off: bool,
}

/// How a call ends that does not end as it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// There is no answer, and the connection stays.
    Hang,
    /// There is no answer, and the connection closes.
    Reset,
    /// The answer has this status.
    Status(StatusCode),
    /// The client is refused.
    RefuseClient,
}

impl InForce {
    pub(super) fn new(faults: impl IntoIterator<Item = Fault>) -> Self {
        InForce(
            faults
                .into_iter()
                .filter(|fault| fault.calls != Some(0))
                .collect(),
        )
    }

    pub(super) fn all(&self) -> &[Fault] {
        &self.0
    }

    /// What the next call to `place` gets, which uses it up.
    pub(super) fn fate(&mut self, place: Place) -> Fate {
        let delay = self.take(|kind| delay(kind, place));
        let end = self.take(|kind| end(kind, place));
        if matches!(end, Some(End::Hang | End::Reset)) {
            return Fate {
                end,
                delay,
                ..Fate::default()
            };
        }
        Fate {
            end,
            delay,
            retry_after: self.take(|kind| retry_after(kind, place)),
            breaks_off: place == Place::Api && self.has(&FaultKind::ApiTruncated),
        }
    }

    /// Whether `kind` is in force, which uses it up.
    pub(super) fn has(&mut self, kind: &FaultKind) -> bool {
        self.take(|other| (other == kind).then_some(())).is_some()
    }

    /// What `pick` finds in the first fault that it finds something in, one call of which is used
    /// up.
    pub(super) fn take<T>(&mut self, pick: impl Fn(&FaultKind) -> Option<T>) -> Option<T> {
        let found = self
            .0
            .iter()
            .enumerate()
            .find_map(|(index, fault)| Some((index, pick(&fault.kind)?)));
        let (index, picked) = found?;
        match &mut self.0[index].calls {
            None => {}
            Some(1) => drop(self.0.remove(index)),
            Some(calls) => *calls -= 1,
        }
        Some(picked)
    }
}

fn delay(kind: &FaultKind, place: Place) -> Option<Duration> {
    match (kind, place) {
        (FaultKind::TokenDelay(delay), Place::Token) | (FaultKind::ApiDelay(delay), Place::Api) => {
            Some(*delay)
        }
        _ => None,
    }
}

fn end(kind: &FaultKind, place: Place) -> Option<End> {
    match (kind, place) {
        (FaultKind::TokenHang, Place::Token) | (FaultKind::ApiHang, Place::Api) => Some(End::Hang),
        (FaultKind::TokenReset, Place::Token) | (FaultKind::ApiReset, Place::Api) => {
            Some(End::Reset)
        }
        (FaultKind::TokenStatus(status), Place::Token)
        | (FaultKind::ApiStatus(status), Place::Api) => Some(End::Status(*status)),
        (FaultKind::RefuseClient, Place::Token) => Some(End::RefuseClient),
        _ => None,
    }
}

fn retry_after(kind: &FaultKind, place: Place) -> Option<HeaderValue> {
    match (kind, place) {
        (FaultKind::TokenRetryAfter(value), Place::Token)
        | (FaultKind::ApiRetryAfter(value), Place::Api) => Some(value.clone()),
        _ => None,
    }
}

impl Fate {
    /// The answer as it leaves, when it leaves. A sandbox that stops makes no caller wait on.
    pub(super) async fn befall(self, mut answer: Answer, stopped: &Stopped) -> Answer {
        if let Some(delay) = self.delay
            && faulty_body::pause(&mut stopped.clone(), delay)
                .await
                .is_err()
        {
            return faulty_body::reset();
        }
        match self.end {
            Some(End::Hang) => {
                // It ends when the sandbox stops, or the caller hangs up.
                let _ = faulty_body::pause(&mut stopped.clone(), Duration::MAX).await;
                return faulty_body::reset();
            }
            Some(End::Reset) => return faulty_body::reset(),
            Some(End::Status(_) | End::RefuseClient) | None => {}
        }
        if let Some(value) = self.retry_after {
            answer = with(answer, RETRY_AFTER, value);
        }
        if self.breaks_off {
            answer.map(faulty_body::in_the_middle)
        } else {
            answer
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_force(texts: &[&str]) -> InForce {
        InForce::new(texts.iter().map(|text| text.parse().unwrap()))
    }

    fn texts(in_force: &InForce) -> Vec<String> {
        in_force.all().iter().map(Fault::to_string).collect()
    }

    #[test]
    fn those_that_exclude_each_other_come_one_after_the_other() {
        let mut in_force = in_force(&["token-status=500*2", "token-reset*1", "refuse-client"]);
        let ends: Vec<_> = (0..5)
            .map(|_| in_force.fate(Place::Token).end.unwrap())
            .collect();
        let status = End::Status(StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(
            ends,
            [
                status,
                status,
                End::Reset,
                End::RefuseClient,
                End::RefuseClient
            ]
        );
        assert_eq!(texts(&in_force), ["refuse-client"]);
    }

    #[test]
    fn a_call_uses_up_only_what_applies_to_it() {
        let all = [
            "token-hang*2",
            "token-retry-after=7*2",
            "api-truncated*2",
            "token-body=html*2",
            "api-delay=1s*2",
        ];
        let mut in_force = in_force(&all);
        in_force.fate(Place::Token);
        assert_eq!(
            texts(&in_force),
            ["token-hang*1", all[1], all[2], all[3], all[4]]
        );
        in_force.fate(Place::Api);
        assert_eq!(
            texts(&in_force)[2..],
            ["api-truncated*1", "token-body=html*2", "api-delay=1s*1"]
        );
    }

    #[test]
    fn a_fault_for_no_call_is_none() {
        assert!(
            InForce::new([FaultKind::TokenHang.times(0)])
                .all()
                .is_empty()
        );
    }
}
