//! How long what may take.

use std::time::Duration;

use tokio::time::Instant;

use crate::config;

/// The times of `[upstream]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) connect: Duration,
    pub(super) response: Duration,
    pub(super) body: Duration,
    pub(super) idle: Duration,
    max_age: Duration,
}

impl Times {
    pub(super) fn new(config: &config::Upstream) -> Self {
        Times {
            connect: config.connect_timeout,
            response: config.response_timeout,
            body: config.body_timeout,
            idle: config.idle_timeout,
            max_age: config.max_age,
        }
    }

    /// When a connection that is opened now takes no further request. Connections that were opened
    /// together do not all end together.
    pub(super) fn retirement(&self) -> Instant {
        Instant::now() + self.max_age.mul_f64(0.9 + 0.2 * fastrand::f64())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::config::{Sources, load};

    /// The times of a configuration that sets a maximal age of an hour, and nothing else.
    pub(in crate::upstream) fn times() -> Times {
        Times::new(&configured("upstream.base_url=http://127.0.0.1:1"))
    }

    /// A configuration that has this base URL, and a maximal age of an hour.
    pub(in crate::upstream) fn configured(base_url: &str) -> config::Upstream {
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
