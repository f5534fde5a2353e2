//! Token source: what the refresh task fetches tokens from.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::client::Client;
use super::failure::FetchError;
use super::response::TokenResponse;
use crate::config::Token;

/// A source of access tokens.
pub trait TokenSource {
    /// Requests a token, once.
    fn fetch(&self) -> impl Future<Output = Result<TokenResponse, FetchError>>;

    /// Waits until the next [`fetch`](Self::fetch) would request another token than the last one:
    /// the credentials or the settings have changed.
    fn changed(&self) -> impl Future<Output = ()>;

    /// The lifetime of a token whose response has no `expires_in`.
    fn default_lifetime(&self) -> Duration;

    /// The end, as a Unix time, of the client certificate that the last fetch presented.
    fn certificate_end(&self) -> Option<u64> {
        None
    }
}

/// An OAuth client that a reload of the configuration replaces.
pub struct ReloadableClient {
    current: watch::Sender<Arc<Client>>,
    /// The client of the last request.
    last_used: Mutex<Arc<Client>>,
}

impl fmt::Debug for ReloadableClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.current.borrow().config.endpoint.to_string();
        f.debug_struct("ReloadableClient")
            .field("url", &url)
            .finish_non_exhaustive()
    }
}

impl ReloadableClient {
    /// Starts with `client`.
    pub fn new(client: Client) -> Self {
        let client = Arc::new(client);
        ReloadableClient {
            current: watch::Sender::new(Arc::clone(&client)),
            last_used: Mutex::new(client),
        }
    }

    /// Whether the current client has the settings `config`.
    pub(crate) fn is_configured_as(&self, config: &Token) -> bool {
        self.current.borrow().config == *config
    }

    pub(crate) fn replace(&self, client: Client) {
        self.current.send_replace(Arc::new(client));
    }
}

impl TokenSource for ReloadableClient {
    async fn fetch(&self) -> Result<TokenResponse, FetchError> {
        let client = Arc::clone(&self.current.borrow());
        *self.last_used.lock() = Arc::clone(&client);
        client.fetch().await
    }

    async fn changed(&self) {
        let mut current = self.current.subscribe();
        loop {
            let client = Arc::clone(&current.borrow_and_update());
            if !client.requests_same_token(&self.last_used.lock()) {
                return;
            }
            tokio::select! {
                () = client.credentials_changed() => return,
                // Cannot fail: `self` holds the sender.
                _ = current.changed() => {}
            }
        }
    }

    fn default_lifetime(&self) -> Duration {
        self.current.borrow().config.default_lifetime
    }

    fn certificate_end(&self) -> Option<u64> {
        self.last_used.lock().certificate_end()
    }
}
