//! The certificate of a caller's connection, which may lose its validity while the connection is
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

use super::client_cert::names;
use super::client_trust::first_end;
use super::tls::ServerTls;
use crate::config::{CertificateName, unix_seconds};
use crate::rt::clock;

const EXPIRED: &str =
    "the client certificate of this connection has expired; connect again with a valid one";
const NOT_TRUSTED: &str = "the client certificate of this connection is not signed by a certificate of listen.tls.client_ca any \
                           more; connect again with one that is";

/// A caller's certificate, verified in the handshake. It is verified again once the certificates
/// that it may be signed by have changed, and once one of its chain ends.
#[derive(Debug)]
pub struct CallerCertificate {
    names: Vec<CertificateName>,
    chain: Vec<CertificateDer<'static>>,
    newest: watch::Receiver<ServerTls>,
    newest_generation: Arc<AtomicU64>,
    /// By which generation of the roots it was verified.
    generation: AtomicU64,
    /// The second of the Unix epoch from which on it is verified again.
    verify_at: AtomicU64,
    began: Clocks,
    /// Why it is not accepted any more.
    ended: OnceLock<&'static str>,
}

impl CallerCertificate {
    /// The certificate that was shown in the handshake of `session`, which `used` was made with;
    /// `None` if none was.
    pub(super) fn of(
        session: &ServerConnection,
        used: &ServerTls,
        newest: &watch::Receiver<ServerTls>,
    ) -> Option<Self> {
        let chain = session
            .peer_certificates()
            .filter(|chain| !chain.is_empty())?
            .to_vec();
        let began = Clocks {
            wall: unix_seconds(),
            monotonic: Instant::now(),
        };
        let verify_at = match session.handshake_kind() {
            // It was verified in another handshake, some time ago.
            Some(HandshakeKind::Resumed) => 0,
            _ => first_end(&chain, began.wall),
        };
        Some(CallerCertificate {
            names: names(&chain[0]),
            chain,
            newest: newest.clone(),
            newest_generation: used.newest_generation(),
            generation: AtomicU64::new(used.generation()),
            verify_at: AtomicU64::new(verify_at),
            began,
            ended: OnceLock::new(),
        })
    }

    /// Its subject alternative names.
    pub fn names(&self) -> &[CertificateName] {
        &self.names
    }

    /// Whether it is still accepted. Once it is not, it never is again.
    ///
    /// # Errors
    /// Why it is not, and what its caller can do.
    pub fn check(&self) -> Result<(), &'static str> {
        if let Some(why) = self.ended.get() {
            return Err(why);
        }
        let now = self.began.latest(unix_seconds(), clock::now());
        let has_same_roots = self.newest_generation.load(Acquire) == self.generation.load(Relaxed);
        if has_same_roots && now < self.verify_at.load(Relaxed) {
            return Ok(());
        }
        self.verify(now)
            .map_err(|why| *self.ended.get_or_init(|| why))
    }

    /// Whether a [`check`](Self::check) has failed.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.get().is_some()
    }

    fn verify(&self, now: u64) -> Result<(), &'static str> {
        let newest = self.newest.borrow().clone();
        let verifier = newest.verifier().ok_or(NOT_TRUSTED)?;
        let (end_entity, intermediates) = self.chain.split_first().ok_or(NOT_TRUSTED)?;
        let time = UnixTime::since_unix_epoch(Duration::from_secs(now));
        if let Err(error) = verifier.verify_client_cert(end_entity, intermediates, time) {
            // Its caller is to show another one, and not to resume with this.
            newest.forget_sessions();
            return Err(match error {
                rustls::Error::InvalidCertificate(
                    CertificateError::Expired | CertificateError::ExpiredContext { .. },
                ) => EXPIRED,
                _ => NOT_TRUSTED,
            });
        }
        self.verify_at.store(first_end(&self.chain, now), Relaxed);
        self.generation.store(newest.generation(), Relaxed);
        Ok(())
    }
}

/// Both clocks at one moment. The wall clock decides, as it does in a handshake, but setting it
/// back prolongs nothing.
#[derive(Clone, Copy, Debug)]
struct Clocks {
    wall: u64,
    monotonic: Instant,
}

impl Clocks {
    /// The second of the Unix epoch by the clock that is ahead.
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
    fn a_wall_clock_that_is_set_back_prolongs_nothing() {
        let monotonic = Instant::now();
        let began = Clocks {
            wall: 1_000,
            monotonic,
        };
        let after = |seconds| monotonic + Duration::from_secs(seconds);
        assert_eq!(began.latest(1_010, after(10)), 1_010);
        assert_eq!(began.latest(500, after(10)), 1_010, "set back");
        assert_eq!(
            began.latest(5_000, after(10)),
            5_000,
            "set forward, or suspended"
        );
        assert_eq!(began.latest(0, monotonic), 1_000);
    }
}
