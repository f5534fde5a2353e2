//! The callers: how much each sends, and how much it may.

use std::num::NonZeroU32;
use std::time::Duration;

use serde_json::{Value, json};

use super::outcomes::Tally;
use crate::config::{Caller, Rate};

/// How much a caller may, as the configuration says it.
#[derive(Clone, Debug)]
pub struct Limits {
    name: String,
    rate: Option<Rate>,
    max_in_flight: Option<NonZeroU32>,
}

impl From<&Caller> for Limits {
    fn from(caller: &Caller) -> Self {
        Limits {
            name: caller.name.clone(),
            rate: caller.rate,
            max_in_flight: caller.max_in_flight,
        }
    }
}

/// What each did within `period`, and `recent`ly, in so much time; the first is of those whom
/// nobody knows, if there were any. Empty where callers are not told apart.
pub(super) fn json(
    names: &[String],
    limits: &[Limits],
    period: &Tally,
    (recent, time): (&Tally, Duration),
) -> Value {
    if limits.is_empty() {
        return json!([]);
    }
    let share = |part: u64| part as f64 / period.requests.max(1) as f64;
    let each = names.iter().zip(&period.callers).zip(&recent.callers);
    let is_one = |name: &str| limits.iter().any(|limits| limits.name == name);
    let shown = each.filter(|((name, of), _)| of.requests > 0 || is_one(name));
    let rows = shown.map(|((name, of), now)| {
        let limits = limits.iter().find(|limits| limits.name == *name);
        json!({
            "name": (!name.is_empty()).then_some(name),
            "requests": of.requests,
            "share": (share(of.requests) * 1e4).round() / 1e4,
            "requests_per_second": ((now.requests as f64 / time.as_secs_f64().max(1.0)) * 1e2).round() / 1e2,
            "failed": of.failed,
            "limited": of.limited,
            "rate": limits.and_then(|limits| limits.rate).map(rate),
            "max_in_flight": limits.and_then(|limits| limits.max_in_flight),
        })
    });
    rows.collect()
}

/// As the configuration is written.
fn rate(rate: Rate) -> String {
    let unit = match rate.per.as_secs() {
        1 => "s",
        60 => "min",
        _ => "h",
    };
    format!("{}/{unit}, burst {}", rate.requests, rate.burst)
}
