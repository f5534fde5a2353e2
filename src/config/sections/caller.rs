//! `[[caller]]`: the systems that may call, how each authenticates, and its limits.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::time::SystemTime;

use http::{HeaderName, Method, header};

use super::listen::Listen;
use super::upstream::ForwardConfig;
use crate::config::source::invalid::Invalid;
use crate::config::source::section::Section;
use crate::config::source::setting::TextSetting;
use crate::config::types::address::Address;
use crate::config::types::caller_key;
use crate::config::types::caller_key::KeyDigests;
use crate::config::types::certificate_name::CertificateName;
use crate::config::types::path::PathPrefix;
use crate::config::types::rate::Rate;
use crate::config::types::timestamp::Timestamp;
use crate::secret;

/// Fields without which a request is invalid, or its caller unknown.
const NEEDED_HEADERS: [HeaderName; 5] = [
    HeaderName::from_static("x-api-key"),
    header::AUTHORIZATION,
    header::CONTENT_LENGTH,
    header::HOST,
    header::TRANSFER_ENCODING,
];

/// A system that may call.
#[derive(Clone, Debug)]
pub struct CallerConfig {
    /// The name in logs and metrics.
    pub name: String,
    /// The SHA-256 digests of its keys.
    pub keys: Vec<[u8; 32]>,
    /// The subject alternative name of its certificate.
    pub certificate: Option<CertificateName>,
    /// The user ID of its process, at the other end of a Unix socket.
    pub uid: Option<u32>,
    /// When its access ends.
    pub expires: Option<SystemTime>,
    /// How many requests it may send per unit of time.
    pub rate: Option<Rate>,
    /// How many of its requests may be in flight at once.
    pub max_in_flight: Option<NonZeroU32>,
    /// Path prefixes that it may call, within `upstream.allow`; `None` for all of that.
    pub allow: Option<Vec<PathPrefix>>,
    /// Methods that it may use, of `upstream.methods`; `None` for all of those.
    pub methods: Option<Vec<Method>>,
    /// Header fields that it may not send.
    pub deny_headers: Vec<HeaderName>,
}

/// A `[[caller]]` with its section, before the rules between sections are checked.
pub(crate) struct CallerEntry<'r, 'a> {
    section: Section<'r, 'a>,
    caller: CallerConfig,
}

impl<'r, 'a> CallerEntry<'r, 'a> {
    pub(crate) fn read(mut section: Section<'r, 'a>) -> Self {
        let name = section.required("name", "\"crm\"");
        let name = name.map(|CallerName(name)| name).unwrap_or_default();
        if !name.is_empty() {
            section.name_entry("caller", &name);
        }
        let keys: Option<KeyDigests> = section.optional("key_sha256");
        let expires: Option<Timestamp> = section.optional("expires");
        let caller = CallerConfig {
            keys: keys.map(|KeyDigests(keys)| keys).unwrap_or_default(),
            certificate: section.optional("certificate"),
            uid: section.optional("uid"),
            expires: expires.map(|Timestamp(time)| time),
            rate: section.optional("rate"),
            max_in_flight: section.optional("max_in_flight"),
            allow: section.optional("allow"),
            methods: section.optional("methods"),
            deny_headers: section.optional("deny_headers").unwrap_or_default(),
            name,
        };
        CallerEntry { section, caller }
    }

    /// Returns true if it authenticates with a key, which must cross no network in clear text.
    pub(crate) fn has_key(&self) -> bool {
        self.section.is_written("key_sha256")
    }

    fn check(&self, listen: &Listen, forward: &ForwardConfig) {
        let CallerEntry { section, caller } = self;
        if caller.keys.is_empty() && caller.certificate.is_none() && caller.uid.is_none() {
            section.reject(
                "",
                "it has no way to authenticate",
                format!(
                    "write key_sha256 (`gbg-proxy key new {}` makes a key and prints that line), certificate or uid",
                    caller.name
                ),
            );
        }
        let has_roots = |tls: &super::listen::ListenTls| !tls.client_roots.is_empty();
        let asks_for_certificates =
            listen.tls.as_ref().is_some_and(has_roots) || section.is_broken("listen.tls");
        if caller.certificate.is_some() && !asks_for_certificates {
            section.reject(
                "certificate",
                "it has no effect: callers are not asked for a certificate",
                "write [listen.tls] with cert, key and client_ca, the CA certificates that callers' are signed by",
            );
        }
        let is_local = matches!(listen.address, Address::Unix(_));
        if caller.uid.is_some() && !is_local && !section.is_broken("listen.address") {
            section.reject(
                "uid",
                format!(
                    "it has no effect: {} does not identify users",
                    listen.address
                ),
                "write listen.address = \"unix:/PATH\", or remove it",
            );
        }
        if caller.uid == Some(u32::MAX) {
            let fix = "write the number that `id -u NAME` prints";
            section.reject("uid", "no user has this number", fix);
        }
        for name in caller
            .deny_headers
            .iter()
            .filter(|name| NEEDED_HEADERS.contains(name))
        {
            section.reject(
                "deny_headers",
                format!("a caller needs the field {name} to call at all"),
                "remove it from the list",
            );
        }
        if !section.is_broken("upstream.allow") {
            self.check_paths(&forward.allow);
        }
        if !section.is_broken("upstream.methods") {
            self.check_methods(&forward.methods);
        }
    }

