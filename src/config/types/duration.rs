//! Durations: a number and its unit, such as `"5s"`.

use std::time::Duration;

use crate::config::source::invalid::Invalid;
use crate::config::source::setting::TextSetting;

/// Parses a duration such as `"5s"`, `"250ms"` or `"1m 30s"`, at most a year: far beyond, adding it
/// to the clock overflows.
///
/// # Errors
/// When the text is not a duration, or a longer one.
pub fn parse_duration(text: &str) -> Result<Duration, Invalid> {
    const MAX: Duration = Duration::from_secs(365 * 86_400);
    let invalid = |reason| {
        Invalid::new(
            "duration",
            reason,
            "write a number and its unit, such as \"5s\" or \"250ms\"",
        )
    };
    match humantime::parse_duration(text) {
        Ok(time) if time > MAX => {
            let reason = "a duration is at most a year";
            Err(Invalid::new("duration", reason, "write \"365d\" or less"))
        }
        Ok(time) => Ok(time),
        Err(_) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
            let meant = [format!("{text}s"), format!("{text}ms")];
            Err(invalid("the unit is missing").suggest(meant))
        }
        Err(_) => Err(invalid("")),
    }
}

impl TextSetting for Duration {
    fn parse_text(text: &str) -> Result<Self, Invalid> {
        parse_duration(text)
    }

    fn to_text(&self) -> String {
        humantime::format_duration(*self).to_string()
    }
}

/// Accepts every duration but zero.
pub(crate) fn positive(time: &Duration) -> Result<(), Invalid> {
    if time.is_zero() {
        let reason = "it must be more than zero";
        return Err(Invalid::new(
            "duration",
            reason,
            "write a longer one, such as \"1s\"",
        ));
    }
    Ok(())
}
