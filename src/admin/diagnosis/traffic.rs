//! Findings about the outcomes of the recent requests.

use super::token::SILENT;
use super::{AccountSnapshot, Finding, HEALTHY, Severity, Snapshot, account_label};
use crate::admin::outcomes::{GbgFailure, OutcomeCounts};
use crate::error::{ErrorReason, Party, REASONS};
use crate::metrics::{FailureGroup, ResponseSource};

/// A class of failures is reported from this share of the requests on.
const MIN_SHARE: f64 = 0.01;
/// The same for failures that callers cause: a few of them are normal.
const MIN_CALLER_SHARE: f64 = 0.05;
/// Fewer failures are not a finding, whatever their share.
const MIN_FAILURES: u64 = 3;
/// From this share on, a finding has its full severity.
const MAJOR_SHARE: f64 = 0.5;

/// The reasons of requests that get no response from the API.
const UNRESPONSIVE: [&str; 3] = [
    "upstream_unreachable",
    "upstream_broken",
    "upstream_timeout",
];

pub(super) fn findings(snapshot: &Snapshot) -> Vec<Finding> {
    let recent = &snapshot.recent;
    let rows = rows(recent, snapshot).into_iter();
    let mut findings: Vec<_> = rows
        .filter_map(|(count, finding)| classify(count, base(recent, &finding), finding))
        .collect();
    findings.extend(refused_connections(recent));
    findings
}

/// Whether a class of failures would be reported if it had [`MIN_FAILURES`].
pub(super) fn has_unclassified_failures(recent: &OutcomeCounts) -> bool {
    let rows = rows(recent, &Snapshot::default()).into_iter();
    rows.filter(|(count, _)| (1..MIN_FAILURES).contains(count))
        .any(|(count, finding)| share(count, base(recent, &finding)) >= min_share(&finding))
}

/// The number of requests that a share of `finding` is of. Rejected requests of callers must not
/// hide a failure of GBG.
fn base(recent: &OutcomeCounts, finding: &Finding) -> u64 {
    if finding.fault == Some(Party::Caller) {
        recent.requests
    } else {
        recent.admitted()
    }
}

/// Connections that ended before a request: those of callers that never get as far as a failure.
fn refused_connections(recent: &OutcomeCounts) -> Option<Finding> {
    let counted = recent.refused_connections().filter(|(_, count)| *count > 0);
    let (total, causes) = counted.fold((0, Vec::new()), |(total, mut causes), (reason, count)| {
        causes.push(format!("{}: {count}", reason.name()));
        (total + count, causes)
    });
    let finding = Finding {
        kind: "connections_refused",
        level: Severity::Warn,
        fault: Some(Party::Caller),
        title: "Connections are refused before a request",
        what: "Callers send what is not TLS or not HTTP, or reject the certificate.",
        cause: Some(causes.join("\n")),
        fix: "The log lines \"refused a connection\" name the peers, the runbook explains each reason.",
        ..HEALTHY
    };
    classify(total, recent.requests + total, finding)
}

