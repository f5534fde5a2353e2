//! Advice for the responses of the token endpoint and the API.

use http::StatusCode;

use super::Advice;
use crate::config::{ClientAuth, Config};
use crate::gbg;
use crate::token::FetchError;
use crate::upstream::ConnectStep;

const CHECK_ENDPOINT: &str = "check token.endpoint";

const CHECK_ORIGIN: &str = "check upstream.region or upstream.base_url";

const CHECK_SECRET: &str = "check token.client_id and token.client_secret; regenerating a secret invalidates the old one at \
     once";

const GIVE_ROLE: &str =
    "give the API client the role \"Go API Access\" (Account management portal, Clients tab)";

pub(in crate::cli::doctor) fn advise_on_fetch_error(error: &FetchError, config: &Config) -> Advice {
    match error {
        FetchError::Refused { code, .. } => refused_client(*code, config),
        FetchError::Status { status, .. } => token_endpoint_status(*status),
        FetchError::Response(_) => other_token_endpoint(),
        FetchError::Encoded { .. } => Advice::new(
            "something between this machine and the endpoint compresses the response, although the \
             request does not allow it",
        )
        .fix("ask the operator of the gateway or proxy in between to honor Accept-Encoding"),
        FetchError::Timeout(late) if late.step != ConnectStep::Response => Advice::new(
            "this connection took longer than the previous one, and token.timeout covers both the \
             connection and the response",
        )
        .fix("try again; if it persists, fix the slow step above, or raise token.timeout"),
        FetchError::Timeout(_) | FetchError::TooLate { .. } => Advice::new(
            "the endpoint accepted the connection but did not respond within token.timeout",
        )
        .fix("try again; if it persists, contact GBG support, or raise token.timeout"),
        FetchError::Credentials(_) => {
            Advice::new("the client's key or certificate was read but cannot be used")
                .fix("check token.jwt_key, token.client_cert and token.client_key")
        }
        FetchError::Unreachable(_) | FetchError::Broken(_) => {
            Advice::new("the connection broke before a response arrived")
                .fix("try again; if it persists, something on the way interrupts the request")
        }
    }
}

/// For an error response of the token endpoint (RFC 6749 section 5.2).
fn refused_client(code: Option<&'static str>, config: &Config) -> Advice {
    let (check, other_auth) = match config.token.credentials.client_auth() {
        ClientAuth::Post => (CHECK_SECRET, try_other_auth("post", "basic")),
        ClientAuth::Basic => (CHECK_SECRET, try_other_auth("basic", "post")),
        ClientAuth::PrivateKeyJwt => (
            "check token.client_id, and that the endpoint has the public key of token.jwt_key",
            "check token.jwt_alg, token.jwt_kid and this machine's clock".to_owned(),
        ),
        ClientAuth::Tls => (
            "check token.client_id, and that the endpoint knows the certificate in token.client_cert",
            "check that the certificate has not expired".to_owned(),
        ),
    };
    match code {
        Some("invalid_client") => Advice::new(
            "the credentials are wrong, or the client is set up for another authentication method",
        )
        .fix(check)
        .fix(other_auth),
        Some("unauthorized_client") => {
            Advice::new("the client is known, but is not allowed to use this grant").fix(GIVE_ROLE)
        }
        Some("invalid_scope") => Advice::new(format!(
            "the client is not allowed the scope {:?}",
            config.token.scope
        ))
        .fix(GIVE_ROLE)
        .fix(format!(
            "check token.scope; GBG's documentation says {:?}",
            gbg::SCOPE
        )),
        Some("invalid_grant") => Advice::new(
            "the endpoint accepts the client but rejects the grant",
        )
        .fix(
            "check token.username and token.password, if you use them; several failed logins lock \
                 the user",
        )
        .fix("an API client of the Clients tab has the grant \"client_credentials\""),
        Some("unsupported_grant_type") => Advice::new("this endpoint does not support this grant")
            .fix("check token.grant")
            .fix(CHECK_ENDPOINT)
            .fix(gbgs_endpoint()),
        Some("invalid_request") => {
            Advice::new("the endpoint reports a missing or repeated parameter of the request")
                .fix(CHECK_ENDPOINT)
                .fix(other_auth)
        }
        _ => Advice::new("the response is not an error that a token endpoint sends")
            .fix(CHECK_ENDPOINT)
            .fix(gbgs_endpoint()),
    }
}

