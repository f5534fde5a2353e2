//! Fixed token: a token without an endpoint, for benches, fuzzing and tests of other modules.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use super::failure::FetchError;
use super::handle::{TokenReader, channel};
use super::refresh::refresh;
use super::response::TokenResponse;
use super::source::TokenSource;
use crate::error::Error;

struct FixedToken {
    header: HeaderValue,
    lifetime: Duration,
}

impl TokenSource for FixedToken {
    async fn fetch(&self) -> Result<TokenResponse, FetchError> {
        Ok(TokenResponse {
            header: self.header.clone(),
            lifetime: Some(self.lifetime),
        })
    }

    async fn changed(&self) {
        pending().await
    }

    fn default_lifetime(&self) -> Duration {
        self.lifetime
    }
}

/// A reader of tokens that all are `header` and live for `lifetime`; the first one is there. A task
/// of the current runtime replaces them.
///
/// # Errors
/// When the lifetime is too short for a token to be used.
#[doc(hidden)]
pub async fn fixed(header: HeaderValue, lifetime: Duration) -> Result<TokenReader, Error> {
    let (publisher, reader) = channel(Duration::from_secs(5), Arc::default());
    let source = FixedToken { header, lifetime };
    tokio::spawn(async move { refresh(&source, publisher).await });
    reader.wait().await?;
    Ok(reader)
}
