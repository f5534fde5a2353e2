//! Trace of a request: passed through, started here, or joined with spans where an exporter is
//! configured.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::header::HeaderMap;
use http::{Method, StatusCode};

use crate::config::{self, Config, Origin};
use crate::metrics::Outcome;
use crate::trace::{
    AttributeValue, Span, SpanExporter, SpanKind, TRACEPARENT, TRACESTATE, TraceContext, TraceId,
    new_span_id,
};

/// Rules for traces.
#[derive(Debug)]
pub(super) struct Tracer {
    start: bool,
    sample: f64,
    exporter: Option<Arc<SpanExporter>>,
    /// Destination of the attempts.
    api: Origin,
}

impl Tracer {
    pub(super) fn new(config: &Config, exporter: Option<Arc<SpanExporter>>) -> Self {
        let config::Trace { start, sample, .. } = config.trace;
        // An exporter implies `start`. The existing exporter decides, not the configuration, whose
        // change needs a restart.
        Tracer {
            start: start || exporter.is_some(),
            sample,
            exporter,
            api: config.upstream.origin.clone(),
        }
    }

    /// The trace of a request with these `headers`, if it has one or starts one.
    pub(super) fn trace(&self, headers: &HeaderMap) -> Option<RequestTrace> {
        let received = TraceContext::from_headers(headers);
        let start = || {
            self.start.then(|| {
                TraceContext::start(self.exporter.is_some() && fastrand::f64() < self.sample)
            })
        };
        let context = received.or_else(start)?;
        let exporter = self.exporter.clone().filter(|_| context.is_sampled);
        let recorded = exporter.map(|exporter| RecordedSpans {
            exporter,
            id: new_span_id(),
            token_wait: None,
            attempts: Vec::new(),
        });
        Some(RequestTrace {
            context,
            is_started_here: received.is_none(),
            recorded: recorded.map(Box::new),
        })
    }
}

/// The trace of one request.
#[derive(Debug)]
pub(super) struct RequestTrace {
    context: TraceContext,
    is_started_here: bool,
    recorded: Option<Box<RecordedSpans>>,
}

/// Spans of a request that are exported.
#[derive(Debug)]
struct RecordedSpans {
    exporter: Arc<SpanExporter>,
    /// Id of the request's own span.
    id: u64,
    /// Start and end of the wait for a token.
    token_wait: Option<(Instant, Instant)>,
    attempts: Vec<AttemptSpan>,
}

/// One attempt to send the request to the API.
#[derive(Debug)]
struct AttemptSpan {
    id: u64,
    start: Instant,
    /// Time and status of the response, or the reason of its failure.
    end: Option<(Instant, Result<StatusCode, &'static str>)>,
}

impl RequestTrace {
    pub(super) fn id(&self) -> TraceId {
        self.context.trace_id
    }

    /// Records that the request waited for a token since `start`.
    pub(super) fn record_token_wait(&mut self, start: Instant) {
        if let Some(recorded) = &mut self.recorded {
            recorded.token_wait = Some((start, Instant::now()));
        }
    }

    /// Starts the span of an attempt, and sets the trace fields of its `headers`. Leaves them
    /// unchanged if the trace is only passed through.
    pub(super) fn start_attempt(&mut self, headers: &mut HeaderMap) {
        let span = match &mut self.recorded {
            Some(recorded) => {
                let attempt = AttemptSpan {
                    id: new_span_id(),
                    start: Instant::now(),
                    end: None,
                };
                recorded.attempts.push(attempt);
                recorded.attempts[recorded.attempts.len() - 1].id
            }
            None if self.is_started_here => new_span_id(),
            None => return,
        };
        if let Some(value) = self.context.header(span) {
            headers.insert(TRACEPARENT, value);
        }
        if self.is_started_here {
            headers.remove(TRACESTATE);
        }
    }

    /// Ends the span of the last attempt.
    pub(super) fn end_attempt(&mut self, result: Result<StatusCode, &'static str>) {
        if let Some(attempt) = self
            .recorded
            .as_mut()
            .and_then(|recorded| recorded.attempts.last_mut())
        {
            attempt.end = Some((Instant::now(), result));
        }
    }

