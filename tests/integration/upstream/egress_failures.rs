//! Egress proxies that open no tunnel, and those that a configuration cannot name.

use std::time::{Duration, Instant};

use gbg_proxy::config::{self, Sources};
use http::StatusCode;
use wiremock::MockServer;

use crate::support::caller::{json, post, send};
use crate::support::egress::answering;
use crate::support::process::Running;
use crate::support::{api, environment, token_endpoint};
use crate::upstream::egress_proxy::{API, START, TOKENS};

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_tunnel_gets_502_and_is_logged() {
    let api = api().await;
    let long: &'static [&'static str] = &["HTTP/1.1 200 OK\r\nA: ", LONG, LONG, LONG];
    let slow: &[&str] = &[
        "H", "T", "T", "P", "/", "1", ".", "1", " ", "2", "0", "0", "\r", "\n", "\r",
    ];
    let cases: [(&[&str], &str); 8] = [
        (
            &["HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"],
            "opened no tunnel to api.example:443: it responded with 407 Proxy Authentication Required",
        ),
        (
            &["HTTP/1.1 403 Forbidden\r\nContent-Length: 6\r\n\r\nno way"],
            "it does not allow this host",
        ),
        (
            &["HTTP/1.1 503 Service Unavailable\r\n\r\n"],
            "responded with 503",
        ),
        (&["220 mail.example ESMTP\r\n"], "response is not HTTP"),
        (
            &[],
            "upstream.connect_timeout (500ms) expired during CONNECT to api.example:443 through the egress \
             proxy 127.0.0.1:",
        ),
        (
            slow,
            "upstream.connect_timeout (500ms) expired during CONNECT to api.example:443 through the egress \
             proxy 127.0.0.1:",
        ),
        (long, "longer than 8 KiB"),
        (
            &["HTTP/1.1 200 OK\r\n\r\n", "220 mail.example ESMTP\r\n"],
            "no connection to the API could be opened",
        ),
    ];
    let directory = tempfile::tempdir().unwrap();
    for (parts, cause) in cases {
        let addr = answering(parts).await;
        let file = directory.path().join("egress");
        std::fs::write(&file, format!("http://ada:hunter2@{addr}")).unwrap();
        let refusal = refused(&api, &format!("file:{}", file.display())).await;
        assert!(
            refusal.log.contains(cause),
            "no {cause:?} in {}",
            refusal.log
        );
        assert!(refusal.took < Duration::from_secs(10), "{:?}", refusal.took);
    }
    let refusal = refused(&api, "http://127.0.0.1:1").await;
    let cause = "the egress proxy 127.0.0.1:1: Connection refused (os error 111)";
    assert!(refusal.log.contains(cause), "{}", refusal.log);
}

const LONG: &str = const {
    match std::str::from_utf8(&[b'a'; 3000]) {
        Ok(text) => text,
        Err(_) => "",
    }
};

struct Refused {
    log: String,
    took: Duration,
}

