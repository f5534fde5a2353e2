//! Which trace a request belongs to (W3C Trace Context), and what a collector of traces is told of
//! it (OTLP).
//!
//! Nothing here knows of the proxied request: a span is told with its times when it is over, and
//! holds no personal data.

mod context;
#[cfg(not(feature = "otlp"))]
mod none;
#[cfg(feature = "otlp")]
mod otlp;

use std::time::SystemTime;

pub use self::context::{TRACEPARENT, TRACESTATE, TraceContext, TraceId, span_id};
#[cfg(not(feature = "otlp"))]
pub use self::none::NoExporter as SpanExporter;
#[cfg(feature = "otlp")]
pub use self::otlp::OtlpExporter as SpanExporter;

/// A part of a trace.
#[derive(Clone, Debug)]
pub struct Span {
    /// The trace.
    pub trace_id: TraceId,
    /// Its own number.
    pub id: u64,
    /// The number of the span that it is a part of; 0 for none.
    pub parent: u64,
    /// Whether that is another program's.
    pub parent_is_remote: bool,
    /// Which side of a call it is.
    pub kind: SpanKind,
    /// What happened, out of few names.
    pub name: String,
    /// When it began.
    pub began: SystemTime,
    /// When it ended.
    pub ended: SystemTime,
    /// What else is known of it.
    pub attributes: Vec<(&'static str, AttributeValue)>,
    /// Whether it failed.
    pub failed: bool,
}

/// Which side of a call a span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// Who was called.
    Server,
    /// Who calls.
    Client,
    /// Neither.
    Internal,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttributeValue {
    /// A text.
    Text(String),
    /// A number.
    Number(i64),
}
