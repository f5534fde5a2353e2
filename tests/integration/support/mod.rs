//! Starts the real proxy before servers of the test's own, and speaks to it.

pub mod browser;
pub mod bytes;
pub mod caller;
pub mod canary;
pub mod egress;
pub mod frames;
pub mod known;
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
use tempfile::TempDir;
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

/// A running proxy; it drains when the test shuts it down, and ends when it is dropped.
pub struct Proxy {
    app: App,
    /// The token server, where it is not the test's.
    _tokens: Option<MockServer>,
}

impl Proxy {
    /// A proxy before the API at `api`, with tokens from `token_endpoint`, and `set` over the
    /// defaults.
    pub async fn start(api: &str, token_endpoint: &str, set: &[&str]) -> Proxy {
        Proxy::try_start(api, token_endpoint, set).await.unwrap()
    }

    pub async fn try_start(
        api: &str,
        token_endpoint: &str,
        set: &[&str],
    ) -> Result<Proxy, StartError> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        App::start(&configured(api, token_endpoint, set).config)
            .await
            .map(|app| Proxy { app, _tokens: None })
    }

    /// A proxy before `api`, which serves the tokens as well.
    pub async fn before(api: &MockServer, set: &[&str]) -> Proxy {
        Proxy::start(&api.uri(), &token_endpoint(api), set).await
    }

    /// A proxy before an API at `upstream` that serves no tokens.
    pub async fn before_server(upstream: &str, set: &[&str]) -> Proxy {
        let tokens = api().await;
        let proxy = Proxy::start(upstream, &token_endpoint(&tokens), set).await;
        Proxy {
            _tokens: Some(tokens),
            ..proxy
        }
    }

    /// A proxy before `api` that knows the callers in `tables` alone.
    pub async fn knowing(api: &MockServer, tables: &[String], set: &[&str]) -> Proxy {
        Proxy::with_file(
            known::file(tables).path(),
            &api.uri(),
            &token_endpoint(api),
            set,
        )
        .await
    }

    /// A proxy before `sandbox` that knows the callers in `tables` alone.
    pub async fn knowing_before(sandbox: &Sandbox, tables: &[String]) -> Proxy {
        let file = known::file(tables);
        Proxy::with_file(
            file.path(),
            &sandbox.base_url(),
            &sandbox.token_endpoint(),
            &[],
        )
        .await
    }

    /// A proxy before an API at `upstream` that serves no tokens, and which knows the callers in
    /// `tables` alone.
    pub async fn knowing_before_server(upstream: &str, tables: &[String], set: &[&str]) -> Proxy {
        let tokens = api().await;
        let file = known::file(tables);
        let proxy = Proxy::with_file(file.path(), upstream, &token_endpoint(&tokens), set).await;
        Proxy {
            _tokens: Some(tokens),
            ..proxy
        }
    }

    async fn with_file(file: &Path, api: &str, token_endpoint: &str, set: &[&str]) -> Proxy {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let set = values(api, token_endpoint, set);
        let sources = Sources {
            set,
            env: environment(),
            file: Some(file.to_owned()),
        };
        let app = App::start(&config::load(&sources).unwrap().config)
            .await
            .unwrap();
        Proxy { app, _tokens: None }
    }

    /// A proxy before `sandbox`.
    pub async fn before_sandbox(sandbox: &Sandbox, set: &[&str]) -> Proxy {
        Proxy::start(&sandbox.base_url(), &sandbox.token_endpoint(), set).await
    }

    /// Where it tells how it is.
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
