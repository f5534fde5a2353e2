//! What the matter is, in plain words, and what to do: decided from the token and from what became
//! of the last requests. Pure, and of fixed texts, so that a screen reader is told once and not
//! again with each number.

use super::outcomes::{GbgFailure, Tally};
use crate::error::{ErrorReason, Party};

/// From this part of the requests on, failures of one kind are worth a word, if there are as many
/// as [`SOME`].
const MANY: f64 = 0.01;
/// The same of those for which callers are to blame: that some are refused is daily life.
const MANY_OF_CALLERS: f64 = 0.05;
const SOME: u64 = 3;
/// From this part on they are the matter.
const MOST: f64 = 0.5;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Ok,
    /// Something fails, or will.
    Warn,
    /// Most or all fails.
    Bad,
}

impl Level {
    pub(super) fn name(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Warn => "warn",
            Level::Bad => "bad",
        }
    }
}

/// What is known.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    pub(super) draining: bool,
    /// Whether there is a token that serves.
    pub(super) held: bool,
    /// Why the last fetch brought none, if it did not.
    pub(super) failure: Option<&'static str>,
    /// Whether the configuration that was read last is not used.
    pub(super) refused_config: bool,
    /// The requests of the last minutes.
    pub(super) recent: Tally,
}

/// What the matter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) kind: &'static str,
    pub(super) level: Level,
    /// Who has to act; `None` where nobody has to, or it cannot be told.
    pub(super) fault: Option<Party>,
    /// Whether most requests are served all the same.
    pub(super) partial: bool,
    pub(super) title: &'static str,
    pub(super) what: &'static str,
    pub(super) fix: &'static str,
}

/// Everything that is the matter, the worst first; never empty.
pub(super) fn verdicts(facts: &Snapshot) -> Vec<Finding> {
    let mut all: Vec<_> = token(facts).into_iter().chain(traffic(facts)).collect();
    if facts.refused_config {
        all.push(CONFIG_REFUSED);
    }
    // Stable: of two that are equally bad the first explains the second.
    all.sort_by_key(|verdict| std::cmp::Reverse(verdict.level));
    if facts.draining {
        all.insert(0, DRAINING);
    }
    if all.is_empty() {
        all.push(if facts.recent.requests > 0 {
            WELL
        } else {
            IDLE
        });
    }
    all
}

const DRAINING: Finding = Finding {
    kind: "draining",
    level: Level::Warn,
    fault: None,
    partial: false,
    title: "The proxy is about to end",
    what: "It was told to. Requests in flight finish; then it is gone.",
    fix: "Send requests to another instance. If nobody ended it on purpose, look into the log.",
};

const CONFIG_REFUSED: Finding = Finding {
    kind: "config_rejected",
    level: Level::Warn,
    fault: Some(Party::Proxy),
    partial: false,
    title: "The changed configuration is not used",
    what: "It was read again and cannot be put in force; requests are served by the last good one. A restart would fail, unless a restart is what it asks for.",
    fix: "Look into the log or at /status (configuration.problem) for what is wrong with it, and run `gbg-proxy check`.",
};

const WELL: Finding = Finding {
    kind: "healthy",
    level: Level::Ok,
    fault: None,
    partial: false,
    title: "All is well",
    what: "There is a token, and requests are answered.",
    fix: "Nothing is to be done.",
};

const IDLE: Finding = Finding {
    what: "There is a token. No request has ended in the last two minutes.",
    fix: "If there should be some: look whether callers use the right address.",
    ..WELL
};

