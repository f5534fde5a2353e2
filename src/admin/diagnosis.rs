//! Diagnosis for the status page: findings and their fixes, derived from the token and the outcomes
//! of recent requests.
//!
//! The texts are fixed and hold no numbers: a screen reader announces a finding once, not again
//! with each count.

use super::outcomes::{GbgFailure, OutcomeCounts};
use crate::error::{ErrorReason, Party};
use crate::token::FetchErrorKind::{self, Broken, Timeout, Unreachable};

/// A failure class is reported from this share of the requests on, if it affects at least
/// [`MIN_FAILURES`].
const MIN_SHARE: f64 = 0.01;
/// The same for failures that callers cause: a few of them are normal.
const MIN_CALLER_SHARE: f64 = 0.05;
const MIN_FAILURES: u64 = 3;
/// From this share on, a finding has its full severity.
const MAJOR_SHARE: f64 = 0.5;

/// Severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Severity {
    Ok,
    /// Something fails, or will fail.
    Warn,
    /// Most or all requests fail.
    Bad,
}

impl Severity {
    pub(super) fn name(self) -> &'static str {
        match self {
            Severity::Ok => "ok",
            Severity::Warn => "warn",
            Severity::Bad => "bad",
        }
    }
}

/// State of the proxy that the diagnosis depends on.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    pub(super) draining: bool,
    /// The token of each account.
    pub(super) tokens: Vec<TokenSnapshot>,
    /// Whether the last reload of the configuration was rejected.
    pub(super) config_rejected: bool,
    /// The requests of the last minutes.
    pub(super) recent: OutcomeCounts,
}

/// State of the token of one account.
#[derive(Clone, Copy, Debug)]
pub(super) struct TokenSnapshot {
    pub(super) is_valid: bool,
    /// The failure of the last fetch, if it failed.
    pub(super) fetch_failure: Option<FetchErrorKind>,
}

/// A finding, with its texts for the status page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) kind: &'static str,
    pub(super) level: Severity,
    /// The party that has to act; `None` if it is unknown, or nobody has to.
    pub(super) fault: Option<Party>,
    /// Whether most requests still succeed.
    pub(super) partial: bool,
    pub(super) title: &'static str,
    pub(super) what: &'static str,
    pub(super) fix: &'static str,
}

/// All findings, the most severe first; never empty.
pub(super) fn diagnose(snapshot: &Snapshot) -> Vec<Finding> {
    let mut all: Vec<_> = snapshot.tokens.iter().filter_map(token).collect();
    all.extend(traffic(snapshot));
    if snapshot.config_rejected {
        all.push(CONFIG_REJECTED);
    }
    // A stable sort: of two findings with the same severity the first explains the second.
    all.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    if snapshot.draining {
        all.insert(0, DRAINING);
    }
    if all.is_empty() {
        let is_idle = snapshot.recent.requests == 0;
        all.push(if is_idle { IDLE } else { HEALTHY });
    }
    all
}

const DRAINING: Finding = Finding {
    kind: "draining",
    level: Severity::Warn,
    fault: None,
    partial: false,
    title: "The proxy is shutting down",
    what: "The process received a request to end. It first finishes the requests in flight.",
    fix: "Send requests to another instance. If nobody ended it on purpose, check the log.",
};

const CONFIG_REJECTED: Finding = Finding {
    kind: "config_rejected",
    level: Severity::Warn,
    fault: Some(Party::Proxy),
    partial: false,
    title: "The new configuration was rejected",
    what: "The last reload failed, and the previous configuration stays active. A restart would fail too, unless the \
           change only needs a restart.",
    fix: "Run `gbg-proxy check`. The log and /status (configuration.problem) show the error.",
};

const HEALTHY: Finding = Finding {
    kind: "healthy",
    level: Severity::Ok,
    fault: None,
    partial: false,
    title: "All is well",
    what: "The proxy has a token and serves requests.",
    fix: "Nothing to do.",
};

const IDLE: Finding = Finding {
    what: "The proxy has a token. No request has ended in the last two minutes.",
    fix: "If you expect requests, check the address that callers use.",
    ..HEALTHY
};

