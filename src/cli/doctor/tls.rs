//! TLS handshake that verifies as the proxy does, and keeps the server's certificate even when it
//! fails.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
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

use super::target::Target;
use crate::cli::http::BoxTransport;
use crate::config::Identity;
use crate::error::BoxError;

/// The certificate that a server presented.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PeerCertificate {
    pub(super) version: &'static str,
    /// The issuer of the server's certificate.
    pub(super) issuer: String,
    /// The issuer of the last certificate of the chain: the name that a root must have.
    pub(super) anchor: String,
    /// The end of the validity, in seconds since 1970.
    pub(super) not_after: i64,
}

/// A handshake that failed.
pub(super) struct TlsError {
    pub(super) error: BoxError,
    pub(super) kind: TlsErrorKind,
    /// The certificate that arrived before the failure.
    pub(super) certificate: Option<PeerCertificate>,
}

/// The kinds of failed handshakes that differ in their fix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TlsErrorKind {
    UnknownIssuer,
    /// A root has the issuer's name and another key.
    OtherKey,
    /// The end of the validity, in seconds since 1970, of the leaf or of an issuer.
    Expired(Option<i64>),
    /// The start of the validity, likewise.
    NotYetValid(Option<i64>),
    WrongName,
    /// A CA certificate serves as the server's own.
    CaAsServer,
    NotTls,
    /// The server ended the handshake with an alert.
    Alert,
    /// The connection was closed without an alert.
    Closed,
    TimedOut,
    Other,
}

impl TlsError {
    fn new(error: impl Into<BoxError>, certificate: Option<PeerCertificate>) -> Self {
        let error = error.into();
        TlsError {
            kind: classify(error.as_ref()),
            error,
            certificate,
        }
    }

    pub(super) fn timed_out(error: impl Into<BoxError>) -> Self {
        TlsError::new(io::Error::new(io::ErrorKind::TimedOut, error), None)
    }
}

/// Performs the handshake with `target` on `tcp`.
pub(super) async fn handshake(
    target: &Target,
    tcp: TcpStream,
) -> Result<(BoxTransport, PeerCertificate), TlsError> {
    let without_certificate = |error: BoxError| TlsError::new(error, None);
    let recorder = Arc::new(ChainRecorder::new(&target.roots).map_err(without_certificate)?);
    let config =
        client_config(target, &recorder).map_err(|error| without_certificate(error.into()))?;
    let name = ServerName::try_from(target.origin.host.clone())
        .map_err(|error| without_certificate(error.into()))?;
    let connector = TlsConnector::from(Arc::new(config));
    let stream = match connector.connect(name, tcp).await {
        Ok(stream) => stream,
        Err(error) => return Err(TlsError::new(error, recorder.certificate())),
    };
    let mut certificate = recorder
        .certificate()
        .ok_or_else(|| TlsError::new("the certificate cannot be read", None))?;
    certificate.version = match stream.get_ref().1.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
        _ => "TLS 1.2",
    };
    Ok((Box::new(stream), certificate))
}

