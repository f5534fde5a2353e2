//! Admin listener: probes, metrics and the status page.

mod findings;
mod health;
mod listener;
mod metrics;
mod status_page;
