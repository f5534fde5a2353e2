//! Any text as a target: what passes stays below an allowed prefix, however a server reads it.
//!
//! The reading here is an independent one, and deliberately the most generous: it decodes, takes a
//! backslash for a slash, drops parameters and empty segments, and resolves dot segments, in every
//! order that the flags make, and takes characters that look like ASCII for that. What a server
//! would decode is UTF-8, which has no second form of a slash.

#![no_main]

use std::cell::RefCell;

use gbg_proxy_fuzz::{Gate, Outcome};
use http::{Method, Request, Uri};
use http_body_util::Empty;
use libfuzzer_sys::{Corpus, fuzz_target};

const ALLOWED: [&str; 2] = ["/v2/captain/", "/captain/api/"];

thread_local!(static GATE: RefCell<Gate> = RefCell::new(Gate::new(&[])));

fuzz_target!(|data: &[u8]| -> Corpus {
    let Ok(uri) = Uri::try_from(data) else {
        return Corpus::Reject;
    };
    for method in [Method::GET, Method::OPTIONS] {
        let req = Request::builder()
            .method(method.clone())
            .uri(uri.clone())
            .header("host", "localhost");
        match GATE.with_borrow_mut(|gate| gate.pass(req.body(Empty::new()).unwrap())) {
            Outcome::Refused(status) => assert!(status.is_client_error(), "{status} for {uri}"),
            Outcome::Sent(parts) => check(
                &method,
                parts.uri.path_and_query().map_or("", |text| text.as_str()),
            ),
        }
    }
    Corpus::Keep
});

fn check(method: &Method, target: &str) {
    if target == "*" {
        assert_eq!(*method, Method::OPTIONS, "* was asked for");
        return;
    }
    let path = target.split(['?', '#']).next().unwrap().as_bytes();
    let once = decode(path);
    let twice = decode(&once);
    assert!(
        std::str::from_utf8(&once).is_ok(),
        "{target:?} is not UTF-8"
    );
    let folded = fold(&once);
    for text in [path, &once, &twice, &folded] {
        for drops_parameters in [false, true] {
            let resolved = resolve(text, drops_parameters);
            let inside = ALLOWED
                .iter()
                .any(|prefix| resolved.starts_with(prefix.as_bytes()));
            assert!(
                inside,
                "{target:?} may be read as {:?}",
                String::from_utf8_lossy(&resolved)
            );
        }
    }
}

/// Decodes what can be decoded, and leaves the rest as it is.
fn decode(text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    let mut rest = text;
    while let [byte, after @ ..] = rest {
        let digits = after
            .get(..2)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        let value = digits
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match value {
            Some(value) if *byte == b'%' => {
                decoded.push(value);
                rest = &after[2..];
            }
            _ => {
                decoded.push(*byte);
                rest = after;
            }
        }
    }
    decoded
}

/// Characters as Windows' best fit and Unicode's compatibility forms have them.
fn fold(text: &[u8]) -> Vec<u8> {
    let mut folded = String::from_utf8_lossy(text).into_owned();
    for (ascii, likes) in [
        (".", "\u{2024}\u{FE52}\u{FF0E}"),
        ("..", "\u{2025}\u{FE30}"),
        ("/", "\u{2044}\u{2215}\u{FF0F}"),
        ("\\", "\u{2216}\u{FE68}\u{FF3C}"),
        (";", "\u{37E}\u{FE14}\u{FE54}\u{FF1B}"),
    ] {
        folded = folded.replace(|char: char| likes.contains(char), ascii);
    }
    folded.into_bytes()
}

/// The path without dot segments (RFC 3986 section 5.2.4), and without what some servers drop
/// before they look.
fn resolve(path: &[u8], drops_parameters: bool) -> Vec<u8> {
    // A text of C ends at its zero.
    let path = path.split(|&byte| byte == 0).next().unwrap();
    let mut segments: Vec<&[u8]> = Vec::new();
    let mut is_directory = false;
    for segment in path.split(|byte| b"/\\".contains(byte)) {
        let segment = match drops_parameters {
            true => segment.split(|&byte| byte == b';').next().unwrap(),
            false => segment,
        };
        is_directory = matches!(segment, b"" | b"." | b"..");
        match segment {
            b"" | b"." => {}
            b".." => drop(segments.pop()),
            _ => segments.push(segment),
        }
    }
    let mut resolved = segments
        .iter()
        .flat_map(|segment| [b"/", *segment].concat())
        .collect::<Vec<u8>>();
    if is_directory {
        resolved.push(b'/');
    }
    resolved
}
