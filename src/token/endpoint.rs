//! The token endpoint: what a response of it means, and why there is none.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::StatusCode;
use tokio::sync::watch;

use super::client::Client;
use super::exchange;
use super::response::{Grant, content_coding, parse_error, parse_grant};
use crate::config::Token;
use crate::error::BoxError;
use crate::headers::retry_after::parse_retry_after;
use crate::upstream::DeadlineExceeded;

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
        f.debug_struct("Endpoint")
            .field("url", &url)
            .finish_non_exhaustive()
    }
}

impl Endpoint {
    /// The endpoint that `client` asks.
    pub fn new(client: Client) -> Self {
        let client = Arc::new(client);
        Endpoint {
            client: watch::Sender::new(Arc::clone(&client)),
            asked: Mutex::new(client),
        }
    }

    /// Whether the client that asks from now on is the one that `config` describes.
    pub fn goes_by(&self, config: &Token) -> bool {
        self.client.borrow().config == *config
    }

    /// Has `client` ask from now on.
    pub fn renew(&self, client: Client) {
        self.client.send_replace(Arc::new(client));
    }

    /// Waits until the next token would be asked for as another client, or in another way, than the
    /// last one.
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
    pub fn default_lifetime(&self) -> Duration {
        self.client.borrow().config.default_lifetime
    }

    /// Asks for a token, once.
    ///
    /// # Errors
    /// When none was granted; the error says whether trying again can help.
    pub async fn fetch(&self) -> Result<Grant, FetchError> {
        let client = Arc::clone(&self.client.borrow());
        *self.asked() = Arc::clone(&client);
        let credentials = client.credentials().await;
        let response = exchange::post(&client.dialer, &client.config, &credentials).await?;
        let status = response.status();
        let retry_after = parse_retry_after(response.headers());
        // Any of them may bring a token: RFC 6749 says 200, and gateways that make 201 of it exist.
        if status.is_success() {
            if let Some(coding) = content_coding(response.headers()) {
                return Err(FetchError::Encoded { coding });
            }
            return parse_grant(response.body()).map_err(FetchError::Answer);
        }
        if matches!(status, StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED) {
            return Err(FetchError::Refused {
                status,
                code: parse_error(response.body()),
                retry_after,
            });
        }
        Err(FetchError::Status {
            status,
            retry_after,
        })
    }

    fn asked(&self) -> MutexGuard<'_, Arc<Client>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why no token was granted. Holds nothing that the endpoint said but a status and a code of the
/// RFC's.
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
    /// Neither success nor 400 or 401.
    #[error("the token endpoint answers {status}{}", loop_advice(*status))]
    Status {
        /// The status.
        status: StatusCode,
        /// How long it asks us to wait.
        retry_after: Option<Duration>,
    },
    /// A success that grants nothing.
    #[error("the token endpoint's answer is of no use: {0}")]
    Answer(&'static str),
    /// A success in a content coding.
    #[error(
        "the token endpoint's answer is of no use: it has Content-Encoding {coding}, though Accept-Encoding says identity"
    )]
    Encoded {
        /// The coding, if it is a registered one.
        coding: &'static str,
    },
    /// A token whose life was over before it came.
    #[error(
        "the token endpoint's answer took longer than its token may be used, which lives for {life} s"
    )]
    TooLate {
        /// The token's life, in seconds.
        life: u64,
    },
    /// No whole answer in time.
    #[error("the token endpoint does not answer in time")]
    Timeout(#[from] DeadlineExceeded),
    /// No connection.
    #[error("the token endpoint cannot be reached")]
    Unreachable(#[source] BoxError),
    /// A connection that ended before the whole answer had come, or spoke no HTTP.
    #[error("the connection to the token endpoint broke off")]
    Broken(#[source] BoxError),
    /// The client's key or certificate cannot be used.
    #[error("the client's credentials cannot be used")]
    Credentials(#[source] BoxError),
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
            FetchError::Answer(_) | FetchError::Encoded { .. } => "answer",
            FetchError::TooLate { .. } => "too_late",
            FetchError::Timeout(_) => "timeout",
            FetchError::Unreachable(_) => "unreachable",
            FetchError::Broken(_) => "broken",
            FetchError::Credentials(_) => "credentials",
        }
    }

    /// How long the endpoint asks us to wait, at most five minutes.
    pub fn retry_after(&self) -> Option<Duration> {
        let asked = match self {
            FetchError::Refused { retry_after, .. } | FetchError::Status { retry_after, .. } => {
                *retry_after
            }
            _ => None,
        };
        asked.map(|wait| wait.min(LONGEST_WAIT))
    }
}

/// Where a request goes that the proxy receives itself (`loop_detected`).
fn loop_advice(status: StatusCode) -> &'static str {
    match status {
        StatusCode::LOOP_DETECTED => {
            ": token.endpoint leads back to this proxy; write the address of GBG's token endpoint"
        }
        _ => "",
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
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::time::sleep;

    use super::*;
    use crate::config::{Sources, load};
    use crate::upstream::{ConnectStep, Dialer};

    /// Asks an endpoint whose name is found after `delay`, with `token.timeout` of 10 s.
    async fn fetch_after_lookup(delay: Duration) -> Result<Grant, FetchError> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"client_secret=s") {
                assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0);
            }
            let body = r#"{"access_token":"a","token_type":"Bearer"}"#;
            let response = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(response.as_bytes()).await.unwrap();
        });
        let set = [
            "token.endpoint=http://tokens.example/",
            "token.allow_http=true",
            "token.timeout=10s",
        ];
        let env = [("GBG_CLIENT_ID", "a"), ("GBG_CLIENT_SECRET", "s")];
        let env = env
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        let config = load(&Sources {
            set: set.map(str::to_owned).into(),
            env,
            file: None,
        })
        .unwrap()
        .config
        .token;
        let mut client = Client::new(&config).unwrap();
        let dialer = Dialer::new(config.endpoint.origin().unwrap(), None);
        client.dialer = dialer.with_resolver(move |host, port| {
            assert_eq!((host.as_str(), port), ("tokens.example", 80));
            Box::pin(async move {
                sleep(delay).await;
                Ok(vec![addr])
            })
        });
        Endpoint::new(client).fetch().await
    }

    /// With a dead first name server glibc takes five seconds.
    #[tokio::test(start_paused = true)]
    async fn a_slow_name_lookup_is_bounded_by_token_timeout() {
        assert!(fetch_after_lookup(Duration::from_secs(5)).await.is_ok());
        assert!(fetch_after_lookup(Duration::from_secs(9)).await.is_ok());
        let error = fetch_after_lookup(Duration::from_secs(11))
            .await
            .unwrap_err();
        let FetchError::Timeout(late) = error else {
            panic!("{error:?}")
        };
        assert_eq!(late.step, ConnectStep::Lookup);
        let text = "token.timeout (10s) expired during the name lookup of tokens.example";
        assert_eq!(late.to_string(), text);
    }

    #[test]
    fn what_the_endpoint_asks_for_is_waited_for_and_at_most_five_minutes() {
        let asked = |seconds| {
            let retry_after = Some(Duration::from_secs(seconds));
            FetchError::Status {
                status: StatusCode::SERVICE_UNAVAILABLE,
                retry_after,
            }
            .retry_after()
        };
        assert_eq!(
            (asked(7), asked(86_400)),
            (Some(Duration::from_secs(7)), Some(LONGEST_WAIT))
        );
    }
}
