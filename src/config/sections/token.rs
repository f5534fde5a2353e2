//! `[token]`: the token endpoint, and the client's credentials for it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use http::StatusCode;
use rustls::pki_types::CertificateDer;
use toml::Value;

pub(in crate::config) mod credentials;
pub(in crate::config) mod signing_key;

use self::credentials::{ClientAuth, CredentialSources, ProofSource, TextRef};
use self::signing_key::Algorithm;
use super::egress_proxy::Egress;
use super::upstream::UpstreamSettings;
use crate::config::source::invalid::Invalid;
use crate::config::source::section::Section;
use crate::config::source::setting::{Kind, Setting, choice};
use crate::config::types::duration::positive;
use crate::config::types::pem;
use crate::config::types::secret_ref::SecretRef;
use crate::config::types::url::HttpUrl;
use crate::gbg;
use crate::secret::{Environment, Kept, Secret, Source};

/// `[token]` as it is used.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    /// The token endpoint (RFC 6749 section 3.2).
    pub endpoint: HttpUrl,
    /// The credentials of the client.
    pub credentials: CredentialSources,
    /// The scope to request; none if it is empty.
    pub scope: String,
    /// Further fields of the form, such as `audience` or `resource`.
    pub params: Vec<(String, Secret)>,
    /// The certificates that the token endpoint's may be signed by; empty for plain `http`.
    pub roots: Vec<CertificateDer<'static>>,
    /// The key and the file that the roots are from; `None` for those of the platform.
    pub ca_file: Option<(&'static str, PathBuf)>,
    /// The egress proxy on the way there, if any.
    pub egress: Option<Egress>,
    /// One whole token request, from the name lookup to the last byte of the response.
    pub timeout: Duration,
    /// How long a request waits while there is no valid token.
    pub wait_timeout: Duration,
    /// Lifetime of a token whose response has no `expires_in`.
    pub default_lifetime: Duration,
    /// Statuses with which the API rejects a token: the proxy gets a new one and sends the request
    /// once more.
    pub retry_statuses: Vec<StatusCode>,
}

impl Token {
    /// Returns true if both request the same token from the same endpoint, in the same way, as the
    /// same client.
    pub fn asks_like(&self, other: &Token) -> bool {
        let what = |token: &Token| {
            (
                token.endpoint.clone(),
                token.scope.clone(),
                token.params.clone(),
            )
        };
        what(self) == what(other)
            && self.credentials == other.credentials
            && self.roots == other.roots
            && self.egress == other.egress
    }
}

/// A shorter lifetime ends before the token arrives.
const MIN_LIFETIME: Duration = Duration::from_secs(10);

/// Grant type of the token request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grant {
    /// To the client itself (RFC 6749 section 4.4).
    ClientCredentials,
    /// To a user whose password the client knows (RFC 6749 section 4.3).
    Password,
}

choice!(Grant, "grant type", {
    "client_credentials" => Grant::ClientCredentials,
    "password" => Grant::Password,
});

impl Token {
    /// `upstream.ca_file` also applies to the token endpoint, unless this section has its own.
    pub(crate) fn read(
        section: &Section<'_, '_>,
        upstream: &UpstreamSettings,
        env: &Environment,
    ) -> Option<Self> {
        let endpoint = section.get("endpoint", HttpUrl::known(gbg::TOKEN_ENDPOINT));
        let keys = CredentialKeys::read(section);
        // GBG's own clients request none with a password.
        let default_scope = match keys.grant {
            Grant::ClientCredentials => gbg::SCOPE,
            Grant::Password => "",
        };
        let scope: String = section.get("scope", default_scope.to_owned());
        let Params(params) = section.get("params", Params::default());
        let own_ca_file = section.optional("ca_file");
        let allow_http = section.get("allow_http", false);
        let timeout = section.get_checked("timeout", Duration::from_secs(10), positive);
        let wait_timeout = section.get_checked("wait_timeout", Duration::from_secs(5), positive);
        let default_lifetime =
            section.get_checked("default_lifetime", Duration::from_secs(300), |lifetime| {
                positive(lifetime)?;
                let reason = "the token would expire before it arrives";
                let error = || Invalid::new("duration", reason, "write at least \"10s\"");
                (*lifetime >= MIN_LIFETIME).then_some(()).ok_or_else(error)
            });
        let retry_statuses: Vec<RetryStatus> = section.get(
            "retry_statuses",
            vec![RetryStatus(StatusCode::UNAUTHORIZED)],
        );
        if !section.is_sound() {
            return None;
        }
        if !endpoint.is_tls() && !endpoint.is_loopback() && !allow_http {
            section.reject(
                "endpoint",
                "http:// would send the client's credentials over the network in clear text",
                "write https://, or token.allow_http = true if you trust the network in between",
            );
        }
        keys.reject_unused(section, endpoint.is_tls());
        let (ca_key, ca_file) = match own_ca_file {
            None => ("upstream.ca_file", upstream.ca_file.clone()),
            own => ("token.ca_file", own),
        };
        let roots = pem::roots_for(ca_file.as_deref(), ca_key, endpoint.is_tls());
        let roots = section.accept(roots);
        let credentials = keys.locate(section, env);
        Some(Token {
            egress: upstream.egress_rules.egress_to(&endpoint),
            endpoint,
            credentials: credentials?,
            scope,
            params: params
                .into_iter()
                .map(|(name, value)| (name, Secret::new(value)))
                .collect(),
            roots: roots?,
            ca_file: ca_file.map(|file| (ca_key, file)),
            timeout,
            wait_timeout,
            default_lifetime,
            retry_statuses: retry_statuses
                .into_iter()
                .map(|RetryStatus(status)| status)
                .collect(),
        })
    }
}

