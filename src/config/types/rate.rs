//! Rate of requests: `"100/s, burst 20"`.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error as _};

/// A rate with a burst: `"100/s, burst 20"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// So many requests
    pub requests: NonZeroU32,
    /// in this time, on average.
    pub per: Duration,
    /// How many may come at once.
    pub burst: NonZeroU32,
}

const NO_RATE: &str = "no rate; write how many requests in which time, and how many may come at once, such as \
                       \"100/s, burst 20\" (the times are s, min and h)";

impl Rate {
    /// Reads `"100/s"` or `"100/s, burst 20"`; without a burst as many may come at once as in the
    /// whole time.
    fn parse(text: &str) -> Result<Self, &'static str> {
        let (rate, burst) = match text.split_once(',') {
            Some((rate, burst)) => (rate, Some(burst)),
            None => (text, None),
        };
        let (requests, unit) = rate.split_once('/').ok_or(NO_RATE)?;
        let seconds = match unit.trim() {
            "s" => 1,
            "m" | "min" => 60,
            "h" => 3600,
            _ => return Err(NO_RATE),
        };
        let requests = number(requests)?;
        let burst = match burst {
            Some(text) => number(text.trim().strip_prefix("burst ").ok_or(NO_RATE)?)?,
            None => requests,
        };
        let per = Duration::from_secs(seconds);
        let gap = u64::try_from((per / requests.get()).as_nanos()).unwrap_or(0);
        if gap == 0 {
            return Err(
                "no more than 1000000000 requests a second can be counted; remove the rate instead",
            );
        }
        // What the limiter counts with: nanoseconds, in 64 bits.
        match gap.checked_mul(burst.get().into()) {
            Some(_) => Ok(Rate {
                requests,
                per,
                burst,
            }),
            None => Err(
                "the burst is that of centuries at this rate; write a smaller one, or remove the rate",
            ),
        }
    }
}

/// A number of digits and nothing else: std takes a sign as well.
fn number(text: &str) -> Result<NonZeroU32, &'static str> {
    let text = text.trim();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(NO_RATE);
    }
    let number = text.parse().map_err(|_| "the number is too large")?;
    NonZeroU32::new(number)
        .ok_or("with a rate or a burst of 0 nothing could be sent; remove the caller instead")
}

impl<'de> Deserialize<'de> for Rate {
    // Through `Value`, so that a bare number gets the error of a text without a unit.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = toml::Value::deserialize(deserializer)?;
        value
            .as_str()
            .ok_or(NO_RATE)
            .and_then(Rate::parse)
            .map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_has_a_number_a_time_and_perhaps_a_burst() {
        let rate = |text: &str| {
            let Rate {
                requests,
                per,
                burst,
            } = Rate::parse(text).unwrap();
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
    fn what_could_be_read_in_two_ways_is_no_rate() {
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
            assert!(Rate::parse(bad).is_err(), "{bad}");
        }
    }
}
