//! Terminal output of the calls that a sandbox receives, one line each.

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::spawn_blocking;

use super::error::CommandError;
use super::output::print_line;
use crate::sandbox::{Authorization, RecordedCall};

/// Prints `calls` until the sandbox is dropped. Uses a blocking thread: a reader of standard output
/// that stops reading must not block the runtime.
pub(super) async fn print_calls(
    mut calls: broadcast::Receiver<RecordedCall>,
) -> Result<(), CommandError> {
    let printing = spawn_blocking(move || {
        loop {
            match calls.blocking_recv() {
                Ok(call) => print_line(&describe_call(&call))?,
                Err(RecvError::Lagged(lost)) => print_line(&format!("({lost} calls not shown)"))?,
                Err(RecvError::Closed) => return Ok(()),
            }
        }
    });
    printing.await.unwrap_or_else(|error| Err(error.into()))
}

fn describe_call(call: &RecordedCall) -> String {
    format!(
        "{:<6} {:<44} {:>3}  {:>9} bytes  {}",
        call.method.as_str(),
        call.path.split('?').next().unwrap_or_default(),
        call.status.as_u16(),
        call.body_bytes,
        describe_authorization(&call.authorization)
    )
}

/// Describes the credentials of a call, without the token.
pub(super) fn describe_authorization(authorization: &Authorization) -> String {
    match authorization {
        Authorization::None => "no Authorization".to_owned(),
        Authorization::Bearer {
            generation,
            current,
        } => {
            let state = if *current { "" } else { ", replaced" };
            format!("Bearer … (token {generation}{state})")
        }
        Authorization::ConnectToken => "Bearer … (connect token)".to_owned(),
        Authorization::EndUserToken => "Bearer … (end-user token)".to_owned(),
        Authorization::Unknown => "Bearer … (unknown or expired)".to_owned(),
        Authorization::OtherScheme(scheme) => format!("{scheme} …"),
        Authorization::Several(count) => format!("{count} Authorization fields"),
    }
}
