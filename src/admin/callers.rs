//! Requests and limits of each caller, for the status page.

use std::num::NonZeroU32;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::outcomes::OutcomeCounts;
use super::timestamp::rfc3339;
use crate::config::{CallerConfig, Rate};

/// Configured limits of a caller.
#[derive(Clone, Debug)]
pub(crate) struct CallerLimits {
    name: String,
    rate: Option<Rate>,
    max_in_flight: Option<NonZeroU32>,
    expires: Option<SystemTime>,
}

impl From<&CallerConfig> for CallerLimits {
    fn from(caller: &CallerConfig) -> Self {
        CallerLimits {
            name: caller.name.clone(),
            rate: caller.rate,
            max_in_flight: caller.max_in_flight,
            expires: caller.expires,
        }
    }
}

/// The callers as JSON, with the requests of `period` and the rate of `recent`, which covers the
/// given time. The first row is that of requests without a known caller, if there are any. Empty
/// without configured callers.
pub(super) fn json(
    names: &[String],
    limits: &[CallerLimits],
    period: &OutcomeCounts,
    (recent, time): (&OutcomeCounts, Duration),
) -> Value {
    if limits.is_empty() {
        return json!([]);
    }
    let share = |part: u64| part as f64 / period.requests.max(1) as f64;
    let each = names.iter().zip(&period.callers).zip(&recent.callers);
    let is_configured = |name: &str| limits.iter().any(|limits| limits.name == name);
    let shown = each.filter(|((name, of), _)| of.requests > 0 || is_configured(name));
    let rows = shown.map(|((name, of), now)| {
        let limits = limits.iter().find(|limits| limits.name == *name);
        json!({
            "name": (!name.is_empty()).then_some(name),
            "requests": of.requests,
            "share": (share(of.requests) * 1e4).round() / 1e4,
            "requests_per_second": ((now.requests as f64 / time.as_secs_f64().max(1.0)) * 1e2).round() / 1e2,
            "failed": of.failed,
            "limited": of.limited,
            "rate": limits.and_then(|limits| limits.rate).map(format_rate),
            "max_in_flight": limits.and_then(|limits| limits.max_in_flight),
            "expires_at": limits.and_then(|limits| limits.expires).map(rfc3339),
        })
    });
    rows.collect()
}

/// Formats a rate as the configuration writes it.
fn format_rate(rate: Rate) -> String {
    let unit = match rate.per.as_secs() {
        1 => "s",
        60 => "min",
        _ => "h",
    };
    format!("{}/{unit}, burst {}", rate.requests, rate.burst)
}
