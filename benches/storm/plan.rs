//! What goes wrong with each request: a plan that follows from the seed and the id, so that caller
//! and API need not agree on it.

use fastrand::Rng;

use crate::wire::{MIN_LENGTH, mix};

/// Requests on one connection of a caller.
pub(crate) const SESSION: u64 = 8;

/// RFC 9113 section 7 defines the codes 0 to 13.
const CODES: u32 = 14;

/// The HTTP of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Http {
    One,
    Two,
}

/// What a caller sends, and what the API does about it.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) is_get: bool,
    pub(crate) path: &'static str,
    /// Whether the request may be sent again although the API may have acted on it.
    pub(crate) is_safe: bool,
    pub(crate) request: Message,
    pub(crate) caller: CallerFault,
    pub(crate) status: u16,
    pub(crate) response: Message,
    pub(crate) api: ApiFault,
    /// Whether the API does the same to a request that is sent again.
    pub(crate) persists: bool,
    /// Seed of all that is left to chance on the way: sizes of writes, pauses, the exact place of a
    /// cut.
    pub(crate) chance: u64,
}

/// A body and its framing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message {
    pub(crate) length: usize,
    pub(crate) framing: Framing,
    pub(crate) has_trailers: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Content-Length.
    Length,
    /// Chunked over HTTP/1.1; END_STREAM alone over HTTP/2.
    Unknown,
    /// The end of the connection: responses over HTTP/1.1.
    Close,
}

/// How a side ends an HTTP/1.1 connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// FIN, and reads on.
    HalfClose,
    /// FIN.
    Close,
    /// RST.
    Reset,
}

/// Where the bytes of an HTTP/1.1 message are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CutAt {
    Head,
    Body,
    ChunkLine,
    /// In the last bytes: of the data, of the last chunk, of the trailers.
    Tail,
}

/// Where an HTTP/2 message is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResetAt {
    AfterHead,
    MidBody,
    /// All data was sent; END_STREAM or the trailers were not.
    NoEnd,
}

/// The writes of a message that is reset: what is written at once arrives in one read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writes {
    /// Head, data and reset at once.
    One,
    /// The head; then data and reset at once.
    HeadApart,
    /// Head, data and reset apart.
    Each,
}

/// A reset of one HTTP/2 stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StreamReset {
    pub(crate) at: ResetAt,
    pub(crate) code: u32,
    pub(crate) writes: Writes,
}

/// What a caller does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallerFault {
    None,
    /// HTTP/1.1: the request ends early.
    Cut(CutAt, End),
    /// HTTP/2: the request ends early.
    Reset(StreamReset),
    /// HTTP/2: the connection ends in the middle of the request.
    Drop(End),
    /// The request is whole; the caller does not wait for the response.
    Leave(End, u32),
}

/// What the API does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ApiFault {
    None,
    /// 401 until a later token comes.
    Unauthorized,
    /// A whole response before the request was read; then the connection, or the request's stream,
    /// ends.
    Early,
    /// HTTP/1.1: the connection ends before the response.
    CloseBefore {
        end: End,
        is_read: bool,
    },
    /// HTTP/1.1: the response ends early.
    Cut(CutAt, End),
    /// HTTP/1.1: the connection ends after the response, which does not announce it.
    CloseAfter(End),
    /// HTTP/1.1: a second response follows in the same write.
    Unsolicited,
    /// HTTP/2: a reset before the response.
    ResetBefore {
        code: u32,
        is_read: bool,
    },
    /// HTTP/2: the response ends early.
    Reset(StreamReset),
    /// HTTP/2: REFUSED_STREAM, each time or once.
    Refused {
        is_always: bool,
    },
    /// HTTP/2: GOAWAY that names the stream before this one as the last.
    GoAwayBefore(u32),
    /// HTTP/2: GOAWAY that lets all streams end.
    GoAwayAfter,
    /// HTTP/2: GOAWAY, and the end of the connection, in the middle of the response.
    GoAwayNow(u32),
    /// HTTP/2: the connection ends in the middle of the response.
    Drop(End),
}

/// The seed, and where all plans come from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plans {
    pub(crate) seed: u64,
    pub(crate) api: Http,
    /// All requests go by the plan of this id.
    pub(crate) only: Option<u64>,
}