fn client_config(target: &Target, verifier: &Arc<ChainRecorder>) -> Result<ClientConfig, Error> {
    let config = ClientConfig::builder()
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(verifier) as Arc<dyn ServerCertVerifier>);
    let mut config = match &target.identity {
        Some(Identity { chain, key }) => {
            config.with_client_auth_cert(chain.clone(), key.clone_key())?
        }
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Records the server's certificate, and leaves its verification to webpki.
#[derive(Debug)]
struct ChainRecorder {
    webpki: Arc<WebPkiServerVerifier>,
    recorded: Mutex<Option<PeerCertificate>>,
}

impl ChainRecorder {
    fn new(roots: &[CertificateDer<'static>]) -> Result<Self, BoxError> {
        let mut store = RootCertStore::empty();
        for root in roots {
            store.add(root.clone())?;
        }
        Ok(ChainRecorder {
            webpki: WebPkiServerVerifier::builder(Arc::new(store)).build()?,
            recorded: Mutex::new(None),
        })
    }

    fn certificate(&self) -> Option<PeerCertificate> {
        self.recorded.lock().clone()
    }
}

impl ServerCertVerifier for ChainRecorder {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        *self.recorded.lock() = parse(leaf, others);
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

fn parse(leaf: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> Option<PeerCertificate> {
    let (_, leaf) = X509Certificate::from_der(leaf).ok()?;
    let issuer = leaf.issuer().to_string();
    let last = others
        .last()
        .and_then(|last| X509Certificate::from_der(last).ok());
    let anchor = last.map_or_else(|| issuer.clone(), |(_, last)| last.issuer().to_string());
    Some(PeerCertificate {
        version: "",
        issuer,
        anchor,
        not_after: leaf.validity().not_after.timestamp(),
    })
}

fn classify(error: &(dyn std::error::Error + 'static)) -> TlsErrorKind {
    let io_error = error.downcast_ref::<io::Error>();
    let tls_error = io_error.and_then(|error| error.get_ref()?.downcast_ref::<Error>());
    match tls_error {
        Some(Error::InvalidCertificate(error)) => classify_certificate(error),
        Some(Error::InvalidMessage(_)) => TlsErrorKind::NotTls,
        Some(Error::AlertReceived(_)) => TlsErrorKind::Alert,
        Some(_) => TlsErrorKind::Other,
        None => match io_error.map(io::Error::kind) {
            Some(io::ErrorKind::TimedOut) => TlsErrorKind::TimedOut,
            Some(
                io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted,
            ) => TlsErrorKind::Closed,
            _ => TlsErrorKind::Other,
        },
    }
}

fn classify_certificate(error: &CertificateError) -> TlsErrorKind {
    match error {
        CertificateError::UnknownIssuer => TlsErrorKind::UnknownIssuer,
        CertificateError::BadSignature => TlsErrorKind::OtherKey,
        CertificateError::Expired => TlsErrorKind::Expired(None),
        CertificateError::ExpiredContext { not_after, .. } => {
            TlsErrorKind::Expired(unix_seconds(*not_after))
        }
        CertificateError::NotValidYet => TlsErrorKind::NotYetValid(None),
        CertificateError::NotValidYetContext { not_before, .. } => {
            TlsErrorKind::NotYetValid(unix_seconds(*not_before))
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            TlsErrorKind::WrongName
        }
        // webpki's own type is not exported by rustls; its name is all that can be compared.
        other if format!("{other:?}").contains("CaUsedAsEndEntity") => TlsErrorKind::CaAsServer,
        _ => TlsErrorKind::Other,
    }
}

fn unix_seconds(time: UnixTime) -> Option<i64> {
    i64::try_from(time.as_secs()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handshake_error_is_classified_by_its_source() {
        let of = |error: Error| classify(&io::Error::new(io::ErrorKind::InvalidData, error));
        assert_eq!(
            of(CertificateError::UnknownIssuer.into()),
            TlsErrorKind::UnknownIssuer
        );
        assert_eq!(
            of(CertificateError::NotValidForName.into()),
            TlsErrorKind::WrongName
        );
        assert_eq!(
            of(rustls::InvalidMessage::InvalidContentType.into()),
            TlsErrorKind::NotTls
        );
        assert_eq!(
            classify(&io::Error::from(io::ErrorKind::UnexpectedEof)),
            TlsErrorKind::Closed
        );
        assert_eq!(
            classify(&io::Error::from(io::ErrorKind::TimedOut)),
            TlsErrorKind::TimedOut
        );
    }

    #[test]
    fn issuer_anchor_and_validity_are_parsed() {
        let made = rcgen::generate_simple_self_signed(["a.example".to_owned()])
            .unwrap()
            .cert;
        let parsed = parse(made.der(), &[]).unwrap();
        assert_eq!(parsed.issuer, "CN=rcgen self signed cert");
        assert_eq!(parsed.anchor, parsed.issuer);
        assert!(parsed.not_after > 1_700_000_000);
        assert_eq!(parse(&CertificateDer::from(vec![0; 4]), &[]), None);
    }
}
