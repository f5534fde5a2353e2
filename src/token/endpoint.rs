//! The token request over HTTP; the only file that uses reqwest.

use std::fmt;
use std::time::Duration;

use http::StatusCode;
use reqwest::redirect;

use super::client_auth::{Credentials, credentials};
use super::grant::{Grant, parse_error, parse_grant};
use crate::config::Token;
use crate::error::Cause;

/// No token answer is longer: a real one has 1 to 3 KB.
const LONGEST_ANSWER: usize = 64 * 1024;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// A token endpoint (RFC 6749 section 3.2) and our credentials for it.
pub struct Endpoint {
    client: reqwest::Client,
    config: Token,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("url", &self.config.endpoint.to_string()).finish_non_exhaustive()
    }
}

impl Endpoint {
    /// The endpoint that `config` describes.
    ///
    /// # Errors
    /// When one of `config.roots` is no certificate.
    pub fn new(config: &Token) -> Result<Self, Cause> {
        let roots = config
            .roots
            .iter()
            .map(|root| reqwest::Certificate::from_der(root))
            .collect::<Result<Vec<_>, _>>()?;
        let client = reqwest::Client::builder()
            .tls_certs_only(roots)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT.min(config.timeout))
            .timeout(config.timeout)
            // A request an hour: an idle connection would be dead by then.
            .pool_max_idle_per_host(0)
            .user_agent(concat!("gbg-proxy/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Endpoint { client, config: config.clone() })
    }

    /// Asks for a token, once.
    ///
    /// # Errors
    /// When none was granted; the error says whether trying again can help.
    pub async fn fetch(&self) -> Result<Grant, FetchError> {
        let Credentials { form, basic } = credentials(&self.config);
        let mut request = self.client.post(self.config.endpoint.url().clone()).form(&form);
        request = request.header(http::header::ACCEPT, "application/json");
        if let Some((user, password)) = basic {
            request = request.basic_auth(user, Some(password));
        }
        let mut answer = request.send().await.map_err(FetchError::from_reqwest)?;
        let status = answer.status();
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(FetchError::from_reqwest)? {
            if body.len() + chunk.len() > LONGEST_ANSWER {
                return Err(FetchError::Answer("the answer is longer than 64 KiB"));
            }
            body.extend_from_slice(&chunk);
        }
        if status == StatusCode::OK {
            return parse_grant(&body).map_err(FetchError::Answer);
        }
        if matches!(status, StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED) {
            return Err(FetchError::Refused { status, code: parse_error(&body) });
        }
        Err(FetchError::Status(status))
    }
}

/// Why no token was granted. Holds nothing that the endpoint said but a status and a code of the RFC's.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The endpoint refuses our client: 400 or 401 (RFC 6749 section 5.2).
    #[error(
        "the token endpoint refuses our client: {status}, {}; {}",
        code.unwrap_or("no known error code"),
        advice(*code)
    )]
    Refused {
        /// The status.
        status: StatusCode,
        /// `error`, if it is one of the RFC's.
        code: Option<&'static str>,
    },
    /// Another status than 200, 400 and 401.
    #[error("the token endpoint answers {0}")]
    Status(StatusCode),
    /// A 200 that grants nothing.
    #[error("the token endpoint's answer is of no use: {0}")]
    Answer(&'static str),
    /// No whole answer in time.
    #[error("the token endpoint does not answer in time")]
    Timeout,
    /// No connection, or one that broke.
    #[error("the token endpoint cannot be reached")]
    Unreachable(#[source] Cause),
}

impl FetchError {
    /// Whether trying again is of no use until a person changes something.
    pub fn is_refusal(&self) -> bool {
        matches!(self, FetchError::Refused { .. })
    }

    fn from_reqwest(error: reqwest::Error) -> Self {
        if error.is_timeout() {
            FetchError::Timeout
        } else {
            FetchError::Unreachable(error.without_url().into())
        }
    }
}

/// What to look at first when the client is refused.
fn advice(code: Option<&'static str>) -> &'static str {
    match code {
        Some("invalid_client") => {
            "check token.client_id and token.client_secret (a regenerated secret ends the old one at once) \
             and token.client_auth"
        }
        Some("unauthorized_client") => "check that the API client has the role \"Go API Access\"",
        Some("invalid_scope") => "check token.scope",
        _ => "check [token]",
    }
}
