//! The context of a trace, as requests carry it (W3C Trace Context, level 1).

use std::fmt;

use http::header::{HeaderMap, HeaderName, HeaderValue};

/// Names the trace, and the part of it that a request is sent by.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// What those who take part in the trace say to each other; it goes with the other alone.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The only flag that is known: the trace is recorded.
const SAMPLED: u8 = 1;

/// The number of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId(pub u128);

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The trace that a request belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace.
    pub trace_id: TraceId,
    /// The part of it that the request was sent by; 0 for none, where the trace begins here.
    pub parent: u64,
    /// Whether it is recorded.
    pub is_sampled: bool,
}

impl TraceContext {
    /// The one that `headers` name. `None` where they name none or several, or what they name is
    /// none: whoever takes part begins another then (section 3.2.2.1 and 3.4).
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut named = headers.get_all(TRACEPARENT).iter();
        match (named.next(), named.next()) {
            (Some(value), None) => TraceContext::parse(value.as_bytes()),
            _ => None,
        }
    }

    /// A new trace.
    pub fn begin(is_sampled: bool) -> Self {
        TraceContext {
            trace_id: TraceId(fastrand::u128(1..)),
            parent: 0,
            is_sampled,
        }
    }

    /// `version-trace-parent-flags` (section 3.2). A later version may have more behind that.
    fn parse(value: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(value.get(..55)?).ok()?;
        let rest = &value[55..];
        let mut parts = text.split('-');
        let [version, trace_id, parent, flags] =
            [2, 32, 16, 2].map(|length| hex(parts.next(), length));
        let (version, trace_id, parent, flags) = (version?, trace_id?, parent?, flags?);
        let has_right_length = if version == 0 {
            rest.is_empty()
        } else {
            matches!(rest, [] | [b'-', ..])
        };
        let is_valid = version != 0xff && trace_id != 0 && parent != 0 && has_right_length;
        is_valid.then_some(TraceContext {
            trace_id: TraceId(trace_id),
            parent: u64::try_from(parent).ok()?,
            is_sampled: flags & u128::from(SAMPLED) != 0,
        })
    }

    /// The field of a request that is sent by `span`. `None` never comes.
    pub fn header(&self, span: u64) -> Option<HeaderValue> {
        let flags = if self.is_sampled { SAMPLED } else { 0 };
        HeaderValue::try_from(format!("00-{}-{span:016x}-{flags:02x}", self.trace_id)).ok()
    }
}

/// A number for a new span.
pub fn span_id() -> u64 {
    fastrand::u64(1..)
}

/// The number that exactly `length` digits are; capitals are none (section 3.2.1).
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
        TraceContext::of(&HeaderMap::from_iter(fields))
    }

    #[test]
    fn a_context_is_read_as_the_standard_writes_it() {
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
    fn what_is_no_context_is_none() {
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
            TraceContext::of(&HeaderMap::from_iter([(TRACEPARENT, not_text)])),
            None
        );
    }
}
