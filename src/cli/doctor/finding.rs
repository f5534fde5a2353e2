//! What the token endpoint and the API answered, and what that means; pure, like `advice`.

use http::StatusCode;

use super::advice::Advice;
use crate::config::{ClientAuth, Config};
use crate::error::chain;
use crate::gbg;
use crate::token::FetchError;
use crate::upstream::ConnectStep;

const CHECK_ENDPOINT: &str = "check token.endpoint";
const CHECK_SECRET: &str =
    "check token.client_id and token.client_secret; a regenerated secret ends the old one at once";

/// Why there is no token, in one clause.
pub(super) fn no_token(error: &FetchError) -> String {
    match error {
        // Its own text brings advice, which is given here in full.
        FetchError::Refused { status, code, .. } => {
            let code = code.unwrap_or("with no known error code");
            format!("{}: {status}, {code}", error.kind().summary())
        }
        other => chain(other),
    }
}

/// What it means that there is no token.
pub(super) fn on_no_token(error: &FetchError, config: &Config) -> Advice {
    match error {
        FetchError::Refused { code, .. } => on_refusal(*code, config),
        FetchError::Status { status, .. } => on_token_status(*status),
        FetchError::Response(_) => {
            on_a_stranger("token endpoint", CHECK_ENDPOINT).and(gbgs_endpoint())
        }
        FetchError::Encoded { .. } => Advice::new(
            "something between this machine and the endpoint compresses what it was asked not to compress",
            ["ask whoever runs the gateway or proxy in between to heed Accept-Encoding"],
        ),
        FetchError::Timeout(late) if late.step != ConnectStep::Response => Advice::new(
            "this connection took longer than the one before, and token.timeout is for both connection and answer",
            [
                "try again; if it lasts, fix what is slow above, or give it more time with token.timeout",
            ],
        ),
        FetchError::Timeout(_) | FetchError::TooLate { .. } => Advice::new(
            "the endpoint took the connection, and did not answer the request in token.timeout",
            ["try again; if it lasts, ask GBG's support, or give it more time with token.timeout"],
        ),
        FetchError::Credentials(_) => Advice::new(
            "the client's key or certificate was read, and is of no use",
            ["check token.jwt_key, token.client_cert and token.client_key"],
        ),
        FetchError::Unreachable(_) | FetchError::Broken(_) => Advice::new(
            "the connection broke before an answer came",
            ["try again; if it lasts, something on the way cuts the request off"],
        ),
    }
}

fn on_refusal(code: Option<&'static str>, config: &Config) -> Advice {
    let role =
        "give the API client the role \"Go API Access\" (Account management portal, Clients tab)";
    let (check, other) = match config.token.credentials.client_auth() {
        ClientAuth::Post => (CHECK_SECRET, other_way("post", "basic")),
        ClientAuth::Basic => (CHECK_SECRET, other_way("basic", "post")),
        ClientAuth::PrivateKeyJwt => (
            "check token.client_id, and that the endpoint has the public half of token.jwt_key",
            "check token.jwt_alg, token.jwt_kid and this machine's clock".to_owned(),
        ),
        ClientAuth::Tls => (
            "check token.client_id, and that the endpoint knows the certificate in token.client_cert",
            "check that the certificate has not expired".to_owned(),
        ),
    };
    match code {
        Some("invalid_client") => Advice::new(
            "the client is not who it says, or proves it in a way that it is not set up for",
            [check],
        )
        .and(other),
        Some("unauthorized_client") => Advice::new(
            "the client is known, but may not ask for a token in this way",
            [role],
        ),
        Some("invalid_scope") => Advice::new(
            format!("the client may not have the scope {:?}", config.token.scope),
            [role],
        )
        .and(format!(
            "check token.scope; GBG's documentation says {:?}",
            gbg::SCOPE
        )),
        Some("invalid_grant") => Advice::new(
            "the endpoint takes the client, but not the grant that it comes with",
            [
                "check token.username and token.password, if they are yours to give: several wrong ones lock the user",
                "an API client of the Clients tab has the grant \"client_credentials\"",
            ],
        ),
        Some("unsupported_grant_type") => Advice::new(
            "this endpoint does not know this grant",
            ["check token.grant", CHECK_ENDPOINT],
        )
        .and(gbgs_endpoint()),
        Some("invalid_request") => Advice::new(
            "the endpoint misses something in the request, or has it twice",
            [CHECK_ENDPOINT],
        )
        .and(other),
        _ => Advice::new(
            "the refusal is not worded as that of a token endpoint",
            [CHECK_ENDPOINT],
        )
        .and(gbgs_endpoint()),
    }
}

fn other_way(auth: &str, other: &str) -> String {
    format!("if both are right: token.client_auth is {auth:?}, perhaps the client wants {other:?}")
}

fn on_token_status(status: StatusCode) -> Advice {
    match status.as_u16() {
        300..=399 => on_redirect(CHECK_ENDPOINT).and(gbgs_endpoint()),
        429 => on_too_many(),
        403 => Advice::new(
            "something before the endpoint keeps this machine out, such as a list of allowed addresses",
            [
                "ask whoever runs it to let this machine's address in",
                CHECK_ENDPOINT,
            ],
        ),
        404 | 405 => Advice::new("there is no token endpoint at this path", [CHECK_ENDPOINT])
            .and(gbgs_endpoint()),
        508 => on_loop(CHECK_ENDPOINT).and(gbgs_endpoint()),
        500.. => on_their_fault(),
        _ => on_a_stranger("token endpoint", CHECK_ENDPOINT).and(gbgs_endpoint()),
    }
}

