//! State that all connections of one sandbox share.

use parking_lot::{Mutex, MutexGuard};

use super::call_log::CallLog;
use super::faulty_body::StopSignal;
use super::inject::ActiveFaults;
use super::journey::Journeys;
use super::options::SandboxOptions;
use super::scenario::Scenarios;
use super::tokens::Tokens;

/// The fixed part of the state, and the lock around the rest.
pub(super) struct SandboxContext {
    pub(super) base_url: String,
    pub(super) options: SandboxOptions,
    pub(super) stop: StopSignal,
    state: Mutex<SandboxState>,
}

/// The part of the state that requests change.
pub(super) struct SandboxState {
    pub(super) faults: ActiveFaults,
    pub(super) tokens: Tokens,
    /// Token requests so far, including refused ones.
    pub(super) token_calls: u64,
    pub(super) journeys: Journeys,
    pub(super) scenarios: Scenarios,
    pub(super) log: CallLog,
}

impl SandboxContext {
    pub(super) fn new(base_url: String, options: SandboxOptions, stop: StopSignal) -> Self {
        let state = SandboxState {
            faults: ActiveFaults::new(options.faults.iter().cloned()),
            tokens: Tokens::default(),
            token_calls: 0,
            journeys: Journeys::default(),
            scenarios: Scenarios::default(),
            log: CallLog::new(),
        };
        SandboxContext {
            base_url,
            options,
            stop,
            state: Mutex::new(state),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, SandboxState> {
        self.state.lock()
    }
}
