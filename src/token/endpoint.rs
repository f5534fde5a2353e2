//! The token request over HTTP; the only file that uses reqwest.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::StatusCode;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use reqwest::redirect;
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::client::Client;
use super::client_auth::{form, secret_header};
use super::grant::{Grant, parse_error, parse_grant};
use crate::config::{Credentials, Token};
use crate::error::{Cause, chain};
use crate::retry_after::retry_after;

/// No token answer is longer: a real one has 1 to 3 KB.
const LONGEST_ANSWER: usize = 64 * 1024;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// A longer wait that the endpoint asks for is cut to this.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// A token endpoint (RFC 6749 section 3.2), and the client that asks it.
pub struct Endpoint {
    client: watch::Sender<Arc<Client>>,
    /// The one that asked last.
    asked: Mutex<Arc<Client>>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.client.borrow().config.endpoint.to_string();
        f.debug_struct("Endpoint").field("url", &url).finish_non_exhaustive()
    }
}

impl Endpoint {
    /// The endpoint that `client` asks.
    pub fn new(client: Client) -> Self {
        let client = Arc::new(client);
        Endpoint { client: watch::Sender::new(Arc::clone(&client)), asked: Mutex::new(client) }
    }

    /// Whether the client that asks from now on is the one that `config` describes.
    pub fn goes_by(&self, config: &Token) -> bool {
        self.client.borrow().config == *config
    }

    /// Has `client` ask from now on.
    pub fn renew(&self, client: Client) {
        self.client.send_replace(Arc::new(client));
    }

    /// Waits until the next token would be asked for as another client, or in another way, than the last one.
    pub async fn changed(&self) {
        let mut newest = self.client.subscribe();
        loop {
            let client = Arc::clone(&newest.borrow_and_update());
            if !client.asks_like(&self.asked()) {
                return;
            }
            tokio::select! {
                () = client.changed() => return,
                // It cannot fail: the sender is ours.
                _ = newest.changed() => {}
            }
        }
    }

    /// The life of a token whose answer does not tell it.
    pub fn fallback_life(&self) -> Duration {
        self.client.borrow().config.fallback_life
    }

    /// Asks for a token, once.
    ///
    /// # Errors
    /// When none was granted; the error says whether trying again can help.
    pub async fn fetch(&self) -> Result<Grant, FetchError> {
        let client = Arc::clone(&self.client.borrow());
        *self.asked() = Arc::clone(&client);
        let config = &client.config;
        let failed = |error| failed(config, error);
        let credentials = client.credentials().await;
        let request = request(config, &credentials).map_err(FetchError::Credentials)?;
        let mut answer = request.send().await.map_err(failed)?;
        let status = answer.status();
        let retry_after = retry_after(answer.headers());
        // Room for all of it from the start: growing would leave pieces behind that are not zeroed.
        let mut body = Zeroizing::new(Vec::with_capacity(LONGEST_ANSWER));
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > LONGEST_ANSWER {
                return Err(FetchError::Answer("the answer is longer than 64 KiB"));
            }
            body.extend_from_slice(&chunk);
        }
        if status == StatusCode::OK {
            return parse_grant(&body).map_err(FetchError::Answer);
        }
        if matches!(status, StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED) {
            return Err(FetchError::Refused { status, code: parse_error(&body), retry_after });
        }
        Err(FetchError::Status { status, retry_after })
    }

    fn asked(&self) -> MutexGuard<'_, Arc<Client>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn request(config: &Token, credentials: &Credentials) -> Result<reqwest::RequestBuilder, Cause> {
    let form = form(config, credentials)?;
    let request = connect(config, credentials)?.post(config.endpoint.url().clone());
    let request = request
        .header(ACCEPT, "application/json")
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(form.body());
    Ok(match form.basic {
        Some(authorization) => request.header(AUTHORIZATION, authorization),
        None => request,
    })
}

