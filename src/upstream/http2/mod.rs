//! HTTP/2 to the API (RFC 9113): requests share connections.
//!
//! What a request waits for is a place on a connection. Places come when a connection opens or a
//! stream ends, and are handed to those who wait in their order; as many connections are being
//! opened as those need, and never more than a few.

mod connection;
mod exchange;
mod pool;
#[cfg(test)]
mod tests;
mod upload;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::HeaderMap;
use http::uri::{Authority, Scheme};
use http::{Request, Response};
use hyper::body::Body;
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::timeout;

pub(super) use self::connection::Connection;
pub(super) use self::exchange::Answer;
use self::exchange::Unsent;
use self::pool::{Lease, Owner, Places, Ticket};
use super::connector::{Connector, Opened};
use super::no_connection;
use super::pool::Pool;
use crate::config;
use crate::error::{BoxError, Error};

/// Connections that may end between being picked and being used, for one request.
const MAX_LOST_CONNECTIONS: usize = 2;

/// Connections to the API that carry many requests at once.
pub(super) struct Http2<B> {
    connector: Arc<Connector>,
    /// Where a connection goes on which the API has picked HTTP/1.1.
    http1: Arc<Pool<B>>,
    scheme: Scheme,
    authority: Authority,
    /// Whether the API picked HTTP/1.1 when it was asked last.
    declined: AtomicBool,
    places: Mutex<Places<Granted>>,
}

/// What became of a request.
pub(super) enum Sent<B> {
    Answered(Response<Answer<B>>),
    /// Nothing: the API picks HTTP/1.1.
    Declined(Request<B>),
}

/// What a request that waits for a place is given.
enum Granted {
    Place(Lease),
    Declined,
    Failed(OpenFailed),
}

/// Why a connection could not be opened, told to all who waited for it.
#[derive(Clone, Debug)]
struct OpenFailed(Arc<BoxError>);

impl std::fmt::Display for OpenFailed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for OpenFailed {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

impl<B> Http2<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    pub(super) fn new(
        config: &config::Upstream,
        connector: &Arc<Connector>,
        http1: &Arc<Pool<B>>,
    ) -> Result<Self, BoxError> {
        let origin = &config.origin;
        Ok(Http2 {
            connector: Arc::clone(connector),
            http1: Arc::clone(http1),
            scheme: if origin.tls {
                Scheme::HTTPS
            } else {
                Scheme::HTTP
            },
            authority: Authority::try_from(origin.authority.as_bytes())?,
            declined: AtomicBool::new(false),
            places: Mutex::new(Places::new()),
        })
    }

    /// Whether the API picked HTTP/1.1 when it was asked last.
    pub(super) fn is_declined(&self) -> bool {
        self.declined.load(Ordering::Relaxed)
    }

    /// Sends `req`, which names a path alone.
    pub(super) async fn send(
        self: &Arc<Self>,
        req: Request<B>,
        renew: impl Fn(&mut HeaderMap) -> Result<(), Error>,
    ) -> Result<Sent<B>, Error> {
        let mut unsent = Unsent::new(req, self);
        let mut lost = 0;
        loop {
            if self.connector.circuit.is_open() {
                Box::pin(self.pass_circuit()).await?;
                if self.is_declined() {
                    return Ok(Sent::Declined(unsent.into_request()));
                }
            }
            let lease = match self.place().await? {
                Granted::Place(lease) => lease,
                Granted::Declined => return Ok(Sent::Declined(unsent.into_request())),
                Granted::Failed(failed) => return Err(Error::UpstreamUnreachable(failed.into())),
            };
            renew(unsent.headers())?;
            unsent = match lease.exchange(unsent, self.http1.times).await {
                Ok(answered) => return answered.map(Sent::Answered),
                Err((_, unsent)) if lost < MAX_LOST_CONNECTIONS => unsent,
                Err((error, _)) => return Err(Error::UpstreamUnreachable(error.into())),
            };
            lost += 1;
        }
    }

    /// Takes in a connection that somebody else has opened.
    pub(super) fn adopt(self: &Arc<Self>, connection: Connection) {
        self.declined.store(false, Ordering::Relaxed);
        let mut places = self.places();
        places.add(connection);
        self.hand_out(places);
    }

