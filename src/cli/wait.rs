//! `gbg-proxy wait`: waits until a proxy is ready, for scripts and container health checks.

use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Args;
use http::header::{CONNECTION, HOST};
use http::{Request, StatusCode};
use http_body_util::Full;
use tokio::time::{sleep, timeout};

use super::config_arguments::ConfigArguments;
use super::error::CommandError;
use super::http::{connect, read_text, send};
use super::runtime::block_on;
use crate::config::{Address, parse_duration};
use crate::error::{BoxError, chain};

const PROBE_INTERVAL: Duration = Duration::from_millis(200);

const MAX_PROBE_TIME: Duration = Duration::from_secs(2);

/// Applies however little time is left, so that a ready proxy is recognized.
const MIN_PROBE_TIME: Duration = Duration::from_millis(100);

const MAX_RESPONSE_BYTES: usize = 4096;

/// Wait until the proxy is ready
///
/// Polls /readyz at admin.address; pass the configuration that the proxy uses. A proxy is ready
/// when it has a usable token and is not shutting down.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  gbg-proxy wait                   wait for up to 30 s
  gbg-proxy wait --timeout 2s      health check of a container
  gbg-proxy wait --config /etc/gbg-proxy/proxy.toml && start-the-callers")]
pub(super) struct Wait {
    #[command(flatten)]
    config: ConfigArguments,
    /// Maximum time to wait, such as 500ms or 1m
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    timeout: Duration,
}

impl Wait {
    pub(super) fn run(self) -> Result<(), CommandError> {
        let address = self.config.admin_address()?;
        block_on(wait_until_ready(&address, self.timeout))
    }
}

async fn wait_until_ready(address: &Address, limit: Duration) -> Result<(), CommandError> {
    let end = Instant::now() + limit;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let probe_time = left.clamp(MIN_PROBE_TIME, MAX_PROBE_TIME);
        let reason = match timeout(probe_time, probe(address)).await {
            Ok(Ok(None)) => return Ok(()),
            Ok(Ok(Some(reason))) => reason,
            Ok(Err(error)) => format!("no proxy responds at {address}: {}", chain(error.as_ref())),
            Err(_) => format!("no proxy responds at {address}: timed out"),
        };
        if Instant::now() + PROBE_INTERVAL >= end {
            return Err(CommandError::Failed(reason));
        }
        sleep(PROBE_INTERVAL).await;
    }
}

/// Sends one `GET /readyz`. Returns the last line of the response, the reason, if the proxy is not
/// ready.
async fn probe(address: &Address) -> Result<Option<String>, BoxError> {
    let transport = connect(address).await?;
    let request = Request::get("/readyz")
        .header(HOST, "localhost")
        .header(CONNECTION, "close")
        .body(Full::<Bytes>::default())?;
    let response = send(transport, request).await?;
    if response.status() == StatusCode::OK {
        return Ok(None);
    }
    let text = read_text(response.into_body(), MAX_RESPONSE_BYTES).await?;
    let reason = text.lines().last().unwrap_or("the response is empty");
    Ok(Some(reason.to_owned()))
}
