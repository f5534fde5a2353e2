//! A device of an end user that calls a sandbox through the proxy, each time with its own token.

use gbg_proxy::sandbox::{Authorization, Sandbox};
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};

use crate::support::caller::{self, send};
use crate::support::{Proxy, TestProxy, sandbox};

const INTERACTIONS: &str = "upstream.caller_bearer=[\"/v2/captain/journey/interaction/*\"]";
const CUSTOMER: Authorization = Authorization::Bearer {
    generation: 1,
    current: true,
};

/// Posts `body` to a call of v2, and returns the status, the body and the token that arrived.
async fn post(
    proxy: &Proxy,
    world: &Sandbox,
    path: &str,
    bearer: Option<&str>,
    body: Value,
) -> (u16, Value, Authorization) {
    let path = format!("/v2/captain/journey/{path}");
    let mut req = Request::post(&path)
        .header("host", "localhost")
        .header("content-type", "application/json");
    if let Some(bearer) = bearer {
        req = req.header("authorization", format!("Bearer {bearer}"));
    }
    let req = req.body(Full::from(body.to_string())).unwrap();
    let res = send(proxy.addr(), req).await;
    let arrived = world.recorded_calls().pop().unwrap();
    assert_eq!(arrived.path, path);
    (
        res.status().as_u16(),
        caller::json(&res),
        arrived.authorization,
    )
}

/// A device that is connected to a journey.
struct ConnectedDevice {
    instance: String,
    token: String,
}

/// Starts a journey, and connects a device to it: the proxy's token, twice, and a connect token.
async fn connect(proxy: &Proxy, world: &Sandbox) -> ConnectedDevice {
    let body = json!({"resourceId": "abc@1", "context": {"config": {"delivery": "api"}}});
    let (status, started, arrived) = post(proxy, world, "start", None, body).await;
    assert_eq!((status, arrived), (201, CUSTOMER));
    let instance = started["instanceId"].as_str().unwrap().to_owned();

    let body = json!({"instanceId": instance, "scope": ["mobile"]});
    let (status, pair, arrived) = post(proxy, world, "device/start", None, body).await;
    assert_eq!((status, arrived), (201, CUSTOMER));
    let connect_token = pair["connectToken"].as_str().unwrap();

    let body =
        json!({"connectToken": connect_token, "deviceInfo": {"deviceId": "a-device-of-16-ch"}});
    let (status, connected, arrived) =
        post(proxy, world, "device/connect", Some(connect_token), body).await;
    assert_eq!((status, arrived), (201, Authorization::ConnectToken));
    let token = connected["endUserToken"].as_str().unwrap().to_owned();
    ConnectedDevice { instance, token }
}

#[tokio::test]
async fn a_device_keeps_its_token_through_the_proxy() {
    let world = sandbox(&[]).await;
    let proxy = TestProxy::before_sandbox(&world).set(&[INTERACTIONS]);
    let proxy = proxy.start().await;
    let device = connect(&proxy, &world).await;
    let handoff = format!("instance/{}/handoff-token", device.instance);
    let id = json!({"instanceId": device.instance});
    for (path, expected) in [
        ("interaction/fetch", 200),
        ("device/validate", 200),
        ("device/refresh", 201),
        (&*handoff, 201),
    ] {
        let bearer = Some(&*device.token);
        let (status, body, arrived) = post(&proxy, &world, path, bearer, id.clone()).await;
        let end_user = Authorization::EndUserToken;
        assert_eq!((status, arrived), (expected, end_user), "{path}: {body}");
    }
    // The token reaches no other journey, and the proxy does not widen it.
    let other = connect(&proxy, &world).await;
    let id = json!({"instanceId": other.instance});
    let bearer = Some(&*device.token);
    let (status, _, arrived) = post(&proxy, &world, "interaction/fetch", bearer, id).await;
    assert_eq!((status, arrived), (401, Authorization::EndUserToken));
    assert_eq!(world.token_calls(), 1, "a 401 cost the proxy its token");
}

#[tokio::test]
async fn by_default_interactions_carry_the_proxys_token() {
    let world = sandbox(&[]).await;
    let proxy = TestProxy::before_sandbox(&world).start().await;
    let device = connect(&proxy, &world).await;
    let id = json!({"instanceId": device.instance});
    let bearer = Some(&*device.token);
    let (status, _, arrived) = post(&proxy, &world, "interaction/fetch", bearer, id).await;
    assert_eq!((status, arrived), (200, CUSTOMER));
}

#[tokio::test]
async fn a_handoff_never_carries_the_proxys_token() {
    let world = sandbox(&[]).await;
    let proxy = TestProxy::before_sandbox(&world).start().await;
    let device = connect(&proxy, &world).await;
    let calls = world.api_calls();
    let path = format!("instance/{}/handoff-token", device.instance);
    let (status, body, arrived) = post(&proxy, &world, &path, None, json!({})).await;
    assert_eq!((status, arrived), (401, Authorization::None));
    assert_eq!(body["errors"][0]["name"], "SANDBOX_UNAUTHORIZED");
    assert_eq!(world.api_calls(), calls + 1, "a 401 is not retried");
    assert_eq!(world.token_calls(), 1, "a 401 cost the proxy its token");
}
