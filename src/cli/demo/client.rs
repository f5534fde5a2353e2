//! Legacy client of the demo: HTTP/1.0, one connection per request, no credentials.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use http::header::CONTENT_TYPE;
use http::{Request, Version};
use http_body_util::Full;
use serde_json::Value;

use crate::cli::http::{connect, read_text, send};
use crate::config::Address;
use crate::error::{BoxError, chain};

const MAX_RESPONSE_BYTES: usize = 1 << 20;

/// A response as the client sees it.
pub(super) struct DemoResponse {
    pub(super) status: u16,
    pub(super) body: Value,
    pub(super) duration: Duration,
}

/// Posts `body` to `path` of the proxy at `addr`, without Authorization.
///
/// # Errors
/// The reason, for people.
pub(super) async fn post(
    addr: SocketAddr,
    path: &str,
    body: &Value,
) -> Result<DemoResponse, String> {
    let request = Request::post(path)
        .version(Version::HTTP_10)
        .header(CONTENT_TYPE, "application/json")
        .body(Full::from(body.to_string()))
        .map_err(|error| error.to_string())?;
    let began = Instant::now();
    let exchange = async {
        let response = send(connect(&Address::Tcp(addr)).await?, request).await?;
        let status = response.status().as_u16();
        let text = read_text(response.into_body(), MAX_RESPONSE_BYTES).await?;
        Ok::<_, BoxError>((status, text))
    };
    let (status, text) = exchange
        .await
        .map_err(|error| format!("the proxy at {addr}: {}", chain(error.as_ref())))?;
    Ok(DemoResponse {
        status,
        body: serde_json::from_str(&text)
            .map_err(|error| format!("the response is not JSON: {error}"))?,
        duration: began.elapsed(),
    })
}