fn token(facts: &Snapshot) -> Option<Finding> {
    let base = |kind, level, fault, title| Finding {
        kind,
        level,
        fault,
        partial: false,
        title,
        what: "",
        fix: "",
    };
    if facts.held {
        let (fault, fix) = match facts.failure? {
            "refused" => (Party::Proxy, REFUSED),
            "credentials" => (Party::Proxy, CREDENTIALS),
            _ => (Party::Upstream, SILENT),
        };
        let what = "Requests are served with the token that is held, until it expires. If none has come by then, they fail.";
        let title = "The next token does not come";
        return Some(Finding {
            what,
            fix,
            ..base("token_refresh_failing", Level::Warn, Some(fault), title)
        });
    }
    let bad = |kind, fault, title| base(kind, Level::Bad, Some(fault), title);
    Some(match facts.failure {
        None => Finding {
            what: "It was asked for and has not come yet. Requests wait for it for a few seconds.",
            fix: "Wait a moment.",
            ..base(
                "token_pending",
                Level::Warn,
                None,
                "The token is on its way",
            )
        },
        Some("refused") => Finding {
            what: "The token endpoint refuses the client id or the secret of this proxy. Without a token no request is \
                   served, and trying again changes nothing.",
            fix: REFUSED,
            ..bad(
                "client_refused",
                Party::Proxy,
                "GBG refuses our credentials",
            )
        },
        Some("credentials") => Finding {
            what: "The key or the certificate of the client cannot be used, and without a token no request is served.",
            fix: CREDENTIALS,
            ..bad(
                "credentials_unusable",
                Party::Proxy,
                "Our own credentials cannot be used",
            )
        },
        Some("unreachable" | "timeout" | "broken") => Finding {
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

fn traffic(facts: &Snapshot) -> Vec<Finding> {
    let recent = &facts.recent;
    let sum = |names: &[&str]| -> u64 {
        recent
            .reasons()
            .filter(|(reason, _)| names.contains(&reason.name))
            .map(|(_, count)| count)
            .sum()
    };
    let caller = Some(Party::Caller);
    let (refused, action) = refused_of_callers(recent);
    let rows = [
        (
            sum(&[
                "upstream_unreachable",
                "upstream_broken",
                "upstream_timeout",
            ]),
            Finding {
                kind: "upstream_unresponsive",
                level: Level::Bad,
                fault: Some(Party::Upstream),
                partial: false,
                title: "GBG does not answer",
                what: "Requests find no connection to GBG, or get no answer from it in time.",
                fix: "`gbg-proxy doctor` shows where the way breaks: if it is before GBG, ask who runs the network; if \
                       not, tell GBG. The proxy goes on trying.",
            },
        ),
        (
            recent.gbg(GbgFailure::Broken),
            Finding {
                kind: "upstream_errors",
                level: Level::Bad,
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
                level: Level::Bad,
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
                level: Level::Bad,
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
                level: Level::Bad,
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
                level: Level::Bad,
                fault: Some(Party::Proxy),
                partial: false,
                title: "No further connection to GBG may be opened",
                what: "As many are open as the limit of open files (RLIMIT_NOFILE) allows, and all are in use.",
                fix: "Raise LimitNOFILE= of the service, or ulimit -n, and restart. If one caller takes them all, give it \
                       max_in_flight.",
            },
        ),
        (
            recent.gone,
            Finding {
                kind: "clients_disconnected",
                level: Level::Warn,
                fault: None,
                partial: false,
                title: "Callers give up before an answer comes",
                what: "Their connections end while their requests are still on the way.",
                fix: "Compare the latency with how long callers wait: GBG is too slow, or they are too impatient.",
            },
        ),
        (
            recent.gbg(GbgFailure::Limited),
            Finding {
                kind: "upstream_rate_limiting",
                level: Level::Warn,
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
                level: Level::Warn,
                fault: caller,
                partial: false,
                title: "A caller sends more than its share",
                what: "What is beyond its rate or max_in_flight is answered with 429.",
                fix: "See below which one. It has to send less, or its limit in the configuration has to grow.",
            },
        ),
        (
            refused,
            Finding {
                kind: "client_errors",
                level: Level::Warn,
                fault: caller,
                partial: false,
                title: "Callers send what cannot be served",
                what: "The last failures below tell what, and the answer tells each caller why.",
                fix: action,
            },
        ),
    ];
    rows.into_iter()
        .filter_map(|(count, verdict)| weighed(count, recent.requests, verdict))
        .collect()
}

/// How often callers are to blame, but for their share, and what they should do about what is most
/// frequent.
fn refused_of_callers(recent: &Tally) -> (u64, &'static str) {
    let is_theirs = |(reason, _): &(&ErrorReason, u64)| {
        reason.fault == Party::Caller && reason.name != "rate_limited"
    };
    let ours = recent
        .reasons()
        .filter(is_theirs)
        .map(|(reason, count)| (reason.action, count));
    let of_gbg = recent.gbg(GbgFailure::Refused);
    let all: Vec<_> = ours
        .chain([("Callers: see what GBG says in its answer", of_gbg)])
        .collect();
    let most = all
        .iter()
        .max_by_key(|(_, count)| *count)
        .map_or("", |(action, _)| action);
    (all.iter().map(|(_, count)| count).sum(), most)
}

/// `verdict`, if `count` of `requests` are enough for it: at its own level for most, as a warning
/// for many.
fn weighed(count: u64, requests: u64, verdict: Finding) -> Option<Finding> {
    let part = count as f64 / requests.max(1) as f64;
    let many = if verdict.fault == Some(Party::Caller) {
        MANY_OF_CALLERS
    } else {
        MANY
    };
    let level = if count > 0 && part >= MOST {
        verdict.level
    } else if count >= SOME && part >= many {
        Level::Warn
    } else {
        return None;
    };
    Some(Finding {
        level,
        partial: part < MOST,
        ..verdict
    })
}

#[cfg(test)]
mod tests;
