//! Findings about the process: its shutdown, its configuration, and what expires.

use std::time::Duration;

use super::{Finding, HEALTHY, Severity, Snapshot};
use crate::admin::timestamp::unix_time;
use crate::config::{CALLER_NOTICE, CERTIFICATE_NOTICE, Ending};
use crate::error::Party;
use crate::metrics::{CertificateEnd, CertificateUse, Reloads};

pub(super) const DRAINING: Finding = Finding {
    kind: "draining",
    level: Severity::Warn,
    title: "The proxy is shutting down",
    what: "The process received a request to end. It first finishes the requests in flight.",
    fix: "Send requests to another instance. If nobody ended it on purpose, check the log.",
    ..HEALTHY
};

const CONFIG_REJECTED: Finding = Finding {
    kind: "config_rejected",
    title: "The new configuration was rejected",
    what: "The previous configuration stays active. A restart may fail.",
    fix: "Correct the configuration; the proxy reloads it then.",
    ..WARNING
};

const RESTART_NEEDED: Finding = Finding {
    kind: "restart_needed",
    title: "The configuration needs a restart",
    what: "Keys have changed that a reload does not apply. The proxy uses their previous values.",
    fix: "Run `gbg-proxy check`, then restart the proxy.",
    ..WARNING
};

const CERTIFICATE_EXPIRED: Finding = Finding {
    kind: "certificate_expired",
    level: Severity::Bad,
    title: "A certificate has expired",
    what: "The peer of a TLS connection rejects an expired certificate.",
    fix: "Replace the file; the proxy reloads it.",
    ..WARNING
};

const CERTIFICATE_EXPIRES: Finding = Finding {
    kind: "certificate_expires",
    level: Severity::Warn,
    title: "A certificate expires soon",
    what: "From then on the peer of a TLS connection rejects it.",
    ..CERTIFICATE_EXPIRED
};

const CALLER_EXPIRED: Finding = Finding {
    kind: "caller_expired",
    title: "The access of a caller has ended",
    what: "Its requests get 401.",
    fix: "Write a later `expires` into its [[caller]], or remove the [[caller]].",
    ..WARNING
};

const CALLER_EXPIRES: Finding = Finding {
    kind: "caller_expires",
    title: "The access of a caller ends soon",
    what: "From then on its requests get 401.",
    ..CALLER_EXPIRED
};

const WARNING: Finding = Finding {
    level: Severity::Warn,
    fault: Some(Party::Proxy),
    ..HEALTHY
};

pub(super) fn findings(snapshot: &Snapshot) -> Vec<Finding> {
    let certificates = snapshot.certificates.iter();
    let certificates = certificates.map(|one| (certificate_name(one), one.end));
    let callers = snapshot.callers.iter();
    let callers = callers.map(|(name, end)| (format!("caller {name:?}"), *end));
    let mut all: Vec<_> = config(&snapshot.reloads).into_iter().collect();
    let expiries = (CERTIFICATE_EXPIRED, CERTIFICATE_EXPIRES);
    let verbs = ["expired", "expires"];
    all.extend(endings(certificates, CERTIFICATE_NOTICE, verbs, expiries));
    let expiries = (CALLER_EXPIRED, CALLER_EXPIRES);
    all.extend(endings(callers, CALLER_NOTICE, ["ended", "ends"], expiries));
    all
}

fn config(reloads: &Reloads) -> Option<Finding> {
    let (keys, problem) = (reloads.restart_keys.join(", "), &reloads.problem);
    if keys.is_empty() {
        return problem.as_ref().map(|problem| Finding {
            cause: Some(problem.clone()),
            ..CONFIG_REJECTED
        });
    }
    Some(Finding {
        what: match problem {
            Some(_) => {
                "Keys have changed that a reload does not apply. Nothing of the new configuration is applied."
            }
            None => RESTART_NEEDED.what,
        },
        cause: Some(format!("changed: {keys}")),
        ..RESTART_NEEDED
    })
}

/// A finding for the ends that have passed, and one for those that are nearer than `notice`.
fn endings(
    ends: impl Iterator<Item = (String, u64)>,
    notice: Duration,
    [past, soon]: [&str; 2],
    (expired, expires): (Finding, Finding),
) -> Vec<Finding> {
    let mut causes = [String::new(), String::new()];
    for (name, end) in ends {
        let (cause, verb) = match Ending::of(end, notice) {
            Some(Ending::Past) => (&mut causes[0], past),
            Some(Ending::Soon) => (&mut causes[1], soon),
            None => continue,
        };
        let end = unix_time(end);
        let line = if cause.is_empty() { "" } else { "\n" };
        *cause += &format!("{line}{name} {verb} at {end}");
    }
    let findings = [expired, expires].into_iter().zip(causes);
    findings
        .filter(|(_, cause)| !cause.is_empty())
        .map(|(finding, cause)| Finding {
            cause: Some(cause),
            ..finding
        })
        .collect()
}

fn certificate_name(certificate: &CertificateEnd) -> String {
    let key = certificate.used.key();
    match certificate.used {
        CertificateUse::ListenerClientCa => format!("{key}: the last CA certificate"),
        _ if certificate.account.is_empty() || &*certificate.account == "default" => key.to_owned(),
        _ => format!("account {}: {key}", certificate.account),
    }
}
