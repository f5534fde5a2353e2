//! Diagnosis for the status page: findings with their causes and fixes, derived from the state of
//! the process and the outcomes of recent requests.
//!
//! Titles and fixes are fixed texts without numbers: a screen reader announces a finding once, not
//! again with each count. Addresses, keys, names and times are in the cause.

mod setup;
mod token;
mod traffic;

use super::outcomes::OutcomeCounts;
use crate::error::Party;
use crate::metrics::{CertificateEnd, FailureGroup, Reloads, UpstreamFailure};
use crate::token::FetchFailure;

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
#[derive(Clone, Debug, Default)]
pub(super) struct Snapshot {
    pub(super) draining: bool,
    pub(super) accounts: Vec<AccountSnapshot>,
    pub(super) reloads: Reloads,
    pub(super) certificates: Vec<CertificateEnd>,
    /// Callers whose access ends.
    pub(super) callers: Vec<(String, u64)>,
    /// The recent requests.
    pub(super) recent: OutcomeCounts,
    /// The last failures, the newest first.
    pub(super) failures: Vec<FailureGroup>,
    /// By the number of the caller.
    pub(super) caller_names: Vec<String>,
}

/// State of one account.
#[derive(Clone, Debug, Default)]
pub(super) struct AccountSnapshot {
    pub(super) name: Box<str>,
    pub(super) has_token: bool,
    /// The failure of the last fetch, if it failed.
    pub(super) fetch_failure: Option<FetchFailure>,
    /// The last request that got no response from the API.
    pub(super) upstream_failure: Option<UpstreamFailure>,
}

/// A finding, with its texts for the status page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) kind: &'static str,
    pub(super) level: Severity,
    /// The party that has to act; `None` if it is unknown, or nobody has to.
    pub(super) fault: Option<Party>,
    /// Whether most requests still succeed.
    pub(super) partial: bool,
    pub(super) title: &'static str,
    pub(super) what: &'static str,
    /// The error, address, key or name; may have several lines.
    pub(super) cause: Option<String>,
    pub(super) fix: &'static str,
}

/// All findings, the most severe first; never empty.
pub(super) fn diagnose(snapshot: &Snapshot) -> Vec<Finding> {
    let mut all = token::findings(&snapshot.accounts);
    all.extend(traffic::findings(snapshot));
    all.extend(setup::findings(snapshot));
    // A stable sort: of two findings with the same severity the first explains the second.
    all.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    if snapshot.draining {
        all.insert(0, setup::DRAINING);
    }
    if all.is_empty() {
        let recent = &snapshot.recent;
        all.push(match recent.requests {
            0 => IDLE,
            _ if traffic::has_unclassified_failures(recent) => SINGLE_FAILURES,
            _ => HEALTHY,
        });
    }
    all
}

const HEALTHY: Finding = Finding {
    kind: "healthy",
    level: Severity::Ok,
    fault: None,
    partial: false,
    title: "All is well",
    what: "The proxy has a token and serves requests.",
    cause: None,
    fix: "Nothing to do.",
};

const IDLE: Finding = Finding {
    title: "All is well, without requests",
    what: "The proxy has a token. No request has ended in the last 15 minutes.",
    fix: "If you expect requests, check the address that callers use.",
    ..HEALTHY
};

const SINGLE_FAILURES: Finding = Finding {
    title: "The proxy works; single requests failed",
    what: "The proxy has a token. The failures are too few for a verdict.",
    fix: "If it happens again, look for the reason under \"Last failures\".",
    ..HEALTHY
};

/// The part of a cause that names `account`; empty if there is only one.
fn account_label(account: &AccountSnapshot, accounts: &[AccountSnapshot]) -> String {
    if accounts.len() > 1 {
        format!("account {}: ", account.name)
    } else {
        String::new()
    }
}

#[cfg(test)]
mod tests;
