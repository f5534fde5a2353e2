//! Settings of one storm, and the command that repeats it.

use std::time::Duration;

use crate::plan::{Http, Plans};

/// The requests of a storm, and the proxy that they are sent to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Storm {
    pub(crate) plans: Plans,
    pub(crate) requests: u64,
    /// Concurrent connections of callers.
    pub(crate) concurrency: usize,
    /// Time after which no more requests begin.
    pub(crate) time: Option<Duration>,
    /// Whether the proxy is the one that breaks the rules.
    pub(crate) is_faulty: bool,
}

impl Storm {
    /// The command that repeats the storm, or one request of it.
    pub(crate) fn command(&self, id: Option<u64>) -> String {
        let api = if self.plans.api == Http::One {
            "1.1"
        } else {
            "2"
        };
        let selection = id.map_or(format!("--requests {}", self.requests), |id| {
            format!("--requests 1000 --id {id}")
        });
        format!(
            "cargo bench --bench storm -- run --seed {} --api {api} {selection}",
            self.plans.seed
        )
    }
}
