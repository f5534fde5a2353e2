//! Caller keys: their creation, and recognition of a key or a mistyped one in any text.
//!
//! A key is `gbgp_`, 43 base64url characters (256 random bits) and 6 characters of checksum: the
//! first of the SHA-256 of the text before them, so that a scanner for leaked secrets can recognize
//! a key. The configuration holds the SHA-256 of a key: 256 random bits need no slow hash.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use toml::Value;
use zeroize::Zeroizing;

use crate::config::source::invalid::Invalid;
use crate::config::source::setting::{Kind, Setting};
use crate::secret::{self, Secret};

/// Every key begins with it.
const PREFIX: &str = "gbgp_";

/// Random bits of a key, and the characters that encode them.
const RANDOM_BYTES: usize = 32;
const RANDOM_CHARACTERS: usize = 43;
const CHECKSUM_CHARACTERS: usize = 6;
const BODY: usize = PREFIX.len() + RANDOM_CHARACTERS;
const LENGTH: usize = BODY + CHECKSUM_CHARACTERS;

/// The system gives no random numbers.
#[derive(Debug, thiserror::Error)]
#[error("the system gives no random numbers")]
pub struct NoRandomness;

/// Creates a random key.
///
/// # Errors
/// When the system gives no random numbers.
pub fn new_key() -> Result<Secret, NoRandomness> {
    let mut random = Zeroizing::new([0; RANDOM_BYTES]);
    SystemRandom::new()
        .fill(random.as_mut())
        .map_err(|_| NoRandomness)?;
    // Room for all of it from the start: growing would leave pieces behind that are not zeroed.
    let mut key = String::with_capacity(LENGTH);
    key.push_str(PREFIX);
    URL_SAFE_NO_PAD.encode_string(random.as_ref(), &mut key);
    let sum = checksum(key.as_bytes());
    key.extend(sum.map(char::from));
    Ok(Secret::new(key))
}

/// The SHA-256 of the whole key `presented`; `None` if its prefix, length or alphabet is not that
/// of a key. The checksum is not compared: a key with another one has an unknown SHA-256.
pub fn key_digest(presented: &[u8]) -> Option<[u8; 32]> {
    let rest = presented
        .strip_prefix(PREFIX.as_bytes())
        .filter(|_| presented.len() == LENGTH)?;
    let is_key = rest.iter().all(is_base64url);
    is_key
        .then(|| digest(&SHA256, presented).as_ref().try_into().ok())
        .flatten()
}

/// Returns true if a word of `text` begins like a key: it may be one, in quotes or with a typo. A
/// token that contains the prefix by chance does not count.
pub fn holds_key(text: &[u8]) -> bool {
    text.split(|byte| !is_base64url(byte))
        .any(|word| word.starts_with(PREFIX.as_bytes()))
}

/// Returns true if `text` may contain a key, even with a typo: no message shows it.
pub(crate) fn may_be_in(text: &str) -> bool {
    text.to_ascii_lowercase().contains(PREFIX)
}

/// Returns true if `text` contains a key, or most of one, rather than a name that begins like one.
///
/// The checksum proves a whole key; a damaged one is recognized by its random characters.
pub(crate) fn is_in(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    lower.match_indices(PREFIX).any(|(at, _)| {
        let word = text[at..].bytes().take_while(is_base64url).count();
        let word = &text[at..at + word];
        begins_with_key(word.as_bytes()) || is_random(&word[PREFIX.len()..])
    })
}

/// Returns true if no message may show `text`: it contains a caller's key, or a key or certificate
/// in base64.
pub(crate) fn is_secret(text: &str) -> bool {
    secret::holds_encoded_key(text) || is_in(text)
}

fn begins_with_key(word: &[u8]) -> bool {
    word.split_at_checked(BODY)
        .is_some_and(|(body, rest)| rest.starts_with(&checksum(body)))
}

/// Returns true if `text`, in base64url, looks random: it is long, has a digit, and changes often
/// between letters and digits or from lower to upper case. Names change only where a word or a
/// number begins.
pub(crate) fn is_random(text: &str) -> bool {
    const SHORTEST: usize = 20;
    const CHANGES: usize = 5;
    let is_change = |pair: &&[u8]| {
        let digits = pair.iter().filter(|byte| byte.is_ascii_digit()).count();
        digits == 1 || (pair[0].is_ascii_lowercase() && pair[1].is_ascii_uppercase())
    };
    let changes = |part: &str| part.as_bytes().windows(2).filter(is_change).count();
    // Names may hold UUIDs and other hexadecimal digits, such as the hash of a version.
    let is_hex = |part: &&str| part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let parts = text.split(['-', '_']).filter(|part| !is_hex(part));
    text.len() >= SHORTEST
        && text.bytes().any(|byte| byte.is_ascii_digit())
        && parts.map(changes).sum::<usize>() >= CHANGES
}