fn try_other_auth(auth: &str, other: &str) -> String {
    format!(
        "if both are right: token.client_auth is {auth:?}, and the client may require {other:?}"
    )
}

fn token_endpoint_status(status: StatusCode) -> Advice {
    match status.as_u16() {
        300..=399 => redirect(CHECK_ENDPOINT).fix(gbgs_endpoint()),
        429 => too_many_requests(),
        403 => Advice::new(
            "something in front of the endpoint blocks this machine, such as a list of allowed \
             addresses",
        )
        .fix("ask its operator to allow this machine's address")
        .fix(CHECK_ENDPOINT),
        404 | 405 => Advice::new("there is no token endpoint at this path")
            .fix(CHECK_ENDPOINT)
            .fix(gbgs_endpoint()),
        508 => loop_detected(CHECK_ENDPOINT).fix(gbgs_endpoint()),
        500.. => server_error(),
        _ => other_token_endpoint(),
    }
}

/// Judges the API's response to the authorized call: describes it if the token was accepted.
///
/// # Errors
/// Advice if the token was refused, or another server responded.
pub(in crate::cli::doctor) fn judge_api_response(
    status: StatusCode,
    is_html: bool,
    config: &Config,
) -> Result<&'static str, Advice> {
    let compare_environments = || {
        let (api, endpoint) = (&config.upstream.origin, &config.token.endpoint);
        format!(
            "check that {api} and {endpoint} belong to the same environment (upstream.region or \
             upstream.base_url, token.endpoint)"
        )
    };
    match status.as_u16() {
        300..=399 => Err(redirect(CHECK_ORIGIN)),
        429 => Err(too_many_requests()),
        508 => Err(loop_detected(CHECK_ORIGIN)),
        500.. => Err(server_error()),
        _ if is_html => Err(other_server("API", CHECK_ORIGIN)),
        200..=299 => Ok("the token is accepted"),
        400 | 404 => Ok("the token is accepted (the instance is made up)"),
        401 => Err(
            Advice::new("the API rejects the token that the token endpoint issued")
                .fix(compare_environments()),
        ),
        403 => Err(Advice::new(
            "the API knows the token, but this client is not allowed to use the API",
        )
        .fix(GIVE_ROLE)
        .fix("check that the client is in the department that the journeys belong to")
        .fix(compare_environments())),
        _ => Err(other_server("API", CHECK_ORIGIN)),
    }
}

/// For a server that accepted the connection, and sent no response.
pub(in crate::cli::doctor) fn no_response() -> Advice {
    Advice::new("the server accepted the connection but sent no HTTP response")
        .fix("check the scheme and port: the server may require https://")
        .fix(
            "if it requires a client certificate, set upstream.client_cert and upstream.client_key",
        )
        .fix(
            "try again; if it persists, something on the way interrupts the connection, or this is \
             another server",
        )
}

fn loop_detected(check: &str) -> Advice {
    Advice::new("the address leads to a proxy that sends the request back to itself").fix(check)
}

fn redirect(check: &str) -> Advice {
    Advice::new(
        "the response is a redirect, and redirects are never followed: a captive portal or a wrong \
         address",
    )
    .fix(check)
}

fn too_many_requests() -> Advice {
    Advice::new("too many requests from this client or address")
        .fix("wait a few minutes, and look for other processes with the same client ID")
}

fn server_error() -> Advice {
    Advice::new("the fault is on the server's side, or in a gateway in front of it")
        .fix("try again in a few minutes; if it persists, contact GBG support")
}

fn other_token_endpoint() -> Advice {
    other_server("token endpoint", CHECK_ENDPOINT).fix(gbgs_endpoint())
}

