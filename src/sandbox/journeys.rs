//! The journeys that were started: a state machine that both API versions show, each in its own
//! words.
//!
//! Of what is submitted nothing is kept, only that it came.

use std::collections::{HashMap, VecDeque};
use std::time::SystemTime;

use serde_json::{Value, json};

use super::random;

/// The journeys that are kept; older ones are forgotten.
const KEPT: usize = 100_000;

/// The longest resource id that is kept whole; real ones have 73 characters.
const RESOURCE_ID: usize = 128;

/// Where a journey is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// It has started, and does not know yet what to ask for.
    Preparing,
    /// It waits for data.
    Collecting,
    /// It works on what was submitted.
    Checking,
    /// It is over.
    Completed,
}

impl Phase {
    /// The journey's status, as both API versions write it.
    pub(super) fn status(self) -> &'static str {
        match self {
            Phase::Completed => "Completed",
            Phase::Preparing | Phase::Collecting | Phase::Checking => "InProgress",
        }
    }
}

/// Why a submission is not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Rejected {
    /// It names participants and brings no data.
    NoData,
    /// The journey waits for nothing any more.
    Over,
}

/// One journey.
#[derive(Debug)]
pub(super) struct Journey {
    phase: Phase,
    resource_id: String,
    started: SystemTime,
    ended: Option<SystemTime>,
}

impl Journey {
    fn new(resource_id: &str, phase: Phase) -> Self {
        let resource_id = resource_id.chars().take(RESOURCE_ID).collect();
        Journey {
            phase,
            resource_id,
            started: SystemTime::now(),
            ended: None,
        }
    }

    /// Where the journey is. What it does by itself is done by the next look, so that whoever polls
    /// has to.
    pub(super) fn look(&mut self) -> Phase {
        let found = self.phase;
        match found {
            Phase::Preparing => self.phase = Phase::Collecting,
            Phase::Checking => {
                self.phase = Phase::Completed;
                self.ended = Some(SystemTime::now());
            }
            Phase::Collecting | Phase::Completed => {}
        }
        found
    }

    /// Takes a submission: with participants and data the journey goes on; without participants
    /// nothing happens, and nobody is told, as with GBG.
    ///
    /// # Errors
    /// When it cannot be taken; the journey is where it was.
    pub(super) fn submit(&mut self, participants: bool, data: bool) -> Result<(), Rejected> {
        match (self.phase, participants, data) {
            (_, true, false) => Err(Rejected::NoData),
            (Phase::Checking | Phase::Completed, ..) => Err(Rejected::Over),
            (_, false, _) => Ok(()),
            (_, true, true) => {
                self.phase = Phase::Checking;
                Ok(())
            }
        }
    }

    /// The journey's id and version, which are the two halves of the resource id.
    pub(super) fn resource(&self) -> (&str, &str) {
        self.resource_id
            .split_once('@')
            .unwrap_or((&self.resource_id, "latest"))
    }

    /// When it started, in the form of RFC 3339.
    pub(super) fn started(&self) -> String {
        humantime::format_rfc3339_millis(self.started).to_string()
    }

    /// When it completed, in the form of RFC 3339.
    pub(super) fn ended(&self) -> Option<String> {
        self.ended
            .map(|time| humantime::format_rfc3339_millis(time).to_string())
    }
}

/// The JSON Schema of a journey's only task.
pub(super) fn task_schema() -> Value {
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": "sandbox/identity",
        "type": "object",
        "properties": {"context": {"type": "object", "properties": {"subject": {
            "type": "object",
            "properties": {"identity": {"type": "object", "properties": {
                "firstName": {"type": "string"},
                "lastNames": {"type": "array", "items": {"type": "string"}},
                "dateOfBirth": {"type": "string", "format": "date"},
            }}},
        }}}},
    })
}

/// All journeys, by the 22 characters that ids of instances and tasks are made of.
#[derive(Default)]
pub(super) struct Journeys {
    by_number: HashMap<String, Journey>,
    oldest_first: VecDeque<String>,
}

impl Journeys {
    /// Starts a journey; gives its number.
    pub(super) fn start(&mut self, resource_id: &str, phase: Phase) -> String {
        if self.oldest_first.len() == KEPT
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.by_number.remove(&oldest);
        }
        let number = random::text(22);
        self.by_number
            .insert(number.clone(), Journey::new(resource_id, phase));
        self.oldest_first.push_back(number.clone());
        number
    }

    /// The journey of this number.
    pub(super) fn find(&mut self, number: &str) -> Option<&mut Journey> {
        self.by_number.get_mut(number)
    }

    /// Forgets a journey; false if there is none of this number.
    pub(super) fn delete(&mut self, number: &str) -> bool {
        self.by_number.remove(number).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collecting() -> Journey {
        Journey::new("abc@1", Phase::Collecting)
    }

    #[test]
    fn a_journey_goes_from_start_to_end() {
        let mut journey = Journey::new("abc@1", Phase::Preparing);
        assert_eq!(journey.look(), Phase::Preparing);
        assert_eq!(journey.look(), Phase::Collecting);
        assert_eq!(journey.look(), Phase::Collecting);
        assert_eq!(journey.submit(true, true), Ok(()));
        assert_eq!(journey.look(), Phase::Checking);
        assert_eq!(journey.look(), Phase::Completed);
        assert!(journey.ended().is_some());
    }

    #[test]
    fn half_a_submission_leaves_it_where_it_was() {
        let mut journey = collecting();
        assert_eq!(journey.submit(false, true), Ok(()));
        assert_eq!(journey.submit(false, false), Ok(()));
        assert_eq!(journey.submit(true, false), Err(Rejected::NoData));
        assert_eq!(journey.look(), Phase::Collecting);
    }

    #[test]
    fn a_second_submission_comes_too_late() {
        let mut journey = collecting();
        journey.submit(true, true).unwrap();
        assert_eq!(journey.submit(true, true), Err(Rejected::Over));
    }

    #[test]
    fn journeys_are_independent_and_can_be_deleted() {
        let mut journeys = Journeys::default();
        let (one, two) = (
            journeys.start("abc@1", Phase::Collecting),
            journeys.start("abc", Phase::Preparing),
        );
        journeys.find(&one).unwrap().submit(true, true).unwrap();
        assert_eq!(journeys.find(&two).unwrap().look(), Phase::Preparing);
        assert_eq!(journeys.find(&two).unwrap().resource(), ("abc", "latest"));
        assert!(journeys.delete(&one));
        assert!(!journeys.delete(&one));
        assert!(journeys.find(&one).is_none());
    }
}
