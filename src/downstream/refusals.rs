//! Log of refused connections: counts them by reason, and logs at most one line per reason in ten
//! seconds, with the peer.
//!
//! Lines contain nothing that the peer sent: errors of rustls and h2 may quote it, so they are only
//! classified.

use std::error::Error as _;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::{AlertDescription, CertificateError};

use super::peer::PeerInfo;
use crate::metrics::{ConnectionRefusal, RefusedConnections};
use crate::telemetry::throttle::LogThrottle;

/// The refused connections of one listener.
#[derive(Debug)]
pub struct RefusalLog {
    listener: &'static str,
    counts: Arc<RefusedConnections>,
    throttles: [LogThrottle; ConnectionRefusal::ALL.len()],
}

impl RefusalLog {
    /// `listener` is the name of the listener in log lines.
    pub fn new(listener: &'static str, counts: Arc<RefusedConnections>) -> Arc<Self> {
        Arc::new(RefusalLog {
            listener,
            counts,
            throttles: Default::default(),
        })
    }

    pub(crate) fn report(&self, peer: &PeerInfo, reason: ConnectionRefusal) {
        self.reporter(peer).report(reason);
    }

    pub(super) fn reporter(&self, peer: &PeerInfo) -> RefusalReporter<'_> {
        RefusalReporter {
            log: self,
            addr: peer.addr,
            uid: peer.uid,
        }
    }
}

/// Reports the refusal of one connection. Copies only what a log line needs of the peer.
#[derive(Clone, Copy)]
pub(super) struct RefusalReporter<'a> {
    log: &'a RefusalLog,
    addr: Option<SocketAddr>,
    uid: Option<u32>,
}

impl RefusalReporter<'_> {
    /// Counts the refusal, and logs it unless the throttle suppresses the line.
    pub(super) fn report(self, reason: ConnectionRefusal) {
        self.log.counts.count(reason);
        let Some(suppressed) = self.log.throttles[reason as usize].due() else {
            return;
        };
        tracing::info!(
            listener = self.log.listener,
            reason = reason.name(),
            peer = self.addr.map(display),
            uid = self.uid,
            suppressed = (suppressed > 0).then_some(suppressed),
            cause = explain(reason),
            "refused a connection"
        );
    }

    /// Reports an error of an HTTP/1 connection, if it is a refusal.
    pub(super) fn report_http1(self, error: &hyper::Error, is_reading_head: bool) {
        // The end of a TLS connection, and a reset, are I/O errors.
        let is_broken = || error.is_incomplete_message() || source_as::<io::Error>(error).is_some();
        if let Some(reason) = source_as::<io::Error>(error).and_then(tls_refusal) {
            self.report(reason);
        } else if error.is_parse_too_large() {
            self.report(ConnectionRefusal::RequestHeadTooLarge);
        } else if error.is_parse() {
            self.report(ConnectionRefusal::MalformedRequest);
        } else if is_reading_head && is_broken() {
            self.report(ConnectionRefusal::IncompleteRequest);
        }
    }

    /// Reports an error of an HTTP/2 connection, if h2 has closed it: an error code from the peer,
    /// and the end of the connection, are not refusals.
    pub(super) fn report_http2(self, error: &hyper::Error) {
        let Some(error) = source_as::<h2::Error>(error).filter(|error| error.is_library()) else {
            return;
        };
        match error.reason() {
            None | Some(h2::Reason::NO_ERROR) => {}
            Some(h2::Reason::ENHANCE_YOUR_CALM) => self.report(ConnectionRefusal::Http2Flood),
            Some(_) => self.report(ConnectionRefusal::Http2ProtocolError),
        }
    }
}

/// The source of `error`, if it is an `E`.
fn source_as<E: std::error::Error + 'static>(error: &hyper::Error) -> Option<&E> {
    error.source().and_then(|source| source.downcast_ref())
}

/// Classifies the error of a TLS stream; `None` if it is not a TLS error.
pub(super) fn tls_refusal(error: &io::Error) -> Option<ConnectionRefusal> {
    use AlertDescription::{
        BadCertificate, CertificateExpired, CertificateRevoked, CertificateUnknown, UnknownCA,
        UnsupportedCertificate,
    };
    use CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
    Some(match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::InvalidCertificate(
            Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. },
        ) => ConnectionRefusal::ClientCertificateExpired,
        rustls::Error::InvalidCertificate(_) => ConnectionRefusal::ClientCertificateUntrusted,
        rustls::Error::AlertReceived(
            BadCertificate
            | CertificateExpired
            | CertificateRevoked
            | CertificateUnknown
            | UnknownCA
            | UnsupportedCertificate,
        ) => ConnectionRefusal::ServerCertificateRejected,
        rustls::Error::PeerIncompatible(_) => ConnectionRefusal::TlsIncompatible,
        _ => ConnectionRefusal::TlsHandshakeFailed,
    })
}

/// The `cause` field of a log line.
fn explain(reason: ConnectionRefusal) -> &'static str {
    match reason {
        ConnectionRefusal::TlsHandshakeFailed => {
            "the caller broke off the TLS handshake, or sent bytes that are not TLS"
        }
        ConnectionRefusal::TlsIncompatible => {
            "the caller has no TLS version or cipher suite in common with this listener (TLS 1.2 and 1.3)"
        }
        ConnectionRefusal::TlsHandshakeTimeout => "the TLS handshake took too long",
        ConnectionRefusal::ServerCertificateRejected => {
            "the caller rejected the certificate of listen.tls"
        }
        ConnectionRefusal::ClientCertificateUntrusted => {
            "the caller's certificate is not signed by a CA of listen.tls.client_ca, or is not a client certificate"
        }
        ConnectionRefusal::ClientCertificateExpired => {
            "the caller's certificate has expired or is not valid yet"
        }
        ConnectionRefusal::HttpOnTlsPort => {
            "the caller sent plain HTTP, and this listener expects TLS"
        }
        ConnectionRefusal::TlsOnHttpPort => {
            "the caller sent TLS, and this listener expects plain HTTP"
        }
        ConnectionRefusal::NoRequest => "no request came in time",
        ConnectionRefusal::IncompleteRequest => {
            "the caller closed the connection within a request head"
        }
        ConnectionRefusal::MalformedRequest => "the bytes are not an HTTP/1 request",
        ConnectionRefusal::RequestHeadTooLarge => "the request head is too large",
        ConnectionRefusal::RequestTimeout => "the caller stopped sending within a request",
        ConnectionRefusal::ResponseTimeout => "the caller did not read its response in time",
        ConnectionRefusal::Http2ProtocolError => "the caller violated HTTP/2",
        ConnectionRefusal::Http2Flood => "the caller sent a flood of HTTP/2 frames or resets",
        ConnectionRefusal::Evicted => "a new connection replaced one that was idle longest",
    }
}
