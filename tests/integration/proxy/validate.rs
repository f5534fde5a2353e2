//! Requests that are refused before anybody is asked who sent them: by a host that is not ours,
//! from a web page of another site, to a path that is not forwarded.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wiremock::ResponseTemplate;

use crate::support::caller::raw;
use crate::support::tls::{connect_tls, serving_tls};
use crate::support::{TestProxy, answer, api, forwarded};

const START: &str = "/v2/captain/journey/start";

#[tokio::test]
async fn each_rejected_request_has_its_reason() {
    let api = api().await;
    answer(&api, ResponseTemplate::new(200)).await;
    let proxy = TestProxy::before(&api).start().await;
    let post = format!("POST {START}");
    for (line, fields, status, reason) in [
        (&*post, "Host: evil.example", 403, "host_not_allowed"),
        (&*post, "Host: evil.example:8080", 403, "host_not_allowed"),
        (
            &*post,
            "Host: localhost.evil.example",
            403,
            "host_not_allowed",
        ),
        (&*post, "Host: 10.1.2.3", 403, "host_not_allowed"),
        (
            &format!("POST http://evil.example{START}"),
            "Host: localhost",
            403,
            "host_not_allowed",
        ),
        (
            &format!("POST http://localhost{START}"),
            "Host: evil.example",
            403,
            "host_not_allowed",
        ),
        (
            &*post,
            "Host: localhost\r\nOrigin: https://evil.example",
            403,
            "cross_site",
        ),
        (&*post, "Host: localhost\r\nOrigin: null", 403, "cross_site"),
        (
            &*post,
            "Host: localhost\r\nSec-Fetch-Site: cross-site",
            403,
            "cross_site",
        ),
        (
            &*post,
            "Host: localhost\r\nSec-Fetch-Site: same-site",
            403,
            "cross_site",
        ),
        (
            &format!("OPTIONS {START}"),
            "Host: localhost\r\nOrigin: https://evil.example\r\nAccess-Control-Request-Method: POST",
            403,
            "cross_site",
        ),
        ("POST /designer/api", "Host: localhost", 404, "path_unknown"),
        (
            "POST /v2/captain/../x",
            "Host: localhost",
            400,
            "bad_request",
        ),
        (
            "POST /v2/captain/%2e%2e/x",
            "Host: localhost",
            400,
            "bad_request",
        ),
        (
            &format!("TRACE {START}"),
            "Host: localhost",
            405,
            "method_not_allowed",
        ),
    ] {
        let sent = format!(
            "{line} HTTP/1.1\r\n{fields}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        );
        let answer = raw(proxy.addr(), &sent).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{sent}{answer}"
        );
        assert!(
            answer.contains(&format!("details=\"{reason}\"")),
            "{sent}{answer}"
        );
        assert!(
            !answer.to_lowercase().contains("access-control"),
            "{sent}{answer}"
        );
    }
    assert!(forwarded(&api).await.is_empty());
}

/// An `http://` page of the same host is another origin than a TLS listener's, and no page's own
/// Origin outweighs what the browser says of it.
#[tokio::test]
async fn a_page_of_another_scheme_is_cross_site() {
    let api = api().await;
    answer(&api, ResponseTemplate::new(200)).await;
    let (over_tls, roots) = serving_tls(&api).await;
    let plain = TestProxy::before(&api).start().await;
    let request = |fields: &str| {
        format!(
            "POST {START} HTTP/1.1\r\nHost: localhost\r\n{fields}Connection: close\r\nContent-Length: 0\r\n\r\n"
        )
    };
    for (fields, by_tls, by_plain) in [
        ("Origin: https://localhost\r\n", "200", "403"),
        ("Origin: http://localhost\r\n", "403", "200"),
        (
            "Origin: https://localhost\r\nSec-Fetch-Site: same-origin\r\n",
            "200",
            "200",
        ),
        (
            "Origin: http://localhost\r\nSec-Fetch-Site: same-origin\r\n",
            "403",
            "200",
        ),
        (
            "Origin: https://localhost\r\nSec-Fetch-Site: cross-site\r\n",
            "403",
            "403",
        ),
        (
            "Origin: http://localhost\r\nSec-Fetch-Site: cross-site\r\n",
            "403",
            "403",
        ),
        (
            "Origin: http://localhost\r\nSec-Fetch-Site: same-site\r\n",
            "403",
            "403",
        ),
    ] {
        let mut tls = connect_tls(&over_tls, roots.clone(), &[]).await;
        tls.write_all(request(fields).as_bytes()).await.unwrap();
        let mut response = String::new();
        let _ = tls.read_to_string(&mut response).await;
        assert!(
            response.starts_with(&format!("HTTP/1.1 {by_tls}")),
            "{fields}{response}"
        );
        let response = raw(plain.addr(), request(fields)).await;
        assert!(
            response.starts_with(&format!("HTTP/1.1 {by_plain}")),
            "{fields}{response}"
        );
    }
}

