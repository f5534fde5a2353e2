//! Counters of refused connections: a listener refused or aborted them because of what the peer
//! sent or did not send.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Reason of a refused connection. `docs/operations.md` explains each; a test compares the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionRefusal {
    /// The caller closed the connection in the middle of the handshake, sent an alert, or sent what
    /// is not TLS.
    TlsHandshakeFailed,
    /// No TLS version, cipher suite or key exchange in common.
    TlsIncompatible,
    /// The handshake did not end within its timeout.
    TlsHandshakeTimeout,
    /// The caller rejected the certificate of the listener.
    ServerCertificateRejected,
    /// No trusted CA signed the caller's certificate, or the certificate is not usable.
    ClientCertificateUntrusted,
    /// The caller's certificate has expired, or is not valid yet.
    ClientCertificateExpired,
    /// Plain HTTP came on a listener with TLS.
    HttpOnTlsPort,
    /// TLS came on a listener without TLS.
    TlsOnHttpPort,
    /// No byte of a request came within the header timeout.
    NoRequest,
    /// The caller closed the connection in the middle of a request head.
    IncompleteRequest,
    /// The bytes are not HTTP/1: bare 400.
    MalformedRequest,
    /// The request head is longer than the parser accepts: bare 414 or 431.
    RequestHeadTooLarge,
    /// The caller stopped in the middle of a request: bare 408, or the end of the connection.
    RequestTimeout,
    /// The caller did not read its response in time.
    ResponseTimeout,
    /// The caller violated HTTP/2: GOAWAY.
    Http2ProtocolError,
    /// The caller sent too many frames that need a reply and do no work (PING, SETTINGS): GOAWAY
    /// with ENHANCE_YOUR_CALM.
    Http2Flood,
    /// A newer connection took the place of this one.
    Evicted,
}

impl ConnectionRefusal {
    /// All reasons, in the order of the enum.
    pub const ALL: [ConnectionRefusal; 17] = [
        ConnectionRefusal::TlsHandshakeFailed,
        ConnectionRefusal::TlsIncompatible,
        ConnectionRefusal::TlsHandshakeTimeout,
        ConnectionRefusal::ServerCertificateRejected,
        ConnectionRefusal::ClientCertificateUntrusted,
        ConnectionRefusal::ClientCertificateExpired,
        ConnectionRefusal::HttpOnTlsPort,
        ConnectionRefusal::TlsOnHttpPort,
        ConnectionRefusal::NoRequest,
        ConnectionRefusal::IncompleteRequest,
        ConnectionRefusal::MalformedRequest,
        ConnectionRefusal::RequestHeadTooLarge,
        ConnectionRefusal::RequestTimeout,
        ConnectionRefusal::ResponseTimeout,
        ConnectionRefusal::Http2ProtocolError,
        ConnectionRefusal::Http2Flood,
        ConnectionRefusal::Evicted,
    ];

    /// The name in labels and logs.
    pub fn name(self) -> &'static str {
        match self {
            ConnectionRefusal::TlsHandshakeFailed => "tls_handshake_failed",
            ConnectionRefusal::TlsIncompatible => "tls_incompatible",
            ConnectionRefusal::TlsHandshakeTimeout => "tls_handshake_timeout",
            ConnectionRefusal::ServerCertificateRejected => "server_certificate_rejected",
            ConnectionRefusal::ClientCertificateUntrusted => "client_certificate_untrusted",
            ConnectionRefusal::ClientCertificateExpired => "client_certificate_expired",
            ConnectionRefusal::HttpOnTlsPort => "http_on_tls_port",
            ConnectionRefusal::TlsOnHttpPort => "tls_on_http_port",
            ConnectionRefusal::NoRequest => "no_request",
            ConnectionRefusal::IncompleteRequest => "incomplete_request",
            ConnectionRefusal::MalformedRequest => "malformed_request",
            ConnectionRefusal::RequestHeadTooLarge => "request_head_too_large",
            ConnectionRefusal::RequestTimeout => "request_timeout",
            ConnectionRefusal::ResponseTimeout => "response_timeout",
            ConnectionRefusal::Http2ProtocolError => "http2_protocol_error",
            ConnectionRefusal::Http2Flood => "http2_flood",
            ConnectionRefusal::Evicted => "evicted",
        }
    }
}

/// Refused connections of one listener.
#[derive(Debug, Default)]
pub struct RefusedConnections([AtomicU64; ConnectionRefusal::ALL.len()]);

impl RefusedConnections {
    /// Counts one.
    pub fn count(&self, reason: ConnectionRefusal) {
        self.0[reason as usize].fetch_add(1, Relaxed);
    }

    /// The number of connections by reason, zeros included: an alert on an increase needs the
    /// series from the start.
    pub fn by_reason(&self) -> impl Iterator<Item = (ConnectionRefusal, u64)> {
        ConnectionRefusal::ALL
            .into_iter()
            .zip(self.0.iter().map(|count| count.load(Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_own_count() {
        let refused = RefusedConnections::default();
        for (index, reason) in ConnectionRefusal::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index, "{}", reason.name());
            (0..=index).for_each(|_| refused.count(reason));
        }
        for (reason, count) in refused.by_reason() {
            assert_eq!(count, reason as u64 + 1, "{}", reason.name());
        }
    }
}
