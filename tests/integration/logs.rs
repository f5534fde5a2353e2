//! What is logged of a request, and what is not.

use std::net::TcpStream;
use std::time::Duration;

use http::StatusCode;
use wiremock::ResponseTemplate;

use crate::support::caller::{post, send};
use crate::support::process::Running;
use crate::support::{CLIENT_SECRET, TOKEN, answer, api, token_endpoint};

#[tokio::test]
async fn a_request_has_one_line_without_any_of_its_data() {
    let api = api().await;
    let template =
        ResponseTemplate::new(201).insert_header("x-request-id", "gbg-7").set_body_string("answer-data");
    answer(&api, template).await;
    let set =
        [format!("upstream.base_url={}", api.uri()), format!("token.endpoint={}", token_endpoint(&api))];
    let mut running = Running::start(&[&set[0], &set[1], "log.level=trace"]);

    let mut req = post("/v2/captain/journey/start?query-data=1");
    req.headers_mut().insert("x-field", "field-data".parse().unwrap());
    req.headers_mut().insert("authorization", "Bearer caller-data".parse().unwrap());
    *req.body_mut() = "body-data".into();
    assert_eq!(send(running.addr(), req).await.status(), StatusCode::CREATED);
    send(running.addr(), post("/elsewhere")).await;
    assert_eq!(running.end("-TERM"), 0);

    let log = &running.log;
    let lines: Vec<_> = log.lines().filter(|line| line.contains(" request request_id=")).collect();
    assert_eq!(lines.len(), 2, "{log}");
    for part in [
        "method=\"POST\"",
        "path=\"/v2/captain/journey/start\"",
        "status=201",
        "source=\"gbg\"",
        "bytes=11",
        "gbg_request_id=\"gbg-7\"",
    ] {
        assert!(lines[0].contains(part), "{part} is not in {}", lines[0]);
    }
    assert!(lines[1].contains("status=404 source=\"proxy\" reason=\"path_unknown\""), "{}", lines[1]);
    for data in ["query-data", "field-data", "caller-data", "body-data", "answer-data", TOKEN, CLIENT_SECRET]
    {
        assert!(!log.contains(data), "{data} is in the log:\n{log}");
    }
}

#[tokio::test]
async fn without_the_access_log_a_request_has_no_line_and_a_failure_has_one() {
    let api = api().await;
    let set = [format!("token.endpoint={}", token_endpoint(&api)), "log.access=false".to_owned()];
    let mut running = Running::start(&[&set[0], &set[1]]);
    assert_eq!(send(running.addr(), post("/v2/captain/x")).await.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(send(running.addr(), post("/elsewhere")).await.status(), StatusCode::NOT_FOUND);
    assert_eq!(running.end("-TERM"), 0);
    assert!(!running.log.contains(" request request_id="), "{}", running.log);
    let failures: Vec<_> = running.log.lines().filter(|line| line.contains("WARN")).collect();
    assert_eq!(failures.len(), 1, "{}", running.log);
    assert!(failures[0].contains("upstream_unreachable") && failures[0].contains("refused"), "{failures:?}");
}

#[tokio::test]
async fn running_out_of_open_files_is_told_once_and_survived() {
    let api = api().await;
    answer(&api, ResponseTemplate::new(200)).await;
    let set =
        [format!("upstream.base_url={}", api.uri()), format!("token.endpoint={}", token_endpoint(&api))];
    let mut running = Running::start_with_open_files(64, &[&set[0], &set[1], "listen.workers=1"]);
    running.read_until("an access token is held");

    let crowd: Vec<_> = (0..100).map(|_| TcpStream::connect(running.addr()).unwrap()).collect();
    running.read_until("cannot accept connections");
    // Still out of files for some rounds of the accept loop, which have nothing new to say.
    tokio::time::sleep(Duration::from_millis(500)).await;
    drop(crowd);

    assert_eq!(send(running.addr(), post("/v2/captain/x")).await.status(), StatusCode::OK);
    assert_eq!(running.end("-TERM"), 0);
    assert_eq!(running.log.matches("cannot accept connections").count(), 1, "{}", running.log);
}
