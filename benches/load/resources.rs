//! Resource use of a process from /proc, and its samples over time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::probe::Probe;

/// Unit of times in /proc: USER_HZ is 100 on every known architecture.
const CLOCK_TICK: Duration = Duration::from_millis(10);

const SAMPLE_INTERVAL: Duration = Duration::from_millis(250);

/// Resident memory of a process, in bytes.
pub(crate) fn memory(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes << 10)
}

/// CPU time of a process, in user mode and in the kernel.
pub(crate) fn cpu(pid: u32) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is a name in brackets, which may contain any byte; utime and stime are the
    // 14th and 15th.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let ticks: u32 = fields.next()?.parse::<u32>().ok()? + fields.next()?.parse::<u32>().ok()?;
    Some(CLOCK_TICK * ticks)
}

/// Memory and token generation at one time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) at: Instant,
    pub(crate) memory: Option<u64>,
    pub(crate) generation: Option<u64>,
}

/// Takes samples until it is dropped.
pub(crate) struct Sampler {
    samples: Arc<Mutex<Vec<Sample>>>,
    watching: JoinHandle<()>,
}

impl Sampler {
    /// Samples the process, and the admin listener for its token, as far as they are known.
    pub(crate) fn start(pid: Option<u32>, admin: Option<Probe>) -> Self {
        let samples = Arc::<Mutex<Vec<Sample>>>::default();
        let watching = tokio::spawn(take(Arc::clone(&samples), pid, admin));
        Sampler { samples, watching }
    }

    /// The samples so far.
    pub(crate) fn samples(&self) -> Vec<Sample> {
        self.samples
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The memory of samples since `began`, which is time 0.
    pub(crate) fn memory(&self, began: Instant) -> Vec<(Duration, u64)> {
        let since =
            |sample: &Sample| Some((sample.at.checked_duration_since(began)?, sample.memory?));
        self.samples().iter().filter_map(since).collect()
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

async fn take(samples: Arc<Mutex<Vec<Sample>>>, pid: Option<u32>, mut admin: Option<Probe>) {
    let mut ticks = interval(SAMPLE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let generation = match &mut admin {
            // A failed probe skips the sample.
            Some(admin) => admin.metrics().await.ok().map(|metrics| metrics.generation),
            None => None,
        };
        let sample = Sample {
            at: Instant::now(),
            memory: pid.and_then(memory),
            generation,
        };
        samples
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(sample);
    }
}
