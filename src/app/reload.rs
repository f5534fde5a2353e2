//! Reload: applies a new configuration while requests are served.

use super::accounts::{Account, AccountConfig, account_configs};
use super::admin_server::caller_limits;
use super::expiry::record_ends;
use super::running::App;
use super::start_error::StartError;
use super::worker::{PreparedUpstream, WorkerHandle};
use crate::config::{self, Config};
use crate::token;

/// New parts of an account for the next configuration. A part is `None` if its settings are the
/// same.
struct NextAccount {
    token_client: Option<token::Client>,
    upstream_config: config::Upstream,
    /// One upstream for each worker, in their order.
    upstreams: Vec<Option<PreparedUpstream>>,
}

impl App {
    /// Applies `config` to all requests from now on. The listeners, the number of workers and the
    /// names of the accounts stay as they were at the start.
    ///
    /// # Errors
    /// When a part of `config` cannot be used; then nothing changes.
    pub async fn reload(&mut self, config: &Config) -> Result<(), StartError> {
        let configs = account_configs(config);
        let names = configs.iter().map(|config| config.name);
        if !self.accounts.iter().map(Account::name).eq(names) {
            let error = "accounts are added and removed with a restart";
            return Err(StartError::section("account")(error.into()));
        }
        let mut prepared = Vec::new();
        for (account, config) in self.accounts.iter().zip(configs.iter()) {
            prepared.push(self.prepare_account(account, config).await?);
        }
        // Nothing fails from here on.
        self.shared = self.shared.reload(config, &self.metrics);
        let mut upstreams: Vec<_> = self.workers.handles.iter().map(|_| Vec::new()).collect();
        for (account, prepared) in self.accounts.iter_mut().zip(prepared) {
            if let Some(client) = prepared.token_client {
                account.replace_token_client(client);
            }
            account.set_upstream(prepared.upstream_config);
            for (worker, upstream) in upstreams.iter_mut().zip(prepared.upstreams) {
                worker.push(upstream);
            }
        }
        for (worker, upstreams) in self.workers.handles.iter().zip(upstreams) {
            worker.reload(config, &self.shared, upstreams);
        }
        self.admin.caller_limits.send_replace(caller_limits(config));
        self.drain = config.drain.clone();
        record_ends(config, &self.metrics);
        self.metrics.record_reload(None);
        Ok(())
    }

    /// Records that a configuration was rejected because of `problem`.
    pub fn record_rejected_config(&self, problem: String) {
        self.metrics.record_reload(Some(problem));
    }

    /// Records the changed keys that need a restart, as of the last reload.
    pub fn record_restart_keys(&self, keys: Vec<String>) {
        self.metrics.record_restart_keys(keys);
    }

    async fn prepare_account(
        &self,
        account: &Account,
        config: &AccountConfig<'_>,
    ) -> Result<NextAccount, StartError> {
        let token_client = account.prepare_token_client(config.token).await?;
        let upstream_config = account.reloaded_upstream(config.upstream);
        let is_same = account.uses_upstream(&upstream_config);
        let prepare = |worker: &WorkerHandle| {
            if is_same {
                Ok(None)
            } else {
                worker
                    .prepare_upstream(account.name(), &upstream_config)
                    .map(Some)
            }
        };
        let upstreams = self.workers.handles.iter().map(prepare);
        let upstreams = upstreams
            .collect::<Result<_, _>>()
            .map_err(StartError::section("upstream"))?;
        Ok(NextAccount {
            token_client,
            upstream_config,
            upstreams,
        })
    }
}