/// Classes of failures with their counts; an earlier one explains a later one.
fn rows(recent: &OutcomeCounts, snapshot: &Snapshot) -> Vec<(u64, Finding)> {
    let (accounts, failures) = (&*snapshot.accounts, &*snapshot.failures);
    let sum = |names: &[&str]| -> u64 {
        recent
            .reasons()
            .filter(|(reason, _)| names.contains(&reason.name))
            .map(|(_, count)| count)
            .sum()
    };
    let caller = Some(Party::Caller);
    let (client_errors, action) = client_errors(recent);
    vec![
        (
            sum(&UNRESPONSIVE),
            Finding {
                kind: "upstream_unresponsive",
                level: Severity::Bad,
                fault: Some(Party::Upstream),
                title: "GBG does not respond",
                what: "Requests get no connection to GBG, or no response in time.",
                cause: last_cause(accounts, &UNRESPONSIVE),
                fix: SILENT,
                ..HEALTHY
            },
        ),
        (
            recent.gbg(GbgFailure::ServerError),
            Finding {
                kind: "upstream_errors",
                level: Severity::Bad,
                fault: Some(Party::Upstream),
                title: "GBG responds with errors",
                what: "Requests reach GBG, and it responds with a status of 500 or more.",
                cause: last_response(failures, GbgFailure::ServerError),
                fix: "Contact GBG with this X-Request-ID.",
                ..HEALTHY
            },
        ),
        (
            recent.gbg(GbgFailure::Unauthorized),
            Finding {
                kind: "upstream_rejecting_token",
                level: Severity::Bad,
                fault: Some(Party::Proxy),
                title: "GBG rejects our token",
                what: "The token endpoint granted the token, but the API responds with 401 or 403.",
                cause: last_response(failures, GbgFailure::Unauthorized),
                fix: "Check that the API client has the role \"Go API Access\", and that upstream.region or base_url \
                      belongs to its account.",
                ..HEALTHY
            },
        ),
        (
            sum(&["upstream_refused"]),
            Finding {
                kind: "upstream_refusing_streams",
                level: Severity::Bad,
                fault: Some(Party::Upstream),
                title: "GBG refuses requests",
                what: "GBG refuses the HTTP/2 streams of requests without processing them.",
                cause: last_cause(accounts, &["upstream_refused"]),
                fix: "Callers may retry these requests. If it lasts, GBG is overloaded: contact GBG.",
                ..HEALTHY
            },
        ),
        (
            sum(&["overloaded"]),
            Finding {
                kind: "overloaded",
                level: Severity::Bad,
                fault: Some(Party::Proxy),
                title: "The proxy is overloaded",
                what: "limits.max_in_flight requests are in flight, and the queue is full or too slow.",
                fix: "If GBG's part of the latency has grown, GBG is slow. Otherwise raise limits.max_in_flight, or \
                      add an instance.",
                ..HEALTHY
            },
        ),
        (
            sum(&["no_connection_left"]),
            Finding {
                kind: "no_connection_left",
                level: Severity::Bad,
                fault: Some(Party::Proxy),
                title: "The limit of open files is reached",
                what: "RLIMIT_NOFILE allows no further connection to GBG, and all open ones are in use.",
                fix: "Raise LimitNOFILE= of the service, or ulimit -n, and restart. If one caller uses them all, set \
                      its max_in_flight.",
                ..HEALTHY
            },
        ),
        (
            recent.disconnected,
            Finding {
                kind: "clients_disconnected",
                level: Severity::Warn,
                fault: None,
                title: "Callers disconnect before the response",
                what: "Connections of callers end while their requests are in flight.",
                fix: "Compare the latency with callers' timeouts: GBG is too slow, or they are too short.",
                ..HEALTHY
            },
        ),
        (
            recent.gbg(GbgFailure::RateLimited),
            Finding {
                kind: "upstream_rate_limiting",
                level: Severity::Warn,
                fault: caller,
                title: "GBG limits the rate of requests",
                what: "GBG responds with 429.",
                cause: last_response(failures, GbgFailure::RateLimited),
                fix: "Send fewer requests, or ask GBG for a higher limit. `rate` of a [[caller]] limits one caller.",
                ..HEALTHY
            },
        ),
        (
            sum(&["rate_limited"]),
            Finding {
                kind: "caller_rate_limited",
                level: Severity::Warn,
                fault: caller,
                title: "A caller exceeds its limits",
                what: "Requests beyond its rate or max_in_flight get 429.",
                cause: failed_callers(snapshot, "rate_limited"),
                fix: "Raise the limits of the caller, or have it send fewer requests.",
                ..HEALTHY
            },
        ),
        (
            client_errors,
            Finding {
                kind: "client_errors",
                level: Severity::Warn,
                fault: caller,
                title: "Callers send invalid requests",
                what: "The proxy or GBG rejects them with 4xx.",
                cause: last_client_errors(snapshot),
                fix: action,
                ..HEALTHY
            },
        ),
    ]
}

/// The number of failures that callers cause, without exceeded rates and quotas, and the action for
/// the most frequent reason.
fn client_errors(recent: &OutcomeCounts) -> (u64, &'static str) {
    let ours = recent
        .reasons()
        .filter(|(reason, _)| is_client_error(reason))
        .map(|(reason, count)| (reason.action, count));
    let gbg_errors = recent.gbg(GbgFailure::ClientError);
    let gbg = ("Callers: see the error in GBG's response", gbg_errors);
    let all: Vec<_> = ours.chain([gbg]).collect();
    let most = all
        .iter()
        .max_by_key(|(_, count)| *count)
        .map_or("", |(action, _)| action);
    (all.iter().map(|(_, count)| count).sum(), most)
}

