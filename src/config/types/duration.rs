//! Durations: a number and its unit, such as `"5s"`.

use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error as _};

/// Reads a span of time such as `"5s"`, `"250ms"`, `"1m 30s"`, at most a year: far beyond, adding
/// it to the clock overflows.
///
/// # Errors
/// What is wrong with the text, and how to write it.
pub fn parse_duration(text: &str) -> Result<Duration, &'static str> {
    const MAX: Duration = Duration::from_secs(365 * 86_400);
    match humantime::parse_duration(text) {
        Ok(time) if time > MAX => Err("the time must be at most a year"),
        Ok(time) => Ok(time),
        Err(_) => Err(INVALID),
    }
}

const INVALID: &str = "no time; write a number and its unit, such as \"5s\" or \"250ms\"";

/// A span of time that is not zero.
pub(crate) fn positive<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    match or_zero(deserializer)? {
        Duration::ZERO => Err(D::Error::custom("the time must be more than zero")),
        time => Ok(time),
    }
}

/// A span of time.
pub(crate) fn or_zero<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    // Through `Value`, so that a bare number gets the error of a text without a unit.
    let value = toml::Value::deserialize(deserializer)?;
    value
        .as_str()
        .ok_or(INVALID)
        .and_then(parse_duration)
        .map_err(D::Error::custom)
}
