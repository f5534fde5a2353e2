//! Any bytes as the response of a token endpoint: a granted token is a header that can be sent, with
//! a plausible lifetime.

#![no_main]

use std::time::Duration;

use gbg_proxy::token::fuzz::{parse_error_code, parse_token_response};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = parse_error_code(data);
    let Ok(response) = parse_token_response(data) else { return };
    let token = response
        .header
        .as_bytes()
        .strip_prefix(b"Bearer ")
        .expect("the scheme");
    assert!(
        is_b64token(token),
        "{:?} is not a b64token",
        String::from_utf8_lossy(token)
    );
    assert!(response.header.is_sensitive(), "it would be printed");
    if let Some(lifetime) = response.lifetime {
        assert!(
            lifetime >= Duration::from_secs(1) && lifetime <= Duration::from_secs(3650 * 86_400),
            "{lifetime:?}"
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
