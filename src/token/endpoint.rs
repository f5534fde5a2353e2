//! The token request over HTTP; the only file that uses reqwest.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use http::StatusCode;
use http::header::{ACCEPT, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::redirect;
use tokio::time::timeout;

use super::aside::Aside;
use super::client_auth::{Form, form};
use super::grant::{Grant, parse_error, parse_grant};
use super::watch::Watch;
use crate::config::{Credentials, Token};
use crate::error::{Cause, chain};

/// No token answer is longer: a real one has 1 to 3 KB.
const LONGEST_ANSWER: usize = 64 * 1024;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// A longer wait that the endpoint asks for is cut to this.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// How long the reading of the credentials is waited for.
const READ_TIMEOUT: Duration = Duration::from_secs(3);

/// A token endpoint (RFC 6749 section 3.2) and our credentials for it.
pub struct Endpoint {
    config: Token,
    /// As they were read last without an error.
    credentials: Mutex<Credentials>,
    /// A watched file is another one, and has not been read since.
    is_stirred: AtomicBool,
    aside: Aside,
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
    /// When the credentials cannot be read, or a certificate cannot be used.
    pub fn new(config: &Token) -> Result<Self, Cause> {
        let credentials = config.credentials.read()?;
        client(config, &credentials)?;
        Ok(Endpoint {
            config: config.clone(),
            credentials: Mutex::new(credentials),
            is_stirred: AtomicBool::new(false),
            aside: Aside::new(),
        })
    }

    /// Watches the files that the credentials are kept in.
    pub fn watch(&self) -> Watch {
        Watch::new(self.config.credentials.files().into_iter().map(Into::into).collect())
    }

    /// Waits until the credentials in the files that `watch` watches are other ones than those read last. A file that is
    /// written anew with what was in it, or is gone, is no reason to ask for a token.
    pub async fn changed(&self, watch: &Watch) {
        loop {
            // Kept, since the watch tells a change once, and this may be given up while the files are read.
            if !self.is_stirred.load(Ordering::Relaxed) {
                watch.changed().await;
                self.is_stirred.store(true, Ordering::Relaxed);
            }
            let read = self.read().await;
            self.is_stirred.store(false, Ordering::Relaxed);
            let last = self.credentials.lock().unwrap_or_else(PoisonError::into_inner);
            if read.is_some_and(|read| read != *last) {
                return;
            }
        }
    }

    /// Asks for a token, once.
    ///
    /// # Errors
    /// When none was granted; the error says whether trying again can help.
    pub async fn fetch(&self) -> Result<Grant, FetchError> {
        let credentials = self.read_credentials().await;
        let request = self.request(&credentials).map_err(FetchError::Credentials)?;
        let mut answer = request.send().await.map_err(|error| self.failed(error))?;
        let status = answer.status();
        let retry_after = retry_after(answer.headers());
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| self.failed(error))? {
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

    fn request(&self, credentials: &Credentials) -> Result<reqwest::RequestBuilder, Cause> {
        let Form { fields, basic } = form(&self.config, credentials)?;
        let request = client(&self.config, credentials)?.post(self.config.endpoint.url().clone());
        let request = request.header(ACCEPT, "application/json").form(&fields);
        Ok(match basic {
            Some((user, password)) => request.basic_auth(user, Some(password)),
            None => request,
        })
    }

    fn failed(&self, error: reqwest::Error) -> FetchError {
        let error = error.without_url();
        if error.is_timeout() {
            FetchError::Timeout
        } else if error.is_connect() {
            FetchError::Unreachable(match &self.config.egress {
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

    /// The credentials as they are now; as they were, if they cannot be read.
    async fn read_credentials(&self) -> Credentials {
        let read = self.read().await;
        let mut last = self.credentials.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(credentials) = read {
            *last = credentials;
        }
        last.clone()
    }

    async fn read(&self) -> Option<Credentials> {
        let sources = self.config.credentials.clone();
        let problem = match timeout(READ_TIMEOUT, self.aside.run(move || sources.read())).await {
            Ok(Some(Ok(credentials))) => return Some(credentials),
            Ok(Some(Err(problem))) => problem.to_string(),
            Ok(None) => "the reading of them panicked".to_owned(),
            Err(_) => "the file system does not answer".to_owned(),
        };
        tracing::warn!(problem, "the client's credentials cannot be read; those read last are used");
        None
    }
}

/// A client for one request: an idle connection would be dead before the next, and the certificate may be another.
fn client(config: &Token, credentials: &Credentials) -> Result<reqwest::Client, Cause> {
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
            let mut value = HeaderValue::from_str(authorization.expose())?;
            value.set_sensitive(true);
            proxy = proxy.custom_http_auth(value);
        }
        builder = builder.proxy(proxy);
    }
    Ok(builder.build()?)
}

/// The wait that an answer asks for, in seconds or until a date (RFC 9110 section 10.2.3).
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = httpdate::parse_http_date(text).ok()?;
            date.duration_since(SystemTime::now()).unwrap_or_default()
        }
    };
    Some(wait.min(LONGEST_WAIT))
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
        match self {
            FetchError::Refused { retry_after, .. } | FetchError::Status { retry_after, .. } => *retry_after,
            _ => None,
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::config::{Sources, load};

    #[tokio::test]
    async fn a_change_is_not_lost_when_whoever_waits_for_it_gives_up_while_the_files_are_read() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let directory = tempfile::tempdir().unwrap();
        let secret = directory.path().join("secret");
        std::fs::write(&secret, "one").unwrap();
        let set = vec![
            "token.endpoint=http://127.0.0.1:1".to_owned(),
            "token.client_id=a".to_owned(),
            format!("token.client_secret=file:{}", secret.display()),
        ];
        let config = load(&Sources { set, ..Sources::default() }).unwrap().config;
        let endpoint = Endpoint::new(&config.token).unwrap();
        let watch = endpoint.watch();
        std::fs::write(&secret, "another").unwrap();
        let (release, held) = mpsc::channel::<()>();
        let hang = endpoint.aside.run(move || held.recv());
        let _ = timeout(Duration::from_millis(10), hang).await;
        assert!(timeout(Duration::from_millis(1500), endpoint.changed(&watch)).await.is_err());
        drop(release);
        timeout(Duration::from_secs(1), endpoint.changed(&watch)).await.expect("the change is lost");
    }

    #[test]
    fn a_wait_is_read_in_seconds_and_as_a_date_and_is_at_most_five_minutes() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            retry_after(&headers)
        };
        assert_eq!(of(" 7 "), Some(Duration::from_secs(7)));
        assert_eq!(of("86400"), Some(LONGEST_WAIT));
        assert_eq!(of("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        let soon = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(60));
        assert!(of(&soon).is_some_and(|wait| (58..=60).contains(&wait.as_secs())), "{soon}");
        for bad in ["soon", "-1", "1.5", "99999999999999999999"] {
            assert_eq!(of(bad), None, "{bad}");
        }
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}
