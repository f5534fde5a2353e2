//! The TLS handshake of the check: verified as the proxy does it, but what was presented is known
//! also when it fails.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, ProtocolVersion, RootCertStore,
    SignatureScheme,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::connect::{Stream, Way};
use crate::config::Identity;
use crate::error::BoxError;

/// What a server showed of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) version: &'static str,
    /// Who signed the server's certificate.
    pub(super) issuer: String,
    /// Who signed the last certificate that it presented: whom a root would have to be of.
    pub(super) anchor: String,
    /// When its certificate ends, in seconds since 1970.
    pub(super) ends: i64,
}

/// A handshake that failed.
pub(super) struct Broken {
    pub(super) error: BoxError,
    pub(super) fault: Fault,
    /// What was presented before it failed, if that much came.
    pub(super) shown: Option<Shown>,
}

/// Why a handshake failed, as far as it makes a difference to what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    UnknownIssuer,
    /// A root has the name of the issuer, and another key.
    OtherKey,
    /// When it ended, in seconds since 1970; of the leaf or of one that signed it.
    Expired(Option<i64>),
    /// When it begins, likewise.
    NotYetValid(Option<i64>),
    WrongName,
    /// The certificate of a CA serves as a server's.
    OwnCa,
    /// What came was no TLS.
    NoTls,
    /// The server ended it with a reason.
    Alert,
    /// The connection was closed without a word.
    Closed,
    TimedOut,
    Other,
}

impl Broken {
    fn new(error: impl Into<BoxError>, shown: Option<Shown>) -> Self {
        let error = error.into();
        Broken {
            fault: fault(error.as_ref()),
            error,
            shown,
        }
    }

    pub(super) fn late(error: io::Error) -> Self {
        Broken::new(error, None)
    }
}

/// Shakes hands with the server on `tcp`.
pub(super) async fn handshake(way: &Way, tcp: TcpStream) -> Result<(Stream, Shown), Broken> {
    let recorder = Arc::new(Recorder::new(&way.roots).map_err(|error| Broken::new(error, None))?);
    let name =
        ServerName::try_from(way.origin.host.clone()).map_err(|error| Broken::new(error, None))?;
    let config = ClientConfig::builder()
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&recorder) as Arc<dyn ServerCertVerifier>);
    let mut config = match &way.identity {
        Some(Identity { chain, key }) => config
            .with_client_auth_cert(chain.clone(), key.clone_key())
            .map_err(|error| Broken::new(error, None))?,
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    match TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await
    {
        Ok(stream) => {
            let version = match stream.get_ref().1.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
                _ => "TLS 1.2",
            };
            let shown = recorder.shown().map(|shown| Shown { version, ..shown });
            let shown = shown.ok_or_else(|| Broken::new("the certificate cannot be read", None))?;
            Ok((Box::new(stream), shown))
        }
        Err(error) => Err(Broken::new(error, recorder.shown())),
    }
}

/// Leaves the judgement to webpki, and keeps what was judged.
#[derive(Debug)]
struct Recorder {
    webpki: Arc<WebPkiServerVerifier>,
    presented: Mutex<Option<Shown>>,
}

impl Recorder {
    fn new(roots: &[CertificateDer<'static>]) -> Result<Self, BoxError> {
        let mut store = RootCertStore::empty();
        for root in roots {
            store.add(root.clone())?;
        }
        let webpki = WebPkiServerVerifier::builder(Arc::new(store)).build()?;
        Ok(Recorder {
            webpki,
            presented: Mutex::new(None),
        })
    }

    fn shown(&self) -> Option<Shown> {
        self.presented
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        *self
            .presented
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = read(leaf, others);
        self.webpki
            .verify_server_cert(leaf, others, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls12_signature(message, leaf, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls13_signature(message, leaf, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}

fn read(leaf: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> Option<Shown> {
    let (_, first) = X509Certificate::from_der(leaf).ok()?;
    let issuer = first.issuer().to_string();
    let last = others
        .last()
        .and_then(|last| X509Certificate::from_der(last).ok());
    let anchor = last.map_or_else(|| issuer.clone(), |(_, last)| last.issuer().to_string());
    Some(Shown {
        version: "",
        issuer,
        anchor,
        ends: first.validity().not_after.timestamp(),
    })
}

fn fault(error: &(dyn std::error::Error + 'static)) -> Fault {
    let io_error = error.downcast_ref::<io::Error>();
    let tls_error = io_error.and_then(|error| error.get_ref()?.downcast_ref::<Error>());
    match (tls_error, io_error.map(io::Error::kind)) {
        (Some(Error::InvalidCertificate(error)), _) => match error {
            CertificateError::UnknownIssuer => Fault::UnknownIssuer,
            CertificateError::BadSignature => Fault::OtherKey,
            CertificateError::Expired => Fault::Expired(None),
            CertificateError::ExpiredContext { not_after, .. } => {
                Fault::Expired(seconds(*not_after))
            }
            CertificateError::NotValidYet => Fault::NotYetValid(None),
            CertificateError::NotValidYetContext { not_before, .. } => {
                Fault::NotYetValid(seconds(*not_before))
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Fault::WrongName
            }
            // webpki's own type is out of reach here; its name is all there is to go by.
            other if format!("{other:?}").contains("CaUsedAsEndEntity") => Fault::OwnCa,
            _ => Fault::Other,
        },
        (Some(Error::InvalidMessage(_)), _) => Fault::NoTls,
        (Some(Error::AlertReceived(_)), _) => Fault::Alert,
        (None, Some(io::ErrorKind::TimedOut)) => Fault::TimedOut,
        (
            None,
            Some(
                io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted,
            ),
        ) => Fault::Closed,
        _ => Fault::Other,
    }
}

fn seconds(time: UnixTime) -> Option<i64> {
    i64::try_from(time.as_secs()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_told_by_the_error_below_the_io_error() {
        let of = |error: Error| fault(&io::Error::new(io::ErrorKind::InvalidData, error));
        assert_eq!(
            of(CertificateError::UnknownIssuer.into()),
            Fault::UnknownIssuer
        );
        assert_eq!(
            of(CertificateError::NotValidForName.into()),
            Fault::WrongName
        );
        assert_eq!(
            of(rustls::InvalidMessage::InvalidContentType.into()),
            Fault::NoTls
        );
        assert_eq!(
            fault(&io::Error::from(io::ErrorKind::UnexpectedEof)),
            Fault::Closed
        );
        assert_eq!(
            fault(&io::Error::from(io::ErrorKind::TimedOut)),
            Fault::TimedOut
        );
    }

    #[test]
    fn issuer_anchor_and_life_are_read() {
        let made = rcgen::generate_simple_self_signed(["a.example".to_owned()])
            .unwrap()
            .cert;
        let shown = read(made.der(), &[]).unwrap();
        assert_eq!(shown.issuer, "CN=rcgen self signed cert");
        assert_eq!(shown.anchor, shown.issuer);
        assert!(shown.ends > 1_700_000_000);
        assert_eq!(read(&CertificateDer::from(vec![0; 4]), &[]), None);
    }
}