fn other_server(name: &str, check: &str) -> Advice {
    Advice::new(format!(
        "the {name} does not respond like this: a captive portal, a corporate proxy or another server \
         responded instead"
    ))
    .fix(check)
}

fn gbgs_endpoint() -> String {
    format!("GBG's is {}", gbg::TOKEN_ENDPOINT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Sources};

    fn config(set: &[&str]) -> Config {
        let env = [("GBG_CLIENT_ID", "a"), ("GBG_CLIENT_SECRET", "b")];
        let env = env
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        let plain = [
            "upstream.base_url=http://localhost",
            "token.endpoint=http://localhost",
        ];
        let set = plain
            .iter()
            .chain(set)
            .map(|&text| text.to_owned())
            .collect();
        config::load(&Sources {
            set,
            env,
            file: None,
        })
        .unwrap()
        .config
    }

    fn refusal(code: Option<&'static str>, set: &[&str]) -> String {
        let error = FetchError::Refused {
            status: StatusCode::UNAUTHORIZED,
            code,
            retry_after: None,
        };
        let advice = advise_on_fetch_error(&error, &config(set));
        format!(
            "{}\n{}\n{}",
            error.cause(),
            advice.cause,
            advice.fixes.join("\n")
        )
    }

    #[test]
    fn a_refused_client_learns_the_other_client_auth() {
        let advice = refusal(Some("invalid_client"), &[]);
        assert!(
            advice.contains("401 Unauthorized, invalid_client")
                && advice.contains("require \"basic\""),
            "{advice}"
        );
        let advice = refusal(Some("invalid_client"), &["token.client_auth=basic"]);
        assert!(
            advice.contains("is \"basic\", and the client may require \"post\""),
            "{advice}"
        );
    }

    #[test]
    fn each_refusal_has_its_fix() {
        assert!(refusal(Some("unauthorized_client"), &[]).contains("Go API Access"));
        let advice = refusal(Some("invalid_scope"), &["token.scope=x"]);
        assert!(
            advice.contains("the scope \"x\"") && advice.contains("\"gbg.token\""),
            "{advice}"
        );
        assert!(refusal(Some("invalid_grant"), &[]).contains("token.username"));
        assert!(refusal(None, &[]).contains("token.endpoint"));
    }

    #[test]
    fn a_status_decides_the_cause() {
        let of = |status: u16| {
            let error = FetchError::Status {
                status: StatusCode::from_u16(status).unwrap(),
                retry_after: None,
            };
            advise_on_fetch_error(&error, &config(&[])).cause
        };
        assert!(of(302).contains("never followed"));
        assert!(of(429).contains("too many"));
        assert!(of(404).contains("no token endpoint at this path"));
        assert!(of(503).contains("the server's side"));
        assert!(of(508).contains("back to itself"));
        let stranger =
            advise_on_fetch_error(&FetchError::Response("the body is not JSON"), &config(&[]));
        assert!(
            stranger.cause.contains("captive portal")
                && stranger.fixes[1].contains("api.auth.gbgplc.com")
        );
    }

    #[test]
    fn only_an_accepted_token_gets_these_statuses() {
        let of = |status: u16, page| {
            judge_api_response(StatusCode::from_u16(status).unwrap(), page, &config(&[]))
        };
        for status in [200, 201, 400, 404] {
            assert!(
                of(status, false)
                    .unwrap()
                    .starts_with("the token is accepted"),
                "{status}"
            );
            assert!(
                of(status, true)
                    .unwrap_err()
                    .cause
                    .contains("responded instead"),
                "{status}"
            );
        }
        assert!(of(401, false).unwrap_err().fixes[0].contains("same environment"));
        assert!(of(403, false).unwrap_err().fixes[0].contains("Go API Access"));
        assert!(
            of(403, true)
                .unwrap_err()
                .cause
                .contains("responded instead")
        );
        assert!(of(508, false).unwrap_err().cause.contains("back to itself"));
        for status in [301, 405, 429, 500, 503] {
            assert!(of(status, false).is_err(), "{status}");
        }
    }
}
