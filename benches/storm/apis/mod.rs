//! The API: serves each request as its plan says, over HTTP/1.1 or HTTP/2.

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

use crate::ledger::{Act, Killed, Ledger, Record};
use crate::plan::{ApiFault, Http, Plan, Plans};
use crate::tokens::Tokens;
use crate::wire::Tag;

/// What all connections of the API share.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) plans: Plans,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) tokens: Tokens,
}

/// The API's listener and its connections.
pub(crate) struct Connections {
    listener: JoinHandle<()>,
    open: watch::Sender<()>,
}

impl Connections {
    /// Takes no further connection, and waits until all have ended, but not for long; whether they
    /// have.
    pub(crate) async fn ended(self, patience: Duration) -> bool {
        self.listener.abort();
        timeout(patience, self.open.closed()).await.is_ok()
    }
}

/// A request that has come, and what is to become of it.
struct Request {
    tag: Option<Tag>,
    plan: Plan,
    record: Record,
    /// Of the plan, where it is due.
    fault: ApiFault,
    /// The serial number of its token.
    token: Option<u64>,
}

impl Api {
    /// Serves; where, and its connections.
    pub(crate) async fn serve(self) -> io::Result<(SocketAddr, Connections)> {
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
        Ok((address, Connections { listener, open }))
    }

    /// The request with `fields`, which has come over `connection`.
    fn request(&self, fields: &HeaderMap, connection: &Killed) -> Option<Request> {
        let tag = Tag::of_request(fields);
        let id = tag?.id;
        let plan = self.plans.plan(id);
        let record = Record::begin(&self.ledger, id, connection, plan.persists)?;
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
        Some(Request {
            tag,
            plan,
            record,
            fault,
            token,
        })
    }
}

impl Request {
    /// The tag of its response.
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

    /// Waits, before a 401, until the request can be sent again with a later token.
    async fn wait_for_later_token(&self, tokens: &Tokens) {
        if let (ApiFault::Unauthorized, Some(token)) = (self.fault, self.token) {
            tokens.later(token).await;
        }
    }
}
