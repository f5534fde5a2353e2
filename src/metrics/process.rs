//! Metrics of the process, from `/proc`, under the names that Prometheus clients agree on.

use std::fmt;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

/// Ticks per second of the times in `/proc` (`USER_HZ`): the same on every architecture that Rust
/// supports.
const TICKS_PER_SECOND: f64 = 100.0;

#[derive(Debug)]
pub(super) struct ProcessCollector {
    pub(super) started_at: SystemTime,
}

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let started = self.started_at.duration_since(UNIX_EPOCH);
        let mut gauge = |name, help, unit: Option<Unit>, value: Option<f64>| match value {
            Some(value) => encoder
                .encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?
                .encode_gauge(&value),
            None => Ok(()),
        };
        gauge(
            "process_start_time",
            "Start time of the process since the Unix epoch",
            Some(Unit::Seconds),
            Some(started.unwrap_or_default().as_secs_f64()),
        )?;
        let status = read("status");
        gauge(
            "process_resident_memory",
            "Resident memory",
            Some(Unit::Bytes),
            memory_bytes(&status, "VmRSS:"),
        )?;
        gauge(
            "process_virtual_memory",
            "Virtual memory",
            Some(Unit::Bytes),
            memory_bytes(&status, "VmSize:"),
        )?;
        gauge(
            "process_open_fds",
            "Open file descriptors",
            None,
            open_files(),
        )?;
        gauge(
            "process_max_fds",
            "Maximum number of open file descriptors",
            None,
            max_open_files(&read("limits")),
        )?;
        let Some(seconds) = cpu_seconds(&read("stat")) else {
            return Ok(());
        };
        encoder
            .encode_descriptor(
                "process_cpu",
                "CPU time, user and system",
                Some(&Unit::Seconds),
                MetricType::Counter,
            )?
            .encode_counter::<NoLabelSet, f64, u64>(&seconds, None)
    }
}

/// A file of the process; empty where there is no `/proc`.
fn read(name: &str) -> String {
    fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default()
}

fn memory_bytes(status: &str, field: &str) -> Option<f64> {
    let value = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kibibytes: f64 = value.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024.0)
}

fn open_files() -> Option<f64> {
    let files = fs::read_dir("/proc/self/fd").ok()?.count();
    // One is the directory itself.
    Some(files.saturating_sub(1) as f64)
}

/// The soft limit; `None` if there is none.
fn max_open_files(limits: &str) -> Option<f64> {
    let mut lines = limits.lines();
    let line = lines.find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn cpu_seconds(stat: &str) -> Option<f64> {
    // The second field is the name of the program, which may hold spaces and parentheses.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_from_proc() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 9 0 0 0 1234 66 0 0 20 0 9 0 100 5 6";
        assert_eq!(cpu_seconds(stat), Some(13.0));
        let status = "VmPeak:\t  90 kB\nVmSize:\t   80 kB\nVmRSS:\t  12 kB\n";
        assert_eq!(memory_bytes(status, "VmRSS:"), Some(12_288.0));
        let limits =
            |soft| format!("Max processes  9 9 processes\nMax open files   {soft}   4096  files\n");
        assert_eq!(max_open_files(&limits("1024")), Some(1024.0));
        assert_eq!(max_open_files(&limits("unlimited")), None);
        assert_eq!(cpu_seconds(""), None);
    }

    #[test]
    fn open_files_are_counted() {
        let before = open_files().unwrap();
        let held: Vec<_> = (0..50).map(|_| fs::File::open("/dev/null")).collect();
        assert!(open_files().unwrap() >= before + 40.0, "{before}");
        drop(held);
    }
}
