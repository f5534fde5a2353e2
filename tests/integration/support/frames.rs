//! HTTP/2 frames written by hand, so that a test decides what is sent and in how many writes.

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// The fields of a POST that the proxy forwards.
pub const GOOD: [(&str, &str); 4] = [
    (":method", "POST"),
    (":scheme", "http"),
    (":authority", "a"),
    (":path", "/v2/captain/x"),
];

/// The connection preface of a client, with empty SETTINGS.
pub fn preface() -> Vec<u8> {
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &frame(SETTINGS, 0, 0, &[])[..],
    ]
    .concat()
}

/// SETTINGS and WINDOW_UPDATE that let the other side send as much as it has.
pub fn largest_windows() -> Vec<u8> {
    const INITIAL_WINDOW_SIZE: u8 = 4;
    const LARGEST_WINDOW: u32 = (1 << 31) - 1;
    const DEFAULT_WINDOW: u32 = 65_535;
    let settings = [&[0, INITIAL_WINDOW_SIZE], &LARGEST_WINDOW.to_be_bytes()[..]].concat();
    let window = (LARGEST_WINDOW - DEFAULT_WINDOW).to_be_bytes();
    [
        frame(SETTINGS, 0, 0, &settings),
        frame(WINDOW_UPDATE, 0, 0, &window),
    ]
    .concat()
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Fields as literals without a name from a table (RFC 7541 section 6.2.2), so that anything can be
/// written.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    fields
        .iter()
        .flat_map(|(name, value)| [vec![0], text(name), text(value)].concat())
        .collect()
}