/// The keys of `[token]` that say how the client authenticates.
struct CredentialKeys {
    client_id: TextRef,
    client_secret: Option<SecretRef>,
    client_auth: ClientAuth,
    jwt_key: Option<SecretRef>,
    jwt_alg: Option<Algorithm>,
    jwt_kid: Option<String>,
    client_cert: Option<PathBuf>,
    client_key: Option<PathBuf>,
    grant: Grant,
    username: Option<TextRef>,
    password: Option<SecretRef>,
}

impl CredentialKeys {
    fn read(section: &Section<'_, '_>) -> Self {
        let client_id = Source::Env("GBG_CLIENT_ID".to_owned());
        CredentialKeys {
            client_id: section.get("client_id", TextRef::Kept(client_id)),
            client_secret: section.optional("client_secret"),
            client_auth: section.get("client_auth", ClientAuth::Post),
            jwt_key: section.optional("jwt_key"),
            jwt_alg: section.optional("jwt_alg"),
            jwt_kid: section.optional("jwt_kid"),
            client_cert: section.optional("client_cert"),
            client_key: section.optional("client_key"),
            grant: section.get("grant", Grant::ClientCredentials),
            username: section.optional("username"),
            password: section.optional("password"),
        }
    }

    /// Rejects keys without an effect: the operator meant something else.
    fn reject_unused(&self, section: &Section<'_, '_>, is_tls: bool) {
        let uses_secret = matches!(self.client_auth, ClientAuth::Post | ClientAuth::Basic);
        let uses_key = self.client_auth == ClientAuth::PrivateKeyJwt;
        let uses_user = self.grant == Grant::Password;
        let groups: [(&[&str], bool, &str); 4] = [
            (
                &["client_secret"],
                uses_secret,
                "client_auth = \"post\" or \"basic\"",
            ),
            (
                &["jwt_key", "jwt_alg", "jwt_kid"],
                uses_key,
                "client_auth = \"private_key_jwt\"",
            ),
            (
                &["client_cert", "client_key"],
                is_tls,
                "an endpoint with https://",
            ),
            (&["username", "password"], uses_user, "grant = \"password\""),
        ];
        for (names, is_used, condition) in groups {
            let written = names.iter().filter(|name| section.is_written(name));
            for name in written.filter(|_| !is_used) {
                section.reject(
                    name,
                    format!("it has no effect without {condition}"),
                    format!("remove it, or write {condition}"),
                );
            }
        }
    }

