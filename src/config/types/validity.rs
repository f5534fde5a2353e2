//! Validity period of a certificate, in seconds of the Unix epoch.

use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Validity period of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    begin: u64,
    /// The first second after the period.
    end: u64,
}

impl Validity {
    /// Reads the period of `certificate` (RFC 5280 section 4.1.2.5); `None` if it cannot be parsed.
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        let seconds = |time: i64| u64::try_from(time).unwrap_or(0);
        let validity = parsed.validity();
        let end = seconds(validity.not_after.timestamp()).saturating_add(1);
        Some(Validity {
            begin: seconds(validity.not_before.timestamp()),
            end,
        })
    }

    /// The first second of the period.
    pub fn begin(&self) -> u64 {
        self.begin
    }

    /// The first second after the period.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Returns true if the second `now` is within the period.
    pub fn contains(&self, now: u64) -> bool {
        (self.begin..self.end).contains(&now)
    }
}

/// Time before the end of a certificate, or of a caller's access, from which it is reported.
pub const CERTIFICATE_NOTICE: Duration = Duration::from_secs(30 * 86_400);
/// See [`CERTIFICATE_NOTICE`].
pub const CALLER_NOTICE: Duration = Duration::from_secs(14 * 86_400);

/// An end that is to be reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It is nearer than the notice.
    Soon,
    /// It has passed.
    Past,
}

impl Ending {
    /// Classifies the Unix time `end`; `None` if it is further away than `notice`.
    pub fn of(end: u64, notice: Duration) -> Option<Self> {
        let now = unix_seconds();
        if end <= now {
            Some(Ending::Past)
        } else if end - now < notice.as_secs() {
            Some(Ending::Soon)
        } else {
            None
        }
    }
}

/// The end of the first certificate of `chain`.
pub fn certificate_end(chain: &[CertificateDer<'_>]) -> Option<u64> {
    Some(Validity::of(chain.first()?)?.end())
}

/// The current time of the wall clock.
pub fn unix_seconds() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
