//! Check of the request path: rejects every path that two servers may interpret differently.

use percent_encoding::percent_decode_str;

use crate::error::Error;

const DOT_SEGMENT: &str = "the path has a dot segment";
const BACKSLASH: &str = "the path has a backslash";
const UNENCODED: &str = "the path has a character that must be percent-encoded";
const NO_DIGITS: &str = "the path has a percent sign without two hexadecimal digits after it";
const ENCODED_DOT: &str = "the path has a percent-encoded dot";
const ENCODED_SLASH: &str = "the path has a percent-encoded slash";
const ENCODED_BACKSLASH: &str = "the path has a percent-encoded backslash";
const ENCODED_SEMICOLON: &str = "the path has a percent-encoded semicolon";
const ENCODED_PERCENT: &str = "the path has a percent-encoded percent sign";
const ENCODED_CONTROL: &str = "the path has a percent-encoded control character";
const OVERLONG: &str = "the path has an overlong UTF-8 sequence";
const SURROGATE: &str = "the path has a UTF-16 surrogate that is encoded as UTF-8";
const NOT_UTF8: &str = "the path has percent-encoded bytes that are not UTF-8";
const LOOK_ALIKE: &str = "the path has a character that some servers read as a dot, a slash, a backslash, a semicolon or a percent sign";

/// Bytes that are forbidden in a path, or after which the next bytes are checked. Most are neither.
const IS_SPECIAL: [bool; 256] = {
    let mut is_special = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        is_special[byte] = matches!(byte as u8, b'/' | b'%' | b'\\' | 0..=b' ' | 0x7F..);
        byte += 1;
    }
    is_special
};

/// Rejects a path that a server may interpret as another one. Each kind has its own message.
pub(super) fn check_path(path: &str) -> Result<(), Error> {
    let mut rest = path.as_bytes();
    let mut has_encoded_text = false;
    while let Some(index) = rest.iter().position(|&byte| IS_SPECIAL[usize::from(byte)]) {
        let byte = rest[index];
        rest = &rest[index + 1..];
        let fault = match byte {
            b'/' if rest.starts_with(b"/") => return Err(Error::EmptySegment),
            b'/' if starts_with_dots(rest) => Some(DOT_SEGMENT),
            b'/' => None,
            b'\\' => Some(BACKSLASH),
            b'%' => match decoded(rest) {
                Some(0x80..) => {
                    has_encoded_text = true;
                    None
                }
                Some(ascii) => fault_of_encoded(ascii),
                None => Some(NO_DIGITS),
            },
            _ => Some(UNENCODED),
        };
        if let Some(detail) = fault {
            return Err(Error::BadRequest(detail));
        }
    }
    if has_encoded_text {
        return check_text(path);
    }
    Ok(())
}

/// Whether the segment at the start of `rest` is `.` or `..`. Some servers remove parameters (`;…`)
/// first.
fn starts_with_dots(rest: &[u8]) -> bool {
    matches!(
        rest,
        [b'.'] | [b'.', b'/' | b';', ..] | [b'.', b'.'] | [b'.', b'.', b'/' | b';', ..]
    )
}

/// Decodes the two hexadecimal digits at the start of `rest`.
fn decoded(rest: &[u8]) -> Option<u8> {
    let digit = |index: usize| {
        rest.get(index)
            .and_then(|&byte| char::from(byte).to_digit(16))
    };
    u8::try_from(digit(0)? * 16 + digit(1)?).ok()
}

fn fault_of_encoded(ascii: u8) -> Option<&'static str> {
    match ascii {
        0..=0x1F | 0x7F => Some(ENCODED_CONTROL),
        b'%' => Some(ENCODED_PERCENT),
        b'.' => Some(ENCODED_DOT),
        b'/' => Some(ENCODED_SLASH),
        b';' => Some(ENCODED_SEMICOLON),
        b'\\' => Some(ENCODED_BACKSLASH),
        _ => None,
    }
}

/// Checks the text of a path with encoded non-ASCII bytes: a lenient decoder turns an overlong
/// sequence into ASCII (`%c0%af` is a slash), drops bytes, or swallows the slash after an
/// incomplete sequence.
fn check_text(path: &str) -> Result<(), Error> {
    let bytes: Vec<u8> = percent_decode_str(path).collect();
    let detail = match std::str::from_utf8(&bytes) {
        Ok(text) if text.chars().any(char::is_control) => ENCODED_CONTROL,
        Ok(text) if text.chars().any(is_look_alike) => LOOK_ALIKE,
        Ok(_) => return Ok(()),
        Err(error) => fault_of_bytes(&bytes[error.valid_up_to()..]),
    };
    Err(Error::BadRequest(detail))
}

/// The problem of bytes that start with an invalid sequence (RFC 3629 sections 3 and 4).
fn fault_of_bytes(invalid: &[u8]) -> &'static str {
    match invalid {
        [0xC0 | 0xC1, ..] | [0xE0, 0x80..=0x9F, ..] | [0xF0, 0x80..=0x8F, ..] => OVERLONG,
        // The sequences of five and six bytes of RFC 2279.
        [0xF8, 0x80..=0x87, ..] | [0xFC, 0x80..=0x83, ..] => OVERLONG,
        [0xED, 0xA0..=0xBF, ..] => SURROGATE,
        _ => NOT_UTF8,
    }
}

/// Whether Unicode's compatibility forms (NFKC) or the best-fit tables of Windows map `char` to one
/// that separates segments, ends a segment, or encodes another character.
fn is_look_alike(char: char) -> bool {
    matches!(
        char,
        '\u{2024}'
            ..='\u{2026}' | '\u{FE19}' | '\u{FE30}' | '\u{FE52}' | '\u{FF0E}' // dots
            | '\u{2044}' | '\u{2100}' | '\u{2101}' | '\u{2105}' | '\u{2106}' | '\u{2215}' | '\u{FF0F}' // slashes
            | '\u{A5}' | '\u{20A9}' | '\u{2216}' | '\u{FE68}' | '\u{FF3C}' // backslashes
            | '\u{037E}' | '\u{FE14}' | '\u{FE54}' | '\u{FF1B}' // semicolons
            | '\u{66A}' | '\u{FE6A}' | '\u{FF05}' // percent signs
    )
}
