//! `[token]`: how an access token is got.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use http::StatusCode;
use rustls::pki_types::CertificateDer;
use serde::Deserialize;

pub(in crate::config) mod credentials;
pub(in crate::config) mod signing_key;

use self::credentials::{ClientAuth, CredentialSources, ProofSource, RawText};
use self::signing_key::Algorithm;
use super::egress_proxy::{Egress, WayOut};
use crate::config::error::Problem;
use crate::config::types::pem;
use crate::config::types::secret_ref::SecretRef;
use crate::config::types::secret_ref::locate;
use crate::config::types::url::HttpUrl;
use crate::config::types::{duration, file};
use crate::gbg;
use crate::secret::{Environment, Kept, Source};

/// `[token]` as it is used.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    /// The token endpoint (RFC 6749 section 3.2).
    pub endpoint: HttpUrl,
    /// What the client proves itself with.
    pub credentials: CredentialSources,
    /// The scope to ask for; empty asks for none.
    pub scope: String,
    /// Further fields of the form, such as `audience` or `resource`.
    pub params: Vec<(String, String)>,
    /// The certificates that the token endpoint's may be signed by; empty for plain `http`.
    pub roots: Vec<CertificateDer<'static>>,
    /// The egress proxy on the way there, if there is one.
    pub egress: Option<Egress>,
    /// One whole token request, from the name lookup to the last byte of the response.
    pub timeout: Duration,
    /// How long a request waits while there is no valid token.
    pub wait_timeout: Duration,
    /// The life of a token whose answer does not tell it.
    pub default_lifetime: Duration,
    /// The answers of the API that say that the token is not taken: a new one is got, and the
    /// request sent once more.
    pub retry_statuses: Vec<StatusCode>,
}

impl Token {
    /// Whether both ask the same endpoint for the same, in the same way, as the same client.
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

/// A shorter life ends while the token is on its way.
const SHORTEST_LIFE: Duration = Duration::from_secs(10);

/// How a token is granted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Grant {
    /// To the client itself (RFC 6749 section 4.4).
    #[default]
    ClientCredentials,
    /// To a user whose password the client knows (RFC 6749 section 4.3).
    Password,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawToken {
    endpoint: HttpUrl,
    client_id: RawText,
    client_secret: Option<SecretRef>,
    client_auth: ClientAuth,
    jwt_key: Option<SecretRef>,
    jwt_alg: Option<Algorithm>,
    jwt_kid: Option<String>,
    #[serde(deserialize_with = "file::optional")]
    client_cert: Option<PathBuf>,
    #[serde(deserialize_with = "file::optional")]
    client_key: Option<PathBuf>,
    grant: Grant,
    username: Option<RawText>,
    password: Option<SecretRef>,
    scope: Option<String>,
    params: BTreeMap<String, String>,
    #[serde(deserialize_with = "file::optional")]
    ca_file: Option<PathBuf>,
    allow_http: bool,
    #[serde(deserialize_with = "duration::positive")]
    timeout: Duration,
    #[serde(deserialize_with = "duration::positive")]
    wait_timeout: Duration,
    #[serde(deserialize_with = "duration::positive")]
    default_lifetime: Duration,
    retry_statuses: Vec<u16>,
}

impl Default for RawToken {
    fn default() -> Self {
        RawToken {
            endpoint: HttpUrl::known(gbg::TOKEN_ENDPOINT),
            client_id: RawText::Kept(Source::Env("GBG_CLIENT_ID".to_owned())),
            client_secret: None,
            client_auth: ClientAuth::default(),
            jwt_key: None,
            jwt_alg: None,
            jwt_kid: None,
            client_cert: None,
            client_key: None,
            grant: Grant::default(),
            username: None,
            password: None,
            scope: None,
            params: BTreeMap::new(),
            ca_file: None,
            allow_http: false,
            timeout: Duration::from_secs(10),
            wait_timeout: Duration::from_secs(5),
            default_lifetime: Duration::from_secs(300),
            retry_statuses: vec![401],
        }
    }
}

impl RawToken {
    /// `ca_file` is the upstream's, which serves both unless this section has its own.
    pub(crate) fn resolve(
        self,
        ca_file: Option<PathBuf>,
        way_out: &WayOut,
        env: &Environment,
        warnings: &mut Vec<String>,
    ) -> Result<Token, Problem> {
        if !self.endpoint.is_tls() && !self.endpoint.is_loopback() && !self.allow_http {
            return Err(Problem::new(
                "token.endpoint",
                "http:// would send the client's credentials over the network in clear",
                "write https://, or token.allow_http = true if the network in between is trusted",
            ));
        }
        self.refuse_what_does_nothing()?;
        if self.default_lifetime < SHORTEST_LIFE {
            return Err(Problem::new(
                "token.default_lifetime",
                "the token would be over before it is here",
                "write at least \"10s\"",
            ));
        }
        check_params(&self.params)?;
        let roots = match (self.ca_file.or(ca_file), self.endpoint.is_tls()) {
            (Some(path), _) => pem::roots(&path).map_err(|error| error.at("token.ca_file"))?,
            (None, true) => pem::platform_roots("upstream.ca_file")?,
            (None, false) => Vec::new(),
        };
        let client_id = self.client_id.locate("token.client_id", env)?;
        let user = match self.grant {
            Grant::ClientCredentials => None,
            Grant::Password => {
                let username = needed(self.username, "token.username", "grant = \"password\"")?;
                let password = needed(self.password, "token.password", "grant = \"password\"")?;
                Some((
                    username.locate("token.username", env)?,
                    locate("token.password", &password.0, env)?,
                ))
            }
        };
        let secret = || -> Result<Kept, Problem> {
            let source = self.client_secret.map(|SecretRef(source)| source);
            let source = source.unwrap_or_else(|| Source::Env("GBG_CLIENT_SECRET".to_owned()));
            locate("token.client_secret", &source, env)
        };
        let proof = match self.client_auth {
            ClientAuth::Post => ProofSource::Post(secret()?),
            ClientAuth::Basic => ProofSource::Basic(secret()?),
            ClientAuth::PrivateKeyJwt => {
                let key = needed(
                    self.jwt_key,
                    "token.jwt_key",
                    "client_auth = \"private_key_jwt\"",
                )?;
                ProofSource::Assertion {
                    key: locate("token.jwt_key", &key.0, env)?,
                    algorithm: self.jwt_alg.unwrap_or_default(),
                    kid: self.jwt_kid,
                }
            }
            ClientAuth::Tls => ProofSource::Certificate,
        };
        let certificate = match (self.client_cert, self.client_key) {
            (None, None) if self.client_auth != ClientAuth::Tls => None,
            (None, None) => return Err(missing("token.client_cert", "client_auth = \"tls\"")),
            (cert, key) => Some((
                needed(cert, "token.client_cert", "token.client_key")?,
                needed(key, "token.client_key", "token.client_cert")?,
            )),
        };
        let credentials = CredentialSources {
            client_id,
            proof,
            user,
            certificate,
        };
        // A file that cannot be read is reported now. It is read again for each token.
        warnings.extend(credentials.warnings(&credentials.read()?));
        Ok(Token {
            egress: way_out.toward(&self.endpoint),
            endpoint: self.endpoint,
            credentials,
            // GBG's own clients ask for none with a password.
            scope: self.scope.unwrap_or_else(|| match self.grant {
                Grant::ClientCredentials => gbg::SCOPE.to_owned(),
                Grant::Password => String::new(),
            }),
            params: self.params.into_iter().collect(),
            roots,
            timeout: self.timeout,
            wait_timeout: self.wait_timeout,
            default_lifetime: self.default_lifetime,
            retry_statuses: self
                .retry_statuses
                .iter()
                .map(|&status| retry_status(status))
                .collect::<Result<_, _>>()?,
        })
    }

