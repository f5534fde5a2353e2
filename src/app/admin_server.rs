//! Start of the admin listener.

use std::io;

use tokio::task::JoinHandle;

use super::StartError;
use crate::admin;
use crate::config::{Address, Config};
use crate::downstream::bind;

pub(super) fn admin_limits(config: &Config) -> Vec<admin::Limits> {
    config.callers.iter().map(admin::Limits::from).collect()
}

/// Listens at `address` for who asks how things are.
pub(super) fn start_admin(
    address: &Address,
    config: &Config,
    handles: admin::Handles,
) -> Result<(JoinHandle<io::Result<()>>, Address), StartError> {
    let cannot_listen = |source| StartError::Listen {
        key: "admin.address",
        address: address.clone(),
        source,
    };
    let socket = bind(address, config.listen.socket_mode, 1)
        .map_err(cannot_listen)?
        .pop();
    let socket = socket.ok_or_else(|| cannot_listen(io::ErrorKind::AddrNotAvailable.into()))?;
    let taken = socket.address().map_err(cannot_listen)?;
    let config = config.admin.clone();
    let task = tokio::spawn(async move {
        let ended = admin::serve(socket, &config, handles).await;
        tracing::error!(
            error = ended.as_ref().err().map(tracing::field::display),
            "the admin listener has ended"
        );
        ended
    });
    Ok((task, taken))
}
