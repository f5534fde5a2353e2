//! Address of a listener, and the mode of its Unix socket.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use toml::Value;

use crate::config::source::invalid::Invalid;
use crate::config::source::setting::{Kind, Setting, TextSetting};

/// Address of a listener: `127.0.0.1:8080` or `unix:/run/gbg-proxy/proxy.sock`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A TCP socket.
    Tcp(SocketAddr),
    /// A Unix stream socket.
    Unix(PathBuf),
}

impl Address {
    /// Returns true if only this machine can reach it.
    pub fn is_local(&self) -> bool {
        match self {
            Address::Tcp(addr) => addr.ip().to_canonical().is_loopback(),
            Address::Unix(_) => true,
        }
    }
}

impl Address {
    /// Parses an address; `fix` says what to write in place of an invalid one.
    pub(crate) fn parse(text: &str, fix: &'static str) -> Result<Self, Invalid> {
        if let Some(path) = text.strip_prefix("unix:") {
            if !path.starts_with('/') {
                let reason = "the path of the socket is not absolute";
                return Err(Invalid::new("address", reason, fix));
            }
            return Ok(Address::Unix(path.into()));
        }
        text.parse().map(Address::Tcp).map_err(|_| {
            let invalid = |reason| Invalid::new("address", reason, fix);
            match text.rsplit_once(':') {
                Some((host, port)) if port.parse::<u16>().is_ok() && host == "localhost" => {
                    invalid("a listener needs an IP address")
                        .suggest(["127.0.0.1", "[::1]"].map(|ip| format!("{ip}:{port}")))
                }
                Some(("", port)) if port.parse::<u16>().is_ok() => {
                    invalid("the IP address is missing")
                        .suggest(["127.0.0.1", "0.0.0.0"].map(|ip| format!("{ip}:{port}")))
                }
                _ if text.parse::<u16>().is_ok() => invalid("the IP address is missing")
                    .suggest(["127.0.0.1", "0.0.0.0"].map(|ip| format!("{ip}:{text}"))),
                _ if text.parse::<IpAddr>().is_ok() => invalid("the port is missing"),
                _ => invalid(""),
            }
        })
    }
}

impl Address {
    /// Returns the reason why a Unix socket cannot be created at this path, with a fix.
    pub(crate) fn socket_fault(&self) -> Option<(String, String)> {
        /// `sockaddr_un.sun_path` of Linux, without the final zero (unix(7)).
        const MAX_PATH_BYTES: usize = 107;
        let Address::Unix(path) = self else {
            return None;
        };
        let directory = path.parent()?;
        let shown = path.display();
        if path.as_os_str().len() > MAX_PATH_BYTES {
            return Some((
                format!("the path of the socket is longer than {MAX_PATH_BYTES} bytes"),
                "write a shorter path, such as \"unix:/run/gbg-proxy/proxy.sock\"".to_owned(),
            ));
        }
        if !directory.is_dir() {
            let directory = directory.display();
            return Some((
                format!("the directory {directory} of the socket does not exist"),
                format!(
                    "create {directory} (systemd does with RuntimeDirectory=), or write the path of another directory"
                ),
            ));
        }
        let metadata = std::fs::symlink_metadata(path).ok()?;
        (metadata.is_file() || metadata.is_dir()).then(|| {
            (
                format!("{shown} exists, and is not a socket"),
                format!("remove {shown}, or write another path"),
            )
        })
    }
}

impl TextSetting for Address {
    fn parse_text(text: &str) -> Result<Self, Invalid> {
        let fix = "write an IP address and a port, such as \"127.0.0.1:8080\", or \"unix:/PATH\"";
        Address::parse(text, fix)
    }

    fn to_text(&self) -> String {
        self.to_string()
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketMode(pub u32);

impl Setting for SocketMode {
    const KIND: Kind = Kind::Text;

    fn parse(value: &Value) -> Result<Self, Invalid> {
        let fix = "write the permission bits in octal and in quotes, such as \"0660\"";
        let parse = |text: &str| {
            let is_octal = |byte: u8| (b'0'..=b'7').contains(&byte);
            text.bytes().all(is_octal).then_some(())?;
            u32::from_str_radix(text, 8)
                .ok()
                .filter(|bits| *bits <= 0o777)
        };
        match value {
            Value::String(text) => parse(text)
                .map(SocketMode)
                .ok_or_else(|| Invalid::new("mode", "", fix)),
            // 660 means 0660, but 432 may be 0o660, which TOML reads as that number.
            Value::Integer(number @ 512..) => {
                let invalid = Invalid::new("mode", "the quotes are missing", fix);
                Err(invalid.suggest([format!("0{number}")]))
            }
            _ => Err(Invalid::new("mode", "the quotes are missing", fix)),
        }
    }

    fn to_toml(&self) -> Value {
        Value::String(format!("{:04o}", self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let address = |text: &str| Address::parse_text(text);
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
