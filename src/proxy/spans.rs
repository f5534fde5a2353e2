//! The trace of a request: passed on as it came, begun here, or taken part in, where spans are
//! exported.

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

/// What is done with the traces of requests.
#[derive(Debug)]
pub(super) struct Rules {
    start: bool,
    sample: f64,
    exporter: Option<Arc<SpanExporter>>,
    /// Where attempts go.
    api: Origin,
}

impl Rules {
    pub(super) fn new(config: &Config, exporter: Option<Arc<SpanExporter>>) -> Self {
        let config::Trace { start, sample, .. } = config.trace;
        // Who records traces begins them as well. The one who does counts, and not what is written:
        // that needs a restart.
        Rules {
            start: start || exporter.is_some(),
            sample,
            exporter,
            api: config.upstream.origin.clone(),
        }
    }

    /// The trace of the request with these `headers`, if it belongs to one, or begins one.
    pub(super) fn of(&self, headers: &HeaderMap) -> Option<Traced> {
        let came = TraceContext::from_headers(headers);
        let begun = || {
            self.start.then(|| {
                TraceContext::start(self.exporter.is_some() && fastrand::f64() < self.sample)
            })
        };
        let context = came.or_else(begun)?;
        let exporter = self.exporter.clone().filter(|_| context.is_sampled);
        let recorded = exporter.map(|exporter| Recorded {
            exporter,
            id: new_span_id(),
            waited: None,
            attempts: Vec::new(),
        });
        Some(Traced {
            context,
            is_begun: came.is_none(),
            recorded: recorded.map(Box::new),
        })
    }
}

/// The trace that a request belongs to.
#[derive(Debug)]
pub(super) struct Traced {
    context: TraceContext,
    is_begun: bool,
    recorded: Option<Box<Recorded>>,
}

/// What a collector is told of a request.
#[derive(Debug)]
struct Recorded {
    exporter: Arc<SpanExporter>,
    /// The number of the request's own span.
    id: u64,
    /// From when to when it waited for a token.
    waited: Option<(Instant, Instant)>,
    attempts: Vec<Attempt>,
}

/// One time that the request was sent to the API.
#[derive(Debug)]
struct Attempt {
    id: u64,
    began: Instant,
    /// When there was an answer, or why there was none.
    ended: Option<(Instant, Result<StatusCode, &'static str>)>,
}

impl Traced {
    /// The number of the trace.
    pub(super) fn id(&self) -> TraceId {
        self.context.trace_id
    }

    /// Notes that the request waited for a token since `began`.
    pub(super) fn note_wait(&mut self, began: Instant) {
        if let Some(recorded) = &mut self.recorded {
            recorded.waited = Some((began, Instant::now()));
        }
    }

    /// Notes that the request goes to the API, and names in its `headers` the trace and the span
    /// that it is sent by. Where we take no part, they stay as they came.
    pub(super) fn note_sent(&mut self, headers: &mut HeaderMap) {
        let span = match &mut self.recorded {
            Some(recorded) => {
                let attempt = Attempt {
                    id: new_span_id(),
                    began: Instant::now(),
                    ended: None,
                };
                recorded.attempts.push(attempt);
                recorded.attempts[recorded.attempts.len() - 1].id
            }
            None if self.is_begun => new_span_id(),
            None => return,
        };
        if let Some(value) = self.context.header(span) {
            headers.insert(TRACEPARENT, value);
        }
        if self.is_begun {
            headers.remove(TRACESTATE);
        }
    }

    /// Notes how the API answered, or that it failed to.
    pub(super) fn note_answered(&mut self, answered: Result<StatusCode, &'static str>) {
        if let Some(attempt) = self
            .recorded
            .as_mut()
            .and_then(|recorded| recorded.attempts.last_mut())
        {
            attempt.ended = Some((Instant::now(), answered));
        }
    }

    /// Tells the collector of the request, which has ended; `is_broken` if the answer broke off.
    /// Names and attributes are those of OpenTelemetry's semantic conventions for HTTP, but for
    /// paths and addresses of callers: they may tell of a person.
    pub(super) fn export(
        &self,
        rules: &Rules,
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
        let (method, verb) = named(method);
        let name = format!("{verb} {}", outcome.endpoint);
        let span = |id, parent, kind, name: &str, (began, ended): (SystemTime, SystemTime)| Span {
            trace_id: self.context.trace_id,
            id,
            parent,
            parent_is_remote: false,
            kind,
            name: name.to_owned(),
            began,
            ended,
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
                .reason
                .map(|reason| ("gbg_proxy.reason", text(reason))),
        );
        request
            .attributes
            .extend(problem.map(|problem| ("error.type", AttributeValue::Text(problem))));
        recorded.exporter.export(request);

        if let Some((began, ended)) = recorded.waited {
            let waited = (at(began), at(ended));
            let waited = span(
                new_span_id(),
                recorded.id,
                SpanKind::Internal,
                "wait for a token",
                waited,
            );
            recorded.exporter.export(waited);
        }
        for (index, attempt) in recorded.attempts.iter().enumerate() {
            let (ended, answered) = match attempt.ended {
                Some((ended, answered)) => (at(ended), answered),
                None => (now.1, Err(CANCELLED)),
            };
            let mut sent = span(
                attempt.id,
                recorded.id,
                SpanKind::Client,
                &name,
                (at(attempt.began), ended),
            );
            let status = answered.ok();
            let problem = match &answered {
                Ok(status) if status.as_u16() < 400 => None,
                Ok(status) => Some(status.as_str()),
                Err(reason) => Some(*reason),
            };
            sent.failed = problem.is_some();
            sent.attributes = vec![
                ("http.request.method", text(method)),
                ("server.address", text(&rules.api.host)),
                ("server.port", number(rules.api.port)),
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

/// Why there is no whole answer: whoever asked does not wait for it any more.
const CANCELLED: &str = "cancelled";

/// Why it ended in the middle.
const UPSTREAM_BROKEN: &str = "upstream_broken";

/// `method` as an attribute and in a name. What callers make up is neither: it could be anything,
/// and be too many.
fn named(method: &Method) -> (&str, &str) {
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
