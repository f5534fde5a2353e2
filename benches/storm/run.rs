//! Run of one storm: starts the API, the token endpoint, the proxy and the callers, and reloads the
//! configuration meanwhile.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use gbg_proxy::app::App;
use gbg_proxy::config::{self, Address, Config, Sources};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use crate::apis::Api;
use crate::callers::Callers;
use crate::faulty_proxy;
use crate::ledger::Ledger;
use crate::plan::Http;
use crate::report::Report;
use crate::storm::Storm;
use crate::tokens::Tokens;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const RELOAD_INTERVAL: Duration = Duration::from_millis(250);

/// Interval of new tokens for the faulty proxy, which requests none.
const ROTATE_INTERVAL: Duration = Duration::from_millis(1_500);

/// Time for requests in flight at the end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);

impl Storm {
    /// Sends all requests, and judges the outcomes.
    pub(crate) async fn run(self) -> Result<Report> {
        let start = Instant::now();
        let ledger = Arc::new(Ledger::new(self.requests));
        let tokens = Tokens::default();
        let api = Api {
            plans: self.plans,
            ledger: Arc::clone(&ledger),
            tokens: tokens.clone(),
        };
        let (api, connections) = api.serve().await?;
        let reloads = Arc::new(AtomicU64::new(0));
        let deadline = self.time.map(|time| start + time);
        let callers = |proxy| Callers {
            proxy,
            plans: self.plans,
            ledger: Arc::clone(&ledger),
            deadline,
        };
        if self.is_faulty {
            let granter = tokens.clone();
            let rotation = tokio::spawn(async move {
                loop {
                    granter.grant();
                    sleep(ROTATE_INTERVAL).await;
                }
            });
            let proxy = faulty_proxy::serve(api, self.plans.api, tokens.clone()).await?;
            callers(proxy).send(self.requests, self.concurrency).await;
            rotation.abort();
        } else {
            let endpoint = tokens.serve().await?;
            let configs = [60, 61].map(|seconds| self.config(api, endpoint, seconds));
            let [first, second] = configs;
            let configs = [first?, second?];
            let app = App::start(&configs[0]).await?;
            let proxy = match app.address() {
                Address::Tcp(address) => *address,
                Address::Unix(_) => return Err("the proxy listens on a Unix socket".into()),
            };
            let (end, ended) = oneshot::channel();
            let app = tokio::spawn(reload(app, configs, Arc::clone(&reloads), ended));
            callers(proxy).send(self.requests, self.concurrency).await;
            let _ = end.send(());
            app.await??.shut_down().await;
        }
        let has_ended = connections.close(DRAIN_TIMEOUT).await;
        let reloads = reloads.load(Ordering::Relaxed);
        Ok(Report::new(
            self,
            &ledger,
            start.elapsed(),
            has_ended,
            tokens.newest(),
            reloads,
        ))
    }

    fn config(&self, api: SocketAddr, tokens: SocketAddr, seconds: u64) -> Result<Config> {
        let version = if self.plans.api == Http::One {
            "1.1"
        } else {
            "2"
        };
        let set = vec![
            "listen.address=127.0.0.1:0".to_owned(),
            "listen.workers=2".to_owned(),
            "admin.address=off".to_owned(),
            "log.access=false".to_owned(),
            format!("upstream.base_url=http://{api}"),
            format!("upstream.http_version={version}"),
            format!("upstream.response_timeout={seconds}s"),
            format!("token.endpoint=http://{tokens}/token"),
            "drain.timeout=10s".to_owned(),
        ];
        let env = [("GBG_CLIENT_ID", "storm"), ("GBG_CLIENT_SECRET", "storm")];
        let env = env
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        Ok(config::load(&Sources {
            set,
            env,
            ..Sources::default()
        })?
        .config)
    }
}

/// Applies the configurations alternately until `ended`.
async fn reload(
    mut app: App,
    configs: [Config; 2],
    reloads: Arc<AtomicU64>,
    mut ended: oneshot::Receiver<()>,
) -> std::result::Result<App, gbg_proxy::app::StartError> {
    while timeout(RELOAD_INTERVAL, &mut ended).await.is_err() {
        let count = reloads.fetch_add(1, Ordering::Relaxed) + 1;
        app.reload(&configs[count as usize % configs.len()]).await?;
    }
    Ok(app)
}
