//! The configuration is read again while the proxy runs.

use std::path::Path;

use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::spawn_blocking;
use wiremock::{MockServer, ResponseTemplate};

use crate::support::caller::{json, post, send, until};
use crate::support::configured_callers::{KeyedCaller, config_file};
use crate::support::process::Running;
use crate::support::{answer, api, token_endpoint};

const START: &str = "/v2/captain/journey/start";

/// A process with the configuration in `file`, before `api`.
pub async fn running(file: &Path, api: &MockServer, set: &[&str]) -> Running {
    let file = file.to_owned();
    let mut values = vec![
        format!("upstream.base_url={}", api.uri()),
        format!("token.endpoint={}", token_endpoint(api)),
        "admin.address=127.0.0.1:0".to_owned(),
    ];
    values.extend(set.iter().map(|&value| value.to_owned()));
    let start = move || {
        let values: Vec<_> = values.iter().map(String::as_str).collect();
        Running::start_with_file(&file, &values)
    };
    spawn_blocking(start).await.unwrap()
}

async fn call(running: &Running, caller: &KeyedCaller) -> StatusCode {
    let mut req = post(START);
    req.headers_mut()
        .extend([caller.key_field("x-api-key", "")]);
    send(running.addr(), req).await.status()
}

/// In one move, as editors and Kubernetes do.
pub fn replace(file: &Path, text: &str) {
    let next = file.with_extension("next");
    std::fs::write(&next, text).unwrap();
    std::fs::rename(next, file).unwrap();
}

pub async fn content() -> MockServer {
    let api = api().await;
    answer(&api, ResponseTemplate::new(200)).await;
    api
}

