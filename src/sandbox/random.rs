//! Random ids and tokens. The generator is fast and not cryptographic: nothing here protects a
//! secret.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Returns `length` characters that are safe in a URL.
pub(super) fn text(length: usize) -> String {
    (0..length)
        .map(|_| char::from(ALPHABET[fastrand::usize(..ALPHABET.len())]))
        .collect()
}

/// Returns a UUID, version 4.
pub(super) fn uuid() -> String {
    let bits = fastrand::u128(..) & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let hex = format!("{bits:032x}");
    [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ]
    .join("-")
}

/// Returns an opaque token with the shape and length of a JWT signed by RS256.
pub(super) fn token() -> String {
    format!("eyJ{}.eyJ{}.{}", text(33), text(600), text(342))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_has_its_version() {
        let uuid = uuid();
        assert_eq!(uuid.len(), 36);
        assert_eq!(&uuid[14..15], "4");
        assert!("89ab".contains(&uuid[19..20]), "{uuid}");
    }

    #[test]
    fn a_token_has_three_jwt_parts() {
        assert_eq!(token().split('.').count(), 3);
        assert_ne!(token(), token());
    }
}
