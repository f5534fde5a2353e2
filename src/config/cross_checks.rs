//! Warnings about combinations of keys that are valid, but probably not intended.

use std::time::{Duration, SystemTime};

use humantime::{format_duration, format_rfc3339_seconds};
use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;

use super::types::address::Address;
use super::types::validity::{Validity, unix_seconds};
use super::{Config, own_addresses};

/// Days before the end of a certificate or of a caller's access.
const CERTIFICATE_WARNING_DAYS: u64 = 30;
const CALLER_WARNING_DAYS: u64 = 14;

const DAY_SECONDS: u64 = 86_400;

pub(super) fn warnings(config: &Config) -> Vec<String> {
    let mut warnings = own_addresses::warnings(config);
    warnings.extend(drain_is_too_short(config));
    warnings.extend(replay_is_too_large(config));
    warnings.extend(no_host_names(config));
    warnings.extend(config.callers.iter().flat_map(|caller| {
        let bound = config.limits.max_in_flight;
        let unreachable = caller.max_in_flight.filter(|max| *max > bound).map(|max| {
            format!(
                "caller {:?}: max_in_flight = {max} is never reached: limits.max_in_flight is {bound}",
                caller.name
            )
        });
        let expiring = caller.expires.and_then(|time| expires_soon(&caller.name, time));
        unreachable.into_iter().chain(expiring)
    }));
    if let Some(tls) = &config.listen.tls
        && let Some(certificate) = tls.identity.chain.first()
    {
        warnings.extend(certificate_ends(certificate));
        warnings.extend(uncovered_hosts(config, certificate));
    }
    warnings
}

fn drain_is_too_short(config: &Config) -> Option<String> {
    let (drain, response) = (config.drain.timeout, config.upstream.response_timeout);
    (drain < response).then(|| {
        format!(
            "drain.timeout ({}) is shorter than upstream.response_timeout ({}): a shutdown cuts off slow requests; write a \
             drain.timeout of more than {}",
            format_duration(drain),
            format_duration(response),
            format_duration(response)
        )
    })
}

fn replay_is_too_large(config: &Config) -> Option<String> {
    let limits = &config.limits;
    (limits.max_replay_body > limits.max_request_body).then(|| {
        "limits.max_replay_body is larger than limits.max_request_body, and no body is that long".to_owned()
    })
}

/// Callers in a network use a name, which is rejected unless it is in the list or in the certificate.
fn no_host_names(config: &Config) -> Option<String> {
    let listen = &config.listen;
    let Address::Tcp(address) = listen.address else {
        return None;
    };
    (address.ip().is_unspecified() && listen.hosts.is_empty() && listen.tls.is_none()).then(|| {
        format!(
            "listen.hosts is empty: requests to {address} under a host name get 403; write the names that callers use, \
             such as [\"gbg.internal\"]"
        )
    })
}

fn expires_soon(name: &str, time: SystemTime) -> Option<String> {
    let left = time.duration_since(SystemTime::now()).ok()?;
    let shown = format_rfc3339_seconds(time);
    (left < Duration::from_secs(CALLER_WARNING_DAYS * DAY_SECONDS))
        .then(|| format!("the access of caller {name:?} ends at {shown}"))
}

fn certificate_ends(certificate: &CertificateDer<'_>) -> Option<String> {
    let validity = Validity::of(certificate)?;
    let now = unix_seconds();
    let end = SystemTime::UNIX_EPOCH + Duration::from_secs(validity.end());
    let end = format_rfc3339_seconds(end);
    if validity.end() <= now {
        return Some(format!(
            "listen.tls.cert: the certificate expired at {end}: callers reject it; replace the file"
        ));
    }
    (validity.end() < now + CERTIFICATE_WARNING_DAYS * DAY_SECONDS)
        .then(|| format!("listen.tls.cert: the certificate expires at {end}"))
}

/// A certificate that covers no name of a list is that of another server.
fn uncovered_hosts(config: &Config, certificate: &CertificateDer<'_>) -> Option<String> {
    let parsed = ParsedCertificate::try_from(certificate).ok()?;
    let names: Vec<_> = config
        .listen
        .hosts
        .iter()
        .filter_map(|host| ServerName::try_from(host.as_str()).ok())
        .collect();
    let is_covered = |name: &ServerName<'_>| verify_server_name(&parsed, name).is_ok();
    (!names.is_empty() && !names.iter().any(is_covered)).then(|| {
        "listen.tls.cert: the certificate covers none of listen.hosts: callers reject it under these names".to_owned()
    })
}
