//! The number under which the log, the caller and an error body speak of the same request.

use http::header::{HeaderMap, HeaderName, HeaderValue};

/// The field that carries it: to us if the caller likes to choose, and back; never to the API.
pub(super) const FIELD: HeaderName = HeaderName::from_static("x-proxy-request-id");

const LONGEST: usize = 64;

/// The caller's own id if it is fit to be logged, else a new one.
pub(super) fn settle(headers: &HeaderMap) -> HeaderValue {
    let chosen = headers.get(&FIELD).filter(|id| is_fit(id.as_bytes()));
    chosen.cloned().unwrap_or_else(random)
}

/// The id as a text.
pub(super) fn text(id: &HeaderValue) -> &str {
    id.to_str().unwrap_or_default()
}

fn is_fit(id: &[u8]) -> bool {
    (1..=LONGEST).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic)
}

/// Sixteen hexadecimal digits: unique enough to find a line in a log, and no secret.
fn random() -> HeaderValue {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 16];
    let mut number = fastrand::u64(..);
    for letter in &mut text {
        *letter = DIGITS[(number & 0xF) as usize];
        number >>= 4;
    }
    HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static("0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callers_id_is_taken_over_only_if_it_is_short_and_visible() {
        let settled = |id: &str| {
            let headers = HeaderMap::from_iter([(FIELD, HeaderValue::from_str(id).unwrap())]);
            settle(&headers)
        };
        assert_eq!(settled("order-77"), "order-77");
        for bad in ["", "a b", &"x".repeat(65)] {
            let id = settled(bad);
            assert!(id.len() == 16 && id != bad, "{bad:?}");
        }
        assert_ne!(random(), random());
    }
}
