//! Converts a failed request into a response: the one place where a failure becomes a status.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER,
    WWW_AUTHENTICATE,
};
use http::{Request, Response, Version};
use http_body_util::{Either, Full};
use serde_json::{Map, Value, json};
use tower::layer::{Layer, layer_fn};
use tower::service_fn;

use super::access_log::ResponseBody;
use super::context::{Failure, WithContext};
use super::request_id;
use super::step::Step;
use super::validate::cross_site;
use crate::error::{CallerLimit, Error, ErrorReason, Party, chain};
use crate::gbg::ApiVersion;
use crate::headers::accept::accepts_by_name;
use crate::metrics::AccountMetrics;

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");
/// Fields of draft-ietf-httpapi-ratelimit-headers-10.
const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

const PROBLEM_JSON: &str = "application/problem+json";

/// Responds to failures of the steps below, and marks every response of the proxy with
/// `Proxy-Status` (RFC 9209). Web pages of `origins` may read the responses.
pub fn layer<S, In, Out>(
    origins: Arc<[HeaderValue]>,
) -> impl Layer<S, Service = impl Step<WithContext<In>, ResponseBody<Out>, Infallible> + use<S, In, Out>>
+ Clone
where
    S: Step<WithContext<In>, ResponseBody<Out>>,
    In: Send + 'static,
    Out: Send + 'static,
{
    layer_fn(move |mut inner: S| {
        let origins = Arc::clone(&origins);
        service_fn(move |req: Request<WithContext<In>>| {
            let context = Arc::clone(req.body().context());
            let format = ErrorFormat::new(&req);
            let origin = cross_site::allowed_origin(&req, &origins);
            inner.call(req).map(move |result| {
                let mut res = result.unwrap_or_else(|error| {
                    let id = request_id::text(context.id());
                    log(&error, id, context.account());
                    error_response(&error, &format, id).map(Either::Right)
                });
                if matches!(res.body(), Either::Right(_)) {
                    res.headers_mut()
                        .entry(PROXY_STATUS)
                        .or_insert(HeaderValue::from_static("gbg-proxy"));
                }
                if let Some(origin) = origin {
                    cross_site::expose(res.headers_mut(), origin);
                }
                Ok(res)
            })
        })
    })
}

/// Format in which the caller expects an error.
#[derive(Clone, Debug)]
struct ErrorFormat {
    version: ApiVersion,
    /// `application/problem+json` (RFC 9457): only for callers that name it, since `*/*` does not.
    is_problem: bool,
    is_http1: bool,
}

impl ErrorFormat {
    fn new<B>(req: &Request<WithContext<B>>) -> Self {
        let version = req.body().context().route().version;
        ErrorFormat {
            version: version.unwrap_or(ApiVersion::V2),
            is_problem: accepts_by_name(req.headers(), PROBLEM_JSON),
            is_http1: req.version() <= Version::HTTP_11,
        }
    }

    fn content_type(&self) -> &'static str {
        if self.is_problem {
            PROBLEM_JSON
        } else {
            "application/json"
        }
    }
}

/// Logs the failure with its cause, which the response does not show.
fn log(error: &Error, request_id: &str, account: Option<&AccountMetrics>) {
    let ErrorReason {
        name: reason,
        fault,
        ..
    } = error.reason();
    let name = account.map(AccountMetrics::name);
    // The access log has the errors of callers, and the limits log once that they are reached.
    let is_logged_elsewhere = matches!(
        error,
        Error::Overloaded | Error::NoConnectionLeft | Error::TooManyLogins
    );
    if *fault == Party::Caller || is_logged_elsewhere {
        tracing::debug!(
            request_id,
            account = name,
            reason,
            error = chain(error),
            "a request is refused"
        );
    } else {
        let error_text = chain(error);
        tracing::warn!(request_id, account = name, reason, %fault, error = error_text, "a request failed");
        if let Some(account) = account.filter(|_| error.is_from_upstream()) {
            account.record_failure(reason, &error_text);
        }
    }
}

