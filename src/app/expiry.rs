//! Ends of callers' access and of the client certificates for the API, as the configuration has
//! them.

use std::time::UNIX_EPOCH;

use super::accounts::account_configs;
use crate::config::{CallerConfig, Config, certificate_end};
use crate::metrics::{CertificateUse, Metrics};

/// Replaces the ends that `metrics` has by those of `config`.
pub(super) fn record_ends(config: &Config, metrics: &Metrics) {
    let end = |caller: &CallerConfig| {
        let end = caller.expires?.duration_since(UNIX_EPOCH).ok()?;
        Some((caller.name.clone(), end.as_secs()))
    };
    let callers = config.callers.iter().filter_map(end);
    metrics.expiries.set_callers(callers.collect());
    for account in account_configs(config).iter() {
        let identity = account.upstream.identity.as_ref();
        let end = identity.and_then(|identity| certificate_end(&identity.chain));
        metrics
            .expiries
            .set_certificate(CertificateUse::Upstream, account.name, end);
    }
}
