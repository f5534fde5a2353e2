//! Refused connections: counted by reason, and logged with the peer, one line for each reason in
//! ten seconds at most.
//!
//! Nothing that the peer sent is part of a line: the errors of rustls and h2 may quote it, so they
//! are only classified.

use std::error::Error as _;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::{AlertDescription, CertificateError};

use super::PeerInfo;
use crate::metrics::{ConnectionRefusal, RefusedConnections};
use crate::telemetry::throttle::LogThrottle;

/// Counts and logs the connections that one listener refuses.
#[derive(Debug)]
pub struct RefusalLog {
    listener: &'static str,
    counts: Arc<RefusedConnections>,
    throttles: [LogThrottle; ConnectionRefusal::ALL.len()],
}

impl RefusalLog {
    /// The log of the listener that lines name `listener`.
    pub fn new(listener: &'static str, counts: Arc<RefusedConnections>) -> Arc<Self> {
        Arc::new(RefusalLog {
            listener,
            counts,
            throttles: Default::default(),
        })
    }

    /// Reports the refusal of a connection with `peer`.
    pub fn report(&self, peer: &PeerInfo, reason: ConnectionRefusal) {
        self.reporter(peer).report(reason);
    }

    /// The reporter of a connection with `peer`.
    pub(super) fn reporter(&self, peer: &PeerInfo) -> Reporter<'_> {
        Reporter {
            log: self,
            addr: peer.addr,
            uid: peer.uid,
        }
    }
}

/// Reports the refusal of one connection.
#[derive(Clone, Copy)]
pub(super) struct Reporter<'a> {
    log: &'a RefusalLog,
    addr: Option<SocketAddr>,
    uid: Option<u32>,
}

impl Reporter<'_> {
    /// Counts the refusal, and logs it if the last line with this reason is old enough.
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
            cause = cause(reason),
            "refused a connection"
        );
    }

    /// Reports an error of an HTTP/1 connection. With `reads_head` a request head was being read.
    pub(super) fn report_http1(self, error: &hyper::Error, reads_head: bool) {
        // Over TLS, and where the peer has reset the connection, the end is an I/O error.
        let is_broken = || error.is_incomplete_message() || source::<io::Error>(error).is_some();
        if let Some(reason) = source::<io::Error>(error).and_then(tls_refusal) {
            self.report(reason);
        } else if error.is_parse_too_large() {
            self.report(ConnectionRefusal::RequestHeadTooLarge);
        } else if error.is_parse() {
            self.report(ConnectionRefusal::MalformedRequest);
        } else if reads_head && is_broken() {
            self.report(ConnectionRefusal::IncompleteRequest);
        }
    }

    /// Reports an error of an HTTP/2 connection, if it was h2 that closed it: an error that the
    /// peer reports, or an end of the connection, is not a refusal.
    pub(super) fn report_http2(self, error: &hyper::Error) {
        let Some(error) = source::<h2::Error>(error).filter(|error| error.is_library()) else {
            return;
        };
        match error.reason() {
            None | Some(h2::Reason::NO_ERROR) => {}
            Some(h2::Reason::ENHANCE_YOUR_CALM) => self.report(ConnectionRefusal::Http2Flood),
            Some(_) => self.report(ConnectionRefusal::Http2ProtocolError),
        }
    }
}

/// The cause of `error`, if it is an `E`.
fn source<E: std::error::Error + 'static>(error: &hyper::Error) -> Option<&E> {
    error.source().and_then(|source| source.downcast_ref())
}

/// The reason that an error of a TLS stream stands for; `None` if it is not one of TLS.
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

/// The cause, as a line says it.
fn cause(reason: ConnectionRefusal) -> &'static str {
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
