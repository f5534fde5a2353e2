//! Status page for browsers: one file. Its Content-Security-Policy forbids to load anything else,
//! and allows only the style and the script of the file.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use http::header::{CONTENT_SECURITY_POLICY, REFERRER_POLICY};
use ring::digest::{SHA256, digest};

use super::response::{AdminResponse, with_type};

const HTML: &str = include_str!("page.html");

static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let policy = format!(
        "default-src 'none'; style-src '{}'; script-src '{}'; connect-src 'self'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        hash_of("style"),
        hash_of("script")
    );
    HeaderValue::try_from(policy).unwrap_or_else(|_| HeaderValue::from_static("default-src 'none'"))
});

pub(super) fn response() -> AdminResponse {
    let mut res = with_type("text/html; charset=utf-8", HTML);
    let headers = res.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, POLICY.clone());
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    res
}

/// The hash source (CSP 3 section 2.3.1) of the content of the only element `name`.
fn hash_of(name: &str) -> String {
    let start = HTML
        .split_once(&format!("<{name}>"))
        .map_or("", |(_, rest)| rest);
    let inside = start
        .split_once(&format!("</{name}>"))
        .map_or("", |(inside, _)| inside);
    format!(
        "sha256-{}",
        STANDARD.encode(digest(&SHA256, inside.as_bytes()))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_one_file_without_external_resources() {
        for name in ["style", "script"] {
            assert_eq!(HTML.matches(&format!("<{name}")).count(), 1, "{name}");
        }
        for word in [
            "src=",
            "@import",
            "url(",
            "innerHTML",
            " style=\"",
            " onclick",
        ] {
            assert!(!HTML.contains(word), "{word}");
        }
        assert!(!POLICY.to_str().unwrap().contains("unsafe"));
    }
}
