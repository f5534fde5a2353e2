//! OAuth client (RFC 6749 section 1.1): its settings, and its credentials, which are read again for
//! each token request.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::StatusCode;
use parking_lot::{Mutex, MutexGuard};
use tokio::time::timeout;

use super::failure::FetchError;
use super::request;
use super::response::{TokenResponse, content_coding, parse_error_code, parse_token_response};
use crate::config::{Credentials, Problem, Token};
use crate::error::BoxError;
use crate::fs::watcher::FileWatcher;
use crate::headers::retry_after::parse_retry_after;
use crate::rt::blocking::SerialBlocking;
use crate::upstream::Dialer;

/// Limit for reading the credentials: a file system may hang.
const READ_TIMEOUT: Duration = Duration::from_secs(3);

/// An OAuth client with fixed settings.
pub struct Client {
    /// The name of the account, for the log.
    account: Box<str>,
    pub(super) config: Token,
    /// Kept between requests, so that a request finds a name lookup that the one before it began.
    dialer: Dialer,
    /// The credentials of the last successful read.
    credentials: Mutex<Credentials>,
    watcher: FileWatcher,
    /// A watched file has changed and has not been read since.
    is_stale: AtomicBool,
    blocking: SerialBlocking,
}

impl Client {
    /// Reads the credentials that `config` names. Log lines name the `account`.
    ///
    /// # Errors
    /// When the credentials cannot be read, or a certificate cannot be used.
    pub fn new(account: &str, config: &Token) -> Result<Self, BoxError> {
        let files = config.credentials.files();
        // Before the read: a write during the read is a change.
        let watcher = FileWatcher::new(files.into_iter().map(Into::into).collect());
        let credentials = config.credentials.read()?;
        request::tls(config, &credentials)?;
        let origin = config
            .endpoint
            .origin()
            .ok_or("token.endpoint has no host")?;
        Ok(Client {
            account: account.into(),
            config: config.clone(),
            dialer: Dialer::new(origin, config.egress.clone()),
            credentials: Mutex::new(credentials),
            watcher,
            is_stale: AtomicBool::new(false),
            blocking: SerialBlocking::default(),
        })
    }

    /// Sends one token request.
    ///
    /// # Errors
    /// When the endpoint grants no token.
    pub async fn fetch(&self) -> Result<TokenResponse, FetchError> {
        let credentials = self.refresh_credentials().await;
        let response = request::send(&self.dialer, &self.config, &credentials).await?;
        let status = response.status();
        let retry_after = parse_retry_after(response.headers());
        // RFC 6749 says 200; some gateways turn it into 201.
        if status.is_success() {
            return match content_coding(response.headers()) {
                Some(coding) => Err(FetchError::Encoded { coding }),
                None => parse_token_response(response.body()).map_err(FetchError::Response),
            };
        }
        if matches!(status, StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED) {
            return Err(FetchError::Refused {
                status,
                code: parse_error_code(response.body()),
                retry_after,
            });
        }
        Err(FetchError::Status {
            status,
            retry_after,
        })
    }

    /// The end of the client certificate, as it was read last.
    pub(super) fn certificate_end(&self) -> Option<u64> {
        request::certificate_end(&self.last_credentials())
    }

    /// Whether a token of `other` can replace one of this client.
    pub(super) fn requests_same_token(&self, other: &Client) -> bool {
        let credentials = |client: &Client| client.last_credentials().clone();
        self.config.asks_like(&other.config) && credentials(self) == credentials(other)
    }

    /// Waits until the watched files hold other credentials than those of the last read. A file
    /// that is rewritten with the same content, or removed, is not a change.
    pub(super) async fn credentials_changed(&self) {
        loop {
            // In a field: the watcher reports a change once, and this future may be dropped while
            // the files are read.
            if !self.is_stale.load(Ordering::Relaxed) {
                self.watcher.changed().await;
                self.is_stale.store(true, Ordering::Relaxed);
            }
            let read = self.read_credentials().await;
            self.is_stale.store(false, Ordering::Relaxed);
            if read.is_some_and(|read| read.credentials != *self.last_credentials()) {
                return;
            }
        }
    }

    /// Reads the credentials; returns those of the last read if that fails.
    async fn refresh_credentials(&self) -> Credentials {
        let read = self.read_credentials().await;
        let mut last = self.last_credentials();
        if let Some(ReadCredentials {
            credentials,
            warnings,
        }) = read
        {
            if credentials != *last {
                for warning in warnings {
                    tracing::warn!(account = &*self.account, "{warning}");
                }
            }
            *last = credentials;
        }
        last.clone()
    }

    fn last_credentials(&self) -> MutexGuard<'_, Credentials> {
        self.credentials.lock()
    }

    async fn read_credentials(&self) -> Option<ReadCredentials> {
        let sources = self.config.credentials.clone();
        let read = move || {
            let credentials = sources.read()?;
            let warnings = sources.warnings(&credentials);
            Ok::<_, Problem>(ReadCredentials {
                credentials,
                warnings,
            })
        };
        let problem = match timeout(READ_TIMEOUT, self.blocking.run(read)).await {
            Ok(Some(Ok(read))) => return Some(read),
            Ok(Some(Err(problem))) => problem.to_string(),
            Ok(None) => "reading them panicked".to_owned(),
            Err(_) => "the file system does not respond".to_owned(),
        };
        tracing::warn!(
            account = &*self.account,
            problem,
            "cannot read the client's credentials; using those of the last read"
        );
        None
    }
}

struct ReadCredentials {
    credentials: Credentials,
    warnings: Vec<String>,
}

#[cfg(test)]
mod tests;
