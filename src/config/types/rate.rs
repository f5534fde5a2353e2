//! Rate of requests: `"100/s, burst 20"`.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use crate::config::source::invalid::Invalid;
use crate::config::source::setting::TextSetting;

/// A rate with a burst: `"100/s, burst 20"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Requests in the time `per`, on average.
    pub requests: NonZeroU32,
    /// A second, a minute or an hour.
    pub per: Duration,
    /// How many may arrive at once.
    pub burst: NonZeroU32,
}

const FIX: &str = "write a number for each s, min or h, and how many may arrive at once, such as \"100/s, burst 20\"";

fn invalid(reason: &'static str) -> Invalid {
    Invalid::new("rate", reason, FIX)
}

impl TextSetting for Rate {
    /// Without a burst, as many requests may arrive at once as in the whole time.
    fn parse_text(text: &str) -> Result<Self, Invalid> {
        let (rate, burst) = match text.split_once(',') {
            Some((rate, burst)) => (rate, Some(burst)),
            None => (text, None),
        };
        let Some((requests, unit)) = rate.split_once('/') else {
            let meant = ["s", "min", "h"].map(|unit| format!("{}/{unit}", rate.trim()));
            return Err(invalid("the time is missing").suggest(meant));
        };
        if let Some((unit, burst)) = unit.split_once(" burst ") {
            let meant = format!(
                "{}/{}, burst {}",
                requests.trim(),
                unit.trim(),
                burst.trim()
            );
            return Err(invalid("the comma before burst is missing").suggest([meant]));
        }
        let seconds = match unit.trim() {
            "s" => 1,
            "m" | "min" => 60,
            "h" => 3600,
            other => return Err(unknown_unit(requests, other)),
        };
        if let Some(slower) = slower(requests, seconds) {
            return Err(invalid("the number must be whole").suggest(slower));
        }
        let requests = number(requests)?;
        let burst = match burst {
            Some(text) => {
                let burst = text.trim().strip_prefix("burst ");
                number(burst.ok_or(invalid("a burst follows the comma"))?)?
            }
            None => requests,
        };
        let per = Duration::from_secs(seconds.into());
        let gap = u64::try_from((per / requests.get()).as_nanos()).unwrap_or(0);
        if gap == 0 {
            return Err(Invalid::new(
                "rate",
                "the largest rate is 1000000000/s",
                "remove the rate",
            ));
        }
        // The limiter counts nanoseconds in 64 bits.
        if gap.checked_mul(burst.get().into()).is_none() {
            return Err(Invalid::new(
                "rate",
                "at this rate the burst takes centuries",
                "write a smaller burst, or remove the rate",
            ));
        }
        Ok(Rate {
            requests,
            per,
            burst,
        })
    }

    fn to_text(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.per.as_secs() {
            1 => "s",
            60 => "min",
            _ => "h",
        };
        write!(f, "{}/{unit}, burst {}", self.requests, self.burst)
    }
}

fn unknown_unit(requests: &str, unit: &str) -> Invalid {
    let known = match unit {
        "sec" | "second" | "seconds" => Some("s"),
        "minute" | "minutes" => Some("min"),
        "hour" | "hours" => Some("h"),
        _ => None,
    };
    let meant = known.map(|unit| format!("{}/{unit}", requests.trim()));
    invalid("the unit is not s, min or h").suggest(meant)
}

/// A fraction of requests in `seconds` as a whole number in a longer unit, in which it may be whole.
fn slower(requests: &str, seconds: u32) -> Option<Vec<String>> {
    let number: f64 = requests.trim().parse().ok()?;
    if number.fract() == 0.0 || !number.is_finite() {
        return None;
    }
    let longer = [(60, "min"), (3600, "h")]
        .into_iter()
        .filter_map(|(unit, name)| {
            let whole = number * f64::from(unit) / f64::from(seconds);
            (unit > seconds && whole.fract() == 0.0 && whole >= 1.0)
                .then(|| format!("{whole}/{name}"))
        });
    Some(longer.take(1).collect())
}

/// A number of digits and nothing else: std takes a sign as well.
fn number(text: &str) -> Result<NonZeroU32, Invalid> {
    let text = text.trim();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(invalid(""));
    }
    let number = text
        .parse()
        .map_err(|_| invalid("the number is too large"))?;
    NonZeroU32::new(number).ok_or_else(|| {
        let reason = "a rate or a burst of 0 would let nothing through";
        Invalid::new("rate", reason, "write at least 1, or remove the caller")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_has_count_period_and_optional_burst() {
        let rate = |text: &str| {
            let Rate {
                requests,
                per,
                burst,
            } = Rate::parse_text(text).unwrap();
            (requests.get(), per.as_secs(), burst.get())
        };
        assert_eq!(rate("100/s, burst 20"), (100, 1, 20));
        assert_eq!(rate(" 100 / s ,  burst  20 "), (100, 1, 20));
        assert_eq!(rate("5/s,burst 5"), (5, 1, 5));
        assert_eq!(rate("600/min"), (600, 60, 600));
        assert_eq!(rate("600/m, burst 1"), (600, 60, 1));
        assert_eq!(rate("4294967295/h"), (u32::MAX, 3600, u32::MAX));
        assert_eq!(rate("1000000000/s, burst 1"), (1_000_000_000, 1, 1));
    }

    #[test]
    fn ambiguous_rates_are_rejected() {
        for bad in [
            "",
            "100",
            "/s",
            "100/",
            "100/d",
            "100/S",
            "-1/s",
            "+1/s",
            "1.5/s",
            "1_000/s",
            "1e3/s",
            "100/s, 20",
            "100/s burst 20",
            "100/s, burst",
            "100/s, burst20",
            "100/s, burst 20, burst 30",
            "100/s/s",
            "0/s",
            "1/s, burst 0",
            "4294967296/s",
            "4294967295/s",
            "1/h, burst 4294967295",
            "٣/s",
        ] {
            assert!(Rate::parse_text(bad).is_err(), "{bad}");
        }
    }
}
