//! Measurements of one rate.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::arithmetic::mix::Kind;
use crate::latency::Latency;

/// A rate and its duration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Phase {
    /// Requests a second.
    pub(crate) rate: f64,
    pub(crate) time: Duration,
    /// Resolution of the figures.
    pub(crate) span: Duration,
    /// A response later than this after the end does not count as achieved.
    pub(crate) grace: Duration,
}

/// The end of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// As expected.
    Good,
    /// In another way, in a word or two.
    Bad(String),
}

/// The figures of a phase.
pub(crate) struct Figures {
    phase: Phase,
    /// Latencies of good requests, by kind.
    good: [Latency; 4],
    /// Latencies of bad requests.
    pub(crate) bad: Latency,
    /// Numbers of bad requests, by their end.
    pub(crate) failures: BTreeMap<String, u64>,
    /// Requests by the time when they were due.
    pub(crate) spans: Vec<Span>,
    in_time: u64,
    /// Largest delay of sending a request that was due.
    pub(crate) late: Duration,
    /// Most concurrent connections.
    pub(crate) connections: usize,
}

/// The requests that were due in a short span of time.
pub(crate) struct Span {
    /// Latencies of good requests.
    pub(crate) good: Latency,
    /// Number of bad requests.
    pub(crate) bad: u64,
}

impl Figures {
    pub(crate) fn new(phase: Phase) -> Self {
        let spans = (phase.time.as_secs_f64() / phase.span.as_secs_f64()).ceil() as usize;
        Figures {
            phase,
            good: Kind::ALL.map(|_| Latency::new()),
            bad: Latency::new(),
            failures: BTreeMap::new(),
            spans: (0..spans.max(1))
                .map(|_| Span {
                    good: Latency::small(),
                    bad: 0,
                })
                .collect(),
            in_time: 0,
            late: Duration::ZERO,
            connections: 0,
        }
    }

    /// Records a request that was due at `due` after the start, and ended `took` later.
    pub(crate) fn record(&mut self, kind: Kind, due: Duration, took: Duration, end: End) {
        let last = self.spans.len() - 1;
        let index = (due.as_secs_f64() / self.phase.span.as_secs_f64()) as usize;
        let span = &mut self.spans[index.min(last)];
        match end {
            End::Good => {
                span.good.record(took);
                self.good[kind as usize].record(took);
                self.in_time += u64::from(due + took <= self.phase.time + self.phase.grace);
            }
            End::Bad(reason) => {
                span.bad += 1;
                self.bad.record(took);
                *self.failures.entry(reason).or_default() += 1;
            }
        }
    }

    /// Requested rate per second.
    pub(crate) fn asked(&self) -> f64 {
        self.phase.rate
    }

    /// Good requests per second, in time.
    pub(crate) fn achieved(&self) -> f64 {
        self.in_time as f64 / self.phase.time.as_secs_f64()
    }

    /// Latencies of good requests.
    pub(crate) fn good(&self) -> Latency {
        self.good.iter().fold(Latency::new(), |mut sum, one| {
            sum.add(one);
            sum
        })
    }

    /// The same by kind, without empty ones.
    pub(crate) fn by_kind(&self) -> impl Iterator<Item = (Kind, &Latency)> {
        Kind::ALL
            .into_iter()
            .zip(&self.good)
            .filter(|(_, latency)| latency.count() > 0)
    }

    /// Number of bad requests.
    pub(crate) fn failed(&self) -> u64 {
        self.failures.values().sum()
    }
}
