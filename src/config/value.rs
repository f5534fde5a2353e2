//! The kinds of value that keys have: text becomes a type that cannot be wrong.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use http::Method;
use serde::de::{Deserialize, Deserializer, Error as _};

use super::key;
use crate::secret::{Source, is_content};

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

/// A path prefix that ends in `/`, compared byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "String")]
pub struct Prefix(String);

impl Prefix {
    /// A prefix that is a constant of this crate.
    pub(super) fn known(text: &'static str) -> Self {
        Prefix(text.to_owned())
    }

    /// The prefix as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Prefix {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if is_plain_path(&text) && text.ends_with('/') {
            Ok(Prefix(text))
        } else {
            Err("no path prefix; it begins and ends with \"/\", such as \"/v2/captain/\"")
        }
    }
}

/// A whole path, compared byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "String")]
pub struct Path(String);

impl Path {
    /// A path that is a constant of this crate.
    pub(super) fn known(text: &'static str) -> Self {
        Path(text.to_owned())
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Path {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if is_plain_path(&text) && !text.ends_with('/') {
            Ok(Path(text))
        } else {
            Err(
                "no whole path; it begins with \"/\", such as \"/v2/captain/journey/device/connect\"",
            )
        }
    }
}

/// Whether `text` is an absolute path that can be read in one way only.
fn is_plain_path(text: &str) -> bool {
    text.starts_with('/')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"?#%;\\".contains(&byte))
        && !text.contains("//")
        && !text.split('/').any(|segment| matches!(segment, "." | ".."))
}

/// A key that holds a secret, or what may be one: it says where the secret is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SecretRef(pub(super) Source);

impl<'de> Deserialize<'de> for SecretRef {
    // By way of `Value`, since serde's own type errors quote the value, and this one may be a
    // secret.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = toml::Value::deserialize(deserializer).map_err(|_| {
            D::Error::custom("this value cannot be read (it is not shown: it may be a secret)")
        })?;
        value
            .as_str()
            .and_then(Source::parse)
            .map(SecretRef)
            .ok_or_else(|| {
                D::Error::custom(
                    "a secret does not stand in the configuration itself; \
                 write \"env:NAME\", \"file:PATH\" or \"credential:NAME\"",
                )
            })
    }
}

/// Reads a span of time such as `"5s"`, `"250ms"`, `"1m 30s"`, at most a year: far beyond, adding
/// it to the clock overflows.
///
/// # Errors
/// What is wrong with the text, and how to write it.
pub fn parse_time(text: &str) -> Result<Duration, &'static str> {
    const LONGEST: Duration = Duration::from_secs(365 * 86_400);
    match humantime::parse_duration(text) {
        Ok(time) if time > LONGEST => Err("the time must be at most a year"),
        Ok(time) => Ok(time),
        Err(_) => Err(NO_TIME),
    }
}

const NO_TIME: &str = "no time; write a number and its unit, such as \"5s\" or \"250ms\"";

/// A span of time that is not zero.
pub(super) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    match duration_or_zero(deserializer)? {
        Duration::ZERO => Err(D::Error::custom("the time must be more than zero")),
        time => Ok(time),
    }
}

/// A span of time.
pub(super) fn duration_or_zero<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Duration, D::Error> {
    // By way of `Value`, so that a bare number is told what a text without a unit is told.
    let value = toml::Value::deserialize(deserializer)?;
    value
        .as_str()
        .ok_or(NO_TIME)
        .and_then(parse_time)
        .map_err(D::Error::custom)
}
/// A number of bytes, such as `"64KiB"`.
pub(super) fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let value = toml::Value::deserialize(deserializer)?;
    let bytes = match &value {
        toml::Value::Integer(0) => Some(0),
        // 64 may mean bytes, or be a slip: the unit is to be written.
        toml::Value::String(text)
            if text == "0" || !text.ends_with(|last: char| last.is_ascii_digit()) =>
        {
            text.parse::<ByteSize>().ok().map(|size| size.as_u64())
        }
        _ => None,
    };
    bytes.ok_or_else(|| {
        D::Error::custom("no size; write a number and its unit, such as \"64KiB\" or \"5MiB\"")
    })
}

/// A size of all header fields together: with the request line they fit into what is held of a
/// connection.
pub(super) fn header_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    match size(deserializer)? {
        bytes @ 1..=MOST_HEADER_BYTES => Ok(bytes),
        _ => Err(D::Error::custom(
            "the header fields must be given from 1B to 96KiB",
        )),
    }
}

/// A size of a target.
pub(super) fn target_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    match size(deserializer)? {
        bytes @ 1..=MOST_TARGET_BYTES => Ok(bytes),
        _ => Err(D::Error::custom(
            "the target must be given from 1B to 24KiB",
        )),
    }
}

/// Together they are a head, of which no more than 128 KiB is held.
const MOST_HEADER_BYTES: u64 = 96 << 10;
const MOST_TARGET_BYTES: u64 = 24 << 10;

/// Methods; CONNECT and TRACE are never forwarded.
pub(super) fn methods<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Method>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let method = |text: String| match Method::from_bytes(text.as_bytes()) {
        Ok(Method::CONNECT | Method::TRACE) => {
            Err(D::Error::custom("CONNECT and TRACE are never forwarded"))
        }
        // "get" is another method than GET (RFC 9110 section 9.1), and none that the API has.
        Ok(method)
            if method
                .as_str()
                .bytes()
                .any(|byte| byte.is_ascii_lowercase()) =>
        {
            Err(D::Error::custom(
                "methods are written in capitals, such as \"GET\" or \"POST\"",
            ))
        }
        Ok(method) => Ok(method),
        Err(_) => Err(D::Error::custom(
            "no method; write names such as \"GET\" or \"POST\"",
        )),
    };
    texts.into_iter().map(method).collect()
}

/// A file's path, which an empty text is not.
pub(super) fn file<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<PathBuf>, D::Error> {
    path(deserializer).map(Some)
}

/// A file's path, where the key has to have one.
pub(super) fn path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    // By way of `Value`, since serde's own type errors quote the value, and this one may be the
    // private key itself.
    let value = toml::Value::deserialize(deserializer).map_err(|_| {
        D::Error::custom("this value cannot be read (it is not shown: it may be a secret)")
    })?;
    match value.as_str() {
        None => Err(D::Error::custom(
            "this is not a path; write the path of a file as a text in quotes",
        )),
        Some("") => Err(D::Error::custom("the value is empty")),
        Some(text) if is_content(text) => Err(D::Error::custom(
            "this is the content of a file; write its path (the value is not shown)",
        )),
        Some(text) if key::is_in(text) => Err(D::Error::custom(
            "this is a caller's key; write the path of a file (the value is not shown)",
        )),
        Some(text) => Ok(text.into()),
    }
}

/// A number of header fields, as far as the parser takes them.
pub(super) fn field_count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    match usize::deserialize(deserializer)? {
        count @ 1..=100 => Ok(count),
        _ => Err(D::Error::custom(
            "the number of fields must be from 1 to 100",
        )),
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

    #[test]
    fn prefixes_are_plain() {
        for bad in [
            "", "v2/", "/v2", "/a//", "/a/../", "/%2e/", "/a?b/", "/a b/",
        ] {
            assert!(Prefix::try_from(bad.to_owned()).is_err(), "{bad}");
        }
        assert!(Prefix::try_from("/".to_owned()).is_ok());
    }
}
