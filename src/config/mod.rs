//! The configuration: text from `--set`, the environment and a file becomes types that cannot be
//! wrong, once.
//!
//! `proxy.toml` at the root of the repository holds every key with its default and a line of why.

mod admin;
mod caller;
mod certificate_name;
mod credentials;
mod document;
mod effective;
mod egress;
mod error;
mod expiry;
mod host;
mod hosts;
mod key;
mod keys;
mod listen;
mod live;
mod load;
mod loops;
mod manual;
mod origin;
mod pem;
mod rate;
mod serde_message;
mod signing_key;
mod token;
mod trace;
mod upstream;
mod validity;
mod value;
mod variable;

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderValue;
use serde::Deserialize;

pub use self::admin::Admin;
pub use self::caller::{Caller, parse_caller_name};
pub use self::certificate_name::CertificateName;
pub use self::credentials::{ClientAuth, CredentialSources, Credentials, Proof};
pub use self::effective::Effective;
pub use self::egress::Egress;
pub use self::error::{Error, Origin as ValueOrigin, Problem};
pub use self::hosts::Hosts;
pub use self::key::{NoRandomness, holds_key, key_digest, new_key};
pub use self::keys::keys;
pub(crate) use self::keys::nearest;
pub use self::listen::{HeaderCase, Listen, ListenTls};
pub use self::live::is_live;
pub use self::load::{Loaded, Sources, admin_address, load};
pub use self::origin::{HttpUrl, Origin};
pub use self::pem::Identity;
pub use self::rate::Rate;
pub use self::signing_key::{Algorithm, SigningKey};
pub use self::token::Token;
pub use self::trace::{Exported, Trace};
pub use self::upstream::{Forward, HttpVersion, Upstream};
pub use self::validity::{Validity, unix_seconds};
pub use self::value::{Address, Path, Prefix, SocketMode, parse_time};
pub use self::variable::is_key_variable;

/// The whole configuration, ready for use.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where callers come in.
    pub listen: Listen,
    /// How the API is reached.
    pub upstream: Upstream,
    /// What is forwarded to it.
    pub forward: Forward,
    /// How an access token is got.
    pub token: Token,
    /// Who may call; nobody in particular, and so everybody, where it is empty.
    pub callers: Vec<Caller>,
    /// How much of what.
    pub limits: Limits,
    /// Where health and metrics are told.
    pub admin: Admin,
    /// What is logged.
    pub log: Log,
    /// The traces that requests belong to.
    pub trace: Trace,
    /// How the process ends.
    pub drain: Drain,
}

impl Config {
    /// The hosts by which callers may speak of us: ours, and the API's, whose callers may be sent
    /// here by DNS.
    pub fn hosts(&self) -> Hosts {
        let api = self.upstream.origin.host.to_lowercase();
        Hosts::new(
            &self.listen.address,
            self.listen.hosts.iter().cloned().chain([api]),
        )
    }
}

/// `[log]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// The least severe level that is logged.
    pub level: Level,
    /// How a line looks.
    pub format: LogFormat,
    /// Whether each request gets a line.
    pub access: bool,
    /// The file to write to; standard output where there is none.
    #[serde(deserialize_with = "value::file")]
    pub file: Option<PathBuf>,
}

impl Default for Log {
    fn default() -> Self {
        Log {
            level: Level::Info,
            format: LogFormat::Text,
            access: true,
            file: None,
        }
    }
}

/// A severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names are the documentation")]
pub enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `[limits]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Requests that are answered at once, in the whole process.
    pub max_in_flight: NonZeroU32,
    /// Requests that wait beyond that; a quarter of `max_in_flight` where it is not written.
    pub queue: Option<u32>,
    /// How long one waits.
    #[serde(deserialize_with = "value::duration")]
    pub queue_timeout: Duration,
    /// Whether the `Retry-After` of a 429 of the API holds the caller back that got it.
    pub heed_retry_after: bool,
    /// Origins (RFC 6454) of web pages that may call.
    #[serde(deserialize_with = "origin::origins")]
    pub origins: Vec<HeaderValue>,
    /// The longest request body, in bytes.
    #[serde(deserialize_with = "value::size")]
    pub request_body: u64,
    /// The longest request body, in bytes, that is kept until its answer has come, so that it can
    /// be sent once more.
    #[serde(deserialize_with = "value::size")]
    pub replay_body: u64,
    /// All header fields of a request together, in bytes.
    #[serde(deserialize_with = "value::header_size")]
    pub header_block: u64,
    /// Header fields of a request.
    #[serde(deserialize_with = "value::field_count")]
    pub header_fields: usize,
    /// Path and query, in bytes.
    #[serde(deserialize_with = "value::target_size")]
    pub target: u64,
}

impl Limits {
    /// Requests that wait beyond `max_in_flight`: as written, or a quarter of that.
    pub fn queue(&self) -> usize {
        self.queue.unwrap_or(self.max_in_flight.get() / 4) as usize
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_in_flight: const { NonZeroU32::new(4096).unwrap() },
            queue: None,
            queue_timeout: Duration::from_secs(1),
            heed_retry_after: false,
            origins: Vec::new(),
            request_body: 32 << 20,
            replay_body: 64 << 10,
            header_block: 64 << 10,
            header_fields: 100,
            target: 8 << 10,
        }
    }
}

/// `[drain]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Drain {
    /// How long it still accepts after the signal to end, while it says that it is not ready.
    #[serde(deserialize_with = "value::duration_or_zero")]
    pub delay: Duration,
    /// How long requests in flight may take to finish after the signal to end.
    #[serde(deserialize_with = "value::duration")]
    pub timeout: Duration,
}

impl Default for Drain {
    fn default() -> Self {
        Drain {
            delay: Duration::ZERO,
            timeout: Duration::from_secs(25),
        }
    }
}
