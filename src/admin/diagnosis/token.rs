//! Findings about the token of each account.

use super::{AccountSnapshot, Finding, HEALTHY, Severity, account_label};
use crate::error::Party;
use crate::token::FetchErrorKind::{self, Broken, Credentials, Refused, Timeout, Unreachable};

/// One finding for each kind; its cause names the accounts.
pub(super) fn findings(accounts: &[AccountSnapshot]) -> Vec<Finding> {
    let mut all: Vec<Finding> = Vec::new();
    for account in accounts {
        let Some(mut finding) = classify(account) else {
            continue;
        };
        let cause = account.fetch_failure.as_ref();
        let cause = cause.map_or("no fetch has ended yet", |failure| &*failure.cause);
        let cause = format!("{}{cause}", account_label(account, accounts));
        let known = all.iter_mut().find(|known| known.kind == finding.kind);
        if let Some(known) = known.and_then(|known| known.cause.as_mut()) {
            known.push('\n');
            known.push_str(&cause);
        } else {
            finding.cause = Some(cause);
            all.push(finding);
        }
    }
    all
}

fn classify(account: &AccountSnapshot) -> Option<Finding> {
    let failure = account.fetch_failure.as_ref();
    let kind = failure.map(|failure| failure.kind);
    if account.has_token {
        return kind.map(refresh_failing);
    }
    let Some(failure) = failure else {
        return Some(Finding {
            kind: "token_pending",
            level: Severity::Warn,
            title: "Waiting for the token",
            what: "The proxy has requested a token. Until it arrives, requests wait for a few seconds.",
            fix: "Wait a few seconds.",
            ..HEALTHY
        });
    };
    let (kind, fault, title, what) = match failure.kind {
        Refused => (
            "client_refused",
            Party::Proxy,
            "GBG refuses our credentials",
            "The token endpoint refuses the client ID or the secret of this proxy. Without a token, requests fail; a \
             retry does not help.",
        ),
        Credentials => (
            "credentials_unusable",
            Party::Proxy,
            "Our own credentials cannot be used",
            "The key or the certificate of the client cannot be used. Without a token, requests fail.",
        ),
        Unreachable | Timeout | Broken => (
            "token_endpoint_unresponsive",
            Party::Upstream,
            "GBG's token endpoint does not respond",
            "The proxy cannot fetch a token. Without a token, requests fail.",
        ),
        _ => (
            "token_endpoint_errors",
            Party::Upstream,
            "GBG's token endpoint fails",
            "The token endpoint responds, but does not grant a token. Without a token, requests fail.",
        ),
    };
    Some(Finding {
        kind,
        level: Severity::Bad,
        fault: Some(fault),
        title,
        what,
        fix: fix(failure.kind),
        ..HEALTHY
    })
}

fn refresh_failing(kind: FetchErrorKind) -> Finding {
    let fault = match kind {
        Refused | Credentials => Party::Proxy,
        _ => Party::Upstream,
    };
    Finding {
        kind: "token_refresh_failing",
        level: Severity::Warn,
        fault: Some(fault),
        title: "The next token cannot be fetched",
        what: "Requests use the current token until it expires, and then fail unless a fetch succeeds.",
        fix: fix(kind),
        ..HEALTHY
    }
}

fn fix(kind: FetchErrorKind) -> &'static str {
    match kind {
        Refused => REFUSED,
        Credentials => CREDENTIALS,
        _ => SILENT,
    }
}

const REFUSED: &str = "Check the client ID, the secret and the role \"Go API Access\" of the API client in GBG's \
                       portal; a regenerated secret invalidates the old one at once. `gbg-proxy doctor` has details.";
const CREDENTIALS: &str = "Correct [token] or the files that it names.";
pub(super) const SILENT: &str = "Run `gbg-proxy doctor`: it shows the step that fails. If that is before GBG, contact your network \
     team, else GBG. The proxy keeps retrying.";
