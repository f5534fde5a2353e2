//! Starts the real proxy before servers of the test's own, and speaks to it.

pub mod browser;
pub mod bytes;
pub mod caller;
pub mod canary;
pub mod configured_callers;
pub mod egress;
pub mod frames;
pub mod process;
pub mod server;
pub mod tls;

use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use gbg_proxy::app::{App, StartError};
use gbg_proxy::config::{self, Address, Loaded, Sources};
use gbg_proxy::sandbox::{Fault, Sandbox, SandboxOptions};
use tempfile::{NamedTempFile, TempDir};
use wiremock::matchers::path;
use wiremock::{Mock, MockServer, ResponseTemplate};

pub const CLIENT_ID: &str = "test-client";
pub const CLIENT_SECRET: &str = "test-secret-7c1f";
pub const TOKEN: &str = "token-of-the-proxy";
/// What else than `localhost` tests call the proxy.
pub const HOSTS: &str = r#"["a", "proxy.internal", "elsewhere.example"]"#;
/// A key that was made for these tests, and opens nothing.
pub const RSA_KEY: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/integration/keys/rsa.pem"
);

/// A directory that every user may enter. Those above TMPDIR may be closed to others.
pub fn open_directory() -> TempDir {
    let is_open = |path: &Path| {
        path.metadata()
            .is_ok_and(|found| found.permissions().mode() & 0o001 != 0)
    };
    let parents = [std::env::temp_dir(), "/tmp".into(), "/var/tmp".into()];
    let parent = parents
        .iter()
        .find(|parent| parent.ancestors().all(is_open))
        .unwrap();
    let directory = tempfile::tempdir_in(parent).unwrap();
    std::fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    directory
}

/// A proxy that is configured over the defaults of the tests.
pub struct TestProxy<'a> {
    upstream: String,
    /// `None` for an endpoint of its own that grants [`TOKEN`].
    token_endpoint: Option<String>,
    set: Vec<&'a str>,
    callers: Option<NamedTempFile>,
}

impl<'a> TestProxy<'a> {
    /// A proxy in front of the API at `upstream`, with tokens from `token_endpoint`.
    pub fn new(upstream: &str, token_endpoint: &str) -> Self {
        TestProxy {
            upstream: upstream.to_owned(),
            token_endpoint: Some(token_endpoint.to_owned()),
            set: Vec::new(),
            callers: None,
        }
    }

    /// A proxy in front of `api`, which also serves the tokens.
    pub fn before(api: &MockServer) -> Self {
        TestProxy::new(&api.uri(), &token_endpoint(api))
    }

    /// A proxy in front of `sandbox`.
    pub fn before_sandbox(sandbox: &Sandbox) -> Self {
        TestProxy::new(&sandbox.base_url(), &sandbox.token_endpoint())
    }

    /// A proxy in front of an API at `upstream` that serves no tokens.
    pub fn before_server(upstream: &str) -> Self {
        TestProxy {
            token_endpoint: None,
            ..TestProxy::new(upstream, "")
        }
    }

    /// Sets keys, each `section.key=value`.
    pub fn set(mut self, set: &[&'a str]) -> Self {
        self.set.extend(set);
        self
    }

    /// Configures the callers in `tables`, and no others.
    pub fn callers(mut self, tables: &[String]) -> Self {
        self.callers = Some(configured_callers::config_file(tables));
        self
    }

    pub async fn start(self) -> Proxy {
        self.try_start().await.unwrap()
    }

    pub async fn try_start(self) -> Result<Proxy, StartError> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (tokens, token_endpoint) = match self.token_endpoint {
            Some(token_endpoint) => (None, token_endpoint),
            None => {
                let tokens = api().await;
                let token_endpoint = token_endpoint(&tokens);
                (Some(tokens), token_endpoint)
            }
        };
        let sources = Sources {
            set: values(&self.upstream, &token_endpoint, &self.set),
            env: environment(),
            file: self.callers.as_ref().map(|file| file.path().to_owned()),
        };
        let config = config::load(&sources).unwrap().config;
        let app = App::start(&config).await?;
        Ok(Proxy {
            app,
            _tokens: tokens,
        })
    }
}

/// A running proxy: drains when the test shuts it down, ends when it is dropped.
pub struct Proxy {
    app: App,
    _tokens: Option<MockServer>,
}

