//! Scenarios: scripted outcomes of the modules of a journey, stored per journey design.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::{Value, json};

use super::api_error::ApiError;

/// The header field that names the scenario of a new journey.
pub(super) const HEADER: &str = "x-gbg-scenario";

/// Further scenarios are refused.
const MAX_SCENARIOS: usize = 1000;

/// Larger scenarios are refused: each of 100,000 journeys may hold one of its own.
const MAX_BYTES: usize = 4096;

/// The script of a journey.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Scenario {
    /// JSON, with an object `modules`, each of which is an object with a string `outcome`. It is a
    /// text, which needs less memory.
    data: String,
}

impl Scenario {
    /// # Errors
    /// [`ApiError::Field`].
    pub(super) fn parse(data: &Value) -> Result<Arc<Self>, ApiError> {
        let modules = data.get("modules").and_then(Value::as_object);
        let modules = modules.ok_or(ApiError::Field("modules", "object"))?;
        if !modules.values().all(|module| module["outcome"].is_string()) {
            return Err(ApiError::Field("modules", "objects with an outcome"));
        }
        let data = data.to_string();
        if data.len() > MAX_BYTES {
            return Err(ApiError::Field("data", "at most 4096 bytes"));
        }
        Ok(Arc::new(Scenario { data }))
    }

    /// The scenario as it was stored.
    pub(super) fn data(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_default()
    }

    /// The steps of a completed journey: one for each module, in the order of their names. How GBG
    /// presents them is not published.
    pub(super) fn steps(&self) -> Value {
        let data = self.data();
        let modules = data["modules"].as_object().into_iter().flatten();
        let steps = modules.enumerate().map(|(index, (name, module))| {
            json!({
                "name": name, "nodeId": format!("sandbox-{}", index + 1), "outcome": module["outcome"],
                "outcomeClassification": null,
                "result": {"status": "complete", "outcome": module["outcome"], "advice": module["advice"]},
            })
        });
        steps.collect()
    }

    /// The result of a completed journey.
    pub(super) fn result(&self) -> Value {
        let data = self.data();
        let advice = data.get("defaultAdvice").cloned();
        json!({
            "status": "completed",
            "outcome": data["defaultOutcome"],
            "advice": advice.unwrap_or_else(|| json!({})),
        })
    }
}

/// A scenario with the time at which it was saved.
pub(super) struct StoredScenario {
    pub(super) scenario: Arc<Scenario>,
    pub(super) saved: SystemTime,
}

/// All stored scenarios, by the design and their name.
#[derive(Default)]
pub(super) struct Scenarios(BTreeMap<(String, String), StoredScenario>);

impl Scenarios {
    /// Returns the scenarios of `design` with their names.
    pub(super) fn list(&self, design: &str) -> impl Iterator<Item = (&str, &StoredScenario)> {
        let of_design = self.0.iter().filter(move |((other, _), _)| other == design);
        of_design.map(|((_, name), stored)| (&**name, stored))
    }

    /// # Errors
    /// [`ApiError::NotFound`].
    pub(super) fn find(&self, design: &str, name: &str) -> Result<&StoredScenario, ApiError> {
        let stored = self.0.get(&key(design, name));
        stored.ok_or(ApiError::NotFound("scenario"))
    }

    /// # Errors
    /// [`ApiError::Conflict`] if the name is taken, [`ApiError::Full`].
    pub(super) fn create(
        &mut self,
        design: &str,
        name: &str,
        scenario: Arc<Scenario>,
    ) -> Result<(), ApiError> {
        if self.0.contains_key(&key(design, name)) {
            return Err(ApiError::Conflict("A scenario of this name exists"));
        }
        if self.0.len() >= MAX_SCENARIOS {
            return Err(ApiError::Full);
        }
        self.save(design, name, scenario);
        Ok(())
    }

    /// # Errors
    /// [`ApiError::NotFound`].
    pub(super) fn replace(
        &mut self,
        design: &str,
        name: &str,
        scenario: Arc<Scenario>,
    ) -> Result<(), ApiError> {
        self.find(design, name)?;
        self.save(design, name, scenario);
        Ok(())
    }

    /// # Errors
    /// [`ApiError::NotFound`].
    pub(super) fn delete(&mut self, design: &str, name: &str) -> Result<(), ApiError> {
        let deleted = self.0.remove(&key(design, name));
        deleted.map(drop).ok_or(ApiError::NotFound("scenario"))
    }

    fn save(&mut self, design: &str, name: &str, scenario: Arc<Scenario>) {
        let saved = SystemTime::now();
        let stored = StoredScenario { scenario, saved };
        self.0.insert(key(design, name), stored);
    }
}

fn key(design: &str, name: &str) -> (String, String) {
    (design.to_owned(), name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario(outcome: &str) -> Arc<Scenario> {
        Scenario::parse(&json!({"modules": {"a": {"outcome": outcome}}})).unwrap()
    }

    #[test]
    fn a_scenario_needs_modules_with_outcomes() {
        for data in [
            json!({}),
            json!({"modules": []}),
            json!({"modules": {"a": "Pass"}}),
            json!({"modules": {"a": {"outcome": 1}}}),
            json!({"modules": {"a": {"outcome": "x".repeat(MAX_BYTES)}}}),
        ] {
            assert!(Scenario::parse(&data).is_err(), "{data}");
        }
        assert!(Scenario::parse(&json!({"modules": {}})).is_ok());
    }

    #[test]
    fn a_scenario_decides_steps_and_result() {
        let scenario = Scenario::parse(&json!({
            "modules": {"b": {"outcome": "Flag", "advice": {"x": 1}}, "a": {"outcome": "Pass"}},
            "defaultOutcome": "Refer", "defaultAdvice": {"y": 2},
        }));
        let scenario = scenario.unwrap();
        let steps = scenario.steps();
        let names = steps.as_array().unwrap().iter().map(|step| &step["name"]);
        assert_eq!(names.collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(steps[1]["outcome"], "Flag");
        assert_eq!(steps[1]["result"]["advice"], json!({"x": 1}));
        assert_eq!(
            scenario.result(),
            json!({"status": "completed", "outcome": "Refer", "advice": {"y": 2}})
        );
    }

    #[test]
    fn a_full_store_still_replaces() {
        let mut scenarios = Scenarios::default();
        for index in 0..MAX_SCENARIOS {
            let created = scenarios.create("design", &index.to_string(), scenario("a"));
            created.unwrap();
        }
        assert_eq!(
            scenarios.create("other", "x", scenario("a")),
            Err(ApiError::Full)
        );
        assert_eq!(scenarios.replace("design", "7", scenario("b")), Ok(()));
        let replaced = &scenarios.find("design", "7").unwrap().scenario;
        assert_eq!(*replaced, scenario("b"));
        assert_eq!(scenarios.delete("design", "7"), Ok(()));
        assert_eq!(scenarios.create("other", "x", scenario("a")), Ok(()));
        assert_eq!(scenarios.list("other").count(), 1);
    }
}
