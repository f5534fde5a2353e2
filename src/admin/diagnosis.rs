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
    what: "It was asked to. Requests in flight finish; then the process ends.",
    fix: "Send requests to another instance. If nobody ended it on purpose, look into the log.",
};

const CONFIG_REJECTED: Finding = Finding {
    kind: "config_rejected",
    level: Severity::Warn,
    fault: Some(Party::Proxy),
    partial: false,
    title: "The changed configuration is not used",
    what: "It was read again and cannot be put in force; requests are served by the last good one. A restart would fail, unless a restart is what it asks for.",
    fix: "Look into the log or at /status (configuration.problem) for what is wrong with it, and run `gbg-proxy check`.",
};

const HEALTHY: Finding = Finding {
    kind: "healthy",
    level: Severity::Ok,
    fault: None,
    partial: false,
    title: "All is well",
    what: "There is a token, and requests are answered.",
    fix: "Nothing is to be done.",
};

const IDLE: Finding = Finding {
    what: "There is a token. No request has ended in the last two minutes.",
    fix: "If there should be some: look whether callers use the right address.",
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
        let what = "Requests are served with the token that is held, until it expires. If none has come by then, they fail.";
        let title = "The next token does not come";
        return Some(Finding {
            what,
            fix,
            ..base("token_refresh_failing", Severity::Warn, Some(fault), title)
        });
    }
    let bad = |kind, fault, title| base(kind, Severity::Bad, Some(fault), title);
    Some(match token.fetch_failure {
        None => Finding {
            what: "It was asked for and has not come yet. Requests wait for it for a few seconds.",
            fix: "Wait a moment.",
            ..base(
                "token_pending",
                Severity::Warn,
                None,
                "The token is on its way",
            )
        },
        Some(FetchErrorKind::Refused) => Finding {
            what: "The token endpoint refuses the client id or the secret of this proxy. Without a token no request is \
                   served, and trying again changes nothing.",
            fix: REFUSED,
            ..bad(
                "client_refused",
                Party::Proxy,
                "GBG refuses our credentials",
            )
        },
        Some(FetchErrorKind::Credentials) => Finding {
            what: "The key or the certificate of the client cannot be used, and without a token no request is served.",
            fix: CREDENTIALS,
            ..bad(
                "credentials_unusable",
                Party::Proxy,
                "Our own credentials cannot be used",
            )
        },
        Some(Unreachable | Timeout | Broken) => Finding {
            what: "No token can be got, and without one no request is served.",
            fix: SILENT,
            ..bad(
                "token_endpoint_unresponsive",
                Party::Upstream,
                "GBG's token endpoint does not answer",
            )
        },
        Some(_) => Finding {
            what: "It answers, but grants no token, and without one no request is served.",
            fix: SILENT,
            ..bad(
                "token_endpoint_errors",
                Party::Upstream,
                "GBG's token endpoint fails",
            )
        },
    })
}

const REFUSED: &str = "Check client id, secret and the role \"Go API Access\" of the API client in GBG's portal; a \
                       regenerated secret ends the old one at once. `gbg-proxy doctor` says more.";
const CREDENTIALS: &str =
    "See the log for what is wrong with them, and fix [token] or the files that it names.";
const SILENT: &str = "The proxy goes on trying. `gbg-proxy doctor` shows where the way breaks: if it is before GBG, ask \
                      who runs the network; if not, tell GBG.";

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
                title: "GBG does not answer",
                what: "Requests find no connection to GBG, or get no answer from it in time.",
                fix: "`gbg-proxy doctor` shows where the way breaks: if it is before GBG, ask who runs the network; if \
                       not, tell GBG. The proxy goes on trying.",
            },
        ),
        (
            recent.gbg(GbgFailure::ServerError),
            Finding {
                kind: "upstream_errors",
                level: Severity::Bad,
                fault: Some(Party::Upstream),
                partial: false,
                title: "GBG answers with errors",
                what: "Requests reach GBG, and it answers with a status of 500 or more.",
                fix: "Tell GBG, with the X-Request-ID of such an answer: it is in the log, beside the request id below.",
            },
        ),
        (
            recent.gbg(GbgFailure::Unauthorized),
            Finding {
                kind: "upstream_rejecting_token",
                level: Severity::Bad,
                fault: Some(Party::Proxy),
                partial: false,
                title: "GBG refuses our token",
                what: "The token was granted, but the API answers with 401 or 403.",
                fix: "Check the role \"Go API Access\" of the API client, and that upstream.region or base_url is that \
                       of its account.",
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
                what: "GBG refuses the HTTP/2 streams of requests, and does not process them.",
                fix: "Callers may send these requests again. If it lasts, tell GBG: it is overloaded.",
            },
        ),
        (
            sum(&["overloaded"]),
            Finding {
                kind: "overloaded",
                level: Severity::Bad,
                fault: Some(Party::Proxy),
                partial: false,
                title: "More comes than the proxy lets pass",
                what: "limits.max_in_flight requests are in flight, and the queue is full or too slow.",
                fix: "If GBG's part of the latency has grown, it is GBG that is slow. If not, raise limits.max_in_flight, \
                       or add an instance.",
            },
        ),
        (
            sum(&["no_connection_left"]),
            Finding {
                kind: "no_connection_left",
                level: Severity::Bad,
                fault: Some(Party::Proxy),
                partial: false,
                title: "No further connection to GBG may be opened",
                what: "As many are open as the limit of open files (RLIMIT_NOFILE) allows, and all are in use.",
                fix: "Raise LimitNOFILE= of the service, or ulimit -n, and restart. If one caller takes them all, give it \
                       max_in_flight.",
            },
        ),
        (
            recent.disconnected,
            Finding {
                kind: "clients_disconnected",
                level: Severity::Warn,
                fault: None,
                partial: false,
                title: "Callers give up before an answer comes",
                what: "Their connections end while their requests are still on the way.",
                fix: "Compare the latency with how long callers wait: GBG is too slow, or they are too impatient.",
            },
        ),
        (
            recent.gbg(GbgFailure::RateLimited),
            Finding {
                kind: "upstream_rate_limiting",
                level: Severity::Warn,
                fault: caller,
                partial: false,
                title: "GBG is asked too often",
                what: "It answers with 429.",
                fix: "Send less, or ask GBG for more. `rate` of a [[caller]] holds back the one that sends most.",
            },
        ),
        (
            sum(&["rate_limited"]),
            Finding {
                kind: "caller_rate_limited",
                level: Severity::Warn,
                fault: caller,
                partial: false,
                title: "A caller sends more than its share",
                what: "What is beyond its rate or max_in_flight is answered with 429.",
                fix: "See below which one. It has to send less, or its limit in the configuration has to grow.",
            },
        ),
        (
            client_errors,
            Finding {
                kind: "client_errors",
                level: Severity::Warn,
                fault: caller,
                partial: false,
                title: "Callers send what cannot be served",
                what: "The last failures below show what; each response says why.",
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
    let gbg = ("Callers: see what GBG says in its answer", gbg_errors);
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
