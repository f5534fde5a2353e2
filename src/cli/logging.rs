//! Log settings of the process, from the `[log]` section.

use tracing::level_filters::LevelFilter;

use super::output::is_colored;
use crate::config::{self, Level, LogFormat};
use crate::telemetry;

pub(super) fn log_settings(log: &config::Log) -> telemetry::LogSettings {
    let level = telemetry::LogLevel::new(log_level(log));
    telemetry::LogSettings {
        level,
        json: log.format == LogFormat::Json,
        is_colored: log.file.is_none() && is_colored(),
        file: log.file.clone(),
    }
}

pub(super) fn log_level(log: &config::Log) -> LevelFilter {
    match log.level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    }
}