/// What the API's answer to the authorized call says of the token: in words where it was taken,
/// else advice.
///
/// `page` says that the answer is HTML.
pub(super) fn on_call(
    status: StatusCode,
    page: bool,
    config: &Config,
) -> Result<&'static str, Advice> {
    const CHECK_ORIGIN: &str = "check upstream.region or upstream.base_url";
    let belong = || {
        let (api, endpoint) = (&config.upstream.origin, &config.token.endpoint);
        format!(
            "check that {api} and {endpoint} belong to the same environment (upstream.region or \
             upstream.base_url, token.endpoint)"
        )
    };
    match status.as_u16() {
        300..=399 => Err(on_redirect(CHECK_ORIGIN)),
        429 => Err(on_too_many()),
        508 => Err(on_loop(CHECK_ORIGIN)),
        500.. => Err(on_their_fault()),
        _ if page => Err(on_a_stranger("API", CHECK_ORIGIN)),
        200..=299 => Ok("the token is accepted"),
        400 | 404 => Ok("the token is accepted (the instance is made up)"),
        401 => {
            Err(Advice::new("the API does not accept the token that the token endpoint gave", [])
                .and(belong()))
        }
        403 => Err(Advice::new(
            "the API knows the token, but this client may not use the API",
            [
                "give the API client the role \"Go API Access\" (Account management portal, Clients tab)",
                "check that the client is in the department that the journeys belong to",
            ],
        )
        .and(belong())),
        _ => Err(on_a_stranger("API", CHECK_ORIGIN)),
    }
}

/// What it means that a request came back to a proxy that had forwarded it.
fn on_loop(check: &'static str) -> Advice {
    Advice::new(
        "the address leads to a proxy that sends the request back to itself",
        [check],
    )
}

/// What it means that the API took the connection, and gave no answer.
pub(super) fn on_no_answer() -> Advice {
    Advice::new(
        "the server took the connection, and gave no answer that is HTTP",
        [
            "check scheme and port: perhaps the server wants https://",
            "if it wants a certificate, write upstream.client_cert and upstream.client_key",
            "try again; if it lasts, something on the way cuts it off, or this is another server",
        ],
    )
}

fn on_redirect(check: &str) -> Advice {
    Advice::new(
        "the answer sends elsewhere, and redirects are never followed: a captive portal or the wrong address",
        [check],
    )
}

fn on_too_many() -> Advice {
    Advice::new(
        "there are too many requests from this client or address",
        ["wait some minutes, and look for other processes with the same client id"],
    )
}

fn on_their_fault() -> Advice {
    Advice::new(
        "the fault is on the server's side, or that of a gateway before it",
        ["wait some minutes, and try again; if it lasts, ask GBG's support"],
    )
}

fn on_a_stranger(name: &str, check: &str) -> Advice {
    let cause = format!(
        "this is not how the {name} answers: a captive portal, a corporate proxy or another server answers in \
         its place"
    );
    Advice::new(cause, [check])
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
        let advice = on_no_token(&error, &config(set));
        format!(
            "{}\n{}\n{}",
            no_token(&error),
            advice.cause,
            advice.fixes.join("\n")
        )
    }

    #[test]
    fn a_refused_client_is_told_of_the_other_way_to_prove_itself() {
        let told = refusal(Some("invalid_client"), &[]);
        assert!(
            told.contains("401 Unauthorized, invalid_client") && told.contains("wants \"basic\""),
            "{told}"
        );
        let told = refusal(Some("invalid_client"), &["token.client_auth=basic"]);
        assert!(
            told.contains("is \"basic\", perhaps the client wants \"post\""),
            "{told}"
        );
    }

    #[test]
    fn each_refusal_has_its_mend() {
        assert!(refusal(Some("unauthorized_client"), &[]).contains("Go API Access"));
        let told = refusal(Some("invalid_scope"), &["token.scope=x"]);
        assert!(
            told.contains("the scope \"x\"") && told.contains("\"gbg.token\""),
            "{told}"
        );
        assert!(refusal(Some("invalid_grant"), &[]).contains("token.username"));
        assert!(refusal(None, &[]).contains("token.endpoint"));
    }

    #[test]
    fn a_status_tells_whose_fault_it_is() {
        let of = |status: u16| {
            let error = FetchError::Status {
                status: StatusCode::from_u16(status).unwrap(),
                retry_after: None,
            };
            on_no_token(&error, &config(&[])).cause
        };
        assert!(of(302).contains("never followed"));
        assert!(of(429).contains("too many"));
        assert!(of(404).contains("no token endpoint at this path"));
        assert!(of(503).contains("the server's side"));
        assert!(of(508).contains("back to itself"));
        let stranger = on_no_token(&FetchError::Response("the body is not JSON"), &config(&[]));
        assert!(
            stranger.cause.contains("captive portal")
                && stranger.fixes[1].contains("api.auth.gbgplc.com")
        );
    }

    #[test]
    fn the_token_counts_as_accepted_by_what_only_an_accepted_one_gets() {
        let of =
            |status: u16, page| on_call(StatusCode::from_u16(status).unwrap(), page, &config(&[]));
        for status in [200, 201, 400, 404] {
            assert!(
                of(status, false)
                    .unwrap()
                    .starts_with("the token is accepted"),
                "{status}"
            );
            assert!(
                of(status, true).unwrap_err().cause.contains("in its place"),
                "{status}"
            );
        }
        assert!(of(401, false).unwrap_err().fixes[0].contains("same environment"));
        assert!(of(403, false).unwrap_err().fixes[0].contains("Go API Access"));
        assert!(of(403, true).unwrap_err().cause.contains("in its place"));
        assert!(of(508, false).unwrap_err().cause.contains("back to itself"));
        for status in [301, 405, 429, 500, 503] {
            assert!(of(status, false).is_err(), "{status}");
        }
    }
}