fn token(token: &TokenSnapshot) -> Option<Finding> {
    let base = |kind, level, fault, title| Finding {
        kind,
        level,
        fault,
        title,
        ..HEALTHY
    };
    if token.is_valid {
        let (fault, fix) = match token.fetch_failure? {
            FetchErrorKind::Refused => (Party::Proxy, REFUSED),
            FetchErrorKind::Credentials => (Party::Proxy, CREDENTIALS),
            _ => (Party::Upstream, SILENT),
        };
        let what = "Requests use the current token until it expires, and then fail unless a fetch succeeds.";
        let title = "The next token cannot be fetched";
        return Some(Finding {
            what,
            fix,
            ..base("token_refresh_failing", Severity::Warn, Some(fault), title)
        });
    }
    let bad = |kind, fault, title| base(kind, Severity::Bad, Some(fault), title);
    Some(match token.fetch_failure {
        None => Finding {
            what: "The proxy has requested a token. Until it arrives, requests wait for a few seconds.",
            fix: "Wait a few seconds.",
            ..base(
                "token_pending",
                Severity::Warn,
                None,
                "Waiting for the token",
            )
        },
        Some(FetchErrorKind::Refused) => Finding {
            what: "The token endpoint refuses the client ID or the secret of this proxy. Without a token, requests \
                   fail; a retry does not help.",
            fix: REFUSED,
            ..bad(
                "client_refused",
                Party::Proxy,
                "GBG refuses our credentials",
            )
        },
        Some(FetchErrorKind::Credentials) => Finding {
            what: "The key or the certificate of the client cannot be used. Without a token, requests fail.",
            fix: CREDENTIALS,
            ..bad(
                "credentials_unusable",
                Party::Proxy,
                "Our own credentials cannot be used",
            )
        },
        Some(Unreachable | Timeout | Broken) => Finding {
            what: "The proxy cannot fetch a token. Without a token, requests fail.",
            fix: SILENT,
            ..bad(
                "token_endpoint_unresponsive",
                Party::Upstream,
                "GBG's token endpoint does not respond",
            )
        },
        Some(_) => Finding {
            what: "The token endpoint responds, but does not grant a token. Without a token, requests fail.",
            fix: SILENT,
            ..bad(
                "token_endpoint_errors",
                Party::Upstream,
                "GBG's token endpoint fails",
            )
        },
    })
}

const REFUSED: &str = "Check the client ID, the secret and the role \"Go API Access\" of the API client in GBG's \
                       portal; a regenerated secret invalidates the old one at once. `gbg-proxy doctor` has details.";
const CREDENTIALS: &str = "Correct [token] or the files that it names; the log shows the error.";
const SILENT: &str = "Run `gbg-proxy doctor`: it shows the step that fails. If that is before GBG, contact your \
                      network team, else GBG. The proxy keeps retrying.";

