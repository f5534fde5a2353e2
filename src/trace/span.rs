//! Spans, as the proxy records them.

use std::time::SystemTime;

use super::context::TraceId;

/// A finished span of a trace.
#[cfg_attr(
    not(feature = "otlp"),
    expect(dead_code, reason = "only an exporter reads the fields")
)]
#[derive(Clone, Debug)]
pub struct Span {
    pub(crate) trace_id: TraceId,
    pub(crate) id: u64,
    /// The id of the parent span; 0 for a root span.
    pub(crate) parent: u64,
    /// Whether the parent span belongs to another program.
    pub(crate) parent_is_remote: bool,
    pub(crate) kind: SpanKind,
    /// One of a few names: no ids, no paths.
    pub(crate) name: String,
    pub(crate) began: SystemTime,
    pub(crate) ended: SystemTime,
    pub(crate) attributes: Vec<(&'static str, AttributeValue)>,
    pub(crate) failed: bool,
}

/// Role of a span in a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// The called side.
    Server,
    /// The calling side.
    Client,
    /// Neither.
    Internal,
}

/// Value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttributeValue {
    /// A string.
    Text(String),
    /// An integer.
    Number(i64),
}
