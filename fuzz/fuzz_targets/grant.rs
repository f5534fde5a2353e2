//! Any bytes as the answer of a token endpoint: a grant is a header that can be sent, with a life
//! that can be waited for.

#![no_main]

use std::time::Duration;

use gbg_proxy::token::fuzz::{parse_error, parse_grant};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = parse_error(data);
    let Ok(grant) = parse_grant(data) else { return };
    let token = grant
        .header
        .as_bytes()
        .strip_prefix(b"Bearer ")
        .expect("the scheme");
    assert!(
        is_b64token(token),
        "{:?} is no b64token",
        String::from_utf8_lossy(token)
    );
    assert!(grant.header.is_sensitive(), "it would be printed");
    if let Some(life) = grant.life {
        assert!(
            life >= Duration::from_secs(1) && life <= Duration::from_secs(3650 * 86_400),
            "{life:?}"
        );
    }
});

/// `1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="` (RFC 6750 section 2.1).
fn is_b64token(text: &[u8]) -> bool {
    let end = text
        .iter()
        .rposition(|&byte| byte != b'=')
        .map_or(0, |last| last + 1);
    end > 0
        && text[..end]
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(byte))
}
