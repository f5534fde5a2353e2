//! Listener of the admin server, with limits of its own.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Request};
use tokio::sync::{Semaphore, watch};
use tower::{ServiceBuilder, service_fn};
use tower_http::set_header::SetResponseHeaderLayer;

use super::handles::Handles;
use super::router::Router;
use crate::config::Admin;
use crate::downstream::{
    CallerBody, ConnectionUse, EvictingLimit, PeerInfo, RefusalLog, ServerOptions, Socket, Timeouts,
};

/// Open connections, in total (fewer if the limit of open files is low) and per address: probes and
/// scrapes are few.
const MAX_CONNECTIONS: u32 = 64;
const MAX_CONNECTIONS_PER_ADDRESS: usize = 16;

/// Age from which a connection accepts no further request.
const MAX_CONNECTION_AGE: Duration = Duration::from_secs(60);

/// Buffer of an HTTP/1 connection in each direction: probes and scrapes have short heads.
const MAX_BUFFER_BYTES: usize = 16 * 1024;

/// Streams of one HTTP/2 connection. With more, a response that the peer does not read would not
/// count as stalled while the connection's next response is made.
const MAX_H2_STREAMS: u32 = 1;

/// Timeouts within a request or response, and between two. Kubelet opens a connection for each
/// probe, and an additional connection per scrape costs Prometheus nothing.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(15);

/// Serves `socket` until it is dropped.
///
/// # Errors
/// When the runtime cannot register the socket.
pub(crate) async fn serve(socket: Socket, config: &Admin, handles: Handles) -> io::Result<()> {
    let max_connections = config
        .max_connections
        .unwrap_or(MAX_CONNECTIONS)
        .min(MAX_CONNECTIONS) as usize;
    let refusal_log = RefusalLog::new("admin", Arc::clone(&handles.metrics.refused_admin));
    let options = ServerOptions {
        tls: None,
        timeouts: Timeouts {
            handshake: REQUEST_TIMEOUT,
            header: REQUEST_TIMEOUT,
            keep_alive: KEEP_ALIVE_TIMEOUT,
            body: REQUEST_TIMEOUT,
            max_age: MAX_CONNECTION_AGE,
        }
        .fixed(),
        max_h2_streams: MAX_H2_STREAMS,
        title_case_headers: false,
        max_buffer_bytes: MAX_BUFFER_BYTES,
        // No connection waits for a permit: `evicting_limit` bounds them.
        connection_permits: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
        evicting_limit: Some(EvictingLimit::new(
            max_connections,
            MAX_CONNECTIONS_PER_ADDRESS,
        )),
        connection_metrics: Arc::default(),
        refusal_log: Arc::clone(&refusal_log),
    };
    let router = Arc::new(Router::new(handles, config, refusal_log));
    // It never drains: probes learn of the shutdown from it until the process ends.
    let (_sender, never) = watch::channel(false);
    let sampled = Arc::clone(&router);
    let make_service = move |peer: PeerInfo| {
        let (router, peer) = (Arc::clone(&router), Arc::new(peer));
        let respond = service_fn(move |req: Request<CallerBody>| {
            let (router, peer) = (Arc::clone(&router), Arc::clone(&peer));
            // The body is dropped unread: keeping it would hold its buffers during the response.
            let (head, _) = req.into_parts();
            async move {
                let _active = peer.usage.as_ref().map(ConnectionUse::begin_request);
                Ok::<_, Infallible>(router.respond(&head, &peer).await)
            }
        });
        ServiceBuilder::new()
            .layer(SetResponseHeaderLayer::overriding(
                CACHE_CONTROL,
                HeaderValue::from_static("no-store"),
            ))
            .layer(SetResponseHeaderLayer::overriding(
                X_CONTENT_TYPE_OPTIONS,
                HeaderValue::from_static("nosniff"),
            ))
            .service(respond)
    };
    tokio::select! {
        served = socket.serve(options, never, make_service) => served,
        () = sampled.sample_history() => Ok(()),
    }
}
