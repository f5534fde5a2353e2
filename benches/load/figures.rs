//! What is measured while one rate is driven.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::arithmetic::mix::Kind;
use crate::latency::Latency;

/// A rate, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Phase {
    /// Requests a second.
    pub(crate) rate: f64,
    pub(crate) time: Duration,
    /// The spans of which figures are kept.
    pub(crate) span: Duration,
    /// What is answered later than so long after the end is not achieved.
    pub(crate) grace: Duration,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// As it should.
    Good,
    /// In any other way, in a word or two.
    Bad(String),
}

/// The figures of a phase.
pub(crate) struct Figures {
    phase: Phase,
    /// Latencies of what ended as it should, by kind.
    good: [Latency; 4],
    /// Latencies of the rest.
    pub(crate) bad: Latency,
    /// How many did not, by how they ended.
    pub(crate) failures: BTreeMap<String, u64>,
    /// The same in order of time.
    pub(crate) spans: Vec<Span>,
    in_time: u64,
    /// How late the generator sent what was due, at most.
    pub(crate) late: Duration,
    /// Connections in use at once, at most.
    pub(crate) connections: usize,
}

/// What was due in a short span of time.
pub(crate) struct Span {
    /// Latencies of what ended as it should.
    pub(crate) good: Latency,
    /// How many did not.
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

    /// Notes that a request that was due at `due`, since the beginning, ended so long after that.
    pub(crate) fn note(&mut self, kind: Kind, due: Duration, took: Duration, end: End) {
        let last = self.spans.len() - 1;
        let index = (due.as_secs_f64() / self.phase.span.as_secs_f64()) as usize;
        let span = &mut self.spans[index.min(last)];
        match end {
            End::Good => {
                span.good.note(took);
                self.good[kind as usize].note(took);
                self.in_time += u64::from(due + took <= self.phase.time + self.phase.grace);
            }
            End::Bad(why) => {
                span.bad += 1;
                self.bad.note(took);
                *self.failures.entry(why).or_default() += 1;
            }
        }
    }

    /// Requests a second that were asked for.
    pub(crate) fn asked(&self) -> f64 {
        self.phase.rate
    }

    /// Requests a second that ended as they should, in time.
    pub(crate) fn achieved(&self) -> f64 {
        self.in_time as f64 / self.phase.time.as_secs_f64()
    }

    /// Latencies of what ended as it should.
    pub(crate) fn good(&self) -> Latency {
        self.good.iter().fold(Latency::new(), |mut sum, one| {
            sum.add(one);
            sum
        })
    }

    /// The same by kind, of those that there were.
    pub(crate) fn by_kind(&self) -> impl Iterator<Item = (Kind, &Latency)> {
        Kind::ALL
            .into_iter()
            .zip(&self.good)
            .filter(|(_, latency)| latency.count() > 0)
    }

    /// How many did not end as they should.
    pub(crate) fn failed(&self) -> u64 {
        self.failures.values().sum()
    }
}
