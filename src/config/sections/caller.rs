//! `[[caller]]`: who may call, how each is known, and how much each may.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::time::SystemTime;

use http::Method;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use super::listen::Listen;
use super::upstream::ForwardConfig;
use crate::config::error::Problem;
use crate::config::types::address::Address;
use crate::config::types::caller_key;
use crate::config::types::caller_key::digests;
use crate::config::types::certificate_name::CertificateName;
use crate::config::types::methods;
use crate::config::types::path::PathPrefix;
use crate::config::types::rate::Rate;
use crate::config::types::timestamp;
use crate::secret;

/// A system that may call.
#[derive(Clone, Debug)]
pub struct CallerConfig {
    /// The name in logs and metrics.
    pub name: String,
    /// The SHA-256 digests of its keys.
    pub keys: Vec<[u8; 32]>,
    /// The subject alternative name of its certificate.
    pub certificate: Option<CertificateName>,
    /// The user that its process runs as, at the other end of a Unix socket.
    pub uid: Option<u32>,
    /// From when on it is not known any more.
    pub expires: Option<SystemTime>,
    /// How many requests it may send.
    pub rate: Option<Rate>,
    /// How many of its requests may be in flight at once.
    pub max_in_flight: Option<NonZeroU32>,
    /// What it may call: path prefixes within `upstream.allow`; `None` for all of that.
    pub allow: Option<Vec<PathPrefix>>,
    /// The methods that it may use, of `upstream.methods`; `None` for all of those.
    pub methods: Option<Vec<Method>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawCaller {
    #[serde(deserialize_with = "name")]
    name: String,
    #[serde(default, deserialize_with = "digests")]
    key_sha256: Vec<[u8; 32]>,
    #[serde(default, deserialize_with = "certificate")]
    certificate: Option<CertificateName>,
    uid: Option<u32>,
    #[serde(default, deserialize_with = "timestamp::optional")]
    expires: Option<SystemTime>,
    rate: Option<Rate>,
    max_in_flight: Option<NonZeroU32>,
    allow: Option<Vec<PathPrefix>>,
    #[serde(default, deserialize_with = "some_methods")]
    methods: Option<Vec<Method>>,
}

impl RawCaller {
    /// Whether it is known by a key, which is to be read by nobody on the way.
    pub(crate) fn has_key(&self) -> bool {
        !self.key_sha256.is_empty()
    }

