//! Journeys: a state machine that both API versions present, each in its own format.
//!
//! No submitted data is kept, only the fact that it came.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::SystemTime;

use super::instance_rate::RateWindow;
use super::random;
use super::scenario::Scenario;

/// Older journeys are dropped.
const MAX_JOURNEYS: usize = 100_000;

/// Longer resource ids are truncated; real ones have 73 characters.
const MAX_RESOURCE_ID_CHARS: usize = 128;

const TASK_PREFIX: &str = "Tk";

/// The state of a journey.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Started, but not ready to ask for data.
    Preparing,
    /// Waiting for data.
    Collecting,
    /// Processing the submitted data.
    Checking,
    Completed,
    /// Terminated.
    Failed,
}

impl Phase {
    /// The status, as both API versions write it.
    pub(super) fn status(self) -> &'static str {
        match self {
            Phase::Completed => "Completed",
            Phase::Failed => "Failed",
            Phase::Preparing | Phase::Collecting | Phase::Checking => "InProgress",
        }
    }
}

/// A submission that is refused; the journey does not change.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SubmitError {
    /// It names participants and has no data.
    NoData,
    /// The data has come, and the journey waits for no more.
    InteractionOver,
    /// The journey has ended.
    Ended,
}

#[derive(Debug)]
pub(super) struct Journey {
    id: String,
    phase: Phase,
    resource_id: String,
    started: SystemTime,
    ended: Option<SystemTime>,
    /// The scripted outcome, of a sandbox run.
    scenario: Option<Arc<Scenario>>,
    has_device: bool,
    has_joined_device: bool,
    pub(super) calls: RateWindow,
}

impl Journey {
    fn new(resource_id: &str, phase: Phase, scenario: Option<Arc<Scenario>>) -> Self {
        let resource_id = resource_id.chars().take(MAX_RESOURCE_ID_CHARS).collect();
        Journey {
            id: random::text(22),
            phase,
            resource_id,
            started: SystemTime::now(),
            ended: None,
            scenario,
            has_device: false,
            has_joined_device: false,
            calls: RateWindow::default(),
        }
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether a second device is connected.
    pub(super) fn has_joined_device(&self) -> bool {
        self.has_joined_device
    }

    /// Connects a device; returns true if it joins another one.
    pub(super) fn connect_device(&mut self) -> bool {
        let is_joined = self.has_device;
        self.has_device = true;
        self.has_joined_device |= is_joined;
        is_joined
    }

    /// Returns the phase, and ends one that needs no input: the next poll sees the following phase,
    /// so that a client has to poll.
    pub(super) fn poll(&mut self) -> Phase {
        let phase = self.phase;
        match phase {
            Phase::Preparing => self.phase = Phase::Collecting,
            Phase::Checking => self.end(Phase::Completed),
            Phase::Collecting | Phase::Completed | Phase::Failed => {}
        }
        phase
    }

    /// Ends the journey early; returns false if it has ended.
    pub(super) fn terminate(&mut self) -> bool {
        let is_active = self.ended.is_none();
        if is_active {
            self.end(Phase::Failed);
        }
        is_active
    }

    fn end(&mut self, phase: Phase) {
        self.phase = phase;
        self.ended = Some(SystemTime::now());
    }

    /// Submits data. Without participants the call succeeds without effect, as with GBG.
    pub(super) fn submit(&mut self, participants: bool, data: bool) -> Result<(), SubmitError> {
        match (self.phase, participants, data) {
            (Phase::Completed | Phase::Failed, ..) => Err(SubmitError::Ended),
            (_, true, false) => Err(SubmitError::NoData),
            (Phase::Checking, ..) => Err(SubmitError::InteractionOver),
            (_, false, _) => Ok(()),
            (_, true, true) => {
                self.phase = Phase::Checking;
                Ok(())
            }
        }
    }

    pub(super) fn scenario(&self) -> Option<&Scenario> {
        self.scenario.as_deref()
    }

    /// The id of the journey's only task.
    pub(super) fn task_id(&self) -> String {
        format!("{TASK_PREFIX}{}", self.id)
    }

    /// The id and the version of the journey's design: the halves of the resource id.
    pub(super) fn resource(&self) -> (&str, &str) {
        split_resource_id(&self.resource_id)
    }

    /// The start time (RFC 3339).
    pub(super) fn started(&self) -> String {
        humantime::format_rfc3339_millis(self.started).to_string()
    }

    /// The completion time (RFC 3339).
    pub(super) fn ended(&self) -> Option<String> {
        self.ended
            .map(|time| humantime::format_rfc3339_millis(time).to_string())
    }
}

/// Splits a resource id into the id and the version of a journey's design.
pub(super) fn split_resource_id(resource_id: &str) -> (&str, &str) {
    resource_id
        .split_once('@')
        .unwrap_or((resource_id, "latest"))
}

/// All journeys, by their ids of 22 characters. The API's ids of instances and tasks contain these.
#[derive(Default)]
pub(super) struct Journeys {
    by_id: HashMap<String, Journey>,
    oldest_first: VecDeque<String>,
}

impl Journeys {
    /// Starts a journey, and returns its id.
    pub(super) fn start(
        &mut self,
        resource_id: &str,
        phase: Phase,
        scenario: Option<Arc<Scenario>>,
    ) -> String {
        if self.oldest_first.len() == MAX_JOURNEYS
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.by_id.remove(&oldest);
        }
        let journey = Journey::new(resource_id, phase, scenario);
        let id = journey.id.clone();
        self.by_id.insert(id.clone(), journey);
        self.oldest_first.push_back(id.clone());
        id
    }

