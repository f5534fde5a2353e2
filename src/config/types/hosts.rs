//! Host names that callers may use for the proxy. They protect against DNS rebinding: a web page
//! makes its own name resolve to this address, and a browser takes the proxy for its server.

use std::net::{IpAddr, SocketAddr};

use url::Host;

use super::address::Address;
use super::certificate_name::CertificateName;
use crate::config::source::invalid::Invalid;
use crate::config::source::setting::TextSetting;

/// The host names of a listener.
#[derive(Clone, Debug)]
pub struct Hosts {
    is_any: bool,
    addr: Option<IpAddr>,
    /// In lower case.
    names: Vec<String>,
    /// Suffixes of names, with their dot.
    suffixes: Vec<String>,
}

impl Hosts {
    /// The hosts of a listener at `address`: this machine's, the address, and `written`: names and
    /// addresses in lower case, suffixes with their dot, `*` for all.
    pub fn new(address: &Address, written: impl IntoIterator<Item = String>) -> Self {
        let written = std::iter::once("localhost".to_owned()).chain(written);
        let (suffixes, names): (Vec<_>, Vec<_>) = written.partition(|host| host.starts_with('.'));
        Hosts {
            is_any: names.iter().any(|name| name == "*"),
            addr: match address {
                Address::Tcp(addr) => Some(addr.ip().to_canonical()),
                Address::Unix(_) => None,
            },
            names,
            suffixes,
        }
    }

    /// The hosts that a server certificate has as its `names`.
    pub(crate) fn of_certificate(names: &[CertificateName]) -> Self {
        let written = names.iter().filter_map(|name| match name {
            // Of a wildcard, everything below: the certificate's owner has the whole domain.
            CertificateName::Dns(name) => match name.strip_prefix('*') {
                Some(suffix) => suffix.starts_with('.').then(|| suffix.to_owned()),
                None => Some(name.clone()),
            },
            CertificateName::Address(address) => Some(address.to_string()),
            CertificateName::Uri(_) | CertificateName::Email(_) => None,
        });
        let (suffixes, names) = written.partition(|host| host.starts_with('.'));
        Hosts {
            is_any: false,
            addr: None,
            names,
            suffixes,
        }
    }

    /// Returns true if `authority`, a host with an optional port, is allowed on a connection to
    /// `local`. A browser does not open Unix sockets, so every host is allowed there.
    pub fn has(&self, authority: &[u8], local: Option<SocketAddr>) -> bool {
        let Some(local) = local else { return true };
        let host = without_port(authority);
        let host = host.strip_suffix(b".").unwrap_or(host);
        if self.is_any
            || self
                .names
                .iter()
                .any(|name| name.as_bytes().eq_ignore_ascii_case(host))
        {
            return true;
        }
        let Ok(text) = std::str::from_utf8(host) else {
            return false;
        };
        match text.trim_matches(['[', ']']).parse::<IpAddr>() {
            // Also the local address of this connection, even of a wildcard listener: DNS rebinding
            // sends the name of the attacker, never an address.
            Ok(addr) => {
                let addr = addr.to_canonical();
                addr.is_loopback()
                    || Some(addr) == self.addr
                    || addr == local.ip().to_canonical()
                    || self.names.iter().any(|name| name.parse() == Ok(addr))
            }
            Err(_) => self.suffixes.iter().any(|suffix| ends_in(text, suffix)),
        }
    }
}

/// Returns true if `host` ends in `suffix`, which begins with a dot, and is longer.
fn ends_in(host: &str, suffix: &str) -> bool {
    host.len() > suffix.len()
        && host
            .get(host.len() - suffix.len()..)
            .is_some_and(|end| end.eq_ignore_ascii_case(suffix))
}

/// The host of an authority; that of an IPv6 address keeps its brackets.
pub(crate) fn without_port(authority: &[u8]) -> &[u8] {
    match authority.iter().rposition(|&byte| byte == b':') {
        Some(colon) if !authority[colon..].contains(&b']') => &authority[..colon],
        _ => authority,
    }
}

/// A host of a list: a name in lower case, a suffix with its dot, an address without brackets, or
/// `*`; as it is compared with Host fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostPattern(pub(crate) String);

fn invalid(reason: &'static str) -> Invalid {
    Invalid::new(
        "host",
        reason,
        "write a name (\"gbg.internal\"), a suffix with its dot (\".corp.example\"), an address (\"10.0.0.5\", \"::1\"), \
         or \"*\" for any",
    )
}

impl TextSetting for HostPattern {
    fn parse_text(text: &str) -> Result<Self, Invalid> {
        if text == "*" {
            return Ok(HostPattern(text.to_owned()));
        }
        if text.contains('*') {
            let suffix = text
                .strip_prefix('*')
                .filter(|suffix| suffix.starts_with('.'));
            let error = invalid("\"*\" stands alone, for any host; a suffix begins with its dot");
            return Err(error.suggest(suffix));
        }
        if let Some((_, host)) = text.split_once("://") {
            return Err(invalid("a Host field has no scheme").suggest([host]));
        }
        let bare = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(text);
        if let Ok(addr) = bare.parse::<IpAddr>() {
            return match addr {
                IpAddr::V4(_) if bare != text => Err(invalid("")),
                addr => Ok(HostPattern(addr.to_string())),
            };
        }
        if let Some((host, port)) = text.rsplit_once(':')
            && port.bytes().all(|byte| byte.is_ascii_digit())
        {
            return Err(invalid("hosts are compared without the port").suggest([host]));
        }
        let name = text.strip_prefix('.').unwrap_or(text);
        let name = name.strip_suffix('.').unwrap_or(name);
        let is_plain = |name: &str| {
            name.split('.').all(|label| !label.is_empty())
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
        };
        match Host::parse(name) {
            Ok(Host::Domain(name)) if is_plain(&name) => {
                let dot = if text.starts_with('.') { "." } else { "" };
                Ok(HostPattern(format!("{dot}{name}")))
            }
            _ => Err(invalid("")),
        }
    }

