//! Origin that receives the requests, with or without TLS, and connections to it.

use std::io;
use std::path::Path;
use std::sync::Arc;

use http::uri::Authority;
use http::{HeaderValue, Uri};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::rt::{Read, Write};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::failure::{Failure, Result};
use crate::pieces::Pieces;

pub(crate) struct Origin {
    authority: Authority,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Origin {
    /// Parses `url`. With https, roots come from the file `ca`, or from the machine.
    pub(crate) fn parse(url: &str, ca: Option<&Path>) -> Result<Self> {
        let uri: Uri = url
            .parse()
            .map_err(|error| Failure::new(format!("{url:?} is no URL"), error))?;
        let Some(authority) = uri.authority().cloned() else {
            return Err(format!("{url:?} is no URL; write it like http://127.0.0.1:8080").into());
        };
        let (port, tls) = match uri.scheme_str() {
            Some("http") => (80, None),
            Some("https") => {
                let host = authority.host().trim_matches(['[', ']']).to_owned();
                let name = ServerName::try_from(host)
                    .map_err(|error| Failure::new("no name for TLS", error))?;
                (443, Some((connector(ca)?, name)))
            }
            _ => {
                return Err(
                    format!("{url:?} begins neither with http:// nor with https://").into(),
                );
            }
        };
        let port = authority.port_u16().unwrap_or(port);
        Ok(Origin {
            authority,
            port,
            tls,
        })
    }

    pub(crate) fn host(&self) -> Result<HeaderValue> {
        HeaderValue::from_str(self.authority.as_str())
            .map_err(|error| Failure::new("no Host", error))
    }

    /// Opens a connection, which closes when the sender is dropped.
    pub(crate) async fn connect(&self) -> io::Result<SendRequest<Pieces>> {
        let host = self.authority.host().trim_matches(['[', ']']);
        let stream = TcpStream::connect((host, self.port)).await?;
        stream.set_nodelay(true)?;
        match &self.tls {
            None => http_handshake(TokioIo::new(stream)).await,
            Some((tls, name)) => {
                http_handshake(TokioIo::new(tls.connect(name.clone(), stream).await?)).await
            }
        }
    }
}

async fn http_handshake(
    io: impl Read + Write + Unpin + Send + 'static,
) -> io::Result<SendRequest<Pieces>> {
    let (sender, connection) = handshake(io).await.map_err(io::Error::other)?;
    // The request on the connection gets the error.
    tokio::spawn(connection);
    Ok(sender)
}

fn connector(ca: Option<&Path>) -> Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            let cannot = |error| Failure::new(format!("cannot read {}", path.display()), error);
            for certificate in CertificateDer::pem_file_iter(path).map_err(cannot)? {
                let added = roots.add(certificate.map_err(cannot)?);
                added.map_err(|error| {
                    Failure::new(format!("a certificate of {}", path.display()), error)
                })?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
