//! Paths that can be read in one way only.

use crate::error::Error;

/// Refuses what a server may read as another path than the one that was matched: dot segments, empty segments,
/// backslashes, and their percent-encoded forms.
pub(super) fn check_path(path: &str) -> Result<(), Error> {
    const AMBIGUOUS: Result<(), Error> =
        Err(Error::BadRequest("the path has empty or dot segments, backslashes, or encoded forms of these"));
    let mut previous = 0;
    for (index, &byte) in path.as_bytes().iter().enumerate() {
        let rest = &path.as_bytes()[index + 1..];
        let refused = match byte {
            b'\\' | 0..=b' ' | 0x7F.. => true,
            b'/' => previous == b'/',
            b'.' => previous == b'/' && ends_dot_segment(rest),
            b'%' => encodes_special(rest),
            _ => false,
        };
        if refused {
            return AMBIGUOUS;
        }
        previous = byte;
    }
    Ok(())
}

/// Whether a segment that begins with a dot, and goes on with `rest`, is `.` or `..`. Some servers take parameters
/// (`;…`) off before they look.
fn ends_dot_segment(rest: &[u8]) -> bool {
    matches!(rest, [] | [b'/' | b';', ..] | [b'.'] | [b'.', b'/' | b';', ..])
}

/// Whether the two hexadecimal digits that `rest` begins with are those of a dot, a slash, a backslash, a semicolon, a
/// percent sign or a control character, or are none.
fn encodes_special(rest: &[u8]) -> bool {
    let digit = |index: usize| rest.get(index).and_then(|&byte| char::from(byte).to_digit(16));
    match (digit(0), digit(1)) {
        (Some(high), Some(low)) => {
            matches!(high * 16 + low, 0..=0x1F | 0x7F | 0x25 | 0x2E | 0x2F | 0x3B | 0x5C)
        }
        _ => true,
    }
}
