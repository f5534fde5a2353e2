//! Signing key of the client assertion, in place of a client secret.

use jsonwebtoken::EncodingKey;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RsaKeyPair};

use crate::config::error::Problem;
use crate::config::source::setting::choice;
use crate::config::types::pem;
use crate::secret::{Kept, Secret};

/// Signature algorithm of the assertion (RFC 7518 section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RS256,
    /// RSASSA-PSS with SHA-256.
    PS256,
    /// ECDSA with P-256 and SHA-256.
    ES256,
}

choice!(Algorithm, "algorithm", {
    "RS256" => Algorithm::RS256,
    "PS256" => Algorithm::PS256,
    "ES256" => Algorithm::ES256,
});

/// A private key that fits its algorithm.
#[derive(Clone, Debug)]
pub struct SigningKey {
    /// The algorithm to sign with.
    pub algorithm: Algorithm,
    /// The key itself; its `Debug` shows nothing of it.
    pub key: EncodingKey,
    /// The key ID under which the token endpoint knows it.
    pub kid: Option<String>,
}

impl PartialEq for SigningKey {
    fn eq(&self, other: &Self) -> bool {
        let of = |key: &SigningKey| (key.algorithm, key.kid.clone());
        of(self) == of(other) && self.key.as_bytes() == other.key.as_bytes()
    }
}

impl SigningKey {
    /// Reads a key in PEM: PKCS #8, or PKCS #1 for RSA. It is kept in `place`.
    pub(crate) fn parse(
        pem: &Secret,
        place: &Kept,
        algorithm: Algorithm,
        kid: Option<String>,
    ) -> Result<Self, Problem> {
        let pem = pem.expose().as_bytes();
        let key = match algorithm {
            Algorithm::RS256 | Algorithm::PS256 => EncodingKey::from_rsa_pem(pem),
            Algorithm::ES256 => EncodingKey::from_ec_pem(pem),
        };
        let problem = |message: String| {
            let fix = match algorithm {
                Algorithm::RS256 | Algorithm::PS256 => {
                    "give an RSA private key of 2048 to 4096 bits in PEM, such as openssl genpkey -algorithm RSA \
                     makes, or write token.jwt_alg = \"ES256\" for a P-256 key"
                }
                Algorithm::ES256 => {
                    "give a P-256 private key in PEM (PKCS #8), such as openssl genpkey -algorithm EC -pkeyopt \
                     ec_paramgen_curve:P-256 makes, or write token.jwt_alg for an RSA key"
                }
            };
            Problem::new("token.jwt_key", message, fix)
        };
        let key = key.map_err(|_| match pem::fault(pem, place.file()) {
            Some((cause, fix)) => Problem::new(
                "token.jwt_key",
                format!("{place} is not a usable PEM file: {cause}"),
                fix,
            ),
            None => problem(format!("{place} holds no private key for {algorithm:?}")),
        })?;
        let fits = match algorithm {
            Algorithm::RS256 | Algorithm::PS256 => RsaKeyPair::from_der(key.as_bytes()).map(drop),
            Algorithm::ES256 => {
                let random = ring::rand::SystemRandom::new();
                EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.as_bytes(), &random)
                    .map(drop)
            }
        };
        fits.map_err(|error| {
            problem(format!(
                "the key in {place} cannot sign with {algorithm:?}: {error}"
            ))
        })?;
        Ok(SigningKey {
            algorithm,
            key,
            kid,
        })
    }
}