    fn to_text(&self) -> String {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(address: &str, hosts: &[&str]) -> Hosts {
        let written = hosts
            .iter()
            .copied()
            .chain(["eu.platform.go.gbgplc.com"])
            .map(str::to_owned);
        Hosts::new(&Address::parse_text(address).unwrap(), written)
    }

    const LOCAL: &str = "10.0.0.5:8080";

    fn has(hosts: &Hosts, host: &str) -> bool {
        hosts.has(host.as_bytes(), Some(LOCAL.parse().unwrap()))
    }

    #[test]
    fn only_machine_address_and_api_are_allowed() {
        let hosts = hosts("10.0.0.4:8080", &[]);
        for host in [
            "localhost",
            "LOCALHOST:1",
            "localhost.",
            "127.0.0.1",
            "127.8.9.1:80",
            "[::1]:8080",
            "[::1]",
            "10.0.0.4",
            "10.0.0.5:8080",
            "eu.platform.go.gbgplc.com",
            "EU.platform.go.gbgplc.com:443",
        ] {
            assert!(has(&hosts, host), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "evil.example:8080",
            "10.0.0.6",
            "127.0.0.1.evil.example",
            "[::2]",
            "us.platform.go.gbgplc.com",
            "x.localhost",
            "*",
        ] {
            assert!(!has(&hosts, host), "{host}");
        }
    }

    #[test]
    fn configured_hosts_are_allowed() {
        let some = hosts(
            "0.0.0.0:8080",
            &["gbg.internal", ".corp.example", "2001:db8::1"],
        );
        for host in [
            "gbg.internal",
            "GBG.internal:80",
            "a.corp.example",
            "a.b.Corp.example.",
            "[2001:db8::1]:80",
        ] {
            assert!(has(&some, host), "{host}");
        }
        for host in [
            "x.gbg.internal",
            "corp.example",
            ".corp.example",
            "evilcorp.example",
            "0.0.0.1",
        ] {
            assert!(!has(&some, host), "{host}");
        }
        assert!(has(&hosts("0.0.0.0:8080", &["*"]), "evil.example"));
    }

    #[test]
    fn names_of_a_certificate_are_hosts() {
        let names = ["dns:", "*", "*.corp.example", "gbg.example"].map(CertificateName::dns);
        let address = CertificateName::Address("10.9.9.9".parse().unwrap());
        let uri = CertificateName::Uri("https://uri.example".to_owned());
        let names = [&names[1..], &[address, uri]].concat();
        let some = Hosts::of_certificate(&names);
        for host in ["gbg.example:8443", "a.corp.example", "10.9.9.9"] {
            assert!(has(&some, host), "{host}");
        }
        for host in ["evil.example", "corp.example", "uri.example", "10.9.9.8"] {
            assert!(!has(&some, host), "{host}");
        }
    }

    #[test]
    fn over_a_unix_socket_every_host_is_allowed() {
        assert!(hosts("unix:/run/x.sock", &[]).has(b"evil.example", None));
    }

    #[test]
    fn a_host_is_normalized_for_comparison() {
        for (written, compared) in [
            ("GBG.Internal", "gbg.internal"),
            ("gbg.internal.", "gbg.internal"),
            (".Corp.example", ".corp.example"),
            ("gbg_proxy", "gbg_proxy"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("10.0.0.5", "10.0.0.5"),
            ("[::1]", "::1"),
            ("2001:DB8:0::1", "2001:db8::1"),
            ("*", "*"),
        ] {
            let host = HostPattern::parse_text(written).unwrap();
            assert_eq!(host.0, compared, "{written}");
        }
    }

    #[test]
    fn unmatchable_hosts_are_rejected_with_a_fix() {
        for (bad, fix) in [
            ("gbg.internal:8080", "without the port"),
            ("10.0.0.5:80", "without the port"),
            ("[::1]:80", "without the port"),
            ("gbg.internal:", "without the port"),
            ("https://gbg.internal", "no scheme"),
            ("*.corp.example", "begins with its dot"),
            ("", "invalid host; write a name"),
            (".", "invalid host; write a name"),
            ("..example", "invalid host; write a name"),
            ("a..example", "invalid host; write a name"),
            (".10.0.0.5", "invalid host; write a name"),
            ("[10.0.0.5]", "invalid host; write a name"),
            ("10.0.0.0/8", "invalid host; write a name"),
            ("0x7f.1", "invalid host; write a name"),
            ("a/b", "invalid host; write a name"),
            ("a b", "invalid host; write a name"),
            ("a,b", "invalid host; write a name"),
            ("user@a", "invalid host; write a name"),
        ] {
            let error = HostPattern::parse_text(bad).unwrap_err().to_string();
            assert!(error.contains(fix), "{bad}: {error}");
        }
    }
}
