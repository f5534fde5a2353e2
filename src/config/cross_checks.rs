//! Rules between keys: combinations that are valid, but cannot work or are probably not intended.

use std::fmt::Display;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use humantime::{format_duration, format_rfc3339_seconds};
use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;

use super::error::Problem;
use super::types::address::Address;
use super::types::validity::{CALLER_NOTICE, CERTIFICATE_NOTICE, Ending, Validity, unix_seconds};
use super::{Config, own_addresses};
use crate::gbg;

/// Errors with which the proxy can start, but not work.
pub(super) fn defects(config: &Config) -> Vec<Problem> {
    let Some(certificate) = served_certificate(config) else {
        return Vec::new();
    };
    let outdated = outdated_certificate(certificate);
    let uncovered = uncovered_hosts(config, certificate);
    outdated.into_iter().chain(uncovered).collect()
}

pub(super) fn warnings(config: &Config) -> Vec<String> {
    let mut warnings = own_addresses::warnings(config);
    warnings.extend(token_goes_astray(config));
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
    let own = served_certificate(config);
    // If it has expired, that is a defect.
    let own = own.filter(|own| outdated_certificate(own).is_none());
    warnings.extend(own.and_then(|own| certificate_ends("listen.tls.cert", own)));
    let client = config.upstream.identity.as_ref();
    let client = client.and_then(|identity| identity.chain.first());
    warnings.extend(client.and_then(|own| certificate_ends("upstream.client_cert", own)));
    warnings
}

/// A test server gets a token that works at GBG.
fn token_goes_astray(config: &Config) -> Option<String> {
    let origin = &config.upstream.origin;
    let host = origin.host.trim_matches(['[', ']']);
    let is_local = host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    (is_local && config.token.endpoint.to_string() == gbg::TOKEN_ENDPOINT).then(|| {
        format!(
            "token.endpoint is GBG's, but upstream.base_url is {origin}: a token of GBG goes to this machine; write the \
             token.endpoint that belongs to {origin}"
        )
    })
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
    let end = time.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
    let shown = format_rfc3339_seconds(time);
    (Ending::of(end, CALLER_NOTICE)? == Ending::Soon)
        .then(|| format!("the access of caller {name:?} ends at {shown}"))
}

fn served_certificate(config: &Config) -> Option<&CertificateDer<'static>> {
    config.listen.tls.as_ref()?.identity.chain.first()
}

fn certificate_ends(key: &str, certificate: &CertificateDer<'_>) -> Option<String> {
    let end = Validity::of(certificate)?.end();
    let verb = match Ending::of(end, CERTIFICATE_NOTICE)? {
        Ending::Soon => "expires",
        Ending::Past => "expired",
    };
    Some(format!("{key}: the certificate {verb} at {}", date(end)))
}

fn outdated_certificate(certificate: &CertificateDer<'_>) -> Option<Problem> {
    let now = unix_seconds();
    let validity = Validity::of(certificate)?;
    let message = if validity.end() <= now {
        format!("the certificate expired at {}", date(validity.end()))
    } else if now < validity.begin() {
        format!(
            "the certificate is not valid before {}",
            date(validity.begin())
        )
    } else {
        return None;
    };
    let fix = "replace the file with a certificate that is valid now: callers reject this one";
    Some(Problem::new("listen.tls.cert", message, fix))
}

fn date(unix_seconds: u64) -> impl Display {
    format_rfc3339_seconds(SystemTime::UNIX_EPOCH + Duration::from_secs(unix_seconds))
}

/// A certificate that covers no name of a list is that of another server.
fn uncovered_hosts(config: &Config, certificate: &CertificateDer<'_>) -> Option<Problem> {
    let parsed = ParsedCertificate::try_from(certificate).ok()?;
    let hosts = &config.listen.hosts;
    let names: Vec<_> = hosts
        .iter()
        .filter_map(|host| ServerName::try_from(host.as_str()).ok())
        .collect();
    let is_covered = |name: &ServerName<'_>| verify_server_name(&parsed, name).is_ok();
    (!names.is_empty() && !names.iter().any(is_covered)).then(|| {
        Problem::new(
            "listen.tls.cert",
            "the certificate covers none of listen.hosts",
            format!(
                "give the certificate of {}, or correct listen.hosts",
                hosts.join(", ")
            ),
        )
    })
}
