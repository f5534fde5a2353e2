//! Opens connections to the origin: DNS, TCP with happy eyeballs, TLS, HTTP.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use hyper::body::Body;
use hyper::client::conn::http1;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tower::Service;

use super::pool::Slot;
use crate::config;
use crate::error::Cause;

pub(super) struct Connector {
    tcp: HttpConnector,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    origin: Uri,
    timeout: Duration,
    keep_header_case: bool,
}

impl Connector {
    pub(super) fn new(config: &config::Upstream) -> Result<Self, Cause> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        // Shared between the addresses of the host, so that a dead one does not use up the whole time.
        tcp.set_connect_timeout(Some(config.connect_timeout));
        let origin = &config.origin;
        let tls = match origin.tls {
            true => {
                let name = ServerName::try_from(origin.host.clone())?;
                Some((TlsConnector::from(Arc::new(client_config(config)?)), name))
            }
            false => None,
        };
        Ok(Connector {
            tcp,
            tls,
            origin: origin.to_string().parse()?,
            timeout: config.connect_timeout,
            keep_header_case: config.keep_header_case,
        })
    }

    /// Opens one connection and starts its task.
    pub(super) async fn open<B>(&self) -> Result<Slot<B>, Cause>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Cause>,
    {
        timeout(self.timeout, self.open_whole())
            .await
            .map_err(|_| "it took longer than upstream.connect_timeout")?
    }

    async fn open_whole<B>(&self) -> Result<Slot<B>, Cause>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Cause>,
    {
        let stream = self.tcp.clone().call(self.origin.clone()).await?.into_inner();
        match &self.tls {
            Some((tls, name)) => self.handshake(tls.connect(name.clone(), stream).await?).await,
            None => self.handshake(stream).await,
        }
    }

    async fn handshake<IO, B>(&self, io: IO) -> Result<Slot<B>, Cause>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Cause>,
    {
        // hyper hands the spelling on with the answer, as one of its extensions.
        let (sender, connection) = http1::Builder::new()
            .preserve_header_case(self.keep_header_case)
            .handshake(TokioIo::new(io))
            .await?;
        tokio::spawn(async move {
            // Whoever waits for an answer on it is told as well.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "an upstream connection ended early");
            }
        });
        Ok(Slot::new(sender))
    }
}

fn client_config(config: &config::Upstream) -> Result<ClientConfig, Cause> {
    let mut roots = RootCertStore::empty();
    for root in &config.roots {
        roots.add(root.clone())?;
    }
    let mut tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(tls)
}
