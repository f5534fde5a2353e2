//! Tracing: W3C Trace Context of requests, and export of spans to a collector by OTLP.
//!
//! A span is exported as a whole after its end. It knows nothing of the proxied request and holds
//! no personal data.

mod context;
#[cfg(not(feature = "otlp"))]
mod none;
#[cfg(feature = "otlp")]
mod otlp;
mod span;

pub use self::context::{TRACEPARENT, TRACESTATE, TraceContext, TraceId, new_span_id};
#[cfg(not(feature = "otlp"))]
pub use self::none::NoExporter as SpanExporter;
#[cfg(feature = "otlp")]
pub use self::otlp::OtlpExporter as SpanExporter;
pub use self::span::{AttributeValue, Span, SpanKind};
