//! RLIMIT_NOFILE: raises the limit of open files, and divides it among the kinds of connections.

use std::num::NonZeroU32;

use crate::config::Config;

/// Raises the soft limit to the hard limit, and returns it; `None` if that fails. Most systems set it
/// to 1,024, which is too low for 10,000 connections.
#[cfg(unix)]
pub(super) fn raise_limit() -> Option<u64> {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => Some(limit),
        Err(error) => {
            tracing::warn!(%error, "could not raise RLIMIT_NOFILE");
            None
        }
    }
}

#[cfg(not(unix))]
pub(super) fn raise_limit() -> Option<u64> {
    None
}

/// Divides `limit` open files. A reserve keeps the token endpoint, the admin listener and the log
/// working under any load. Callers get half of the rest, or `listen.max_connections` if that is
/// lower. The API gets the remainder: HTTP/2 callers need more connections to it than they open.
pub(super) fn divide(config: &mut Config, limit: u64) {
    /// For standard streams, the control runtime, the token endpoint, reloaded files, the log, and
    /// evicted connections of the admin listener that are still closing.
    const RESERVED: u64 = 32;
    /// For a worker's runtime and listener, DNS lookups, and an accepted connection that waits for a
    /// permit.
    const RESERVED_BY_WORKER: u64 = 8;
    /// Bounds of the admin listener's connections. The lower one is twice the number of connections
    /// that are accepted at once.
    const ADMIN_CONNECTIONS: u32 = 64;
    const MIN_ADMIN_CONNECTIONS: u32 = 8;
    let admin = u32::try_from(limit / 8)
        .unwrap_or(u32::MAX)
        .clamp(MIN_ADMIN_CONNECTIONS, ADMIN_CONNECTIONS);
    config.admin.max_connections = Some(admin);
    let workers = config.listen.workers.get() as u64;
    let reserved = RESERVED + u64::from(admin) + workers * RESERVED_BY_WORKER;
    let rest = limit.saturating_sub(reserved);
    let half = rest.saturating_sub(workers * u64::from(config.upstream.min_idle)) / 2;
    let most = NonZeroU32::new(u32::try_from(half).unwrap_or(u32::MAX)).unwrap_or(NonZeroU32::MIN);
    if config.listen.max_connections > most {
        tracing::info!(
            open_files = limit,
            max_connections = most,
            "reduced listen.max_connections to fit RLIMIT_NOFILE"
        );
        config.listen.max_connections = most;
    }
    let upstream = rest
        .saturating_sub(u64::from(config.listen.max_connections.get()))
        .max(workers);
    config.upstream.max_connections = Some(u32::try_from(upstream).unwrap_or(u32::MAX));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    /// Divides the open files of a process with two workers.
    fn config(limit: u64, set: &str) -> Config {
        let set = [
            "upstream.base_url=http://127.0.0.1:1",
            "listen.workers=2",
            set,
        ]
        .map(str::to_owned)
        .into();
        let env = [("GBG_CLIENT_ID", "a"), ("GBG_CLIENT_SECRET", "s")];
        let env = env
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        let mut config = crate::config::load(&Sources {
            set,
            env,
            file: None,
        })
        .unwrap()
        .config;
        divide(&mut config, limit);
        config
    }

    /// Returns the connections of callers and of the API.
    fn divided(limit: u64, set: &str) -> (u32, u32) {
        let config = config(limit, set);
        (
            config.listen.max_connections.get(),
            config.upstream.max_connections.unwrap(),
        )
    }

    #[test]
    fn open_files_beyond_the_reserve_are_divided() {
        assert_eq!(divided(256, "upstream.min_idle=0"), (88, 88));
        assert_eq!(divided(256, "upstream.min_idle=10"), (78, 98));
        assert_eq!(divided(256, "listen.max_connections=20"), (20, 156));
        assert_eq!(divided(65_536, "upstream.min_idle=0"), (10_000, 55_424));
        assert_eq!(divided(16, "upstream.min_idle=0"), (1, 2));
    }

    #[test]
    fn the_admin_listener_has_its_share() {
        for (limit, expected) in [(16, 8), (256, 32), (65_536, 64)] {
            assert_eq!(
                config(limit, "upstream.min_idle=0").admin.max_connections,
                Some(expected),
                "{limit}"
            );
        }
    }
}