    /// Finds the place of each credential; `None` if one is missing.
    fn locate(self, section: &Section<'_, '_>, env: &Environment) -> Option<CredentialSources> {
        let missing = |name: &str, condition: &str| {
            let message = format!("it is missing, and {condition} needs it");
            let example = match name {
                "client_cert" => "/etc/gbg-proxy/client.crt",
                "client_key" => "/etc/gbg-proxy/client.key",
                "jwt_key" => "file:/run/secrets/gbg-client.pem",
                "username" => "env:GBG_USERNAME",
                _ => "env:GBG_PASSWORD",
            };
            section.reject(name, message, format!("write token.{name} = {example:?}"));
        };
        let needed = |key: Option<SecretRef>, name: &str, condition| {
            if key.is_none() {
                missing(name, condition);
            }
            key.map(|SecretRef(source)| source.locate(env))
        };
        let secret = |written: Option<SecretRef>| -> Kept {
            let default = || SecretRef(Source::Env("GBG_CLIENT_SECRET".to_owned()));
            let SecretRef(source) = written.unwrap_or_else(default);
            source.locate(env)
        };
        let proof = match self.client_auth {
            ClientAuth::Post => Some(ProofSource::Post(secret(self.client_secret))),
            ClientAuth::Basic => Some(ProofSource::Basic(secret(self.client_secret))),
            ClientAuth::PrivateKeyJwt => {
                let condition = "client_auth = \"private_key_jwt\"";
                needed(self.jwt_key, "jwt_key", condition).map(|key| ProofSource::Assertion {
                    key,
                    algorithm: self.jwt_alg.unwrap_or(Algorithm::RS256),
                    kid: self.jwt_kid,
                })
            }
            ClientAuth::Tls => Some(ProofSource::Certificate),
        };
        let user = match self.grant {
            Grant::ClientCredentials => None,
            Grant::Password => {
                let condition = "grant = \"password\"";
                if self.username.is_none() {
                    missing("username", condition);
                }
                let username = self.username.map(|name| name.locate(env));
                let password = needed(self.password, "password", condition);
                Some(username.zip(password))
            }
        };
        let certificate = match (self.client_cert, self.client_key) {
            (None, None) => {
                if self.client_auth == ClientAuth::Tls {
                    missing("client_cert", "client_auth = \"tls\"");
                }
                None
            }
            (Some(cert), Some(key)) => Some((cert, key)),
            (Some(_), None) => {
                missing("client_key", "token.client_cert");
                None
            }
            (None, Some(_)) => {
                missing("client_cert", "token.client_key");
                None
            }
        };
        if !section.is_sound() {
            return None;
        }
        let credentials = CredentialSources {
            client_id: self.client_id.locate(env),
            proof: proof?,
            user: match user {
                Some(user) => Some(user?),
                None => None,
            },
            certificate,
        };
        // All of them are read each time that a token is requested; errors and warnings come now.
        let problems = credentials.problems();
        let are_only_missing = problems.iter().all(|problem| problem.absent.is_some());
        for problem in problems {
            section.reject_secret(problem);
        }
        if !are_only_missing {
            return None;
        }
        if let Ok(read) = credentials.read() {
            section.warn_all(credentials.warnings(&read));
        }
        Some(credentials)
    }
}

/// Further fields of the token request.
#[derive(Default)]
struct Params(BTreeMap<String, String>);

impl Setting for Params {
    const KIND: Kind = Kind::Table;
    const NEVER_QUOTE: bool = true;
    const NEVER_SHOW: bool = true;

    fn parse(value: &Value) -> Result<Self, Invalid> {
        /// Fields that other keys fill.
        const RESERVED: [&str; 8] = [
            "grant_type",
            "scope",
            "client_id",
            "client_secret",
            "client_assertion",
            "client_assertion_type",
            "username",
            "password",
        ];
        let fix = "write a table of strings, such as { audience = \"https://api.example\" }";
        let Value::Table(fields) = value else {
            return Err(Invalid::new("table", "", fix));
        };
        if let Some(name) = RESERVED.iter().find(|name| fields.contains_key(**name)) {
            let reason = format!("another key sets the field {name}");
            return Err(Invalid::new("table", reason, format!("remove {name} here")));
        }
        let text = |(name, value): (&String, &Value)| {
            let text = value.as_str()?;
            Some((name.clone(), text.to_owned()))
        };
        let params: Option<_> = fields.iter().map(text).collect();
        params
            .map(Params)
            .ok_or_else(|| Invalid::new("table", "a field is not a string", fix))
    }

    fn to_toml(&self) -> Value {
        Value::Table(
            self.0
                .iter()
                .map(|(name, text)| (name.clone(), text.clone().into()))
                .collect(),
        )
    }
}

/// A status with which the API may reject a token.
struct RetryStatus(StatusCode);

impl Setting for RetryStatus {
    const KIND: Kind = Kind::Number;

    fn parse(value: &Value) -> Result<Self, Invalid> {
        match value.as_integer() {
            Some(401) => Ok(RetryStatus(StatusCode::UNAUTHORIZED)),
            Some(403) => Ok(RetryStatus(StatusCode::FORBIDDEN)),
            _ => Err(Invalid::new(
                "status",
                "the API rejects a token with 401 or 403",
                "write [401], [403], [401, 403], or [] for none",
            )),
        }
    }

    fn to_toml(&self) -> Value {
        Value::Integer(self.0.as_u16().into())
    }
}

#[cfg(test)]
mod tests;
