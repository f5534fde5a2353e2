//! What the load test computes, apart from sockets and clocks. `tests/integration/load.rs` includes
//! and tests it: a bench of its own has no test harness.

pub(crate) mod arrivals;
pub(crate) mod knee;
pub(crate) mod mix;
pub(crate) mod reconcile;
pub(crate) mod recovery;
pub(crate) mod refreshes;
pub(crate) mod trend;
