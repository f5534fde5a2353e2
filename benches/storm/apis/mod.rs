//! API: serves each request according to its plan, over HTTP/1.1 or HTTP/2.

mod http1;
mod http2;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::ledger::{Act, ExchangeRecord, Killed, Ledger};
use crate::plan::{ApiFault, Http, Plan, Plans};
use crate::tokens::Tokens;
use crate::wire::Tag;

/// The shared part of all connections.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) plans: Plans,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) tokens: Tokens,
}

/// The API's listener and its connections.
pub(crate) struct ApiConnections {
    listener: JoinHandle<()>,
    open: watch::Sender<()>,
}

impl ApiConnections {
    /// Accepts no more connections, and waits up to `limit` for all to end. Returns whether they
    /// have.
    pub(crate) async fn close(self, limit: Duration) -> bool {
        self.listener.abort();
        timeout(limit, self.open.closed()).await.is_ok()
    }
}

/// A received request, and its fault.
struct ReceivedRequest {
    tag: Option<Tag>,
    plan: Plan,
    record: ExchangeRecord,
    /// The fault of the plan, if it applies to this exchange.
    fault: ApiFault,
    /// Serial number of its token.
    token: Option<u64>,
}

impl Api {
    /// Starts to serve. Returns the address and the connections.
    pub(crate) async fn serve(self) -> io::Result<(SocketAddr, ApiConnections)> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (open, guard) = watch::channel(());
        let listener = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (api, guard) = (self.clone(), guard.clone());
                tokio::spawn(async move {
                    let _ = stream.set_nodelay(true);
                    match api.plans.api {
                        Http::One => http1::serve(stream, api).await,
                        Http::Two => http2::serve(stream, api).await,
                    }
                    drop(guard);
                });
            }
        });
        Ok((address, ApiConnections { listener, open }))
    }

    /// Records a request with `fields` that arrived over `connection`.
    fn receive(&self, fields: &HeaderMap, connection: &Killed) -> Option<ReceivedRequest> {
        let tag = Tag::from_request(fields);
        let id = tag?.id;
        let plan = self.plans.plan(id);
        let record = ExchangeRecord::begin(&self.ledger, id, connection, plan.persists)?;
        let token = self.tokens.accepted(fields);
        let fault = match (record.is_due, token) {
            (_, None) => ApiFault::Unauthorized,
            (true, _) => plan.api,
            (false, _) => ApiFault::None,
        };
        record.change(|exchange| {
            exchange.is_faulty = fault != ApiFault::None;
            exchange.act = match fault {
                ApiFault::Unauthorized => Act::Unauthorized,
                ApiFault::Refused { .. } => Act::Refused,
                ApiFault::GoAwayBefore(_) => Act::AboveGoAway,
                _ => Act::Done,
            };
        });
        Some(ReceivedRequest {
            tag,
            plan,
            record,
            fault,
            token,
        })
    }
}

impl ReceivedRequest {
    fn response_tag(&self) -> Tag {
        Tag {
            id: self.record.id,
            attempt: self.record.attempt(),
            length: self.plan.response.length,
        }
    }

    fn status(&self) -> u16 {
        if self.fault == ApiFault::Unauthorized {
            401
        } else {
            self.plan.status
        }
    }

    /// Before a 401: waits until the proxy can repeat the request with a newer token.
    async fn wait_for_newer_token(&self, tokens: &Tokens) {
        if let (ApiFault::Unauthorized, Some(token)) = (self.fault, self.token) {
            tokens.wait_for_newer(token).await;
        }
    }
}
