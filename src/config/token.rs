//! `[token]`: how an access token is got.

use std::path::PathBuf;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use super::error::Problem;
use super::pem;
use super::value::{HttpUrl, SecretRef, duration};
use crate::gbg;
use crate::secret::{Environment, Secret, Source};

/// `[token]` as it is used.
#[derive(Clone, Debug)]
pub struct Token {
    /// The token endpoint (RFC 6749 section 3.2).
    pub endpoint: HttpUrl,
    /// The OAuth client's id.
    pub client_id: String,
    /// The OAuth client's secret.
    pub client_secret: Secret,
    /// How the client proves itself.
    pub client_auth: ClientAuth,
    /// The scope to ask for; empty asks for none.
    pub scope: String,
    /// The certificates that the token endpoint's may be signed by; empty for plain `http`.
    pub roots: Vec<CertificateDer<'static>>,
    /// One whole token request.
    pub timeout: Duration,
    /// How long a request waits while there is no valid token.
    pub wait: Duration,
    /// The life of a token whose answer does not tell it.
    pub fallback_life: Duration,
}

/// How the client id and secret are sent (RFC 6749 section 2.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuth {
    /// In the form.
    #[default]
    Post,
    /// As HTTP Basic.
    Basic,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Raw {
    endpoint: HttpUrl,
    client_id: ClientId,
    client_secret: SecretRef,
    client_auth: ClientAuth,
    scope: String,
    ca_file: Option<PathBuf>,
    plain_http: bool,
    #[serde(deserialize_with = "duration")]
    timeout: Duration,
    #[serde(deserialize_with = "duration")]
    wait: Duration,
    #[serde(deserialize_with = "duration")]
    fallback_life: Duration,
}

/// A client id is no secret: it may stand in the file, or be kept where the secret is.
#[derive(Debug)]
enum ClientId {
    Written(String),
    Kept(Source),
}

impl<'de> Deserialize<'de> for ClientId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() {
            return Err(D::Error::custom("the client id is empty"));
        }
        Ok(Source::parse(&text).map_or(ClientId::Written(text), ClientId::Kept))
    }
}

impl Default for Raw {
    fn default() -> Self {
        Raw {
            endpoint: HttpUrl::known(gbg::TOKEN_ENDPOINT),
            client_id: ClientId::Kept(Source::Env("GBG_CLIENT_ID".to_owned())),
            client_secret: SecretRef(Source::Env("GBG_CLIENT_SECRET".to_owned())),
            client_auth: ClientAuth::default(),
            scope: gbg::SCOPE.to_owned(),
            ca_file: None,
            plain_http: false,
            timeout: Duration::from_secs(10),
            wait: Duration::from_secs(5),
            fallback_life: Duration::from_secs(300),
        }
    }
}

impl Raw {
    /// `ca_file` is the upstream's, which serves both unless this section has its own.
    pub(super) fn resolve(self, ca_file: Option<PathBuf>, env: &Environment) -> Result<Token, Problem> {
        if !self.endpoint.is_tls() && !self.endpoint.is_loopback() && !self.plain_http {
            return Err(Problem::new(
                "token.endpoint",
                "http:// would send the client secret over the network in clear",
                "write https://, or token.plain_http = true if the network in between is trusted",
            ));
        }
        let roots = match (self.ca_file.or(ca_file), self.endpoint.is_tls()) {
            (Some(path), _) => pem::roots(&path).map_err(|error| error.at("token.ca_file"))?,
            (None, true) => pem::platform_roots()?,
            (None, false) => Vec::new(),
        };
        let client_id = match self.client_id {
            ClientId::Written(text) => text,
            ClientId::Kept(source) => read("token.client_id", &source, env)?.expose().to_owned(),
        };
        Ok(Token {
            endpoint: self.endpoint,
            client_id,
            client_secret: read("token.client_secret", &self.client_secret.0, env)?,
            client_auth: self.client_auth,
            scope: self.scope,
            roots,
            timeout: self.timeout,
            wait: self.wait,
            fallback_life: self.fallback_life,
        })
    }
}

fn read(key: &'static str, source: &Source, env: &Environment) -> Result<Secret, Problem> {
    source.read(env).map_err(|error| {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        let mend = match source {
            Source::Env(name) => format!(
                "set {name}, or write {key} as \"file:PATH\", \"credential:NAME\" or \"env:OTHER_NAME\" \
                 (GBG shows id and secret once, in the portal's Clients tab)"
            ),
            Source::File(_) => "check the path, the permissions and the content of the file".to_owned(),
            Source::Credential(name) => format!("write LoadCredential={name}:PATH in the systemd unit"),
        };
        Problem::new(key, format!("{error}{cause}"), mend)
    })
}