#[tokio::test]
async fn names_of_this_machine_and_api_are_accepted() {
    let api = api().await;
    answer(&api, ResponseTemplate::new(200)).await;
    let proxy = TestProxy::before(&api)
        .set(&["listen.hosts=[\".corp.example\"]"])
        .start()
        .await;
    let port = proxy.addr().port();
    for host in [
        "localhost".to_owned(),
        format!("localhost:{port}"),
        format!("127.0.0.1:{port}"),
        "[::1]".to_owned(),
        api.address().to_string(),
        "gbg.corp.example".to_owned(),
    ] {
        let sent =
            format!("GET /v2/captain/x HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        assert!(
            raw(proxy.addr(), sent).await.starts_with("HTTP/1.1 200"),
            "{host}"
        );
    }
    let nameless = "GET /v2/captain/x HTTP/1.0\r\n\r\n";
    assert!(raw(proxy.addr(), nameless).await.contains(" 200 "));
}

#[tokio::test]
async fn an_allowed_origin_may_call_and_read() {
    let api = api().await;
    answer(
        &api,
        ResponseTemplate::new(200).insert_header("vary", "accept"),
    )
    .await;
    let set = [
        "limits.origins=[\"https://crm.example\"]",
        "upstream.methods=[\"POST\"]",
    ];
    let proxy = TestProxy::before(&api).set(&set).start().await;
    let ask = async |line: &str, fields: &str| {
        let fields = format!("{fields}Host: localhost\r\nConnection: close\r\n");
        raw(proxy.addr(), format!("{line} HTTP/1.1\r\n{fields}\r\n"))
            .await
            .to_lowercase()
    };
    let page = "Origin: https://crm.example\r\nSec-Fetch-Site: cross-site\r\n";
    let asked = format!(
        "{page}Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: x-api-key\r\n"
    );

    let response = ask(&format!("OPTIONS {START}"), &asked).await;
    assert!(response.starts_with("http/1.1 204"), "{response}");
    for line in [
        "access-control-allow-origin: https://crm.example\r\n",
        "access-control-allow-methods: post\r\n",
        "access-control-allow-headers: x-api-key\r\n",
        "vary: origin\r\n",
    ] {
        assert!(response.contains(line), "{line}{response}");
    }
    assert!(
        forwarded(&api).await.is_empty(),
        "the question went to the API"
    );

    let answered = ask(
        &format!("POST {START}"),
        &format!("{page}Content-Length: 0\r\n"),
    )
    .await;
    assert!(answered.starts_with("http/1.1 200"), "{answered}");
    assert!(
        answered.contains("access-control-allow-origin: https://crm.example\r\n"),
        "{answered}"
    );
    assert!(
        answered.contains("vary: accept\r\n") && answered.contains("vary: origin\r\n"),
        "{answered}"
    );
    let refused = ask("POST /elsewhere", page).await;
    assert!(refused.starts_with("http/1.1 404"), "{refused}");
    assert!(
        refused.contains("access-control-allow-origin: https://crm.example\r\n"),
        "{refused}"
    );
    let other = ask(
        &format!("POST {START}"),
        "Origin: https://crm.example.evil.example\r\n",
    )
    .await;
    assert!(
        other.starts_with("http/1.1 403") && !other.contains("access-control"),
        "{other}"
    );
}

/// RFC 9110 section 7.6.2: an OPTIONS that is to go no further is answered here.
#[tokio::test]
async fn options_at_max_forwards_zero_stays_local() {
    let api = api().await;
    answer(&api, ResponseTemplate::new(200)).await;
    let proxy = TestProxy::before(&api).start().await;
    let ask = async |left: &str| {
        let fields = format!("Host: localhost\r\nConnection: close\r\nMax-Forwards: {left}\r\n");
        raw(
            proxy.addr(),
            format!("OPTIONS {START} HTTP/1.1\r\n{fields}\r\n"),
        )
        .await
    };
    let answer = ask("0").await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("allow: GET, HEAD, POST"),
        "{answer}"
    );
    assert!(answer.contains("proxy-status: gbg-proxy\r\n"), "{answer}");
    assert!(forwarded(&api).await.is_empty());
    assert!(ask("5").await.starts_with("HTTP/1.1 200"));
    assert_eq!(forwarded(&api).await[0].headers["max-forwards"], "4");
}
