//! Client assertion: a signed JWT that authenticates the client instead of a secret (RFC 7523 section
//! 3, OpenID Connect Core section 9).

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::signature::{self, Signer};
use jsonwebtoken::{EncodingKey, Header};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding,
    RsaKeyPair,
};
use serde::Serialize;

use crate::config::{Algorithm, SigningKey};

/// `client_assertion_type` (RFC 7523 section 2.2).
pub(super) const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Lifetime of an assertion; it is sent once, immediately.
const LIFETIME_SECONDS: u64 = 60;

/// The claims of RFC 7523 section 3.
#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    jti: String,
    iat: u64,
    exp: u64,
}

/// An assertion of `client_id` for the token endpoint `audience`, with a unique `jti`: it is valid
/// for one request.
///
/// # Errors
/// When the key cannot sign; the configuration has checked that it can.
pub(super) fn sign(key: &SigningKey, client_id: &str, audience: &str) -> Result<String, Error> {
    // Fails if a provider is installed already; that is this one.
    let _ = RING.install_default();
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs());
    let claims = Claims {
        iss: client_id,
        sub: client_id,
        aud: audience,
        jti: format!("{:032x}", fastrand::u128(..)),
        iat: now,
        exp: now + LIFETIME_SECONDS,
    };
    let mut header = Header::new(algorithm(key.algorithm));
    header.kid.clone_from(&key.kid);
    jsonwebtoken::encode(&header, &claims, &key.key)
}

fn algorithm(algorithm: Algorithm) -> jsonwebtoken::Algorithm {
    match algorithm {
        Algorithm::RS256 => jsonwebtoken::Algorithm::RS256,
        Algorithm::PS256 => jsonwebtoken::Algorithm::PS256,
        Algorithm::ES256 => jsonwebtoken::Algorithm::ES256,
    }
}

/// Cryptography for jsonwebtoken from ring, which TLS uses: its own providers would add a second
/// library.
static RING: CryptoProvider = CryptoProvider {
    signer_factory: |algorithm, key| {
        let supported = [Algorithm::RS256, Algorithm::PS256, Algorithm::ES256];
        let found = supported
            .into_iter()
            .find(|known| self::algorithm(*known) == *algorithm);
        let algorithm = found.ok_or_else(|| Error::from(ErrorKind::InvalidAlgorithm))?;
        Ok(Box::new(RingSigner {
            algorithm,
            key: key.clone(),
        }))
    },
    verifier_factory: |_, _| Err(ErrorKind::InvalidAlgorithm.into()),
    key_utils: KeyUtils::new_unimplemented(),
};

struct RingSigner {
    algorithm: Algorithm,
    key: EncodingKey,
}

impl RingSigner {
    fn sign_rsa(
        &self,
        padding: &'static dyn RsaEncoding,
        message: &[u8],
    ) -> Result<Vec<u8>, signature::Error> {
        let pair =
            RsaKeyPair::from_der(self.key.as_bytes()).map_err(|_| signature::Error::new())?;
        let mut signed = vec![0; pair.public().modulus_len()];
        pair.sign(padding, &SystemRandom::new(), message, &mut signed)
            .map_err(|_| signature::Error::new())?;
        Ok(signed)
    }

    fn sign_ecdsa(&self, message: &[u8]) -> Result<Vec<u8>, signature::Error> {
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(
            &ECDSA_P256_SHA256_FIXED_SIGNING,
            self.key.as_bytes(),
            &random,
        );
        let signed = pair
            .map_err(|_| signature::Error::new())?
            .sign(&random, message);
        signed
            .map(|signed| signed.as_ref().to_vec())
            .map_err(|_| signature::Error::new())
    }
}

impl Signer<Vec<u8>> for RingSigner {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, signature::Error> {
        match self.algorithm {
            Algorithm::RS256 => self.sign_rsa(&RSA_PKCS1_SHA256, message),
            Algorithm::PS256 => self.sign_rsa(&RSA_PSS_SHA256, message),
            Algorithm::ES256 => self.sign_ecdsa(message),
        }
    }
}

impl JwtSigner for RingSigner {
    fn algorithm(&self) -> jsonwebtoken::Algorithm {
        algorithm(self.algorithm)
    }
}
