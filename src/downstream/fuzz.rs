//! Entry point of the fuzz targets: a connection without its socket, so that its deadlines can run
//! on paused time.

use tokio::io::DuplexStream;
use tokio::sync::watch;

use super::connection;
use super::options::ServerOptions;
use super::peer::PeerInfo;
use super::service::{CallerService, ServiceBody};

/// Serves `io` until it ends.
#[allow(private_bounds, reason = "fuzz targets pass any service")]
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
