//! The requests of the check; the one place that sends them. Only the head of an answer is looked
//! at.

use std::time::SystemTime;

use bytes::Bytes;
use http::header::{ACCEPT, AGE, AUTHORIZATION, CONTENT_TYPE, DATE, HOST, USER_AGENT};
use http::response::Parts;
use http::{HeaderMap, HeaderValue, Method, Request};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use super::connect::{Limit, Stream};
use crate::config::{Origin, PathPrefix};
use crate::error::BoxError;
use crate::gbg::{V1, V2};

/// A call that changes nothing, below the prefix of either version of the API.
const READ_ONLY: &str = "journey/state/fetch";

/// An instance that does not exist, of the letters and the length that an id has.
const NO_INSTANCE: &str = r#"{"instanceId":"gbg-proxy-doctor-asks"}"#;

/// The path of a call that changes nothing, if `allow` lets one through.
pub(super) fn read_only_path(allow: &[PathPrefix]) -> Option<String> {
    let allowed = |path: &String| allow.iter().any(|prefix| path.starts_with(prefix.as_str()));
    [V2, V1]
        .map(|version| format!("{version}{READ_ONLY}"))
        .into_iter()
        .find(allowed)
}

/// A plain look at `path`.
pub(super) fn look(origin: &Origin, path: &str) -> Result<Request<Full<Bytes>>, BoxError> {
    Ok(request(origin, Method::GET, path).body(Full::default())?)
}

/// The call at `path`, which `read_only_path` gave, with a token.
pub(super) fn ask_for_state(
    origin: &Origin,
    path: &str,
    bearer: HeaderValue,
) -> Result<Request<Full<Bytes>>, BoxError> {
    let json = HeaderValue::from_static("application/json");
    let req = request(origin, Method::POST, path)
        .header(CONTENT_TYPE, json.clone())
        .header(ACCEPT, json)
        .header(AUTHORIZATION, bearer);
    Ok(req.body(Full::new(Bytes::from_static(NO_INSTANCE.as_bytes())))?)
}

fn request(origin: &Origin, method: Method, path: &str) -> http::request::Builder {
    let agent = HeaderValue::from_static(concat!("gbg-proxy/", env!("CARGO_PKG_VERSION")));
    Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, &origin.authority)
        .header(USER_AGENT, agent)
}

/// Sends `req`, and gives the head of the answer, which comes within `limit`; its body is thrown
/// away unread.
pub(super) async fn send(
    stream: Stream,
    req: Request<Full<Bytes>>,
    limit: Limit,
) -> Result<Parts, BoxError> {
    let exchange = async {
        let (mut sender, connection) = http1::Builder::new()
            // As `run` does.
            .allow_spaces_after_header_name_in_responses(true)
            .handshake(TokioIo::new(stream))
            .await?;
        // Its error is the sender's as well.
        tokio::spawn(connection);
        Ok::<_, hyper::Error>(sender.send_request(req).await?.into_parts().0)
    };
    let answered = timeout(limit.time, exchange).await;
    Ok(answered.map_err(|_| format!("no answer within {limit}"))??)
}

/// By how many seconds the clock that says `now` is ahead of the answer's (RFC 9110 section 6.6.1);
/// one from a cache has aged since (RFC 9111 section 5.1).
pub(super) fn seconds_ahead(answer: &HeaderMap, now: SystemTime) -> Option<i64> {
    let text = |name| {
        answer
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    let seconds = |time: SystemTime| {
        time.duration_since(SystemTime::UNIX_EPOCH)
            .ok()
            .and_then(|since| i64::try_from(since.as_secs()).ok())
    };
    let date = seconds(httpdate::parse_http_date(text(DATE)?).ok()?)?;
    let age = text(AGE)
        .and_then(|age| age.trim().parse::<u32>().ok())
        .unwrap_or(0);
    Some(seconds(now)? - date - i64::from(age))
}

/// Whether an answer is a page for people, which no answer of an API is.
pub(super) fn is_page(answer: &HeaderMap) -> bool {
    answer.get(CONTENT_TYPE).is_some_and(|kind| {
        kind.as_bytes()
            .to_ascii_lowercase()
            .starts_with(b"text/html")
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_call_is_of_v2_where_that_is_forwarded() {
        let path = |allow: &[&str]| {
            let allow: Vec<_> = allow
                .iter()
                .map(|text| PathPrefix::try_from((*text).to_owned()).unwrap())
                .collect();
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
    fn the_clock_is_compared_with_the_date_and_the_age() {
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