    fn check_paths(&self, outer: &[PathPrefix]) {
        let Some(allow) = &self.caller.allow else {
            return;
        };
        if allow.is_empty() {
            self.reject_empty("allow");
        }
        let is_outside = |prefix: &&PathPrefix| !PathPrefix::any_covers(outer, prefix.as_str());
        for outside in allow.iter().filter(is_outside) {
            let outer: Vec<_> = outer
                .iter()
                .map(|prefix| format!("{:?}", prefix.as_str()))
                .collect();
            self.section.reject(
                "allow",
                format!(
                    "{:?} is outside upstream.allow, and never forwarded",
                    outside.as_str()
                ),
                format!(
                    "write a prefix that begins with one of {}, or extend upstream.allow",
                    outer.join(", ")
                ),
            );
        }
    }

    fn check_methods(&self, outer: &[Method]) {
        let Some(methods) = &self.caller.methods else {
            return;
        };
        if methods.is_empty() {
            self.reject_empty("methods");
        }
        let is_outside = |method: &&Method| !outer.is_empty() && !outer.contains(method);
        for outside in methods.iter().filter(is_outside) {
            let outer: Vec<_> = outer.iter().map(Method::as_str).collect();
            self.section.reject(
                "methods",
                format!("{outside} is not one of upstream.methods, and never forwarded"),
                format!(
                    "write some of {}, or extend upstream.methods",
                    outer.join(", ")
                ),
            );
        }
    }

    fn reject_empty(&self, name: &str) {
        let fix = "remove it if the caller may call all that is forwarded, or remove the caller";
        self.section
            .reject(name, "an empty list leaves the caller nothing to call", fix);
    }

    fn reject_duplicate(&self, key: &str, other: &str) {
        let name = &self.caller.name;
        let section = &self.section;
        match key {
            "name" => section.reject(
                key,
                "another caller has this name, and logs and metrics could not tell them apart",
                "give each its own name; a second key of one caller goes into its key_sha256 = [\"…\", \"…\"]",
            ),
            "key_sha256" if name == other => section.reject(
                key,
                "the same key is written twice",
                "remove one, or write the SHA-256 of the second key there",
            ),
            "key_sha256" => section.reject(
                key,
                format!("caller {other:?} has this key as well, so a request could be from either"),
                format!("make a key for each: `gbg-proxy key new {name}`"),
            ),
            _ => section.reject(
                key,
                format!("caller {other:?} has this {key} as well, so a request could be from either"),
                "remove it from one of the two, or make them one caller",
            ),
        }
    }
}

/// Checks the rules between callers, and between callers and other sections.
pub(crate) fn check(
    entries: Vec<CallerEntry<'_, '_>>,
    listen: &Listen,
    forward: &ForwardConfig,
) -> Vec<CallerConfig> {
    let mut seen = HashMap::new();
    for entry in entries.iter().filter(|entry| entry.section.is_sound()) {
        entry.check(listen, forward);
        let caller = &entry.caller;
        for (key, mark) in marks(caller) {
            if let Some(other) = seen.insert(mark, caller.name.clone()) {
                entry.reject_duplicate(key, &other);
            }
        }
        if let Some(expires) = caller
            .expires
            .filter(|expires| *expires <= SystemTime::now())
        {
            let expires = humantime::format_rfc3339_seconds(expires);
            entry.section.warn(format!(
                "caller {:?} has expired ({expires}): its requests are rejected",
                caller.name
            ));
        }
    }
    entries.into_iter().map(|entry| entry.caller).collect()
}

/// Facts that no two callers may share.
#[derive(PartialEq, Eq, Hash)]
enum Mark {
    Name(String),
    Key([u8; 32]),
    Certificate(CertificateName),
    Uid(u32),
}

fn marks(caller: &CallerConfig) -> Vec<(&'static str, Mark)> {
    let keys = caller
        .keys
        .iter()
        .map(|digest| ("key_sha256", Mark::Key(*digest)));
    let certificate = caller.certificate.iter().cloned();
    let certificate = certificate.map(|name| ("certificate", Mark::Certificate(name)));
    let uid = caller.uid.map(|uid| ("uid", Mark::Uid(uid)));
    [("name", Mark::Name(caller.name.clone()))]
        .into_iter()
        .chain(keys)
        .chain(certificate)
        .chain(uid)
        .collect()
}

/// Name of a caller.
struct CallerName(String);

impl TextSetting for CallerName {
    fn parse_text(text: &str) -> Result<Self, Invalid> {
        parse_caller_name(text).map(CallerName)
    }

    fn to_text(&self) -> String {
        self.0.clone()
    }
}

/// Parses a caller's name: 1 to 64 letters, digits, `.`, `_` and `-`, so that it needs no quotes
/// anywhere.
///
/// # Errors
/// When it is another text, or looks like a key.
pub fn parse_caller_name(text: &str) -> Result<String, Invalid> {
    let invalid = |reason| {
        let fix = "write 1 to 64 letters, digits, \".\", \"_\" and \"-\", such as \"crm\"";
        Err(Invalid::new("name", reason, fix))
    };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if caller_key::may_be_in(text) || secret::holds_encoded_key(text) {
        invalid("this looks like a key, and names are shown in logs and metrics")
    } else if !(1..=64).contains(&text.len()) || !text.bytes().all(is_plain) {
        invalid("")
    } else {
        Ok(text.to_owned())
    }
}
