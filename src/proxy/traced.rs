//! The trace of a request: passed on as it came, begun here, or taken part in, where spans are exported.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::StatusCode;
use http::header::HeaderMap;

use crate::config;
use crate::metrics::{Outcome, Source};
use crate::trace::{Context, Exporter, Kind, Span, TRACEPARENT, TRACESTATE, TraceId, Value, span_id};

/// What is done with the traces of requests.
#[derive(Debug)]
pub(super) struct Rules {
    start: bool,
    sample: f64,
    exporter: Option<Arc<Exporter>>,
}

impl Rules {
    pub(super) fn new(config: &config::Trace, exporter: Option<Arc<Exporter>>) -> Self {
        Rules { start: config.start, sample: config.sample, exporter }
    }

    /// The trace of the request with these `headers`, if it belongs to one, or begins one.
    pub(super) fn of(&self, headers: &HeaderMap) -> Option<Traced> {
        let came = Context::of(headers);
        let begun =
            || self.start.then(|| Context::begin(self.exporter.is_some() && fastrand::f64() < self.sample));
        let context = came.or_else(begun)?;
        let exporter = self.exporter.clone().filter(|_| context.is_sampled);
        let recorded =
            exporter.map(|exporter| Recorded { exporter, id: span_id(), waited: None, attempts: Vec::new() });
        Some(Traced { context, is_begun: came.is_none(), recorded: recorded.map(Box::new) })
    }
}

/// The trace that a request belongs to.
#[derive(Debug)]
pub(super) struct Traced {
    context: Context,
    is_begun: bool,
    recorded: Option<Box<Recorded>>,
}

/// What a collector is told of a request.
#[derive(Debug)]
struct Recorded {
    exporter: Arc<Exporter>,
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
    ended: Option<Instant>,
    status: Option<StatusCode>,
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

    /// Notes that the request goes to the API, and names in its `headers` the trace and the span that it is sent by. Where we
    /// take no part, they stay as they came.
    pub(super) fn note_sent(&mut self, headers: &mut HeaderMap) {
        let span = match &mut self.recorded {
            Some(recorded) => {
                let attempt = Attempt { id: span_id(), began: Instant::now(), ended: None, status: None };
                recorded.attempts.push(attempt);
                recorded.attempts[recorded.attempts.len() - 1].id
            }
            None if self.is_begun => span_id(),
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
    pub(super) fn note_answered(&mut self, status: Option<StatusCode>) {
        if let Some(attempt) = self.recorded.as_mut().and_then(|recorded| recorded.attempts.last_mut()) {
            attempt.ended = Some(Instant::now());
            attempt.status = status;
        }
    }

    /// Tells the collector of the request, which has ended.
    pub(super) fn export(&self, method: &str, caller: Option<&str>, outcome: &Outcome<'_>) {
        let Some(recorded) = &self.recorded else { return };
        let now = (Instant::now(), SystemTime::now());
        let at = |then: Instant| now.1 - now.0.saturating_duration_since(then);
        let name = format!("{method} {}", outcome.endpoint);
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
        let mut request = span(recorded.id, self.context.parent, Kind::Server, &name, own);
        request.parent_is_remote = self.context.parent != 0;
        request.failed = outcome.status >= 500 || outcome.source == Source::None;
        request.attributes = vec![
            ("http.request.method", Value::Text(method.to_owned())),
            ("http.route", Value::Text(outcome.endpoint.to_owned())),
            ("gbg_proxy.request_id", Value::Text(outcome.id.to_owned())),
            ("gbg_proxy.source", Value::Text(outcome.source.name().to_owned())),
        ];
        let status = (outcome.status != 0).then(|| Value::Number(outcome.status.into()));
        request.attributes.extend(status.map(|status| ("http.response.status_code", status)));
        let texts = [("gbg_proxy.caller", caller), ("error.type", outcome.reason)];
        request
            .attributes
            .extend(texts.into_iter().filter_map(|(name, text)| Some((name, Value::Text(text?.to_owned())))));
        recorded.exporter.export(request);

        if let Some((began, ended)) = recorded.waited {
            let waited = (at(began), at(ended));
            recorded.exporter.export(span(
                span_id(),
                recorded.id,
                Kind::Internal,
                "wait for a token",
                waited,
            ));
        }
        for (index, attempt) in recorded.attempts.iter().enumerate() {
            let times = (at(attempt.began), attempt.ended.map_or(now.1, at));
            let mut sent = span(attempt.id, recorded.id, Kind::Client, &name, times);
            sent.failed = attempt.status.is_none_or(|status| status.as_u16() >= 400);
            sent.attributes = vec![("http.request.method", Value::Text(method.to_owned()))];
            let status = attempt.status.map(|status| Value::Number(status.as_u16().into()));
            sent.attributes.extend(status.map(|status| ("http.response.status_code", status)));
            if index > 0 {
                let index = i64::try_from(index).unwrap_or(i64::MAX);
                sent.attributes.push(("http.request.resend_count", Value::Number(index)));
            }
            recorded.exporter.export(sent);
        }
    }
}