fn failed(config: &Token, error: reqwest::Error) -> FetchError {
    let error = error.without_url();
    if error.is_timeout() {
        FetchError::Timeout
    } else if error.is_connect() {
        FetchError::Unreachable(match &config.egress {
            // Of a refusal reqwest tells no more than that there was one.
            Some(_) => format!(
                "by way of the egress proxy, whose answer `gbg-proxy doctor` tells: {}",
                chain(&error)
            )
            .into(),
            None => error.into(),
        })
    } else {
        FetchError::Broken(error.into())
    }
}

/// An HTTP client for one request: an idle connection would be dead before the next, and the certificate may be another.
pub(super) fn connect(config: &Token, credentials: &Credentials) -> Result<reqwest::Client, Cause> {
    let roots = config.roots.iter().map(|root| reqwest::Certificate::from_der(root));
    let mut builder = reqwest::Client::builder()
        .tls_certs_only(roots.collect::<Result<Vec<_>, _>>()?)
        .redirect(redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT.min(config.timeout))
        .timeout(config.timeout)
        .user_agent(concat!("gbg-proxy/", env!("CARGO_PKG_VERSION")));
    if let Some(pem) = &credentials.certificate {
        builder = builder.identity(reqwest::Identity::from_pem(pem.expose().as_bytes())?);
    }
    if let Some(egress) = &config.egress {
        let mut proxy = reqwest::Proxy::all(egress.origin.to_string())?;
        if let Some(authorization) = &egress.authorization {
            let value = secret_header(["", authorization.expose()]);
            proxy = proxy.custom_http_auth(value.ok_or("user and password cannot be a header field")?);
        }
        builder = builder.proxy(proxy);
    }
    Ok(builder.build()?)
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
        /// How long it asks us to wait.
        retry_after: Option<Duration>,
    },
    /// Another status than 200, 400 and 401.
    #[error("the token endpoint answers {status}")]
    Status {
        /// The status.
        status: StatusCode,
        /// How long it asks us to wait.
        retry_after: Option<Duration>,
    },
    /// A 200 that grants nothing.
    #[error("the token endpoint's answer is of no use: {0}")]
    Answer(&'static str),
    /// A token whose life was over before it came.
    #[error("the token endpoint's answer took longer than its token may be used, which lives for {life} s")]
    TooLate {
        /// The token's life, in seconds.
        life: u64,
    },
    /// No whole answer in time.
    #[error("the token endpoint does not answer in time")]
    Timeout,
    /// No connection.
    #[error("the token endpoint cannot be reached")]
    Unreachable(#[source] Cause),
    /// A connection that ended before the whole answer had come, or spoke no HTTP.
    #[error("the connection to the token endpoint broke off")]
    Broken(#[source] Cause),
    /// The client's key or certificate cannot be used.
    #[error("the client's credentials cannot be used")]
    Credentials(#[source] Cause),
}

impl FetchError {
    /// Whether trying again is of no use until a person changes something.
    pub fn is_refusal(&self) -> bool {
        matches!(self, FetchError::Refused { .. })
    }

    /// One word for it, for metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            FetchError::Refused { .. } => "refused",
            FetchError::Status { .. } => "status",
            FetchError::Answer(_) => "answer",
            FetchError::TooLate { .. } => "too_late",
            FetchError::Timeout => "timeout",
            FetchError::Unreachable(_) => "unreachable",
            FetchError::Broken(_) => "broken",
            FetchError::Credentials(_) => "credentials",
        }
    }

    /// How long the endpoint asks us to wait, at most five minutes.
    pub fn retry_after(&self) -> Option<Duration> {
        let asked = match self {
            FetchError::Refused { retry_after, .. } | FetchError::Status { retry_after, .. } => *retry_after,
            _ => None,
        };
        asked.map(|wait| wait.min(LONGEST_WAIT))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_endpoint_asks_for_is_waited_for_and_at_most_five_minutes() {
        let asked = |seconds| {
            let retry_after = Some(Duration::from_secs(seconds));
            FetchError::Status { status: StatusCode::SERVICE_UNAVAILABLE, retry_after }.retry_after()
        };
        assert_eq!((asked(7), asked(86_400)), (Some(Duration::from_secs(7)), Some(LONGEST_WAIT)));
    }
}