    /// Takes in a connection that has been opened for whoever comes.
    pub(super) async fn take_in(self: &Arc<Self>, opened: Opened<B>) {
        match opened {
            Opened::Http2(connection) => self.adopt(connection),
            Opened::Http1(slot) => {
                // Before it is told: whoever sends over HTTP/1.1 from then on is to find it.
                self.http1.take_in(slot).await;
                self.declined.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Whether there is a connection that takes requests for so `long` still, or one is being
    /// opened for those who wait.
    pub(super) fn is_ready(&self, long: Duration) -> bool {
        self.places().is_ready(self.http1.times.idle, long)
    }

    /// Closes connections that are too old, or have been idle for too long.
    pub(super) fn sweep(&self) {
        let idle = self.http1.times.idle;
        self.places().sweep(idle);
    }

    /// Closes a connection that nobody uses, to make room for one over HTTP/1.1.
    pub(super) fn close_unused(&self) {
        self.places().close_unused();
    }

    /// Closes connections when what is in flight on them has ended.
    pub(super) fn retire(&self) {
        self.places().retire();
    }

    /// Opens a connection for one request, or fails, unless there are connections to wait for:
    /// while the circuit is open, no request joins others that wait for what may never come.
    async fn pass_circuit(self: &Arc<Self>) -> Result<(), Error> {
        if self.places().has_connection() || self.connector.limit.is_exhausted() {
            return Ok(());
        }
        let opened = self
            .connector
            .open_at_once()
            .await
            .map_err(Error::UpstreamUnreachable)?;
        self.take_in(opened).await;
        Ok(())
    }

    /// A place on a connection, waited for no longer than opening one may take.
    async fn place(self: &Arc<Self>) -> Result<Granted, Error> {
        let look = self.places().is_to_be_looked_at();
        if look {
            // An end that has arrived is seen by the connection's task, which runs before this one
            // goes on.
            yield_now().await;
        }
        let start = self.connector.limit.wait_start();
        let granted = {
            let mut places = self.places();
            if places.nobody_waits()
                && let Some(ticket) = places.take()
            {
                return Ok(Granted::Place(self.lease(ticket)));
            }
            let (granting, granted) = oneshot::channel();
            places.wait(granting);
            self.hand_out(places);
            granted
        };
        match timeout(self.http1.times.connect, granted).await {
            Ok(Ok(granted)) => Ok(granted),
            Ok(Err(dropped)) => Err(Error::UpstreamUnreachable(dropped.into())),
            Err(_) => Err(no_connection(&self.connector.limit, start)),
        }
    }

    fn lease(self: &Arc<Self>, ticket: Ticket) -> Lease {
        let owner: Arc<dyn Owner> = Arc::<Self>::clone(self);
        Lease::new(ticket, owner)
    }

    /// Gives the places that there are to those who wait, and has connections opened for the
    /// others.
    fn hand_out(self: &Arc<Self>, mut places: MutexGuard<'_, Places<Granted>>) {
        let matched = places.matched();
        while places.wants_opening() {
            places.begin_opening();
            tokio::spawn(Arc::clone(self).open());
        }
        drop(places);
        // Outside of the lock: a place that nobody wants any more comes back at once.
        for (granting, ticket) in matched {
            let _ = granting.send(Granted::Place(self.lease(ticket)));
        }
    }

    /// Opens one connection, as soon as the limit lets and if the circuit does. In a task of its
    /// own, so that no caller that hangs up takes it away from the others.
    async fn open(self: Arc<Self>) {
        let limit = &self.connector.limit;
        if limit.is_reached() {
            // Connections that are idle over HTTP/1.1 may hold all permits.
            self.http1.close_oldest();
        }
        let permit = limit.acquire().await;
        // A place on another connection will have done, as a connection that becomes idle does over
        // HTTP/1.1.
        if !self.places().still_wants_opening() {
            return;
        }
        let opened = match (self.connector.circuit.admit(), permit) {
            (Ok(attempt), Ok(permit)) => self.connector.open(attempt, permit).await,
            (Ok(_), Err(closed)) => Err(closed.into()),
            (Err(refused), _) => {
                let stranded = self.places().opening_refused();
                return fail(stranded, refused.into());
            }
        };
        match opened {
            Ok(Opened::Http2(connection)) => {
                self.declined.store(false, Ordering::Relaxed);
                let mut places = self.places();
                places.opened(connection);
                self.hand_out(places);
            }
            Ok(http1 @ Opened::Http1(_)) => {
                self.take_in(http1).await;
                let waiting = self.places().open_declined();
                for granting in waiting {
                    let _ = granting.send(Granted::Declined);
                }
            }
            Err(cause) => {
                let mut places = self.places();
                // Those for whom it was opened; the others wait for the next one.
                let waited = places.open_failed();
                self.hand_out(places);
                fail(waited, cause);
            }
        }
    }
}

/// Gives `cause` to all who have `waited`.
fn fail(waited: Vec<oneshot::Sender<Granted>>, cause: BoxError) {
    let failed = OpenFailed(Arc::new(cause));
    for granting in waited {
        let _ = granting.send(Granted::Failed(failed.clone()));
    }
}

impl<B> Owner for Http2<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    fn take_back(self: Arc<Self>, id: u64) {
        let mut places = self.places();
        places.note_end(id);
        if !places.nobody_waits() {
            self.hand_out(places);
        }
    }
}

impl<B> Http2<B> {
    fn places(&self) -> MutexGuard<'_, Places<Granted>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
