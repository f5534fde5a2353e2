//! Points in time, as TOML and RFC 3339 write them.

use std::time::{Duration, SystemTime};

use toml::Value;
use toml::value::{Datetime, Offset, Time};

use crate::config::source::invalid::Invalid;
use crate::config::source::setting::{Kind, Setting};

/// A point in time: a date-time with an offset, or a date, which begins at midnight UTC; as TOML's
/// own type or as a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timestamp(pub(crate) SystemTime);

fn invalid() -> Invalid {
    Invalid::new(
        "date",
        "",
        "write a date, such as 2027-01-31 (it begins at midnight UTC), or a date with a time and its offset, such as \
         2027-01-31T18:00:00Z",
    )
}

fn without_offset() -> Invalid {
    Invalid::new(
        "date",
        "the offset of the time is missing",
        "write Z or an offset behind the time, such as 2027-01-31T18:00:00Z or 2027-01-31T18:00:00+01:00",
    )
}

/// The end of the year 9999. Together with an offset more could be written, and not be shown again:
/// `humantime` panics.
const LAST: Duration = Duration::from_secs(253_402_300_799);

impl Setting for Timestamp {
    const KIND: Kind = Kind::Mixed;

    fn parse(value: &Value) -> Result<Self, Invalid> {
        let written = match value {
            Value::Datetime(written) => *written,
            Value::String(text) => text.parse().map_err(|_| invalid())?,
            _ => return Err(invalid()),
        };
        of(&written).map(Timestamp)
    }

    fn to_toml(&self) -> Value {
        Value::String(humantime::format_rfc3339_seconds(self.0).to_string())
    }
}

fn of(written: &Datetime) -> Result<SystemTime, Invalid> {
    let date = written.date.ok_or_else(invalid)?;
    let (time, offset) = match (written.time, written.offset) {
        (Some(_), None) => return Err(without_offset()),
        (
            Some(Time {
                hour,
                minute,
                second,
                ..
            }),
            Some(offset),
        ) => (
            format!("{hour:02}:{minute:02}:{:02}", second.unwrap_or(0)),
            offset,
        ),
        (None, _) => ("00:00:00".to_owned(), Offset::Z),
    };
    let local = humantime::parse_rfc3339(&format!("{date}T{time}Z")).map_err(|_| invalid())?;
    let minutes = match offset {
        Offset::Z => 0,
        Offset::Custom { minutes } => minutes,
    };
    // East of Greenwich the same clock shows an earlier moment.
    let distance = Duration::from_secs(u64::from(minutes.unsigned_abs()) * 60);
    let moment = if minutes >= 0 {
        local.checked_sub(distance)
    } else {
        local.checked_add(distance)
    };
    let is_writable = |moment: &SystemTime| {
        moment
            .duration_since(SystemTime::UNIX_EPOCH)
            .is_ok_and(|since| since <= LAST)
    };
    moment.filter(is_writable).ok_or_else(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(text: &str) -> Result<u64, String> {
        let Timestamp(time) = Timestamp::parse(&text.into()).map_err(|error| error.to_string())?;
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        Ok(since.as_secs())
    }

    #[test]
    fn dates_start_at_midnight_utc_and_offsets_count() {
        const NOON: u64 = 1_801_051_200;
        assert_eq!(seconds("2027-01-27T12:00:00Z"), Ok(NOON));
        assert_eq!(seconds("2027-01-27 12:00:00.75z"), Ok(NOON));
        assert_eq!(seconds("2027-01-27T13:30:00+01:30"), Ok(NOON));
        assert_eq!(seconds("2027-01-27T07:00:00-05:00"), Ok(NOON));
        assert_eq!(seconds("2027-01-27"), Ok(NOON - 12 * 3600));
    }

    #[test]
    fn other_dates_are_rejected() {
        for bad in [
            "",
            "2027",
            "2027-02-30",
            "12:00:00",
            "27.01.2027",
            "1969-12-31",
            "2027-01-27T25:00:00Z",
        ] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
        assert_eq!(
            seconds("2027-01-27T12:00:00"),
            Err(without_offset().to_string())
        );
        for at_an_end in ["1970-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00"] {
            assert_eq!(
                seconds(at_an_end),
                Err(invalid().to_string()),
                "{at_an_end}"
            );
        }
    }
}
