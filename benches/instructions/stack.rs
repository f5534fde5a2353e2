//! The stack in process, without sockets and without an upstream: whole, and cut off below each of
//! its steps.

use std::convert::Infallible;
use std::future::poll_fn;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use bytes::Bytes;
use gbg_proxy::config::{self, Sources};
use gbg_proxy::error::Error;
use gbg_proxy::metrics::Metrics;
use gbg_proxy::proxy::steps::{self, ResponseBody};
use gbg_proxy::proxy::{
    Authorized, ConnectionIdentity, ConnectionInfo, Policy, SharedState, WithContext, stack,
};
use gbg_proxy::telemetry;
use gbg_proxy::token::{self, TokenReader};
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use hyper::body::Body;
use tower::util::{MapRequestLayer, MapResponseLayer};
use tower::{Service, ServiceBuilder, service_fn};
use tracing::level_filters::LevelFilter;

use super::callgrind;
use super::setting::Setting;

/// After which the log is written.
const PAUSE: Duration = Duration::from_millis(1);

type Sent = Full<Bytes>;

/// Each is what stands before it and one step more. The first is what the bench itself does for a
/// request, the last the whole stack with a log that its lines are written to.
pub const HEIGHTS: [&str; 10] = [
    "none",
    "access_log",
    "error_response",
    "validate",
    "token_stub",
    "authenticate",
    "limit",
    "headers",
    "retry",
    "line",
];

/// How many instructions it takes to send `count` requests through the steps down to the one called
/// `height`.
pub fn count(height: &str, setting: Setting, count: u32, directory: &Path) -> u64 {
    let out = directory.join(format!("{}-{height}.out", setting.name()));
    let program = std::env::current_exe().expect("the path of this program");
    let mut command = callgrind::counted(&program, &out);
    command
        .args(["stack", height, setting.name(), &count.to_string()])
        .arg(directory);
    let ended = command.status().expect("a process");
    assert!(ended.success(), "{height}: {ended}");
    callgrind::count(&out)
}

/// Sends `count` requests through the steps down to the one called `height`.
pub fn run(height: &str, setting: Setting, count: u32, directory: &Path) {
    let log = directory.join(format!("{}.log", setting.name()));
    let settings = telemetry::LogSettings {
        level: telemetry::LogLevel::new(LevelFilter::INFO),
        json: false,
        is_colored: false,
        file: Some(log.clone()),
    };
    let is_logged = height == "line";
    let _flush = is_logged.then(|| telemetry::init(settings).expect("a log"));
    let set = setting.values("http://localhost", "http://localhost", &log);
    let env = [("GBG_CLIENT_SECRET".to_owned(), "bench".to_owned())].into();
    let sources = Sources {
        set,
        env,
        file: Some(setting.file(directory)),
    };
    let config = config::load(&sources).expect("a good configuration").config;
    let load = Load {
        count,
        key: setting.key(),
        is_logged,
    };

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let shared = SharedState::new(&config, &Metrics::new(1), None);
        let policy = Arc::new(Policy::new(
            &config,
            &shared,
            tokens().await,
            &Default::default(),
            &Arc::default(),
        ));
        let connection = Arc::new(policy.identify(ConnectionInfo::default()));
        let connection = || Arc::clone(&connection);
        // In the order of `proxy::stack`.
        macro_rules! cut {
            ($leaf:expr $(, $step:expr)*) => {
                load.send(ServiceBuilder::new()$(.layer($step))*.service(service_fn($leaf))).await
            };
        }
        match height {
            "none" => cut!(leaf),
            "access_log" => cut!(
                respond,
                steps::access_log(Arc::clone(&policy.access_log), None)
            ),
            "error_response" => cut!(
                respond,
                steps::access_log(Arc::clone(&policy.access_log), None),
                steps::error_response(Arc::clone(&policy.origins))
            ),
            "validate" => cut!(
                respond,
                steps::access_log(Arc::clone(&policy.access_log), None),
                steps::error_response(Arc::clone(&policy.origins)),
                steps::validate(Arc::clone(&policy.validator), connection())
            ),
            "token_stub" => cut!(
                leaf,
                steps::access_log(Arc::clone(&policy.access_log), None),
                steps::error_response(Arc::clone(&policy.origins)),
                steps::validate(Arc::clone(&policy.validator), connection()),
                steps::token_stub(Arc::clone(&policy.token_stub), connection())
            ),
            "authenticate" => cut!(
                leaf,
                steps::access_log(Arc::clone(&policy.access_log), None),
                steps::error_response(Arc::clone(&policy.origins)),
                steps::validate(Arc::clone(&policy.validator), connection()),
                steps::token_stub(Arc::clone(&policy.token_stub), connection()),
                steps::authenticate(Arc::clone(&policy.authenticator), connection())
            ),
            "limit" => cut!(
                leaf,
                steps::access_log(Arc::clone(&policy.access_log), None),
                steps::error_response(Arc::clone(&policy.origins)),
                steps::validate(Arc::clone(&policy.validator), connection()),
                steps::token_stub(Arc::clone(&policy.token_stub), connection()),
                steps::authenticate(Arc::clone(&policy.authenticator), connection()),
                steps::limit(Arc::clone(&policy.limiter))
            ),
            "headers" => cut!(
                leaf,
                steps::access_log(Arc::clone(&policy.access_log), None),
                steps::error_response(Arc::clone(&policy.origins)),
                steps::validate(Arc::clone(&policy.validator), connection()),
                steps::token_stub(Arc::clone(&policy.token_stub), connection()),
                steps::authenticate(Arc::clone(&policy.authenticator), connection()),
                steps::limit(Arc::clone(&policy.limiter)),
                MapRequestLayer::new(steps::request(Arc::clone(&policy.headers), connection())),
                MapResponseLayer::new(steps::response)
            ),
            // The stack itself: a step that is missing above is counted here.
            "retry" | "line" => {
                let connection = ConnectionIdentity::clone(&connection());
                load.send(stack(&policy, connection, service_fn(forward)))
                    .await;
            }
            _ => panic!("no step is called {height}"),
        }
    });
}

