//! The requests of the doctor. Only the head of a response is used.

use std::time::SystemTime;

use bytes::Bytes;
use http::header::{ACCEPT, AGE, AUTHORIZATION, CONTENT_TYPE, DATE, HOST, USER_AGENT};
use http::response::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use http_body_util::Full;
use tokio::time::timeout;

use super::target::TimeLimit;
use crate::cli::http::{self as client, BoxTransport};
use crate::config::{Origin, PathPrefix};
use crate::error::BoxError;
use crate::gbg::{V1, V2};

/// A call without side effects, below the prefix of either API version.
const READ_ONLY_CALL: &str = "journey/state/fetch";

/// An unknown instance id, with the characters and the length of a real one.
const UNKNOWN_INSTANCE: &str = r#"{"instanceId":"gbg-proxy-doctor-asks"}"#;

/// Returns the path of a call without side effects that `allow` forwards.
pub(super) fn read_only_path(allow: &[PathPrefix]) -> Option<String> {
    let is_allowed = |path: &String| allow.iter().any(|prefix| path.starts_with(prefix.as_str()));
    [V2, V1]
        .map(|version| format!("{version}{READ_ONLY_CALL}"))
        .into_iter()
        .find(is_allowed)
}

pub(super) fn get(origin: &Origin, path: &str) -> Result<Request<Full<Bytes>>, BoxError> {
    Ok(request(origin, Method::GET, path).body(Full::default())?)
}

/// Returns the authorized call of [`read_only_path`].
pub(super) fn read_only_call(
    origin: &Origin,
    path: &str,
    bearer: HeaderValue,
) -> Result<Request<Full<Bytes>>, BoxError> {
    let json = HeaderValue::from_static("application/json");
    let request = request(origin, Method::POST, path)
        .header(CONTENT_TYPE, json.clone())
        .header(ACCEPT, json)
        .header(AUTHORIZATION, bearer);
    Ok(request.body(Full::from(UNKNOWN_INSTANCE))?)
}

fn request(origin: &Origin, method: Method, path: &str) -> http::request::Builder {
    Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, &origin.authority)
        .header(USER_AGENT, concat!("gbg-proxy/", env!("CARGO_PKG_VERSION")))
}

/// Sends `request`, and returns the head of the response.
///
/// # Errors
/// When it does not arrive within `limit`.
pub(super) async fn send(
    transport: BoxTransport,
    request: Request<Full<Bytes>>,
    limit: TimeLimit,
) -> Result<Parts, BoxError> {
    let response = timeout(limit.time, client::send(transport, request)).await;
    let response = response.map_err(|_| format!("no response within {limit}"))??;
    Ok(response.into_parts().0)
}

/// Returns the seconds by which `now` is ahead of the Date of a response (RFC 9110 section 6.6.1),
/// which is Age older if it comes from a cache (RFC 9111 section 5.1).
pub(super) fn seconds_ahead(response: &HeaderMap, now: SystemTime) -> Option<i64> {
    let text = |name: HeaderName| response.get(name)?.to_str().ok();
    let date = unix_seconds(httpdate::parse_http_date(text(DATE)?).ok()?)?;
    let age = text(AGE).and_then(|age| age.trim().parse::<u32>().ok());
    Some(unix_seconds(now)? - date - i64::from(age.unwrap_or(0)))
}

pub(super) fn unix_seconds(time: SystemTime) -> Option<i64> {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_secs()).ok()
}

/// Returns true for an HTML response, which an API does not send.
pub(super) fn is_html(response: &HeaderMap) -> bool {
    let value = response.get(CONTENT_TYPE);
    value.is_some_and(|value| {
        value
            .as_bytes()
            .to_ascii_lowercase()
            .starts_with(b"text/html")
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_call_is_v2_if_forwarded() {
        let path = |allow: &[&str]| {
            let allow: Vec<_> = allow.iter().map(|text| text.parse().unwrap()).collect();
            read_only_path(&allow)
        };
        assert_eq!(
            path(&[V1, V2]).as_deref(),
            Some("/v2/captain/journey/state/fetch")
        );
        assert_eq!(
            path(&[V1]).as_deref(),
            Some("/captain/api/journey/state/fetch")
        );
        assert_eq!(
            path(&["/"]).as_deref(),
            Some("/v2/captain/journey/state/fetch")
        );
        assert_eq!(path(&["/v2/captain/journey/device/"]), None);
    }

    #[test]
    fn the_clock_is_compared_with_date_and_age() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_100);
        let of = |fields: &[(http::HeaderName, &'static str)]| {
            let fields = fields
                .iter()
                .map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
            seconds_ahead(&HeaderMap::from_iter(fields), now)
        };
        let date = "Sun, 09 Sep 2001 01:46:40 GMT";
        assert_eq!(of(&[(DATE, date)]), Some(100));
        assert_eq!(of(&[(DATE, date), (AGE, "90")]), Some(10));
        assert_eq!(of(&[(DATE, "Sun, 09 Sep 2001 01:50:00 GMT")]), Some(-100));
        assert_eq!(of(&[(DATE, "today")]), None);
        assert_eq!(of(&[]), None);
    }
}