#[tokio::test]
async fn a_removed_caller_is_rejected_on_open_connections() {
    let api = content().await;
    let (old, new) = (
        KeyedCaller::new("old", ""),
        KeyedCaller::new("new", "max_in_flight = 9"),
    );
    let config = config_file(&[old.table()]);
    let mut running = running(config.path(), &api, &[]).await;
    let stream = TcpStream::connect(running.addr()).await.unwrap();
    let (mut open, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let mut ask = async || {
        let req = Request::post(START)
            .header("host", "a")
            .header("x-api-key", &old.key);
        let res = open
            .send_request(req.body(Empty::<bytes::Bytes>::new()).unwrap())
            .await
            .unwrap();
        let status = res.status();
        res.into_body().collect().await.unwrap();
        open.ready().await.unwrap();
        status
    };
    assert_eq!(
        (ask().await, call(&running, &new).await),
        (StatusCode::OK, StatusCode::UNAUTHORIZED)
    );

    replace(config.path(), &new.table());
    running.signal("-HUP");
    until(async || call(&running, &new).await == StatusCode::OK).await;

    assert_eq!(
        (ask().await, call(&running, &old).await),
        (StatusCode::UNAUTHORIZED, StatusCode::UNAUTHORIZED)
    );
    let admin = running.admin();
    let status = Request::get("/status")
        .header("host", "localhost")
        .body(Full::default())
        .unwrap();
    let status = json(&send(admin, status).await);
    assert_eq!(
        (
            &status["configuration"]["reloads"],
            &status["configuration"]["problem"]
        ),
        (&1.into(), &().into())
    );
    let mut callers = status["callers"].as_array().unwrap().iter();
    let of_new = callers.find(|caller| caller["name"] == "new").unwrap();
    assert_eq!(of_new["max_in_flight"], 9);
    assert_eq!(
        status["requests"]["by_caller"],
        serde_json::json!({ "old": 1, "new": 1 })
    );
    assert_eq!(running.end("-TERM"), 0);
    assert!(
        running
            .log
            .contains("configuration reloaded why=\"SIGHUP\""),
        "{}",
        running.log
    );
    assert!(!running.log.contains(&old.key) && !running.log.contains(&new.key));
}

#[tokio::test]
async fn a_changed_file_is_reloaded_without_a_signal() {
    let api = content().await;
    let (old, new) = (KeyedCaller::new("crm", ""), KeyedCaller::new("crm", ""));
    let config = config_file(&[old.table()]);
    let mut running = running(config.path(), &api, &[]).await;
    assert_eq!(call(&running, &new).await, StatusCode::UNAUTHORIZED);
    std::fs::write(config.path(), new.table()).unwrap();
    until(async || call(&running, &new).await == StatusCode::OK).await;
    assert_eq!(running.end("-TERM"), 0);
    assert!(
        running
            .log
            .contains("changed=\"caller \\\"crm\\\": key_sha256\""),
        "{}",
        running.log
    );
    assert!(
        !running.log.contains(&new.table()[40..80]),
        "a digest is in the log"
    );
}

#[tokio::test]
async fn an_invalid_configuration_keeps_the_last_valid_one() {
    let api = content().await;
    let crm = KeyedCaller::new("crm", "");
    let config = config_file(&[crm.table()]);
    let mut running = running(config.path(), &api, &[]).await;
    let admin = running.admin();
    let problem = async || {
        let status = Request::get("/status")
            .header("host", "localhost")
            .body(Full::default())
            .unwrap();
        json(&send(admin, status).await)["configuration"]["problem"].clone()
    };
    replace(config.path(), &format!("{}rat = \"1/s\"\n", crm.table()));
    running.signal("-HUP");
    until(async || {
        problem()
            .await
            .as_str()
            .is_some_and(|problem| problem.contains("did you mean rate?"))
    })
    .await;
    assert_eq!(call(&running, &crm).await, StatusCode::OK);
    // A repeated request is reported again.
    let refused = async || {
        let status = Request::get("/status")
            .header("host", "localhost")
            .body(Full::default())
            .unwrap();
        json(&send(admin, status).await)["configuration"]["refused"]
            .as_u64()
            .unwrap()
    };
    let before = refused().await;
    running.signal("-HUP");
    until(async || refused().await > before).await;

    replace(
        config.path(),
        &format!(
            "{}[listen]\naddress = \"127.0.0.1:1\"\n",
            KeyedCaller::new("other", "").table()
        ),
    );
    running.signal("-HUP");
    // The command line says where to listen, and so the file changes nothing.
    until(async || problem().await.is_null()).await;
    assert_eq!(call(&running, &crm).await, StatusCode::UNAUTHORIZED);
    assert_eq!(running.end("-TERM"), 0);
    assert!(
        running.log.contains("the previous one stays active"),
        "{}",
        running.log
    );
}

/// The file is as it was, and what it names has come.
#[tokio::test]
async fn a_failed_reload_is_retried() {
    let api = content().await;
    let directory = tempfile::tempdir().unwrap();
    let secret = directory.path().join("secret");
    let config = config_file(&[]);
    let mut running = running(config.path(), &api, &[]).await;
    let admin = running.admin();
    let in_force = async || {
        let metrics = Request::get("/metrics")
            .header("host", "localhost")
            .body(Full::default())
            .unwrap();
        let metrics = String::from_utf8_lossy(send(admin, metrics).await.body()).into_owned();
        metrics.lines().find_map(|line| {
            line.strip_prefix("gbg_proxy_config_in_force ")
                .map(str::to_owned)
        })
    };
    assert_eq!(in_force().await.as_deref(), Some("1.0"));
    replace(
        config.path(),
        &format!("[token]\nclient_secret = \"file:{}\"\n", secret.display()),
    );
    running.signal("-HUP");
    until(async || in_force().await.as_deref() == Some("0.0")).await;
    std::fs::write(&secret, "another").unwrap();
    until(async || in_force().await.as_deref() == Some("1.0")).await;
    assert_eq!(running.end("-TERM"), 0);
    let refusals = running.log.matches("configuration rejected").count();
    // At SIGHUP, and perhaps as the file was found to be another.
    assert!((1..=2).contains(&refusals), "{}", running.log);
    assert!(
        running.log.contains("reloaded why=\"retry\""),
        "{}",
        running.log
    );
}

/// Callers and where is listened belong together: without callers an open address would be open to
/// all.
#[tokio::test]
async fn a_reload_keeps_authentication_and_names_restart_keys() {
    let api = content().await;
    let crm = KeyedCaller::new("crm", "");
    let config = config_file(&[crm.table()]);
    let mut running = running(config.path(), &api, &[]).await;
    let plaintext_keys = format!(
        "[listen]\nallow_plaintext_keys = true\n{}",
        KeyedCaller::new("other", "").table()
    );
    for (text, logged) in [
        ("", "no [[caller]] is left"),
        (
            &plaintext_keys,
            "listen.allow_plaintext_keys changed, which needs a restart",
        ),
        (
            "[listen.tls]\ncert = \"/nowhere.crt\"\nkey = \"/nowhere.key\"\n",
            "/nowhere.crt",
        ),
    ] {
        replace(config.path(), text);
        running.signal("-HUP");
        running.read_until(logged);
        let nobody = send(running.addr(), post(START)).await;
        assert_eq!(
            nobody.status(),
            StatusCode::UNAUTHORIZED,
            "it is open to all"
        );
        assert_eq!(call(&running, &crm).await, StatusCode::OK);
    }

    replace(
        config.path(),
        &format!(
            "[listen]\nh2_streams = 9\n{}",
            KeyedCaller::new("other", "").table()
        ),
    );
    running.signal("-HUP");
    running.read_until("need a restart keys=\"listen.h2_streams\"");
    // As long as it is so.
    let log = std::mem::take(&mut running.log);
    running.signal("-HUP");
    running.read_until("need a restart keys=\"listen.h2_streams\"");
    assert!(!running.log.contains("no changes"), "{}", running.log);
    running.log.insert_str(0, &log);
    assert_eq!(call(&running, &crm).await, StatusCode::UNAUTHORIZED);
    assert_eq!(running.end("-TERM"), 0);
}

/// A flood that is in flight is counted on, whatever is read again meanwhile.
#[tokio::test]
async fn unchanged_callers_keep_their_counters() {
    let api = content().await;
    let slow = KeyedCaller::new("slow", "rate = \"1/h, burst 1\"");
    let config = config_file(&[slow.table()]);
    let mut running = running(config.path(), &api, &[]).await;
    assert_eq!(call(&running, &slow).await, StatusCode::OK);
    let other = KeyedCaller::new("other", "");
    replace(config.path(), &(slow.table() + &other.table()));
    running.signal("-HUP");
    until(async || call(&running, &other).await == StatusCode::OK).await;
    assert_eq!(call(&running, &slow).await, StatusCode::TOO_MANY_REQUESTS);
    replace(config.path(), &slow.table().replace("burst 1", "burst 2"));
    running.signal("-HUP");
    until(async || call(&running, &slow).await == StatusCode::OK).await;
    assert_eq!(running.end("-TERM"), 0);
}
