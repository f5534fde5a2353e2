//! Accounts: one GBG GO API client each, with its token and its upstream.
//!
//! [`account_configs`] is the only code that knows how many accounts a configuration has: one,
//! named `default`.

use std::sync::Arc;

use tokio::task::{JoinHandle, spawn_blocking};

use super::start_error::StartError;
use crate::config::{self, Config};
use crate::metrics::Metrics;
use crate::token::{self, ReloadableClient, TokenPublisher, TokenReader};

/// One value for each account, in the order of the configuration; never empty.
#[derive(Clone, Debug)]
pub(super) struct Accounts<T> {
    first: T,
    others: Vec<T>,
}

impl<T> Accounts<T> {
    /// The account that a request uses. No other code decides this: today the first account, since
    /// a configuration has only one.
    pub(super) fn choose(&self) -> &T {
        &self.first
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        std::iter::once(&self.first).chain(&self.others)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        std::iter::once(&mut self.first).chain(&mut self.others)
    }

    pub(super) fn map<U>(self, mut convert: impl FnMut(T) -> U) -> Accounts<U> {
        Accounts {
            first: convert(self.first),
            others: self.others.into_iter().map(convert).collect(),
        }
    }

    /// Converts the value of each account; stops at the first error.
    pub(super) fn try_map<U, E>(
        &self,
        mut convert: impl FnMut(&T) -> Result<U, E>,
    ) -> Result<Accounts<U>, E> {
        Ok(Accounts {
            first: convert(&self.first)?,
            others: self.others.iter().map(convert).collect::<Result<_, _>>()?,
        })
    }
}

/// Settings of one account.
#[derive(Clone, Copy, Debug)]
pub(super) struct AccountConfig<'a> {
    pub(super) name: &'a str,
    pub(super) token: &'a config::Token,
    pub(super) upstream: &'a config::Upstream,
}

/// The settings of each account.
pub(super) fn account_configs(config: &Config) -> Accounts<AccountConfig<'_>> {
    Accounts {
        first: AccountConfig {
            name: "default",
            token: &config.token,
            upstream: &config.upstream,
        },
        others: Vec::new(),
    }
}

/// An account whose token task has not started.
#[derive(Debug)]
pub(super) struct PreparedAccount {
    name: Box<str>,
    tokens: TokenReader,
    publisher: TokenPublisher,
    token_client: Arc<ReloadableClient>,
    upstream: config::Upstream,
}

impl PreparedAccount {
    /// # Errors
    /// When the credentials or the certificates of `[token]` cannot be used.
    pub(super) fn new(config: &AccountConfig<'_>, metrics: &Metrics) -> Result<Self, StartError> {
        let client =
            token::Client::new(config.name, config.token).map_err(StartError::section("token"))?;
        let (publisher, tokens) =
            token::channel(config.token.wait_timeout, metrics.token(config.name));
        Ok(PreparedAccount {
            name: config.name.into(),
            tokens,
            publisher,
            token_client: Arc::new(ReloadableClient::new(client)),
            upstream: config.upstream.clone(),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn tokens(&self) -> &TokenReader {
        &self.tokens
    }

    pub(super) fn upstream(&self) -> &config::Upstream {
        &self.upstream
    }

    /// Starts the token task.
    pub(super) fn start(self) -> Account {
        let (source, publisher) = (Arc::clone(&self.token_client), self.publisher);
        Account {
            name: self.name,
            tokens: self.tokens,
            token_client: self.token_client,
            refresh: tokio::spawn(async move { token::refresh(&*source, publisher).await }),
            upstream: self.upstream,
        }
    }
}

/// A running account.
#[derive(Debug)]
pub(super) struct Account {
    name: Box<str>,
    tokens: TokenReader,
    token_client: Arc<ReloadableClient>,
    /// Fetches tokens until it is aborted.
    refresh: JoinHandle<()>,
    /// The settings that the workers use.
    upstream: config::Upstream,
}

impl Account {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn tokens(&self) -> &TokenReader {
        &self.tokens
    }

    /// The token task; it never ends by itself.
    pub(super) fn refresh_task(&mut self) -> &mut JoinHandle<()> {
        &mut self.refresh
    }

    /// The settings of the upstream after a reload of `config`. The listeners and the limit of open
    /// files depend on two of them, which therefore stay as they are.
    pub(super) fn reloaded_upstream(&self, config: &config::Upstream) -> config::Upstream {
        let config::Upstream {
            keep_header_case,
            max_connections,
            ..
        } = self.upstream;
        config::Upstream {
            keep_header_case,
            max_connections,
            ..config.clone()
        }
    }

    pub(super) fn uses_upstream(&self, config: &config::Upstream) -> bool {
        self.upstream == *config
    }

    pub(super) fn set_upstream(&mut self, config: config::Upstream) {
        self.upstream = config;
    }

    /// A token client for `config`; `None` if the current one has the same settings.
    ///
    /// # Errors
    /// As those of [`PreparedAccount::new`].
    pub(super) async fn prepare_token_client(
        &self,
        config: &config::Token,
    ) -> Result<Option<token::Client>, StartError> {
        if self.token_client.is_configured_as(config) {
            return Ok(None);
        }
        let (name, config) = (self.name.clone(), config.clone());
        // It reads files.
        let client = spawn_blocking(move || token::Client::new(&name, &config)).await;
        client
            .unwrap_or_else(|panicked| Err(panicked.into()))
            .map(Some)
            .map_err(StartError::section("token"))
    }

    pub(super) fn replace_token_client(&self, client: token::Client) {
        self.token_client.replace(client);
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.refresh.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_uses_the_first_account() {
        let accounts = Accounts {
            first: "retail",
            others: vec!["lending"],
        };
        assert_eq!(*accounts.choose(), "retail");
        assert_eq!(accounts.iter().count(), 2);
    }
}
