//! What the fuzz targets reach of this room: a connection without its socket, so that its deadlines
//! can run on paused time.

use tokio::io::DuplexStream;
use tokio::sync::watch;

use super::{CallerService, PeerInfo, ServerOptions, ServiceBody, connection};

/// Serves `io` until it ends.
pub async fn serve<S, B>(
    io: DuplexStream,
    options: &ServerOptions,
    service: S,
    drain: watch::Receiver<bool>,
) where
    S: CallerService<B>,
    B: ServiceBody,
{
    connection::serve(io, PeerInfo::default(), options, |_| service, drain).await;
}
