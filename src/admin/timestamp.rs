//! Times as JSON and findings have them: RFC 3339, UTC, to the second.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The end of the year 9999, when some certificates end. No later time can be written.
const LAST_SECOND: Duration = Duration::from_secs(253_402_300_799);

pub(super) fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time.min(UNIX_EPOCH + LAST_SECOND)).to_string()
}

pub(super) fn unix_time(seconds: u64) -> String {
    rfc3339(UNIX_EPOCH + Duration::from_secs(seconds).min(LAST_SECOND))
}