/// Exceeded limits have a finding of their own.
fn is_client_error(reason: &ErrorReason) -> bool {
    reason.fault == Party::Caller && reason.name != "rate_limited"
}

/// `finding` if `count` of `requests` suffice for it: with its own severity from [`MAJOR_SHARE`]
/// on, below that as a warning.
fn classify(count: u64, requests: u64, finding: Finding) -> Option<Finding> {
    let share = share(count, requests);
    if count < MIN_FAILURES || share < min_share(&finding) {
        return None;
    }
    let is_major = share >= MAJOR_SHARE;
    Some(Finding {
        level: if is_major {
            finding.level
        } else {
            Severity::Warn
        },
        partial: !is_major,
        ..finding
    })
}

fn share(count: u64, requests: u64) -> f64 {
    count as f64 / requests.max(1) as f64
}

fn min_share(finding: &Finding) -> f64 {
    if finding.fault == Some(Party::Caller) {
        MIN_CALLER_SHARE
    } else {
        MIN_SHARE
    }
}

/// The cause of the last failure of each account with one of these reasons, a line for each.
fn last_cause(accounts: &[AccountSnapshot], reasons: &[&str]) -> Option<String> {
    let causes = accounts.iter().filter_map(|account| {
        let failure = account.upstream_failure.as_ref()?;
        let is_meant = reasons.contains(&failure.reason);
        is_meant.then(|| format!("{}{}", account_label(account, accounts), failure.cause))
    });
    join_lines(causes)
}

/// The callers of the last failures with `reason`, a line for each.
fn failed_callers(snapshot: &Snapshot, reason: &str) -> Option<String> {
    let groups = snapshot.failures.iter();
    let of_reason = groups.filter(|group| group.reason == Some(reason));
    let lines = of_reason.map(|group| format!("{}: {}", caller_name(snapshot, group), group.count));
    join_lines(lines)
}

/// The last failures that callers cause, a line for each reason.
fn last_client_errors(snapshot: &Snapshot) -> Option<String> {
    const MAX_LINES: usize = 3;
    let is_meant = |group: &&FailureGroup| {
        let reason = REASONS
            .into_iter()
            .find(|reason| Some(reason.name) == group.reason);
        match reason {
            Some(reason) => is_client_error(reason),
            None => {
                let class = GbgFailure::classify(group.status, group.is_token_rejection);
                group.source == ResponseSource::Gbg && class == Some(GbgFailure::ClientError)
            }
        }
    };
    let groups = snapshot.failures.iter().filter(is_meant);
    let lines = groups.take(MAX_LINES).map(|group| {
        let reason = group.reason.unwrap_or("of GBG");
        let (status, endpoint, count) = (group.status, group.endpoint, group.count);
        format!(
            "{status} {reason}: {count} by {} on {endpoint}",
            caller_name(snapshot, group)
        )
    });
    join_lines(lines)
}

/// `lines` as a cause; `None` without any.
fn join_lines(lines: impl Iterator<Item = String>) -> Option<String> {
    let lines = lines.collect::<Vec<_>>().join("\n");
    (!lines.is_empty()).then_some(lines)
}

fn caller_name<'s>(snapshot: &'s Snapshot, group: &FailureGroup) -> &'s str {
    let name = snapshot.caller_names.get(group.caller).map(String::as_str);
    name.filter(|name| !name.is_empty())
        .unwrap_or("callers that were not identified")
}

/// The last response of the API with a failure of class `class`.
fn last_response(failures: &[FailureGroup], class: GbgFailure) -> Option<String> {
    let is_meant = |group: &&FailureGroup| {
        group.source == ResponseSource::Gbg
            && GbgFailure::classify(group.status, group.is_token_rejection) == Some(class)
    };
    let FailureGroup {
        status,
        endpoint,
        gbg_id,
        ..
    } = failures.iter().find(is_meant)?;
    let id = gbg_id.as_deref().unwrap_or("none");
    Some(format!("status {status} to {endpoint}, X-Request-ID {id}"))
}

#[cfg(test)]
mod tests;