    pub(super) fn find(&mut self, id: &str) -> Option<&mut Journey> {
        self.by_id.get_mut(id)
    }

    pub(super) fn contains(&self, id: &str) -> bool {
        self.by_id.contains_key(id)
    }

    pub(super) fn has_task(&self, task: &str) -> bool {
        task.strip_prefix(TASK_PREFIX)
            .is_some_and(|id| self.contains(id))
    }

    /// Deletes a journey; returns false if there is none with this id.
    pub(super) fn delete(&mut self, id: &str) -> bool {
        self.by_id.remove(id).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collecting() -> Journey {
        Journey::new("abc@1", Phase::Collecting, None)
    }

    #[test]
    fn a_journey_runs_from_start_to_end() {
        let mut journey = Journey::new("abc@1", Phase::Preparing, None);
        assert_eq!(journey.poll(), Phase::Preparing);
        assert_eq!(journey.poll(), Phase::Collecting);
        assert_eq!(journey.poll(), Phase::Collecting);
        assert_eq!(journey.submit(true, true), Ok(()));
        assert_eq!(journey.poll(), Phase::Checking);
        assert_eq!(journey.poll(), Phase::Completed);
        assert!(journey.ended().is_some());
    }

    #[test]
    fn half_a_submission_changes_nothing() {
        let mut journey = collecting();
        assert_eq!(journey.submit(false, true), Ok(()));
        assert_eq!(journey.submit(false, false), Ok(()));
        assert_eq!(journey.submit(true, false), Err(SubmitError::NoData));
        assert_eq!(journey.poll(), Phase::Collecting);
    }

    #[test]
    fn a_second_submission_is_refused() {
        let mut journey = collecting();
        journey.submit(true, true).unwrap();
        assert_eq!(
            journey.submit(true, true),
            Err(SubmitError::InteractionOver)
        );
        journey.poll();
        assert_eq!(journey.submit(true, true), Err(SubmitError::Ended));
    }

    #[test]
    fn a_journey_is_terminated_once() {
        let mut journey = collecting();
        assert!(journey.terminate());
        assert_eq!(
            (journey.poll(), journey.poll()),
            (Phase::Failed, Phase::Failed)
        );
        assert!(journey.ended().is_some());
        assert!(!journey.terminate());
        assert_eq!(journey.submit(true, true), Err(SubmitError::Ended));
        let mut completed = collecting();
        completed.submit(true, true).unwrap();
        completed.poll();
        assert!(!completed.terminate());
        assert_eq!(completed.poll(), Phase::Completed);
    }

    #[test]
    fn the_second_device_joins_the_first() {
        let mut journey = collecting();
        assert!(!journey.connect_device() && !journey.has_joined_device());
        assert!(journey.connect_device() && journey.has_joined_device());
    }

    #[test]
    fn journeys_are_independent_and_can_be_deleted() {
        let mut journeys = Journeys::default();
        let (one, two) = (
            journeys.start("abc@1", Phase::Collecting, None),
            journeys.start("abc", Phase::Preparing, None),
        );
        journeys.find(&one).unwrap().submit(true, true).unwrap();
        assert_eq!(journeys.find(&two).unwrap().poll(), Phase::Preparing);
        assert_eq!(journeys.find(&two).unwrap().resource(), ("abc", "latest"));
        assert!(journeys.delete(&one));
        assert!(!journeys.delete(&one));
        assert!(journeys.find(&one).is_none());
    }
}