/// Requests, one after the other.
struct Load {
    count: u32,
    key: Option<&'static str>,
    is_logged: bool,
}

impl Load {
    async fn send<S, B>(&self, mut service: S)
    where
        S: Service<Request<Sent>, Response = Response<B>, Error = Infallible>,
        B: Body + Unpin,
    {
        for _ in 0..self.count {
            let Ok(res) = service.call(self.request()).await;
            assert!(res.status().is_success(), "{}", res.status());
            read(res.into_body()).await;
            if self.is_logged {
                // The thread that writes the log wakes for each line, and not for as many as come
                // to be there.
                sleep(PAUSE);
            }
        }
    }

    fn request(&self) -> Request<Sent> {
        let mut req = Request::post("/v2/captain/journey/start")
            .header("host", "localhost")
            .header("content-type", "application/json")
            .header("content-length", "1024")
            .header("accept", "application/json")
            .header("user-agent", "legacy-client/1.0");
        if let Some(key) = self.key {
            req = req.header("x-api-key", key);
        }
        req.body(Full::from(Bytes::from_static(&[b'x'; 1024])))
            .expect("a request")
    }
}

/// Answers at once, as an API would whose network takes no time.
async fn leaf<B: Body + Unpin, E>(req: Request<B>) -> Result<Response<Sent>, E> {
    read(req.into_body()).await;
    let res = Response::builder()
        .header("content-type", "application/json")
        .header("x-request-id", "gbg-1");
    Ok(res
        .body(Full::from(Bytes::from_static(&[b'x'; 240])))
        .expect("a response"))
}

/// The same above `token_stub`, where a response may be the proxy's own.
async fn respond<B: Body + Unpin, E>(req: Request<B>) -> Result<Response<ResponseBody<Sent>>, E> {
    Ok(leaf(req).await?.map(ResponseBody::Left))
}

/// The same in the place of the last step.
async fn forward(authorized: Authorized<WithContext<Sent>>) -> Result<Response<Sent>, Error> {
    leaf(*authorized.req).await
}

/// Takes a body as hyper does.
async fn read(mut body: impl Body + Unpin) {
    while !body.is_end_stream()
        && poll_fn(|cx| Pin::new(&mut body).poll_frame(cx))
            .await
            .is_some()
    {}
}

/// A reader of a token that lives for an hour.
async fn tokens() -> TokenReader {
    let header =
        HeaderValue::from_str(&format!("Bearer {}", "a".repeat(900))).expect("a header value");
    let token = token::fixed(header, Duration::from_secs(3600)).await;
    token.expect("a token")
}
