//! Which keys are put in force while the proxy runs, and which only by a restart.

use super::keys::LIST;

/// Keys outside of callers that are put in force when the configuration is read again.
const LIVE: [&str; 19] = [
    "drain.delay",
    "limits.header_block",
    "limits.header_fields",
    "limits.heed_retry_after",
    "limits.max_in_flight",
    "limits.origins",
    "limits.queue",
    "limits.queue_timeout",
    "limits.request_body",
    "limits.target",
    "listen.hosts",
    "log.access",
    "token.retry_statuses",
    "upstream.allow",
    "upstream.caller_bearer",
    "upstream.forward_cookies",
    "upstream.forwarded",
    "upstream.methods",
    "upstream.source",
];

/// Whether a change of `key`, as a person calls it, needs no restart.
pub fn is_live(key: &str) -> bool {
    key.starts_with(LIST) || LIVE.contains(&key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_live_is_a_key() {
        let known = super::super::keys();
        assert!(LIVE.iter().all(|key| known.iter().any(|known| known == key)));
        assert!(is_live("caller \"crm\": rate") && !is_live("listen.address"));
    }
}
