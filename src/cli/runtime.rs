//! Runtime of the commands, and the shutdown of the proxy that runs on it.

use std::future::Future;

use super::error::CommandError;
use crate::app::App;
use crate::app::signals;

/// Runs `command` on the control runtime: tokens, signals, and everything else that is not a
/// request.
pub(super) fn block_on<T>(
    command: impl Future<Output = Result<T, CommandError>>,
) -> Result<T, CommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(command);
    // A drop would wait for the threads that wait for the workers, even after a second signal.
    runtime.shutdown_background();
    result
}

/// Drains `app`; a second signal ends the drain at once.
pub(super) async fn shut_down(app: App) {
    let second_signal = async {
        match signals::signalled() {
            Ok(signalled) => signalled.await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = app.shut_down() => tracing::info!("drained"),
        _ = second_signal => tracing::warn!("received a second signal; aborted requests in flight"),
    }
}