    /// A key that is written and has no effect is a slip, and a secret that is not used is a secret
    /// too many.
    fn refuse_what_does_nothing(&self) -> Result<(), Problem> {
        let secret_is_used = matches!(self.client_auth, ClientAuth::Post | ClientAuth::Basic);
        let key_is_used = self.client_auth == ClientAuth::PrivateKeyJwt;
        let user_is_used = self.grant == Grant::Password;
        let is_tls = self.endpoint.is_tls();
        let tls = "an endpoint with https://";
        let auth = "client_auth = \"private_key_jwt\"";
        let unused = [
            (
                "token.client_secret",
                self.client_secret.is_some(),
                secret_is_used,
                "client_auth = \"post\" or \"basic\"",
            ),
            ("token.jwt_key", self.jwt_key.is_some(), key_is_used, auth),
            ("token.jwt_alg", self.jwt_alg.is_some(), key_is_used, auth),
            ("token.jwt_kid", self.jwt_kid.is_some(), key_is_used, auth),
            ("token.client_cert", self.client_cert.is_some(), is_tls, tls),
            ("token.client_key", self.client_key.is_some(), is_tls, tls),
            (
                "token.username",
                self.username.is_some(),
                user_is_used,
                "grant = \"password\"",
            ),
            (
                "token.password",
                self.password.is_some(),
                user_is_used,
                "grant = \"password\"",
            ),
        ];
        match unused
            .into_iter()
            .find(|(_, is_written, is_used, _)| *is_written && !is_used)
        {
            Some((key, _, _, goes_with)) => Err(Problem::new(
                key,
                format!("it goes with {goes_with}, and has no effect here"),
                format!("remove it, or write {goes_with}"),
            )),
            None => Ok(()),
        }
    }
}

fn needed<T>(value: Option<T>, key: &'static str, by: &str) -> Result<T, Problem> {
    value.ok_or_else(|| missing(key, by))
}

fn missing(key: &'static str, by: &str) -> Problem {
    Problem::new(key, format!("{by} needs it"), format!("write {key}"))
}

/// Fields that other keys fill.
const OUR_FIELDS: [&str; 8] = [
    "grant_type",
    "scope",
    "client_id",
    "client_secret",
    "client_assertion",
    "client_assertion_type",
    "username",
    "password",
];

fn check_params(params: &BTreeMap<String, String>) -> Result<(), Problem> {
    match params
        .keys()
        .find(|name| OUR_FIELDS.contains(&name.as_str()))
    {
        Some(name) => Err(Problem::new(
            "token.params",
            format!("the field {name} is filled from a key of its own"),
            format!("remove {name} here"),
        )),
        None => Ok(()),
    }
}

fn retry_status(status: u16) -> Result<StatusCode, Problem> {
    match StatusCode::from_u16(status) {
        Ok(status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)) => Ok(status),
        _ => Err(Problem::new(
            "token.retry_statuses",
            format!("{status} says nothing of a token"),
            "name 401, 403, both, or none: []",
        )),
    }
}

#[cfg(test)]
mod tests;
