//! Plan of each request: its messages and faults follow from the seed and the id, so the caller and
//! the API need no communication.

use fastrand::Rng;

use crate::wire::{MIN_LENGTH, mix};

/// Requests on one connection of a caller.
pub(crate) const SESSION_REQUESTS: u64 = 8;

/// Number of error codes: RFC 9113 section 7 defines 0 to 13.
const ERROR_CODES: u32 = 14;

/// The HTTP of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Http {
    One,
    Two,
}

/// The messages of one request, and the faults of its caller and the API.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) is_get: bool,
    pub(crate) path: &'static str,
    /// Whether the proxy may repeat the request even if the API has acted on it.
    pub(crate) is_safe: bool,
    pub(crate) request: Message,
    pub(crate) caller: CallerFault,
    pub(crate) status: u16,
    pub(crate) response: Message,
    pub(crate) api: ApiFault,
    /// Whether the fault of the API also applies to a repeated request.
    pub(crate) persists: bool,
    /// Seed of the details: sizes of writes, pauses, the exact position of a cut.
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
    /// The end of the connection: only for HTTP/1.1 responses.
    Close,
}

/// How a side ends an HTTP/1.1 connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// FIN, and continues to read.
    HalfClose,
    /// FIN.
    Close,
    /// RST.
    Reset,
}

/// The part of an HTTP/1.1 message that is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CutAt {
    Head,
    Body,
    ChunkLine,
    /// The last bytes: of the data, the last chunk or the trailers.
    Tail,
}

/// The part of an HTTP/2 message after which its stream is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResetAt {
    AfterHead,
    MidBody,
    /// After all data, before END_STREAM or the trailers.
    NoEnd,
}

/// The writes of a message that is reset: one write arrives in one read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writes {
    /// Head, data and reset together.
    One,
    /// The head; then data and reset together.
    HeadApart,
    /// Head, data and reset separately.
    Each,
}

/// A reset of one HTTP/2 stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StreamReset {
    pub(crate) at: ResetAt,
    pub(crate) code: u32,
    pub(crate) writes: Writes,
}

/// The fault of a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallerFault {
    None,
    /// HTTP/1.1: the request ends early.
    Cut(CutAt, End),
    /// HTTP/2: the request ends early.
    Reset(StreamReset),
    /// HTTP/2: the connection ends in the middle of the request.
    Drop(End),
    /// The request is complete; the caller does not wait for the response.
    Leave(End, u32),
}

/// The fault of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ApiFault {
    None,
    /// 401 until a newer token is sent.
    Unauthorized,
    /// A complete response before the request is read; then the connection or stream ends.
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

/// The seed of all plans.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plans {
    pub(crate) seed: u64,
    pub(crate) api: Http,
    /// Every request uses the plan of this id.
    pub(crate) only: Option<u64>,
}

impl Plans {
    /// The plan of the request `id`.
    pub(crate) fn plan(&self, id: u64) -> Plan {
        let id = self.only.unwrap_or(id);
        let mut rng = Rng::with_seed(mix(self.seed, id));
        let caller = match self.caller_http(id / SESSION_REQUESTS) {
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
        let mut request = random_message(&mut rng, needs_body);
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
        let mut response = random_message(&mut rng, true);
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

fn random_message(rng: &mut Rng, needs_body: bool) -> Message {
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

fn random_end(rng: &mut Rng) -> End {
    if rng.bool() { End::Close } else { End::Reset }
}

fn random_cut(rng: &mut Rng) -> CutAt {
    [
        CutAt::Head,
        CutAt::Body,
        CutAt::Body,
        CutAt::ChunkLine,
        CutAt::ChunkLine,
        CutAt::Tail,
    ][rng.usize(..6)]
}

fn random_reset(rng: &mut Rng) -> StreamReset {
    let at = [
        ResetAt::AfterHead,
        ResetAt::MidBody,
        ResetAt::MidBody,
        ResetAt::NoEnd,
    ][rng.usize(..4)];
    let writes = [Writes::One, Writes::HeadApart, Writes::Each][rng.usize(..3)];
    StreamReset {
        at,
        code: random_code(rng),
        writes,
    }
}

/// A random code. NO_ERROR and CANCEL are as frequent as all others together.
fn random_code(rng: &mut Rng) -> u32 {
    match rng.u32(..4) {
        0 => 0,
        1 => 8,
        _ => rng.u32(..ERROR_CODES),
    }
}

fn http1_caller_fault(rng: &mut Rng) -> CallerFault {
    match rng.u32(..20) {
        0..=9 => CallerFault::None,
        10..=18 => {
            let end = [End::HalfClose, End::Close, End::Reset][rng.usize(..3)];
            CallerFault::Cut(random_cut(rng), end)
        }
        _ => CallerFault::Leave(random_end(rng), 0),
    }
}

fn http2_caller_fault(rng: &mut Rng) -> CallerFault {
    match rng.u32(..40) {
        0..=19 => CallerFault::None,
        20..=36 => CallerFault::Reset(random_reset(rng)),
        37 => CallerFault::Drop(random_end(rng)),
        _ => CallerFault::Leave(End::Reset, random_code(rng)),
    }
}

fn http1_api_fault(rng: &mut Rng) -> ApiFault {
    match rng.u32(..200) {
        0..=99 => ApiFault::None,
        100..=101 => ApiFault::Unauthorized,
        102..=109 => ApiFault::Early,
        110..=124 => ApiFault::CloseBefore {
            end: random_end(rng),
            is_read: rng.bool(),
        },
        125..=179 => ApiFault::Cut(random_cut(rng), random_end(rng)),
        180..=191 => ApiFault::CloseAfter(random_end(rng)),
        _ => ApiFault::Unsolicited,
    }
}

fn http2_api_fault(rng: &mut Rng) -> ApiFault {
    match rng.u32(..200) {
        0..=99 => ApiFault::None,
        100..=101 => ApiFault::Unauthorized,
        102..=109 => ApiFault::Early,
        110..=124 => ApiFault::ResetBefore {
            code: random_code(rng),
            is_read: rng.bool(),
        },
        125..=174 => ApiFault::Reset(random_reset(rng)),
        175..=184 => ApiFault::Refused {
            is_always: rng.bool(),
        },
        185..=188 => ApiFault::GoAwayBefore(random_code(rng)),
        189..=192 => ApiFault::GoAwayAfter,
        193..=196 => ApiFault::GoAwayNow(random_code(rng)),
        _ => ApiFault::Drop(random_end(rng)),
    }
}
