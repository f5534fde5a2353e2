//! What the fuzz targets reach of this room: a connection without its socket, so that its deadlines
//! can run on paused time.

use tokio::io::DuplexStream;
use tokio::sync::watch;

use super::{AnswerBody, Options, Peer, Serve, connection};

/// Serves `io` until it ends.
pub async fn serve<S, B>(
    io: DuplexStream,
    options: &Options,
    service: S,
    drain: watch::Receiver<bool>,
) where
    S: Serve<B>,
    B: AnswerBody,
{
    connection::serve(io, Peer::default(), options, |_| service, drain).await;
}
