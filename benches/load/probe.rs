//! Probe of the sandbox's control endpoint and the proxy's admin listener, beside the load.

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Method, Request};
use http_body_util::BodyExt;
use hyper::client::conn::http1::SendRequest;

use crate::arithmetic::reconcile::Counts;
use crate::failure::{Failure, Result};
use crate::origin::Origin;
use crate::pieces::Pieces;

/// Keeps its connection.
pub(crate) struct Probe {
    origin: Origin,
    host: HeaderValue,
    sender: Option<SendRequest<Pieces>>,
}

impl Probe {
    pub(crate) fn new(origin: Origin) -> Result<Self> {
        Ok(Probe {
            host: origin.host()?,
            origin,
            sender: None,
        })
    }

    /// Sends a request. Returns the body of a 200 response.
    ///
    /// # Errors
    /// Without a response, or with another status.
    pub(crate) async fn ask(
        &mut self,
        method: Method,
        path: &'static str,
        body: String,
    ) -> Result<Bytes> {
        let cannot = |error: &dyn std::error::Error| {
            Failure::from(format!("cannot ask for {path}: {error}"))
        };
        let mut sender = match self.sender.take().filter(|sender| !sender.is_closed()) {
            Some(sender) => sender,
            None => self
                .origin
                .connect()
                .await
                .map_err(|error| cannot(&error))?,
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, &self.host);
        let request = request
            .body(Pieces::from(Bytes::from(body)))
            .map_err(|error| cannot(&error))?;
        sender.ready().await.map_err(|error| cannot(&error))?;
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| cannot(&error))?;
        let status = response.status();
        let body = response
            .into_body()
            .collect()
            .await
            .map_err(|error| cannot(&error))?
            .to_bytes();
        self.sender = Some(sender);
        match status.as_u16() {
            200 => Ok(body),
            _ => Err(format!("{path}: {status}: {}", String::from_utf8_lossy(&body)).into()),
        }
    }

    /// The responses of a sandbox so far.
    pub(crate) async fn responses(&mut self) -> Result<Counts> {
        #[derive(serde::Deserialize)]
        struct Calls {
            answered: Counts,
        }
        let calls = self
            .ask(Method::GET, "/sandbox/calls", String::new())
            .await?;
        let calls: Calls = serde_json::from_slice(&calls)
            .map_err(|error| Failure::new("/sandbox/calls", error))?;
        Ok(calls.answered)
    }

    /// The metrics of a proxy; only samples without labels.
    pub(crate) async fn metrics(&mut self) -> Result<Metrics> {
        let text = self.ask(Method::GET, "/metrics", String::new()).await?;
        let text = String::from_utf8_lossy(&text);
        let value = |name: &str| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.and_then(|value| value.trim().parse::<f64>().ok())
                .map(|value| value as u64)
                .ok_or_else(|| Failure::from(format!("/metrics has no {name}")))
        };
        Ok(Metrics {
            generation: value("gbg_proxy_token_generation{account=\"default\"}")?,
            repeats: value("gbg_proxy_repeats_total{account=\"default\"}")?,
        })
    }
}

/// The used metrics of a proxy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Metrics {
    /// Generation of its token.
    pub(crate) generation: u64,
    /// Requests that it sent to the API again.
    pub(crate) repeats: u64,
}
