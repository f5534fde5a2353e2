//! Options of a listener's connections.

use std::sync::Arc;

use tokio::sync::{Semaphore, watch};

use super::eviction::EvictingLimit;
use super::refusals::RefusalLog;
use super::timeouts::Timeouts;
use super::tls::ServerTls;
use crate::config::{HeaderCase, Listen};
use crate::metrics::{ConnectionMetrics, RefusedConnections};

/// [`ServerOptions::max_buffer_bytes`] for callers with long request heads.
pub(crate) const MAX_BUFFER_BYTES: usize = 128 * 1024;

/// See the [module](self).
#[derive(Clone)]
pub struct ServerOptions {
    /// The TLS configuration, if the listener uses TLS. A new connection takes the newest.
    pub tls: Option<watch::Receiver<ServerTls>>,
    /// The current timeouts.
    pub timeouts: watch::Receiver<Timeouts>,
    /// Concurrent HTTP/2 streams of one connection.
    pub max_h2_streams: u32,
    /// Whether HTTP/1 response fields without a spelling of their own are sent in title case.
    pub title_case_headers: bool,
    /// Buffer of an HTTP/1 connection for each direction. It holds a head, or a part of a body.
    pub max_buffer_bytes: usize,
    /// Permits for open connections, shared by the process.
    pub connection_permits: Arc<Semaphore>,
    /// Limit that closes an idle connection instead of delaying a new one; `None` for the permits
    /// alone.
    pub evicting_limit: Option<Arc<EvictingLimit>>,
    /// Counters of open connections.
    pub connection_metrics: Arc<ConnectionMetrics>,
    /// Log of refused connections.
    pub refusal_log: Arc<RefusalLog>,
}

impl ServerOptions {
    /// The options of `listen`; `tls` is the receiver of its TLS configuration.
    pub(crate) fn new(
        listen: &Listen,
        tls: Option<watch::Receiver<ServerTls>>,
        refused: Arc<RefusedConnections>,
    ) -> Self {
        ServerOptions {
            tls,
            timeouts: Timeouts::new(listen).fixed(),
            max_h2_streams: listen.h2_streams,
            title_case_headers: listen.header_case == HeaderCase::Preserve,
            max_buffer_bytes: MAX_BUFFER_BYTES,
            connection_permits: Arc::new(Semaphore::new(listen.max_connections.get() as usize)),
            evicting_limit: None,
            connection_metrics: Arc::default(),
            refusal_log: RefusalLog::new("callers", refused),
        }
    }
}
