//! The endpoint table: the sandbox serves each call, with the methods and tokens of the table.

use super::*;
use crate::gbg::{AcceptedToken, ApiVersion, endpoints};

/// A path of each endpoint of v2, with the kind of token that it accepts.
fn paths() -> Vec<(String, AcceptedToken)> {
    let of_v2 = endpoints().filter(|(version, _)| *version == ApiVersion::V2);
    of_v2
        .map(|(version, endpoint)| {
            let path = format!("{}{}", version.prefix(), endpoint.template);
            (path.replace(['{', '}'], ""), endpoint.token)
        })
        .collect()
}

struct IssuedTokens {
    customer: String,
    end_user: String,
}

async fn tokens(caller: &mut Caller) -> IssuedTokens {
    let customer = caller.token().await;
    let instance = start_journey(caller, &customer).await;
    let connected = connect_device(caller, &customer, &instance).await;
    IssuedTokens {
        customer,
        end_user: text(&connected["endUserToken"]),
    }
}

#[tokio::test]
async fn every_v2_endpoint_is_served() {
    let sandbox = plain().await;
    let mut caller = Caller::to(&sandbox).await;
    let tokens = tokens(&mut caller).await;
    for (path, accepted) in paths() {
        let token = match accepted {
            AcceptedToken::EndUser => &tokens.end_user,
            _ => &tokens.customer,
        };
        let refused = caller.send(Method::PATCH, &path, token, "{}").await;
        assert_eq!(refused.status(), 405, "{path}");
        let allow = refused.headers()[ALLOW].to_str().unwrap();
        for method in allow.split(", ") {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let served = caller.send(method.clone(), &path, token, "{}").await;
            assert!(
                !matches!(served.status().as_u16(), 401 | 403 | 405),
                "{method} {path}: {}",
                served.status()
            );
        }
    }
}

#[tokio::test]
async fn a_wrong_method_names_the_right_ones() {
    let sandbox = plain().await;
    let mut caller = Caller::to(&sandbox).await;
    let token = caller.token().await;
    let base = "/v2/captain/sandbox/journeys/abc/scenarios";
    for (method, path, allow) in [
        (Method::PUT, base, "GET, POST"),
        (Method::POST, &*format!("{base}/a"), "GET, PUT, DELETE"),
        (Method::DELETE, V2_START, "POST"),
        (Method::POST, "/v2/captain/openapi.json", "GET"),
        (Method::POST, "/v2/captain/version", "GET"),
    ] {
        let res = caller.send(method, path, &token, "{}").await;
        assert_eq!(res.status(), 405, "{path}");
        assert_eq!(res.headers()[ALLOW], allow, "{path}");
    }
}

#[tokio::test]
async fn the_wrong_kind_of_token_is_refused() {
    let sandbox = plain().await;
    let mut caller = Caller::to(&sandbox).await;
    let tokens = tokens(&mut caller).await;
    for (path, accepted) in paths() {
        let wrong: &[&str] = match accepted {
            AcceptedToken::Customer => &[&tokens.end_user, "unknown", ""],
            AcceptedToken::EndUser => &[&tokens.customer, "unknown", ""],
            AcceptedToken::Either => &["unknown", ""],
            AcceptedToken::None => &[],
        };
        for token in wrong {
            let refused = caller.send(Method::POST, &path, token, "{}").await;
            let is_handoff = path.ends_with("/handoff-token") && *token == tokens.customer;
            let expected = if is_handoff { 403 } else { 401 };
            assert_eq!(refused.status(), expected, "{path}");
        }
    }
}

#[tokio::test]
async fn the_description_lists_the_paths() {
    let sandbox = plain().await;
    let mut caller = Caller::to(&sandbox).await;
    let token = caller.token().await;
    let res = caller
        .send(Method::GET, "/v2/captain/openapi.json", &token, "")
        .await;
    let description: Value = serde_json::from_slice(res.body()).unwrap();
    assert!(description["paths"][V2_START].is_object());
    assert_eq!(
        description["paths"].as_object().unwrap().len(),
        paths().len()
    );
}