fn traffic(snapshot: &Snapshot) -> Vec<Finding> {
    let recent = &snapshot.recent;
    let sum = |names: &[&str]| -> u64 {
        recent
            .reasons()
            .filter(|(reason, _)| names.contains(&reason.name))
            .map(|(_, count)| count)
            .sum()
    };
    let caller = Some(Party::Caller);
    let (client_errors, action) = client_errors(recent);
    let rows = [
        (
            sum(&[
                "upstream_unreachable",
                "upstream_broken",
                "upstream_timeout",
            ]),
            Finding {
                kind: "upstream_unresponsive",
                level: Severity::Bad,
                fault: Some(Party::Upstream),
                partial: false,
                title: "GBG does not respond",
                what: "Requests get no connection to GBG, or no response in time.",
                fix: SILENT,
            },
        ),
        (
            recent.gbg(GbgFailure::ServerError),
            Finding {
                kind: "upstream_errors",
                level: Severity::Bad,
                fault: Some(Party::Upstream),
                partial: false,
                title: "GBG responds with errors",
                what: "Requests reach GBG, and it responds with a status of 500 or more.",
                fix: "Contact GBG with the X-Request-ID of such a response: the log has it beside the request ID \
                      below.",
            },
        ),
        (
            recent.gbg(GbgFailure::Unauthorized),
            Finding {
                kind: "upstream_rejecting_token",
                level: Severity::Bad,
                fault: Some(Party::Proxy),
                partial: false,
                title: "GBG rejects our token",
                what: "The token endpoint granted the token, but the API responds with 401 or 403.",
                fix: "Check that the API client has the role \"Go API Access\", and that upstream.region or base_url \
                      belongs to its account.",
            },
        ),
        (
            sum(&["upstream_refused"]),
            Finding {
                kind: "upstream_refusing_streams",
                level: Severity::Bad,
                fault: Some(Party::Upstream),
                partial: false,
                title: "GBG refuses requests",
                what: "GBG refuses the HTTP/2 streams of requests without processing them.",
                fix: "Callers may retry these requests. If it lasts, GBG is overloaded: contact GBG.",
            },
        ),
        (
            sum(&["overloaded"]),
            Finding {
                kind: "overloaded",
                level: Severity::Bad,
                fault: Some(Party::Proxy),
                partial: false,
                title: "The proxy is overloaded",
                what: "limits.max_in_flight requests are in flight, and the queue is full or too slow.",
                fix: "If GBG's part of the latency has grown, GBG is slow. Otherwise raise limits.max_in_flight, or \
                      add an instance.",
            },
        ),
        (
            sum(&["no_connection_left"]),
            Finding {
                kind: "no_connection_left",
                level: Severity::Bad,
                fault: Some(Party::Proxy),
                partial: false,
                title: "The limit of open files is reached",
                what: "RLIMIT_NOFILE allows no further connection to GBG, and all open ones are in use.",
                fix: "Raise LimitNOFILE= of the service, or ulimit -n, and restart. If one caller uses them all, set \
                      its max_in_flight.",
            },
        ),
        (
            recent.disconnected,
            Finding {
                kind: "clients_disconnected",
                level: Severity::Warn,
                fault: None,
                partial: false,
                title: "Callers disconnect before the response",
                what: "Connections of callers end while their requests are in flight.",
                fix: "Compare the latency with callers' timeouts: GBG is too slow, or they are too short.",
            },
        ),
        (
            recent.gbg(GbgFailure::RateLimited),
            Finding {
                kind: "upstream_rate_limiting",
                level: Severity::Warn,
                fault: caller,
                partial: false,
                title: "GBG limits the rate of requests",
                what: "GBG responds with 429.",
                fix: "Send fewer requests, or ask GBG for a higher limit. `rate` of a [[caller]] limits one caller.",
            },
        ),
        (
            sum(&["rate_limited"]),
            Finding {
                kind: "caller_rate_limited",
                level: Severity::Warn,
                fault: caller,
                partial: false,
                title: "A caller exceeds its limits",
                what: "Requests beyond its rate or max_in_flight get 429.",
                fix: "The table of callers below shows which one. Raise its limits, or have it send fewer requests.",
            },
        ),
        (
            client_errors,
            Finding {
                kind: "client_errors",
                level: Severity::Warn,
                fault: caller,
                partial: false,
                title: "Callers send invalid requests",
                what: "The proxy or GBG rejects them with 4xx. The last failures below have the reasons.",
                fix: action,
            },
        ),
    ];
    rows.into_iter()
        .filter_map(|(count, finding)| classify(count, recent.requests, finding))
        .collect()
}

/// The number of failures that callers cause, without exceeded rates and quotas, and the action for
/// the most frequent reason.
fn client_errors(recent: &OutcomeCounts) -> (u64, &'static str) {
    let is_client_error = |(reason, _): &(&ErrorReason, u64)| {
        reason.fault == Party::Caller && reason.name != "rate_limited"
    };
    let ours = recent
        .reasons()
        .filter(is_client_error)
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

/// `finding` if `count` of `requests` suffice for it: with its own severity from [`MAJOR_SHARE`]
/// on, below that as a warning.
fn classify(count: u64, requests: u64, finding: Finding) -> Option<Finding> {
    let share = count as f64 / requests.max(1) as f64;
    let min_share = if finding.fault == Some(Party::Caller) {
        MIN_CALLER_SHARE
    } else {
        MIN_SHARE
    };
    let level = if count > 0 && share >= MAJOR_SHARE {
        finding.level
    } else if count >= MIN_FAILURES && share >= min_share {
        Severity::Warn
    } else {
        return None;
    };
    Some(Finding {
        level,
        partial: share < MAJOR_SHARE,
        ..finding
    })
}

#[cfg(test)]
mod tests;
