//! The server of a connection as errors name it: host and port, the addresses, the egress proxy.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};

use crate::config::Origin;
use crate::error::BoxError;

/// The server that a connection leads to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer<'a> {
    origin: &'a Origin,
    is_egress_proxy: bool,
    /// The addresses that were tried, or the one that is connected.
    addrs: &'a [SocketAddr],
    /// The egress proxy that a tunnel leads through.
    through: Option<&'a Origin>,
}

impl<'a> Peer<'a> {
    pub(crate) fn new(origin: &'a Origin) -> Self {
        Peer {
            origin,
            is_egress_proxy: false,
            addrs: &[],
            through: None,
        }
    }

    pub(crate) fn egress_proxy(origin: &'a Origin) -> Self {
        Peer {
            is_egress_proxy: true,
            ..Peer::new(origin)
        }
    }

    pub(crate) fn at(self, addrs: &'a [SocketAddr]) -> Self {
        Peer { addrs, ..self }
    }

    pub(crate) fn through(self, egress_proxy: &'a Origin) -> Self {
        Peer {
            through: Some(egress_proxy),
            ..self
        }
    }

    /// Whether the configuration has an address instead of a name.
    fn is_address(&self) -> bool {
        self.origin.host.parse::<IpAddr>().is_ok()
    }
}

impl fmt::Display for Peer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_egress_proxy {
            f.write_str("the egress proxy ")?;
        }
        let Origin { host, port, .. } = self.origin;
        if host.contains(':') {
            write!(f, "[{host}]:{port}")?;
        } else {
            write!(f, "{host}:{port}")?;
        }
        if let Some(egress_proxy) = self.through {
            return write!(f, " through {}", Peer::egress_proxy(egress_proxy));
        }
        if !self.addrs.is_empty() && !self.is_address() {
            write!(f, " ({})", Ips(self.addrs))?;
        }
        Ok(())
    }
}

/// IP addresses in one line.
struct Ips<'a>(&'a [SocketAddr]);

impl fmt::Display for Ips<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for addr in self.0 {
            write!(f, "{separator}{}", addr.ip())?;
            separator = ", ";
        }
        Ok(())
    }
}

/// The errors of all addresses of a server.
#[derive(Debug)]
pub(crate) struct TcpError(String);

impl TcpError {
    pub(crate) fn new(peer: Peer<'_>, failed: &[(SocketAddr, io::Error)]) -> Self {
        let mut causes: Vec<(String, Vec<SocketAddr>)> = Vec::new();
        for (addr, error) in failed {
            let text = error.to_string();
            match causes.iter_mut().find(|(cause, _)| *cause == text) {
                Some((_, addrs)) => addrs.push(*addr),
                None => causes.push((text, vec![*addr])),
            }
        }
        let is_address = peer.is_address();
        let causes = causes.into_iter().map(|(cause, addrs)| {
            if is_address {
                cause
            } else {
                format!("{cause} at {}", Ips(&addrs))
            }
        });
        let causes: Vec<_> = causes.collect();
        TcpError(format!("{peer}: {}", causes.join("; ")))
    }
}

impl fmt::Display for TcpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TcpError {}

/// The error of a TLS or HTTP handshake, or of the exchange after it.
#[derive(Debug, thiserror::Error)]
#[error("{peer}")]
pub(crate) struct PeerError {
    peer: String,
    source: BoxError,
}

impl PeerError {
    pub(crate) fn new(peer: Peer<'_>, source: impl Into<BoxError>) -> Self {
        PeerError {
            peer: peer.to_string(),
            source: source.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::timeouts::tests::load_config;

    fn origin(url: &str) -> Origin {
        load_config(&format!("upstream.base_url={url}")).origin
    }

    fn addrs(ips: &[&str]) -> Vec<SocketAddr> {
        let addr = |ip: &&str| SocketAddr::new(ip.parse().unwrap(), 443);
        ips.iter().map(addr).collect()
    }

    #[test]
    fn a_peer_has_host_port_and_addresses() {
        let [name, v6, proxy] = [
            "https://a.example",
            "https://[2001:db8::1]:8443",
            "http://localhost:3128",
        ]
        .map(origin);
        let tried = addrs(&["192.0.2.1", "2001:db8::2"]);
        let peer = Peer::new(&name);
        assert_eq!(peer.to_string(), "a.example:443");
        assert_eq!(
            peer.at(&tried).to_string(),
            "a.example:443 (192.0.2.1, 2001:db8::2)"
        );
        assert_eq!(
            Peer::new(&v6).at(&addrs(&["2001:db8::1"])).to_string(),
            "[2001:db8::1]:8443"
        );
        assert_eq!(
            peer.through(&proxy).to_string(),
            "a.example:443 through the egress proxy localhost:3128"
        );
    }

    #[test]
    fn equal_errors_of_addresses_are_merged() {
        let name = origin("https://a.example");
        let refused = || io::Error::from_raw_os_error(111);
        let kinds = [refused(), io::Error::from_raw_os_error(101), refused()];
        let tried = addrs(&["192.0.2.1", "2001:db8::2", "192.0.2.3"]);
        let failed: Vec<_> = tried.into_iter().zip(kinds).collect();
        assert_eq!(
            TcpError::new(Peer::new(&name), &failed).to_string(),
            "a.example:443: Connection refused (os error 111) at 192.0.2.1, 192.0.2.3; Network is unreachable \
             (os error 101) at 2001:db8::2"
        );
        let address = origin("http://127.0.0.1:1");
        let failed = [("127.0.0.1:1".parse().unwrap(), refused())];
        assert_eq!(
            TcpError::new(Peer::new(&address), &failed).to_string(),
            "127.0.0.1:1: Connection refused (os error 111)"
        );
    }
}
