//! Computations of the load test without sockets and clocks. `tests/integration/ops/load_test.rs` includes
//! and tests them: a bench has no test harness.

pub(crate) mod arrivals;
pub(crate) mod knee;
pub(crate) mod mix;
pub(crate) mod reconcile;
pub(crate) mod recovery;
pub(crate) mod refreshes;
pub(crate) mod trend;
