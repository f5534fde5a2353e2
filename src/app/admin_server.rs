//! Start of the admin server, and the state of the process that it shows.

use std::sync::Arc;

use rustix::system::uname;
use tokio::sync::{Notify, watch};

use super::accounts::{Accounts, PreparedAccount};
use super::running::{AdminServer, AdminState};
use super::start_error::StartError;
use crate::admin;
use crate::config::{Address, Config};
use crate::downstream::bind;
use crate::metrics::Metrics;
use crate::rt::liveness::LivenessProbe;

pub(super) fn caller_limits(config: &Config) -> Vec<admin::CallerLimits> {
    config
        .callers
        .iter()
        .map(admin::CallerLimits::from)
        .collect()
}

fn account_handle(account: &PreparedAccount) -> admin::AccountHandle {
    admin::AccountHandle {
        name: account.name().into(),
        api: account.upstream().origin.to_string(),
        tokens: account.tokens().clone(),
    }
}

/// The URL of the listener for callers; of a Unix socket its address.
fn listener_url(address: &Address, is_tls: bool) -> String {
    match address {
        Address::Tcp(address) if is_tls => format!("https://{address}"),
        Address::Tcp(address) => format!("http://{address}"),
        Address::Unix(_) => address.to_string(),
    }
}

/// Starts the admin server if `admin.address` is set. It shows that callers are served at `listen`.
pub(super) fn start_admin(
    config: &Config,
    listen: &Address,
    metrics: &Arc<Metrics>,
    accounts: &Accounts<PreparedAccount>,
    workers: Vec<LivenessProbe>,
) -> Result<AdminState, StartError> {
    let quit = Arc::new(Notify::new());
    let (unready, draining) = watch::channel(false);
    let (caller_limits, limits) = watch::channel(caller_limits(config));
    let handles = admin::Handles {
        metrics: Arc::clone(metrics),
        instance: admin::Instance {
            hostname: uname().nodename().to_string_lossy().into_owned(),
            listen: listener_url(listen, config.listen.tls.is_some()),
            ..admin::Instance::default()
        },
        accounts: accounts.iter().map(account_handle).collect(),
        draining,
        quit: Arc::clone(&quit),
        limits,
        workers,
    };
    let address = config.admin.address.as_ref();
    let server = address.map(|address| serve(address, config, handles));
    Ok(AdminState {
        server: server.transpose()?,
        quit,
        unready,
        caller_limits,
    })
}

fn serve(
    address: &Address,
    config: &Config,
    mut handles: admin::Handles,
) -> Result<AdminServer, StartError> {
    let cannot_listen = StartError::listener("admin.address", address);
    let socket = bind(address, config.listen.socket_mode, 1)
        .map_err(&cannot_listen)?
        .pop()
        .ok_or_else(|| cannot_listen(std::io::ErrorKind::AddrNotAvailable.into()))?;
    let address = socket.address().map_err(&cannot_listen)?;
    handles.instance.admin = address.to_string();
    let config = config.admin.clone();
    let task = tokio::spawn(async move {
        let ended = admin::serve(socket, &config, handles).await;
        tracing::error!(
            error = ended.as_ref().err().map(tracing::field::display),
            "the admin listener has ended"
        );
        ended
    });
    Ok(AdminServer { address, task })
}
