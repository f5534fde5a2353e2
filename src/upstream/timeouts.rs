//! Timeouts of the `[upstream]` section.

use std::time::Duration;

use super::idle::IdleLimits;
use crate::config;

/// Time after a response in which the rest of its request, which the response may overtake, has to
/// be sent.
pub(super) const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug)]
pub(super) struct UpstreamTimeouts {
    pub(super) connect: Duration,
    pub(super) response: Duration,
    pub(super) body: Duration,
    pub(super) idle: IdleLimits,
}

impl UpstreamTimeouts {
    pub(super) fn new(config: &config::Upstream) -> Self {
        UpstreamTimeouts {
            connect: config.connect_timeout,
            response: config.response_timeout,
            body: config.body_timeout,
            idle: IdleLimits::new(config),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::config::{Sources, load};

    /// The default timeouts, with a maximum age of an hour.
    pub(in crate::upstream) fn timeouts() -> UpstreamTimeouts {
        UpstreamTimeouts::new(&load_config("upstream.base_url=http://127.0.0.1:1"))
    }

    /// A configuration with this base URL and a maximum age of an hour.
    pub(in crate::upstream) fn load_config(base_url: &str) -> config::Upstream {
        let set = [base_url, "upstream.max_age=1h"].map(str::to_owned).into();
        let env = [("GBG_CLIENT_ID", "a"), ("GBG_CLIENT_SECRET", "s")];
        let env = env
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        load(&Sources {
            set,
            env,
            file: None,
        })
        .unwrap()
        .config
        .upstream
    }
}