    /// Exports the spans of a request that has ended; `is_broken` if its response broke off. Names
    /// and attributes follow OpenTelemetry's semantic conventions for HTTP, without paths and
    /// addresses of callers, which are personal data.
    pub(super) fn export(
        &self,
        tracer: &Tracer,
        method: &Method,
        caller: Option<&str>,
        outcome: &Outcome<'_>,
        is_broken: bool,
    ) {
        let Some(recorded) = &self.recorded else {
            return;
        };
        let now = (Instant::now(), SystemTime::now());
        let at = |then: Instant| now.1 - now.0.saturating_duration_since(then);
        let (method, verb) = method_names(method);
        let name = format!("{verb} {}", outcome.endpoint);
        let span = |id, parent, kind, name: &str, (start, end): (SystemTime, SystemTime)| Span {
            trace_id: self.context.trace_id,
            id,
            parent,
            parent_is_remote: false,
            kind,
            name: name.to_owned(),
            began: start,
            ended: end,
            attributes: Vec::new(),
            failed: false,
        };
        let own = (now.1 - outcome.duration, now.1);
        let mut request = span(
            recorded.id,
            self.context.parent,
            SpanKind::Server,
            &name,
            own,
        );
        request.parent_is_remote = self.context.parent != 0;
        let status = StatusCode::from_u16(outcome.status).ok();
        let problem = match status {
            _ if is_broken => Some(UPSTREAM_BROKEN.to_owned()),
            None => Some(CANCELLED.to_owned()),
            Some(status) if status.is_server_error() => Some(
                outcome
                    .reason
                    .map_or_else(|| status.as_str().to_owned(), str::to_owned),
            ),
            Some(_) => None,
        };
        request.failed = problem.is_some();
        request.attributes = vec![
            ("http.request.method", text(method)),
            ("http.route", text(outcome.endpoint)),
            ("gbg_proxy.request_id", text(outcome.id)),
            ("gbg_proxy.source", text(outcome.source.name())),
        ];
        request
            .attributes
            .extend(status.map(|status| ("http.response.status_code", number(status.as_u16()))));
        request
            .attributes
            .extend(caller.map(|caller| ("gbg_proxy.caller", text(caller))));
        request.attributes.extend(
            outcome
                .account
                .map(|account| ("gbg_proxy.account", text(account))),
        );
        request.attributes.extend(
            outcome
                .reason
                .map(|reason| ("gbg_proxy.reason", text(reason))),
        );
        request
            .attributes
            .extend(problem.map(|problem| ("error.type", AttributeValue::Text(problem))));
        recorded.exporter.export(request);

        if let Some((start, end)) = recorded.token_wait {
            let wait = span(
                new_span_id(),
                recorded.id,
                SpanKind::Internal,
                "wait for a token",
                (at(start), at(end)),
            );
            recorded.exporter.export(wait);
        }
        for (index, attempt) in recorded.attempts.iter().enumerate() {
            let (end, result) = match attempt.end {
                Some((end, result)) => (at(end), result),
                None => (now.1, Err(CANCELLED)),
            };
            let mut sent = span(
                attempt.id,
                recorded.id,
                SpanKind::Client,
                &name,
                (at(attempt.start), end),
            );
            let status = result.ok();
            let problem = match &result {
                Ok(status) if status.as_u16() < 400 => None,
                Ok(status) => Some(status.as_str()),
                Err(reason) => Some(*reason),
            };
            sent.failed = problem.is_some();
            sent.attributes = vec![
                ("http.request.method", text(method)),
                ("server.address", text(&tracer.api.host)),
                ("server.port", number(tracer.api.port)),
            ];
            sent.attributes.extend(
                status.map(|status| ("http.response.status_code", number(status.as_u16()))),
            );
            sent.attributes
                .extend(problem.map(|problem| ("error.type", text(problem))));
            if index > 0 {
                let index = u16::try_from(index).unwrap_or(u16::MAX);
                sent.attributes
                    .push(("http.request.resend_count", number(index)));
            }
            recorded.exporter.export(sent);
        }
    }
}

/// Error type of a request whose caller did not wait for the whole response.
const CANCELLED: &str = "cancelled";

/// Error type of a response that broke off.
const UPSTREAM_BROKEN: &str = "upstream_broken";

/// `method` as an attribute and in a span name. Unknown methods share one name: there could be any
/// number of them.
fn method_names(method: &Method) -> (&str, &str) {
    match *method {
        Method::CONNECT
        | Method::DELETE
        | Method::GET
        | Method::HEAD
        | Method::OPTIONS
        | Method::PATCH
        | Method::POST
        | Method::PUT
        | Method::TRACE => (method.as_str(), method.as_str()),
        _ => ("_OTHER", "HTTP"),
    }
}

fn text(text: &str) -> AttributeValue {
    AttributeValue::Text(text.to_owned())
}

fn number(number: u16) -> AttributeValue {
    AttributeValue::Number(number.into())
}
