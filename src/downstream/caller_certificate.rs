//! Client certificate of a caller's connection, which may become invalid while the connection is
//! open.

use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed},
};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::{CertificateError, HandshakeKind, ServerConnection};
use tokio::sync::watch;
use tokio::time::Instant;

use super::certificate_names::parse_names;
use super::client_trust::first_expiry;
use super::tls::ServerTls;
use crate::config::{CertificateName, unix_seconds};
use crate::rt::clock;

const EXPIRED: &str =
    "the client certificate of this connection has expired; connect again with a valid one";
const NOT_TRUSTED: &str = "the client certificate of this connection is not signed by a certificate of listen.tls.client_ca any \
                           more; connect again with one that is";

/// A client certificate that the handshake has verified. It is verified again when the trusted
/// roots change, and when a certificate of its chain expires.
#[derive(Debug)]
pub(crate) struct CallerCertificate {
    names: Vec<CertificateName>,
    chain: Vec<CertificateDer<'static>>,
    newest: watch::Receiver<ServerTls>,
    newest_generation: Arc<AtomicU64>,
    /// The generation of roots that has verified it.
    generation: AtomicU64,
    /// Unix time of the next verification, in seconds.
    verify_at: AtomicU64,
    received_at: ClockPair,
    /// The reason for rejecting it, for good.
    rejection: OnceLock<&'static str>,
}

impl CallerCertificate {
    /// The certificate of the handshake of `session`, which `used` configured; `None` if the peer
    /// has sent none.
    pub(super) fn from_session(
        session: &ServerConnection,
        used: &ServerTls,
        newest: &watch::Receiver<ServerTls>,
    ) -> Option<Self> {
        let chain = session
            .peer_certificates()
            .filter(|chain| !chain.is_empty())?
            .to_vec();
        let received_at = ClockPair {
            wall: unix_seconds(),
            monotonic: Instant::now(),
        };
        let verify_at = match session.handshake_kind() {
            // An earlier handshake has verified it.
            Some(HandshakeKind::Resumed) => 0,
            _ => first_expiry(&chain, received_at.wall),
        };
        Some(CallerCertificate {
            names: parse_names(&chain[0]),
            chain,
            newest: newest.clone(),
            newest_generation: used.newest_generation(),
            generation: AtomicU64::new(used.generation()),
            verify_at: AtomicU64::new(verify_at),
            received_at,
            rejection: OnceLock::new(),
        })
    }

    /// The subject alternative names.
    pub(crate) fn names(&self) -> &[CertificateName] {
        &self.names
    }

    /// Checks that the certificate is still accepted. A rejection is final.
    ///
    /// # Errors
    /// The reason, and what the caller can do.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        if let Some(reason) = self.rejection.get() {
            return Err(reason);
        }
        let now = self.received_at.latest(unix_seconds(), clock::now());
        let has_same_roots = self.newest_generation.load(Acquire) == self.generation.load(Relaxed);
        if has_same_roots && now < self.verify_at.load(Relaxed) {
            return Ok(());
        }
        self.verify(now)
            .map_err(|reason| *self.rejection.get_or_init(|| reason))
    }

    /// Whether a [`check`](Self::check) has failed.
    pub(super) fn is_rejected(&self) -> bool {
        self.rejection.get().is_some()
    }

    fn verify(&self, now: u64) -> Result<(), &'static str> {
        let newest = self.newest.borrow().clone();
        let verifier = newest.verifier().ok_or(NOT_TRUSTED)?;
        let (end_entity, intermediates) = self.chain.split_first().ok_or(NOT_TRUSTED)?;
        let time = UnixTime::since_unix_epoch(Duration::from_secs(now));
        if let Err(error) = verifier.verify_client_cert(end_entity, intermediates, time) {
            // Its caller has to send another certificate instead of resuming with this one.
            newest.forget_sessions();
            return Err(match error {
                rustls::Error::InvalidCertificate(
                    CertificateError::Expired | CertificateError::ExpiredContext { .. },
                ) => EXPIRED,
                _ => NOT_TRUSTED,
            });
        }
        self.verify_at
            .store(first_expiry(&self.chain, now), Relaxed);
        self.generation.store(newest.generation(), Relaxed);
        Ok(())
    }
}

/// Readings of both clocks at one time. The wall clock decides, as it does in a handshake, but
/// setting it back extends no validity.
#[derive(Clone, Copy, Debug)]
struct ClockPair {
    wall: u64,
    monotonic: Instant,
}

impl ClockPair {
    /// The Unix time by the clock that is ahead, in seconds.
    fn latest(&self, wall: u64, monotonic: Instant) -> u64 {
        let elapsed = monotonic
            .saturating_duration_since(self.monotonic)
            .as_secs();
        wall.max(self.wall.saturating_add(elapsed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn setting_the_clock_back_extends_nothing() {
        let monotonic = Instant::now();
        let received_at = ClockPair {
            wall: 1_000,
            monotonic,
        };
        let after = |seconds| monotonic + Duration::from_secs(seconds);
        assert_eq!(received_at.latest(1_010, after(10)), 1_010);
        assert_eq!(received_at.latest(500, after(10)), 1_010, "set back");
        assert_eq!(
            received_at.latest(5_000, after(10)),
            5_000,
            "set forward, or suspended"
        );
        assert_eq!(received_at.latest(0, monotonic), 1_000);
    }
}
