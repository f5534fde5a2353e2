//! Keys that a reload applies, and keys that need a restart.

/// Keys that need a restart: the listeners and their threads, the destinations of requests and
/// credentials, and that of the log.
const FIXED: [&str; 22] = [
    "admin.address",
    "admin.allow_anonymous",
    "admin.hosts",
    "admin.quit",
    "listen.address",
    "listen.allow_anonymous",
    "listen.h2_streams",
    "listen.header_case",
    "listen.max_connections",
    "listen.allow_plaintext_keys",
    "listen.socket_mode",
    "listen.tls.cert",
    "listen.tls.client_ca",
    "listen.tls.key",
    "listen.workers",
    "log.file",
    "log.format",
    "token.endpoint",
    "trace.ca_file",
    "trace.endpoint",
    "upstream.base_url",
    "upstream.region",
];

/// Returns true if a change of `key`, as messages call it, needs no restart.
pub fn is_reloadable(key: &str) -> bool {
    !FIXED.contains(&key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_need_a_restart_exist() {
        let known = crate::config::keys();
        assert!(
            FIXED
                .iter()
                .all(|key| known.iter().any(|known| known == key))
        );
        assert!(is_reloadable("caller \"crm\": rate") && !is_reloadable("listen.address"));
    }
}
