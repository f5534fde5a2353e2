//! Warnings about addresses that lead back to the proxy itself.
//!
//! A name that DNS leads back here is recognized by `Via` when the first request arrives (508,
//! `loop_detected`).

use std::net::IpAddr;

use url::{Host, Url};

use super::Config;
use super::types::address::Address;

/// The effect of an address that leads back to the proxy, and its fix.
const EFFECT: [(&str, &str); 4] = [
    (
        "upstream.base_url",
        "requests come back here and are refused with 508; write the address of GBG GO",
    ),
    (
        "token.endpoint",
        "it grants no token of GBG; write the address of GBG's token endpoint",
    ),
    (
        "upstream.egress_proxy",
        "it opens no tunnel; write the address of the egress proxy",
    ),
    (
        "trace.endpoint",
        "it takes no spans; write the address of the collector",
    ),
];

/// A warning for each address of `config` that is its own.
pub(super) fn warnings(config: &Config) -> Vec<String> {
    let egress = config
        .upstream
        .egress
        .as_ref()
        .or(config.token.egress.as_ref());
    let urls = [
        Some(config.upstream.origin.to_string()),
        Some(config.token.endpoint.to_string()),
        egress.map(|egress| egress.origin.to_string()),
        config
            .trace
            .exported
            .as_ref()
            .map(|exported| exported.endpoint.to_string()),
    ];
    let written = EFFECT.into_iter().zip(urls);
    written
        .filter_map(|((key, effect), url)| warning(config, key, &url?, effect))
        .collect()
}

fn warning(config: &Config, key: &str, url: &str, effect: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    let listen = &config.listen;
    let origin = url.origin().ascii_serialization();
    if is_own(&url, &listen.address) {
        Some(format!(
            "{key}: {origin} is listen.address of this proxy: {effect}"
        ))
    } else if config
        .admin
        .address
        .as_ref()
        .is_some_and(|admin| is_own(&url, admin))
    {
        Some(format!(
            "{key}: {origin} is admin.address of this proxy: {effect}"
        ))
    } else if may_be_own(&url, &listen.address, &listen.hosts) {
        Some(format!(
            "{key}: {} is also in listen.hosts; if this machine resolves it to this proxy, {effect}",
            url.host_str().unwrap_or_default()
        ))
    } else {
        None
    }
}

/// Returns true if `url` has the port of `address` and one of `names`, which callers use. In a
/// network with DNS of its own such a name may lead callers here and the proxy to GBG GO.
fn may_be_own(url: &Url, address: &Address, names: &[String]) -> bool {
    let Address::Tcp(address) = address else {
        return false;
    };
    address.port() != 0
        && url.port_or_known_default() == Some(address.port())
        && url
            .domain()
            .is_some_and(|name| names.iter().any(|own| own == name))
}

/// Returns true if `url` leads to a listener at `address`.
fn is_own(url: &Url, address: &Address) -> bool {
    let Address::Tcp(address) = address else {
        return false;
    };
    // A port of 0 is any that is free.
    if address.port() == 0 || url.port_or_known_default() != Some(address.port()) {
        return false;
    }
    let listens = address.ip().to_canonical();
    let leads_here = |ip: IpAddr| {
        let ip = ip.to_canonical();
        ip == listens
            || (listens.is_unspecified() && ip.is_loopback())
            || (ip.is_unspecified() && (listens.is_loopback() || listens.is_unspecified()))
    };
    match url.host() {
        Some(Host::Ipv4(ip)) => leads_here(ip.into()),
        Some(Host::Ipv6(ip)) => leads_here(ip.into()),
        Some(Host::Domain(name)) => {
            let is_local = name == "localhost" || name.ends_with(".localhost");
            is_local && (listens.is_loopback() || listens.is_unspecified())
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_own_address(url: &str, address: &str) -> bool {
        is_own(&Url::parse(url).unwrap(), &address.parse().unwrap())
    }

    #[test]
    fn a_configured_host_may_be_the_proxy_itself() {
        let may_be = |url: &str, address: &str| {
            let names = ["gbg.internal", ".corp.example", "*"].map(str::to_owned);
            may_be_own(&Url::parse(url).unwrap(), &address.parse().unwrap(), &names)
        };
        assert!(may_be("https://gbg.internal", "10.0.0.5:443"));
        assert!(!may_be("https://gbg.internal:8443", "10.0.0.5:443"));
        assert!(!may_be("https://a.corp.example", "10.0.0.5:443"));
        assert!(!may_be("https://gbg.internal", "unix:/run/x.sock"));
    }

    #[test]
    fn own_addresses_are_recognized_and_others_are_not() {
        for (url, address) in [
            ("http://127.0.0.1:8080", "127.0.0.1:8080"),
            ("https://127.0.0.1:8080/as/token.oauth2", "127.0.0.1:8080"),
            ("http://localhost:8080", "127.0.0.1:8080"),
            ("http://a.localhost:8080", "[::1]:8080"),
            ("http://127.9.9.9:8080", "0.0.0.0:8080"),
            ("http://[::ffff:10.0.0.5]:8080", "10.0.0.5:8080"),
            ("http://0.0.0.0:8080", "127.0.0.1:8080"),
            ("http://10.0.0.5", "10.0.0.5:80"),
        ] {
            assert!(is_own_address(url, address), "{url} {address}");
        }
        for (url, address) in [
            ("http://127.0.0.1:8081", "127.0.0.1:8080"),
            ("http://127.0.0.1:0", "127.0.0.1:0"),
            ("http://127.0.0.2:8080", "127.0.0.1:8080"),
            ("http://10.0.0.6:8080", "0.0.0.0:8080"),
            ("http://localhost:8080", "10.0.0.5:8080"),
            ("https://gbg.internal", "10.0.0.5:443"),
            ("http://127.0.0.1:8080", "unix:/run/x.sock"),
        ] {
            assert!(!is_own_address(url, address), "{url} {address}");
        }
    }
}
