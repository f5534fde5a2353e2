//! W3C Trace Context, level 1: the trace that a request belongs to, as its header fields carry it.

use std::fmt;

use http::header::{HeaderMap, HeaderName, HeaderValue};

/// Ids of the trace and of the span that sends the request.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Data of the tracing systems that take part; meaningless without [`TRACEPARENT`].
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The flag that says that the trace is recorded.
const SAMPLED: u8 = 1;

/// Id of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId(pub u128);

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Trace context of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    pub(crate) trace_id: TraceId,
    /// The id of the span that sent the request; 0 if the trace starts here.
    pub(crate) parent: u64,
    /// Whether the trace is recorded.
    pub(crate) is_sampled: bool,
}

impl TraceContext {
    /// The context in `headers`. `None` if there is none, more than one, or an invalid one: then a
    /// new trace starts (sections 3.2.2.1 and 3.4).
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let mut named = headers.get_all(TRACEPARENT).iter();
        match (named.next(), named.next()) {
            (Some(value), None) => TraceContext::parse(value.as_bytes()),
            _ => None,
        }
    }

    /// Starts a new trace.
    pub fn start(is_sampled: bool) -> Self {
        TraceContext {
            trace_id: TraceId(fastrand::u128(1..)),
            parent: 0,
            is_sampled,
        }
    }

    /// Parses `version-trace-parent-flags` (section 3.2). A later version may append fields.
    fn parse(value: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(value.get(..55)?).ok()?;
        let rest = &value[55..];
        let mut parts = text.split('-');
        let [version, trace_id, parent, flags] =
            [2, 32, 16, 2].map(|length| hex(parts.next(), length));
        let (version, trace_id, parent, flags) = (version?, trace_id?, parent?, flags?);
        let is_complete = if version == 0 {
            rest.is_empty()
        } else {
            matches!(rest, [] | [b'-', ..])
        };
        let is_valid = version != 0xff && trace_id != 0 && parent != 0 && is_complete;
        is_valid.then_some(TraceContext {
            trace_id: TraceId(trace_id),
            parent: u64::try_from(parent).ok()?,
            is_sampled: flags & u128::from(SAMPLED) != 0,
        })
    }

    /// The [`TRACEPARENT`] value of a request that `span` sends. It is never `None`: the characters
    /// are all ASCII.
    pub fn header(&self, span: u64) -> Option<HeaderValue> {
        let flags = if self.is_sampled { SAMPLED } else { 0 };
        HeaderValue::try_from(format!("00-{}-{span:016x}-{flags:02x}", self.trace_id)).ok()
    }
}

/// A random id for a new span.
pub fn new_span_id() -> u64 {
    fastrand::u64(1..)
}

/// Parses exactly `length` lower-case hex digits (section 3.2.1).
fn hex(digits: Option<&str>, length: usize) -> Option<u128> {
    let digits = digits.filter(|digits| digits.len() == length)?;
    let is_hex = digits
        .bytes()
        .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    is_hex
        .then(|| u128::from_str_radix(digits, 16).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn of(texts: &[&str]) -> Option<TraceContext> {
        let fields = texts
            .iter()
            .map(|text| (TRACEPARENT, text.parse().unwrap()));
        TraceContext::from_headers(&HeaderMap::from_iter(fields))
    }

    #[test]
    fn a_valid_context_is_parsed() {
        let context = of(&[GOOD]).unwrap();
        assert_eq!(
            (context.trace_id.0, context.parent),
            (0x4bf92f3577b34da6a3ce929d0e0e4736, 0x00f067aa0ba902b7)
        );
        assert!(context.is_sampled);
        assert!(
            !of(&["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-fe"])
                .unwrap()
                .is_sampled
        );
        assert_eq!(context.header(context.parent).unwrap(), GOOD);
        let later = GOOD.replacen("00", "cc", 1);
        assert!(of(&[&later]).is_some() && of(&[&format!("{later}-more")]).is_some());
    }

    #[test]
    fn invalid_contexts_are_ignored() {
        for bad in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-011",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(of(&[bad]), None, "{bad}");
        }
        assert_eq!(of(&[GOOD, GOOD]), None);
        assert_eq!(of(&[]), None);
        let not_text = HeaderValue::from_bytes(&[0xff; 55]).unwrap();
        assert_eq!(
            TraceContext::from_headers(&HeaderMap::from_iter([(TRACEPARENT, not_text)])),
            None
        );
    }
}