fn is_base64url(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

fn checksum(body: &[u8]) -> [u8; CHECKSUM_CHARACTERS] {
    // On the stack: it runs for each request with a key.
    let mut text = [0; RANDOM_CHARACTERS];
    // It has room for just what a SHA-256 is.
    let _ = URL_SAFE_NO_PAD.encode_slice(digest(&SHA256, body), &mut text);
    std::array::from_fn(|at| text[at])
}

/// SHA-256 digests of the keys of a caller: one, or two while a key is replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyDigests(pub(crate) Vec<[u8; 32]>);

impl Setting for KeyDigests {
    const KIND: Kind = Kind::Mixed;
    // It may be a key.
    const NEVER_QUOTE: bool = true;
    const NEVER_SHOW: bool = true;

    fn parse(value: &Value) -> Result<Self, Invalid> {
        let texts = match value {
            Value::Array(texts) if (1..=2).contains(&texts.len()) => texts.as_slice(),
            Value::Array(_) => {
                return Err(Invalid::new(
                    "list",
                    "a caller has one key, or two while one replaces the other",
                    "write one SHA-256, or a list of two",
                ));
            }
            text => std::slice::from_ref(text),
        };
        let digests = texts
            .iter()
            .map(|text| parse_digest(text.as_str().unwrap_or_default()));
        digests.collect::<Result<_, _>>().map(KeyDigests)
    }

    fn to_toml(&self) -> Value {
        let hex = |digest: &[u8; 32]| digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Value::Array(
            self.0
                .iter()
                .map(|digest| Value::String(hex(digest)))
                .collect(),
        )
    }
}

fn parse_digest(text: &str) -> Result<[u8; 32], Invalid> {
    if may_be_in(text) {
        return Err(Invalid::new(
            "SHA-256",
            "this is the key itself (it is not shown)",
            "write its SHA-256 alone (`printf %s \"$KEY\" | sha256sum` with the key in KEY); better replace a key that \
             was in a file: `gbg-proxy key new NAME`",
        ));
    }
    let mut digest = [0; 32];
    hex(text, &mut digest).ok_or_else(|| {
        let fix =
            "write the 64 hexadecimal digits in lower case that `gbg-proxy key new NAME` prints";
        let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let reason = match text.len() {
            64 if is_hex(text) => "the digits are in upper case".into(),
            length if is_hex(text) => format!("it has {length} digits, not 64").into(),
            _ => std::borrow::Cow::Borrowed(""),
        };
        let lower = (text.len() == 64 && is_hex(text)).then(|| text.to_lowercase());
        Invalid::new("SHA-256", reason, fix).suggest(lower)
    })?;
    Ok(digest)
}

fn hex(text: &str, bytes: &mut [u8]) -> Option<()> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != bytes.len() || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made apart from this code, with the tools of a shell; it opens nothing.
    const KEY: &str = "gbgp_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8l4rjr-";

    #[test]
    fn new_keys_are_valid_and_distinct() {
        let (one, other) = (new_key().unwrap(), new_key().unwrap());
        assert_eq!(one.expose().len(), 54);
        assert!(one.expose().starts_with("gbgp_"));
        let digests = [&one, &other].map(|key| key_digest(key.expose().as_bytes()).unwrap());
        assert_ne!(digests[0], digests[1]);
    }

    #[test]
    fn the_key_format_is_stable() {
        let found = key_digest(KEY.as_bytes()).unwrap();
        let hex: String = found.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "82a155c55d3d7091a738fbfc9e6fa00ac4c8930009f1d5e99e5a523c8b472c75"
        );
    }

    #[test]
    fn a_changed_character_makes_another_or_no_key() {
        let digest = key_digest(KEY.as_bytes());
        for at in 0..KEY.len() {
            for other in [b'x', b'y', b'+', b'=', b' ', 0, 0xff] {
                let mut changed = KEY.as_bytes().to_vec();
                if changed[at] != other {
                    changed[at] = other;
                    let found = key_digest(&changed);
                    assert_ne!(found, digest, "{at} {other}");
                    assert_eq!(
                        found.is_some(),
                        at >= PREFIX.len() && is_base64url(&other),
                        "{at} {other}"
                    );
                }
            }
        }
    }

    #[test]
    fn keys_of_another_form_are_rejected() {
        let longer = format!("{KEY}A");
        for text in [
            "",
            "gbgp_",
            &KEY[..53],
            &KEY[1..],
            &longer,
            &format!(" {KEY}"),
            &format!("{KEY}\n"),
        ] {
            assert_eq!(key_digest(text.as_bytes()), None, "{text:?}");
        }
        // A right checksum does not make one of what has another alphabet.
        assert!(
            KEY.ends_with(
                &checksum(&KEY.as_bytes()[..BODY])
                    .map(char::from)
                    .iter()
                    .collect::<String>()
            )
        );
        let mut odd = KEY[..47].to_owned() + "+";
        odd.extend(checksum(odd.as_bytes()).map(char::from));
        assert_eq!(key_digest(odd.as_bytes()), None);
    }

    #[test]
    fn a_digest_is_64_digits_in_lower_case() {
        let digits = "82a155c55d3d7091a738fbfc9e6fa00ac4c8930009f1d5e99e5a523c8b472c75";
        assert_eq!(parse_digest(digits).ok(), key_digest(KEY.as_bytes()));
        let upper = digits.to_uppercase();
        for bad in [
            "",
            &digits[1..],
            &format!("{digits}0"),
            &upper,
            &format!(" {}", &digits[1..]),
            &"ä".repeat(32),
        ] {
            assert!(
                parse_digest(bad)
                    .unwrap_err()
                    .to_string()
                    .starts_with("invalid SHA-256"),
                "{bad:?}"
            );
        }
        let error = parse_digest(KEY).unwrap_err().to_string();
        assert!(
            error.contains("SHA-256") && !error.contains("AAEC"),
            "{error}"
        );
    }

    #[test]
    fn keys_are_found_in_fields_not_in_tokens() {
        for field in [
            format!("Bearer {KEY}"),
            KEY[..20].to_owned(),
            format!("Bearer \"{KEY}\""),
            format!("Bearer x,{KEY}"),
        ] {
            assert!(holds_key(field.as_bytes()), "{field}");
        }
        for field in [
            "",
            "Bearer eyJhbGci.eyJpc3Mi.c2lnbmF0dXJl",
            "Bearer eyJgbgp_x.y",
            "Bearer gbgp",
        ] {
            assert!(!holds_key(field.as_bytes()), "{field}");
        }
    }

    #[test]
    fn text_that_resembles_a_key_is_recognized() {
        assert!(may_be_in(KEY) && may_be_in("Bearer GBGP_x"));
        assert!(!may_be_in("gbg") && !may_be_in("gbgp-crm"));
        for text in [
            KEY,
            &format!("/etc/{KEY}"),
            &format!("env:{KEY}"),
            &format!("gbgp_{KEY}"),
            &format!("{KEY}A"),
            &KEY[..53],
            &KEY.replacen("AAEC", "AAE", 1),
            &format!("{KEY}\""),
            &format!("'{KEY}',"),
            &KEY.to_uppercase(),
            &KEY.to_lowercase(),
            &format!("\"{}\"", &KEY[..25]),
        ] {
            assert!(is_in(text), "{text}");
        }
        for name in [
            "/etc/gbgp_crm.key",
            "/etc/gbgp_/customers/production/tls.key",
            "/run/secrets/gbgp_upstream_client_cert",
            "/run/secrets/gbgp_production_client_secret",
            "env:GBGP_PRODUCTION_CLIENT_SECRET",
            "GBGP_PRODUCTION_EU_WEST_1_UPSTREAM_CLIENT_CERTIFICATE",
            "gbgp_production-eu-west-1-upstream-client-certificates-2026",
            "/etc/gbgp_MyCompanyProductionClientSecretFile.key",
            "/etc/gbgp_ProductionClientSecret2026.p12",
            "/etc/gbgp_client_secret_3f2504e0-4f89-11d3-9a0c-0305e82c3301",
            "/etc/gbgp_crm/../gbgp_k8s_x509_client_certificate_v2",
            &KEY[5..],
        ] {
            assert!(!is_in(name), "{name}");
        }
    }

    /// Also one without a digit, which looks like a name.
    #[test]
    fn every_whole_key_is_recognized_by_its_checksum() {
        for _ in 0..200 {
            let key = new_key().unwrap();
            assert!(is_in(&format!("/etc/{}.key", key.expose())));
        }
        let mut plain = "gbgp_".to_owned() + &"client_".repeat(6) + "k";
        assert!(!is_in(&format!("{plain}secret")));
        plain.extend(checksum(plain.as_bytes()).map(char::from));
        assert_eq!(plain.len(), LENGTH);
        assert!(is_in(&plain));
    }
}