fn error_response(error: &Error, format: &ErrorFormat, request_id: &str) -> Response<Full<Bytes>> {
    let reason = error.reason();
    let body = body(error, reason, format.version, request_id);
    let mut res = Response::new(Full::new(Bytes::from(body.to_string())));
    *res.status_mut() = reason.status;
    let headers = res.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static(format.content_type()),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let status = format!(
        "gbg-proxy; error={}; details=\"{}\"",
        reason.proxy_error, reason.name
    );
    if let Ok(status) = HeaderValue::try_from(status) {
        headers.insert(PROXY_STATUS, status);
    }
    if format.is_http1 && error.ends_connection() {
        // The next bytes may be the rest of this request.
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if let Some(wait) = error.retry_after() {
        headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
    }
    match error {
        Error::MethodNotAllowed { allow } | Error::Tunnel { allow } => {
            headers.insert(ALLOW, allow.clone());
        }
        Error::CallerUnknown(_) | Error::CallerExpired { .. } | Error::CertificateEnded(_) => {
            // RFC 9110 section 11.6.1: both schemes of Authorization that carry a caller key.
            for challenge in ["Bearer realm=\"gbg-proxy\"", "Basic realm=\"gbg-proxy\""] {
                headers.append(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
            }
        }
        Error::RateLimited {
            limit: CallerLimit::Rate {
                requests, seconds, ..
            },
            retry_after,
        } => {
            let policy = format!("\"caller\";q={requests};w={seconds}");
            let state = format!("\"caller\";r=0;t={}", whole_seconds(*retry_after));
            for (name, text) in [(RATELIMIT_POLICY, policy), (RATELIMIT, state)] {
                if let Ok(value) = HeaderValue::try_from(text) {
                    headers.insert(name, value);
                }
            }
        }
        _ => {}
    }
    res.extensions_mut().insert(Failure {
        reason,
        detail: error.to_string().into(),
    });
    res
}

/// Seconds, rounded up: a retry must not come too early (RFC 9110 section 10.2.3).
fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// Problem details (RFC 9457) together with the error format of the API version.
fn body(error: &Error, reason: &ErrorReason, version: ApiVersion, request_id: &str) -> Value {
    let detail = error.to_string();
    let mut body = Map::from_iter([
        ("type".to_owned(), json!("about:blank")),
        ("title".to_owned(), json!(reason.status.canonical_reason())),
        ("status".to_owned(), json!(reason.status.as_u16())),
        ("detail".to_owned(), json!(detail)),
        ("reason".to_owned(), json!(reason.name)),
        ("request_id".to_owned(), json!(request_id)),
    ]);
    match version {
        ApiVersion::V1 => {
            body.insert("message".to_owned(), json!(detail));
            body.insert("error".to_owned(), json!(reason.name));
            body.insert("action".to_owned(), json!(error.action()));
        }
        ApiVersion::V2 => {
            let entry = json!({
                "code": reason.status.as_str(),
                "name": reason.name,
                "location": location(error),
                "problem": detail,
                "action": error.action(),
            });
            body.insert("errors".to_owned(), json!([entry]));
        }
    }
    Value::Object(body)
}

/// Location of the fault in the terms of API v2: `Body`, `Authorization`, `Path`, `Header` or `Service`.
fn location(error: &Error) -> &'static str {
    match error {
        Error::PathUnknown { .. }
        | Error::RepeatedPrefix
        | Error::MethodNotAllowed { .. }
        | Error::Tunnel { .. }
        | Error::PathNotAllowed { .. }
        | Error::BadRequest(_)
        | Error::EmptySegment
        | Error::TargetTooLong { .. } => "Path",
        Error::HostNotAllowed { .. }
        | Error::HeaderNotAllowed { .. }
        | Error::HeaderTooLarge { .. } => "Header",
        Error::CallerTooSlow | Error::BodyBroken | Error::BodyTooLarge { .. } => "Body",
        Error::TokenUnavailable { .. }
        | Error::ClientRefused { .. }
        | Error::CallerUnknown(_)
        | Error::CallerExpired { .. }
        | Error::CertificateEnded(_)
        | Error::CrossSite => "Authorization",
        Error::RateLimited { .. }
        | Error::Overloaded
        | Error::NoConnectionLeft
        | Error::TooManyLogins
        | Error::Draining
        | Error::UpstreamUnreachable(_)
        | Error::UpstreamBroken(_)
        | Error::UpstreamClosed(_)
        | Error::UpstreamRefused { .. }
        | Error::UpstreamTimeout(_)
        | Error::LoopDetected => "Service",
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;
    use crate::proxy::context::with_context;

    fn format(version: ApiVersion, content_type: &str) -> ErrorFormat {
        ErrorFormat {
            version,
            is_problem: content_type == PROBLEM_JSON,
            is_http1: true,
        }
    }

    async fn respond(version: ApiVersion, content_type: &str) -> (Response<()>, Value) {
        let error = Error::UpstreamBroken("connection reset by 10.0.0.1".into());
        let (head, body) =
            error_response(&error, &format(version, content_type), "id-1").into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (
            Response::from_parts(head, ()),
            serde_json::from_slice(&body).unwrap(),
        )
    }

    #[tokio::test]
    async fn error_bodies_join_problem_details_and_version_format() {
        let (res, v2) = respond(ApiVersion::V2, PROBLEM_JSON).await;
        assert_eq!(res.status(), 502);
        assert_eq!(res.headers()[CONTENT_TYPE], "application/problem+json");
        assert_eq!(res.headers()[CACHE_CONTROL], "no-store");
        assert_eq!(
            res.headers()[PROXY_STATUS],
            "gbg-proxy; error=connection_terminated; details=\"upstream_broken\""
        );
        assert_eq!(
            (&v2["reason"], &v2["status"]),
            (&json!("upstream_broken"), &json!(502))
        );
        assert_eq!(v2["request_id"], "id-1");
        assert_eq!(v2["errors"][0]["name"], "upstream_broken");
        let (res, v1) = respond(ApiVersion::V1, "application/json").await;
        assert_eq!(res.headers()[CONTENT_TYPE], "application/json");
        assert_eq!(
            (&v1["error"], &v1["status"]),
            (&json!("upstream_broken"), &json!(502))
        );
        assert!(!v1.to_string().contains("10.0.0.1") && !v2.to_string().contains("10.0.0.1"));
    }

    #[test]
    fn retry_after_is_rounded_up() {
        assert_eq!(
            [0, 1, 1000, 1001].map(|time| whole_seconds(Duration::from_millis(time))),
            [0, 1, 1, 2]
        );
    }

    #[test]
    fn problem_json_is_sent_when_accept_names_it() {
        let of = |accept: &'static str| {
            let req = Request::builder().header("accept", "text/html");
            let req = req.header("accept", accept).body(()).unwrap();
            ErrorFormat::new(&with_context(req)).content_type()
        };
        assert_eq!(
            of("text/html, Application/Problem+JSON;q=0.5"),
            PROBLEM_JSON
        );
        assert_eq!(of("application/problem+json;q=0"), "application/json");
        assert_eq!(of("*/*"), "application/json");
        assert_eq!(of("application/json"), "application/json");
    }
}
