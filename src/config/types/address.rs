//! Address of a listener, and the mode of its Unix socket.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Where to listen: `127.0.0.1:8080` or `unix:/run/gbg-proxy/proxy.sock`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "String")]
pub enum Address {
    /// A TCP socket.
    Tcp(SocketAddr),
    /// A Unix stream socket.
    Unix(PathBuf),
}

impl Address {
    /// Whether only this machine can reach it.
    pub fn is_local(&self) -> bool {
        match self {
            Address::Tcp(addr) => addr.ip().to_canonical().is_loopback(),
            Address::Unix(_) => true,
        }
    }
}

impl TryFrom<String> for Address {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.starts_with('/') {
                Ok(Address::Unix(path.into()))
            } else {
                Err("after unix: comes an absolute path")
            };
        }
        text.parse().map(Address::Tcp).map_err(|_| {
            "no address; write an IP address and a port (\"127.0.0.1:8080\") or \"unix:/run/gbg-proxy/proxy.sock\""
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(addr) => write!(f, "{addr}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Permission bits of a Unix socket, written in octal: `"0660"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "String")]
pub struct SocketMode(pub u32);

impl TryFrom<String> for SocketMode {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match u32::from_str_radix(&text, 8) {
            Ok(bits) if bits <= 0o777 => Ok(SocketMode(bits)),
            _ => Err("no permission bits; write them in octal, such as \"0660\""),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let address = |text: &str| Address::try_from(text.to_owned());
        assert!(address("127.0.0.1:0").unwrap().is_local());
        assert!(address("[::1]:80").unwrap().is_local());
        assert!(address("[::ffff:127.0.0.1]:80").unwrap().is_local());
        assert!(address("unix:/run/x.sock").unwrap().is_local());
        assert!(!address("0.0.0.0:80").unwrap().is_local());
        for bad in ["localhost:80", "8080", "unix:x", ""] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }
}
