//! Configuration: values from `--set`, the environment and a file, parsed once into types that
//! cannot be invalid.
//!
//! `proxy.toml` at the root of the repository holds every key with its default and a line of why.

mod cross_checks;
mod error;
mod keys;
mod load;
mod own_addresses;
mod read;
mod reloadable;
mod schema;
mod sections;
mod source;
mod types;
mod unknown_names;

pub use self::error::{ConfigError, ConfigErrors, MissingSecret, Problem, ValueSource};
pub use self::keys::{is_key_variable, keys};
pub use self::load::{Loaded, Sources, admin_address, load, load_for_diagnosis};
pub use self::reloadable::is_reloadable;
pub use self::schema::{DEFAULT_FILE, schema};
pub use self::sections::admin::Admin;
pub use self::sections::caller::{CallerConfig, parse_caller_name};
pub use self::sections::drain::Drain;
pub use self::sections::egress_proxy::Egress;
pub use self::sections::limits::Limits;
pub use self::sections::listen::{Listen, ListenTls};
pub use self::sections::log::{Level, Log, LogFormat};
pub use self::sections::token::Token;
pub use self::sections::token::credentials::{ClientAuth, CredentialSources, Credentials, Proof};
pub use self::sections::token::signing_key::{Algorithm, SigningKey};
pub use self::sections::trace::{Exported, Trace};
pub use self::sections::upstream::{ForwardConfig, HttpVersion, Upstream};
pub use self::source::effective::Effective;
pub use self::source::invalid::Invalid;
pub(crate) use self::source::nearest::nearest;
pub use self::types::address::{Address, SocketMode};
pub use self::types::caller_key::{NoRandomness, holds_key, key_digest, new_key};
pub use self::types::certificate_name::CertificateName;
pub use self::types::duration::parse_duration;
pub use self::types::header_case::HeaderCase;
pub use self::types::hosts::Hosts;
pub(crate) use self::types::hosts::without_port;
pub use self::types::path::{PathPrefix, PathTemplate};
pub use self::types::pem::Identity;
pub use self::types::rate::Rate;
pub(crate) use self::types::size::Size;
pub use self::types::url::{HttpUrl, Origin};
pub use self::types::validity::{
    CALLER_NOTICE, CERTIFICATE_NOTICE, Ending, Validity, certificate_end, unix_seconds,
};

/// The whole configuration, ready for use.
#[derive(Clone, Debug)]
pub struct Config {
    /// The listener for callers.
    pub listen: Listen,
    /// The connections to the API.
    pub upstream: Upstream,
    /// The requests that are forwarded.
    pub forward: ForwardConfig,
    /// The token endpoint and the credentials for it.
    pub token: Token,
    /// The systems that may call; anyone may if it is empty.
    pub callers: Vec<CallerConfig>,
    /// Limits of requests.
    pub limits: Limits,
    /// The admin listener.
    pub admin: Admin,
    /// The log.
    pub log: Log,
    /// Traces of requests.
    pub trace: Trace,
    /// Shutdown.
    pub drain: Drain,
}

impl Config {
    /// Host names that callers may use: the proxy's, and the API's, since DNS may send its callers
    /// here.
    pub fn hosts(&self) -> Hosts {
        let api = self.upstream.origin.host.to_lowercase();
        Hosts::new(
            &self.listen.address,
            self.listen.hosts.iter().cloned().chain([api]),
        )
    }
}
