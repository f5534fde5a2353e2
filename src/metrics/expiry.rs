//! Ends of certificates and of callers' access, in seconds of the Unix epoch. Each load and reload
//! replaces them.

use std::collections::BTreeMap;

use parking_lot::Mutex;

/// Use of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CertificateUse {
    /// The listener's own.
    Listener,
    /// The CAs that sign callers' certificates; the last one counts.
    ListenerClientCa,
    /// The proxy's, for the API.
    Upstream,
    /// The proxy's, for the token endpoint.
    Token,
}

impl CertificateUse {
    /// The name in labels.
    pub(crate) fn name(self) -> &'static str {
        match self {
            CertificateUse::Listener => "listener",
            CertificateUse::ListenerClientCa => "client_ca",
            CertificateUse::Upstream => "upstream_client",
            CertificateUse::Token => "token_client",
        }
    }

    /// The configuration key of its file.
    pub(crate) fn key(self) -> &'static str {
        match self {
            CertificateUse::Listener => "listen.tls.cert",
            CertificateUse::ListenerClientCa => "listen.tls.client_ca",
            CertificateUse::Upstream => "upstream.client_cert",
            CertificateUse::Token => "token.client_cert",
        }
    }
}

/// End of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CertificateEnd {
    pub(crate) used: CertificateUse,
    /// The account that uses it; empty for the listener.
    pub(crate) account: Box<str>,
    /// The first second after its validity.
    pub(crate) end: u64,
}

/// The ends as they were loaded last.
#[derive(Debug, Default)]
pub struct Expiries {
    certificates: Mutex<BTreeMap<(CertificateUse, Box<str>), u64>>,
    callers: Mutex<Vec<(String, u64)>>,
}

impl Expiries {
    /// Sets the end of a certificate of `account`; `None` if there is no such certificate.
    pub(crate) fn set_certificate(&self, used: CertificateUse, account: &str, end: Option<u64>) {
        let mut certificates = self.certificates.lock();
        let key = (used, account.into());
        match end {
            Some(end) => certificates.insert(key, end),
            None => certificates.remove(&key),
        };
    }

    /// Replaces the callers whose access ends, each with the first second without access.
    pub(crate) fn set_callers(&self, callers: Vec<(String, u64)>) {
        *self.callers.lock() = callers;
    }

    pub(crate) fn certificates(&self) -> Vec<CertificateEnd> {
        let certificates = self.certificates.lock();
        let ends = certificates
            .iter()
            .map(|((used, account), end)| CertificateEnd {
                used: *used,
                account: account.clone(),
                end: *end,
            });
        ends.collect()
    }

    pub(crate) fn callers(&self) -> Vec<(String, u64)> {
        self.callers.lock().clone()
    }
}