/// A request to a proxy whose way out is `egress_proxy`, which opens no tunnel.
async fn refused(api: &MockServer, egress_proxy: &str) -> Refused {
    let set = [
        format!("token.endpoint={}", token_endpoint(api)),
        format!("upstream.base_url={API}"),
        format!("upstream.egress_proxy={egress_proxy}"),
    ];
    let timeout = "upstream.connect_timeout=500ms";
    let mut running = Running::start(&[&set[0], &set[1], &set[2], timeout, "log.level=trace"]);
    let began = Instant::now();
    let mut req = post(START);
    // Not one by chance, which may have the digits of a status.
    req.headers_mut()
        .insert("x-proxy-request-id", "chosen".parse().unwrap());
    let res = send(running.addr(), req).await;
    let took = began.elapsed();
    assert_eq!(
        (res.status(), json(&res)["reason"].as_str()),
        (StatusCode::BAD_GATEWAY, Some("upstream_unreachable"))
    );
    let said = format!("{res:?}");
    assert!(
        !said.contains("egress") && !said.contains("407"),
        "the cause is for the log: {said}"
    );
    assert_eq!(running.end("-TERM"), 0);
    for secret in ["hunter2", "YWRh", "ada:"] {
        assert!(
            !running.log.contains(secret) && !said.contains(secret),
            "{secret} in {}",
            running.log
        );
    }
    Refused {
        log: std::mem::take(&mut running.log),
        took,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_tunnel_for_tokens_is_logged() {
    let addr = answering(&["HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"]).await;
    let set = [
        format!("upstream.egress_proxy=http://{addr}"),
        format!("token.endpoint={TOKENS}"),
    ];
    let mut running = Running::start(&[&set[0], &set[1], "token.wait_timeout=300ms"]);
    let res = send(running.addr(), post(START)).await;
    assert_eq!(json(&res)["reason"], "token_unavailable");
    assert_eq!(running.end("-TERM"), 0);
    let log = &running.log;
    let cause = format!(
        "the egress proxy {addr} opened no tunnel to tokens.example:443: it responded with 407 Proxy \
         Authentication Required: it requires"
    );
    assert!(log.contains(&cause), "{log}");
}

#[test]
fn an_invalid_egress_proxy_hides_its_password() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("proxy.toml");
    let load = |text: &str, url: &str| {
        std::fs::write(&path, format!("[upstream]\n{text}\n")).unwrap();
        let mut env = environment();
        env.insert("WAY_OUT".to_owned(), url.to_owned());
        config::load(&Sources {
            file: Some(path.clone()),
            set: Vec::new(),
            env,
        })
        .map_err(|error| error.to_string())
    };
    for (text, url, key, message, fix) in [
        (
            "egress_proxy = \"http://ada:hunter2@a.example\"",
            "",
            "egress_proxy",
            "invalid URL: user and password do not belong",
            "env:",
        ),
        (
            "egress_proxy = \"https://a.example\"",
            "",
            "egress_proxy",
            "TLS to the egress proxy itself is not supported",
            "write its http:// address",
        ),
        (
            "egress_proxy = \"a.example:3128\"",
            "",
            "egress_proxy",
            "must begin with http://",
            "such as \"http://proxy.example:3128\"",
        ),
        (
            "egress_proxy = \"http://a.example/x\"",
            "",
            "egress_proxy",
            "a path follows host and port",
            "such as \"http://proxy.example:3128\"",
        ),
        (
            "egress_proxy = 3128",
            "",
            "egress_proxy",
            "invalid URL",
            "such as \"http://proxy.example:3128\"",
        ),
        (
            "egress_proxy = \"env:WAY\"",
            "",
            "egress_proxy",
            "WAY is not set",
            "set WAY",
        ),
        (
            "egress_proxy = \"env:WAY_OUT\"",
            "",
            "egress_proxy",
            "env:WAY_OUT is empty",
            "give the variable a value",
        ),
        (
            "egress_proxy = \"env:WAY_OUT\"",
            "socks5://ada:hunter2@a",
            "egress_proxy",
            "env:WAY_OUT holds no usable URL",
            "write the URL of the egress proxy there",
        ),
        (
            "egress_proxy = \"env:WAY_OUT\"",
            "http://ada:hunter2@a:b",
            "egress_proxy",
            "env:WAY_OUT holds no usable URL",
            "write the URL of the egress proxy there",
        ),
        (
            "no_proxy = [\"a.example\"]",
            "",
            "no_proxy",
            "has no effect without",
            "write upstream.egress_proxy",
        ),
        (
            "egress_proxy = \"http://a\"\nno_proxy = [\"*.a\"]",
            "",
            "no_proxy",
            "invalid host \"*.a\"",
            "a suffix with its dot",
        ),
    ] {
        let error = load(text, url).map(drop).unwrap_err();
        let line = text.lines().count() + 1;
        let place = format!("{}:{line}:1: upstream.{key}: ", path.display());
        assert!(
            error.starts_with(&place) && error.contains(message),
            "{text}: {error}"
        );
        assert!(
            error
                .split_once("\n  fix: ")
                .is_some_and(|(_, advice)| advice.contains(fix)),
            "{text}: {error}"
        );
        assert!(!error.contains("hunter2"), "{error}");
    }
    let good = load(
        "egress_proxy = \"env:WAY_OUT\"",
        "http://ada:hunter2@a.example:3128",
    )
    .unwrap()
    .config;
    let shown = format!("{good:?}");
    assert!(
        !shown.contains("hunter2") && !shown.contains("YWRh") && shown.contains("a.example"),
        "{shown}"
    );
}