impl Proxy {
    /// The address of the admin listener.
    pub fn admin(&self) -> SocketAddr {
        match self.app.admin_address() {
            Some(Address::Tcp(addr)) => *addr,
            other => panic!("{other:?} is no address of TCP"),
        }
    }

    pub fn addr(&self) -> SocketAddr {
        match self.app.address() {
            Address::Tcp(addr) => *addr,
            Address::Unix(path) => panic!("listens on {}", path.display()),
        }
    }

    pub async fn shut_down(self) {
        self.app.shut_down().await;
    }
}

/// The configuration of a test's proxy. Two workers, so that what is shared between workers is
/// really shared.
pub fn configured(api: &str, token_endpoint: &str, set: &[&str]) -> Loaded {
    let set = values(api, token_endpoint, set);
    config::load(&Sources {
        set,
        env: environment(),
        ..Sources::default()
    })
    .unwrap()
}

fn values(api: &str, token_endpoint: &str, set: &[&str]) -> Vec<String> {
    let mut all = vec![
        "listen.address=127.0.0.1:0".to_owned(),
        "listen.workers=2".to_owned(),
        format!("upstream.base_url={api}"),
        format!("token.endpoint={token_endpoint}"),
        "log.access=true".to_owned(),
        "admin.address=127.0.0.1:0".to_owned(),
        // By these names tests call the proxy.
        format!("listen.hosts={HOSTS}"),
    ];
    all.extend(set.iter().map(|&set| set.to_owned()));
    all
}

pub fn environment() -> gbg_proxy::secret::Environment {
    [
        ("GBG_CLIENT_ID", CLIENT_ID),
        ("GBG_CLIENT_SECRET", CLIENT_SECRET),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

pub fn token_endpoint(api: &MockServer) -> String {
    format!("{}/as/token.oauth2", api.uri())
}

/// An API that grants `TOKEN` for an hour, and answers what the test mounts besides.
pub async fn api() -> MockServer {
    let api = MockServer::start().await;
    Mock::given(path("/as/token.oauth2"))
        .respond_with(granting(TOKEN, 3600))
        .mount(&api)
        .await;
    api
}

/// The answer of a token endpoint that grants `token`.
pub fn granting(token: &str, expires_in: u64) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(serde_json::json!({
        "access_token": token, "token_type": "Bearer", "expires_in": expires_in,
    }))
}

/// Has `api` grant `token` once, and fail from then on.
pub async fn grant_once(api: &MockServer, token: &str, expires_in: u64) {
    Mock::given(path("/as/token.oauth2"))
        .respond_with(granting(token, expires_in))
        .up_to_n_times(1)
        .mount(api)
        .await;
    Mock::given(path("/as/token.oauth2"))
        .respond_with(ResponseTemplate::new(500))
        .mount(api)
        .await;
}

/// Mounts an answer for every path of the API.
pub async fn answer(api: &MockServer, template: ResponseTemplate) {
    let api_paths = wiremock::matchers::path_regex("^/(v2/captain|captain/api)/");
    Mock::given(api_paths)
        .respond_with(template)
        .mount(api)
        .await;
}

/// The requests that reached the API, those for tokens left out.
pub async fn forwarded(api: &MockServer) -> Vec<wiremock::Request> {
    let all = api.received_requests().await.unwrap();
    all.into_iter()
        .filter(|req| req.url.path() != "/as/token.oauth2")
        .collect()
}

/// How often a token was asked for.
pub async fn token_calls(api: &MockServer) -> usize {
    let all = api.received_requests().await.unwrap();
    all.iter()
        .filter(|req| req.url.path() == "/as/token.oauth2")
        .count()
}

/// A sandbox without TLS that knows the client of the tests, and in which `faults` are in force.
pub async fn sandbox(faults: &[&str]) -> Sandbox {
    let options = SandboxOptions {
        tls: false,
        client_id: CLIENT_ID.to_owned(),
        client_secret: CLIENT_SECRET.to_owned(),
        faults: parse_faults(faults),
        ..SandboxOptions::default()
    };
    Sandbox::start(options).await.unwrap()
}

pub fn parse_faults(faults: &[&str]) -> Vec<Fault> {
    faults.iter().map(|fault| fault.parse().unwrap()).collect()
}
