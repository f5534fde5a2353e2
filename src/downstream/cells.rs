//! Shared cells of one connection's state.
//!
//! HTTP/2 serves each request in a task of its own, and tokio requires those to be `Send`. All run
//! on one worker, so relaxed atomics are as cheap as plain cells.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

#[derive(Debug, Default)]
pub(super) struct Flag(AtomicBool);

impl Flag {
    pub(super) fn get(&self) -> bool {
        self.0.load(Relaxed)
    }

    pub(super) fn set(&self, value: bool) {
        self.0.store(value, Relaxed);
    }
}

#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU32);

impl Counter {
    pub(super) fn get(&self) -> u32 {
        self.0.load(Relaxed)
    }

    pub(super) fn increment(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// Returns the count after the decrement.
    pub(super) fn decrement(&self) -> u32 {
        self.0.fetch_sub(1, Relaxed).wrapping_sub(1)
    }
}

/// A time in milliseconds since the connection's epoch.
#[derive(Debug, Default)]
pub(super) struct Millis(AtomicU64);

impl Millis {
    pub(super) fn new(millis: u64) -> Self {
        Millis(AtomicU64::new(millis))
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    pub(super) fn set(&self, millis: u64) {
        self.0.store(millis, Relaxed);
    }
}