    fn resolve(
        self,
        at: EntryKey,
        listen: &Listen,
        forward: &ForwardConfig,
    ) -> Result<CallerConfig, Problem> {
        if self.key_sha256.is_empty() && self.certificate.is_none() && self.uid.is_none() {
            return Err(at.problem(
                "there is nothing that it could be known by",
                format!(
                    "write key_sha256 (`gbg-proxy key new {}` makes a key and prints that line), certificate or uid",
                    self.name
                ),
            ));
        }
        let asks_for_certificates = listen
            .tls
            .as_ref()
            .is_some_and(|tls| !tls.client_roots.is_empty());
        if self.certificate.is_some() && !asks_for_certificates {
            return Err(at.key("certificate").problem(
                "callers are not asked for a certificate",
                "write [listen.tls] with cert, key and client_ca, the certificates that callers' are signed by",
            ));
        }
        if self.uid.is_some() && !matches!(listen.address, Address::Unix(_)) {
            return Err(at.key("uid").problem(
                format!("nobody's user is known over {}", listen.address),
                "write listen.address = \"unix:PATH\", or remove it",
            ));
        }
        if self.uid == Some(u32::MAX) {
            let fix = "write the number that `id -u NAME` prints";
            return Err(at.key("uid").problem("this is the number of no user", fix));
        }
        check_within_paths(self.allow.as_deref(), &forward.allow, at)?;
        check_within_methods(self.methods.as_deref(), &forward.methods, at)?;
        Ok(CallerConfig {
            name: self.name,
            keys: self.key_sha256,
            certificate: self.certificate,
            uid: self.uid,
            expires: self.expires,
            rate: self.rate,
            max_in_flight: self.max_in_flight,
            allow: self.allow,
            methods: self.methods,
        })
    }
}

/// The callers, if they can be distinguished.
pub(crate) fn resolve(
    callers: Vec<RawCaller>,
    listen: &Listen,
    forward: &ForwardConfig,
    warnings: &mut Vec<String>,
) -> Result<Vec<CallerConfig>, Problem> {
    let mut seen = HashMap::new();
    let now = SystemTime::now();
    let mut resolved = Vec::new();
    for (index, raw) in callers.into_iter().enumerate() {
        let at = EntryKey { index, key: "" };
        let caller = raw.resolve(at, listen, forward)?;
        for (key, mark) in marks(&caller) {
            if let Some(other) = seen.insert(mark, caller.name.clone()) {
                return Err(twice(at.key(key), &caller.name, &other));
            }
        }
        if let Some(expires) = caller.expires.filter(|expires| *expires <= now) {
            let expires = humantime::format_rfc3339_seconds(expires);
            warnings.push(format!(
                "caller {:?} has expired ({expires}): it is not let in",
                caller.name
            ));
        }
        resolved.push(caller);
    }
    Ok(resolved)
}

/// What no two callers may share.
#[derive(PartialEq, Eq, Hash)]
enum Mark {
    Name(String),
    Key([u8; 32]),
    Certificate(CertificateName),
    Uid(u32),
}

fn marks(caller: &CallerConfig) -> Vec<(&'static str, Mark)> {
    let name = [("name", Mark::Name(caller.name.clone()))];
    let keys = caller
        .keys
        .iter()
        .map(|digest| ("key_sha256", Mark::Key(*digest)));
    let certificate = caller.certificate.iter().cloned();
    let certificate = certificate.map(|name| ("certificate", Mark::Certificate(name)));
    let uid = caller.uid.map(|uid| ("uid", Mark::Uid(uid)));
    name.into_iter()
        .chain(keys)
        .chain(certificate)
        .chain(uid)
        .collect()
}

fn twice(at: EntryKey, name: &str, other: &str) -> Problem {
    match at.key {
        "name" => at.problem(
            "another caller has this name, and logs and metrics could not tell them apart",
            "give each a name of its own; a second key of one caller goes into its key_sha256 = [\"…\", \"…\"]",
        ),
        "key_sha256" if name == other => {
            at.problem("the same key is written twice", "remove one, or put the second key's SHA-256 there")
        }
        "key_sha256" => at.problem(
            format!("caller {other:?} has this key as well, and it could be either"),
            format!("make a key for each: `gbg-proxy key new {name}`"),
        ),
        key => at.problem(
            format!("caller {other:?} has this {key} as well, and it could be either"),
            "give it to one of the two, or make them one caller",
        ),
    }
}

fn check_within_paths(
    written: Option<&[PathPrefix]>,
    outer: &[PathPrefix],
    at: EntryKey,
) -> Result<(), Problem> {
    let at = at.key("allow");
    let Some(written) = written else {
        return Ok(());
    };
    if written.is_empty() {
        return Err(nothing(at));
    }
    let is_within = |prefix: &&PathPrefix| {
        outer
            .iter()
            .any(|outer| prefix.as_str().starts_with(outer.as_str()))
    };
    match written.iter().find(|prefix| !is_within(prefix)) {
        None => Ok(()),
        Some(outside) => {
            let outer: Vec<_> = outer
                .iter()
                .map(|prefix| format!("{:?}", prefix.as_str()))
                .collect();
            Err(at.problem(
                format!(
                    "{:?} lies outside upstream.allow, and is forwarded for nobody",
                    outside.as_str()
                ),
                format!(
                    "write a prefix that begins with one of {}, or extend upstream.allow",
                    outer.join(", ")
                ),
            ))
        }
    }
}

fn check_within_methods(
    written: Option<&[Method]>,
    outer: &[Method],
    at: EntryKey,
) -> Result<(), Problem> {
    let at = at.key("methods");
    let Some(written) = written else {
        return Ok(());
    };
    if written.is_empty() {
        return Err(nothing(at));
    }
    match written
        .iter()
        .find(|method| !outer.is_empty() && !outer.contains(method))
    {
        None => Ok(()),
        Some(outside) => {
            let outer: Vec<_> = outer.iter().map(Method::as_str).collect();
            Err(at.problem(
                format!("{outside} is not among upstream.methods, and is forwarded for nobody"),
                format!(
                    "write some of {}, or extend upstream.methods",
                    outer.join(", ")
                ),
            ))
        }
    }
}

fn nothing(at: EntryKey) -> Problem {
    let fix = "remove it if it may call all that is forwarded, or remove the caller";
    at.problem("an empty list leaves the caller nothing to call", fix)
}

/// A caller in the file, or a key of it.
#[derive(Clone, Copy)]
struct EntryKey {
    index: usize,
    key: &'static str,
}

impl EntryKey {
    fn key(self, key: &'static str) -> Self {
        EntryKey { key, ..self }
    }

    fn problem(self, message: impl Into<String>, fix: impl Into<String>) -> Problem {
        let EntryKey { index, key } = self;
        let dot = if key.is_empty() { "" } else { "." };
        Problem::new(format!("caller[{index}]{dot}{key}"), message, fix)
    }
}

/// Reads a caller's name: 1 to 64 letters, digits, `.`, `_` and `-`, so that it can stand anywhere
/// unquoted.
///
/// # Errors
/// What is wrong with the text, and how to write it.
pub fn parse_caller_name(text: &str) -> Result<String, &'static str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if caller_key::may_be_in(text) || secret::holds_encoded_key(text) {
        Err("this looks like a key; the name is shown in logs and metrics, and must be no secret")
    } else if !(1..=64).contains(&text.len()) || !text.bytes().all(is_plain) {
        Err("no name; write 1 to 64 letters, digits, \".\", \"_\" and \"-\", such as \"crm\"")
    } else {
        Ok(text.to_owned())
    }
}

fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    parse_caller_name(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

fn certificate<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<CertificateName>, D::Error> {
    CertificateName::parse(&String::deserialize(deserializer)?)
        .map(Some)
        .map_err(D::Error::custom)
}

fn some_methods<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<Method>>, D::Error> {
    methods::list(deserializer).map(Some)
}