impl Plans {
    /// The plan of the request `id`.
    pub(crate) fn plan(&self, id: u64) -> Plan {
        let id = self.only.unwrap_or(id);
        let mut rng = Rng::with_seed(mix(self.seed, id));
        let caller = match self.caller_http(id / SESSION) {
            Http::One => http1_caller_fault(&mut rng),
            Http::Two => http2_caller_fault(&mut rng),
        };
        let api = match self.api {
            Http::One => http1_api_fault(&mut rng),
            Http::Two => http2_api_fault(&mut rng),
        };
        let (is_get, path, is_safe) = match rng.u32(..10) {
            0..=1 => (true, "/v2/captain/journey/state/fetch", true),
            2..=4 => (false, "/v2/captain/journey/state/fetch", true),
            _ => (false, "/v2/captain/journey/interaction/submit", false),
        };
        let needs_body = matches!(
            caller,
            CallerFault::Cut(..) | CallerFault::Reset(_) | CallerFault::Drop(_)
        );
        let mut request = message(&mut rng, needs_body);
        if is_get && !needs_body {
            request = Message {
                length: 0,
                framing: Framing::Length,
                has_trailers: false,
            };
        }
        if matches!(caller, CallerFault::Cut(CutAt::ChunkLine, _)) {
            request.framing = Framing::Unknown;
        }
        let mut response = message(&mut rng, true);
        match api {
            ApiFault::Cut(CutAt::ChunkLine, _) => response.framing = Framing::Unknown,
            ApiFault::Cut(_, End::Reset) | ApiFault::None
                if self.api == Http::One && rng.u32(..8) == 0 =>
            {
                response.framing = Framing::Close;
            }
            _ => {}
        }
        Plan {
            is_get,
            path,
            is_safe,
            request,
            caller,
            status: [200, 200, 200, 201, 404, 500][rng.usize(..6)],
            response,
            api,
            persists: if let ApiFault::Refused { is_always } = api {
                is_always
            } else {
                rng.bool()
            },
            chance: rng.u64(..),
        }
    }

    /// The HTTP of the callers of a session.
    pub(crate) fn caller_http(&self, session: u64) -> Http {
        if mix(self.seed ^ 0x5e55_1011, session).is_multiple_of(2) {
            Http::One
        } else {
            Http::Two
        }
    }
}

fn message(rng: &mut Rng, needs_body: bool) -> Message {
    let length = match rng.u32(..20) {
        0..=1 if !needs_body => 0,
        0..=11 => rng.usize(MIN_LENGTH..1_024),
        12..=16 => rng.usize(1_024..16_384),
        17..=18 => rng.usize(16_384..80_000),
        _ => rng.usize(80_000..200_000),
    };
    let framing = if rng.bool() {
        Framing::Length
    } else {
        Framing::Unknown
    };
    Message {
        length,
        framing,
        has_trailers: rng.u32(..4) == 0,
    }
}

fn end(rng: &mut Rng) -> End {
    if rng.bool() { End::Close } else { End::Reset }
}

fn cut(rng: &mut Rng) -> CutAt {
    [
        CutAt::Head,
        CutAt::Body,
        CutAt::Body,
        CutAt::ChunkLine,
        CutAt::ChunkLine,
        CutAt::Tail,
    ][rng.usize(..6)]
}

fn stream_reset(rng: &mut Rng) -> StreamReset {
    let at = [
        ResetAt::AfterHead,
        ResetAt::MidBody,
        ResetAt::MidBody,
        ResetAt::NoEnd,
    ][rng.usize(..4)];
    let writes = [Writes::One, Writes::HeadApart, Writes::Each][rng.usize(..3)];
    StreamReset {
        at,
        code: code(rng),
        writes,
    }
}

/// A code; those two that are no errors as often as all others together.
fn code(rng: &mut Rng) -> u32 {
    match rng.u32(..4) {
        0 => 0,
        1 => 8,
        _ => rng.u32(..CODES),
    }
}

fn http1_caller_fault(rng: &mut Rng) -> CallerFault {
    match rng.u32(..20) {
        0..=9 => CallerFault::None,
        10..=18 => {
            let end = [End::HalfClose, End::Close, End::Reset][rng.usize(..3)];
            CallerFault::Cut(cut(rng), end)
        }
        _ => CallerFault::Leave(end(rng), 0),
    }
}

fn http2_caller_fault(rng: &mut Rng) -> CallerFault {
    match rng.u32(..40) {
        0..=19 => CallerFault::None,
        20..=36 => CallerFault::Reset(stream_reset(rng)),
        37 => CallerFault::Drop(end(rng)),
        _ => CallerFault::Leave(End::Reset, code(rng)),
    }
}

fn http1_api_fault(rng: &mut Rng) -> ApiFault {
    match rng.u32(..200) {
        0..=99 => ApiFault::None,
        100..=101 => ApiFault::Unauthorized,
        102..=109 => ApiFault::Early,
        110..=124 => ApiFault::CloseBefore {
            end: end(rng),
            is_read: rng.bool(),
        },
        125..=179 => ApiFault::Cut(cut(rng), end(rng)),
        180..=191 => ApiFault::CloseAfter(end(rng)),
        _ => ApiFault::Unsolicited,
    }
}

fn http2_api_fault(rng: &mut Rng) -> ApiFault {
    match rng.u32(..200) {
        0..=99 => ApiFault::None,
        100..=101 => ApiFault::Unauthorized,
        102..=109 => ApiFault::Early,
        110..=124 => ApiFault::ResetBefore {
            code: code(rng),
            is_read: rng.bool(),
        },
        125..=174 => ApiFault::Reset(stream_reset(rng)),
        175..=184 => ApiFault::Refused {
            is_always: rng.bool(),
        },
        185..=188 => ApiFault::GoAwayBefore(code(rng)),
        189..=192 => ApiFault::GoAwayAfter,
        193..=196 => ApiFault::GoAwayNow(code(rng)),
        _ => ApiFault::Drop(end(rng)),
    }
}
