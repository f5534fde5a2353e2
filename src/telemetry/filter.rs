//! Log filter: only events of this crate, at a level that may change at runtime. Events of
//! libraries may quote data that a caller sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Metadata, Subscriber};
use tracing_core::callsite::rebuild_interest_cache;
use tracing_subscriber::layer::{Context, Filter};

/// From the fewest events to the most.
const LEVELS: [LevelFilter; 6] = [
    LevelFilter::OFF,
    LevelFilter::ERROR,
    LevelFilter::WARN,
    LevelFilter::INFO,
    LevelFilter::DEBUG,
    LevelFilter::TRACE,
];

/// The least severe level that is logged. `tracing` caches the decision for each call site: an
/// event takes no lock.
#[derive(Clone, Debug)]
pub struct LogLevel(Arc<AtomicUsize>);

impl LogLevel {
    /// A filter that starts at `level`.
    pub fn new(level: LevelFilter) -> Self {
        LogLevel(Arc::new(AtomicUsize::new(index_of(level))))
    }

    /// Changes the level.
    pub(crate) fn set(&self, level: LevelFilter) {
        if self.0.swap(index_of(level), Relaxed) != index_of(level) {
            rebuild_interest_cache();
        }
    }

    fn is_logged(&self, metadata: &Metadata<'_>) -> bool {
        let target = metadata.target();
        let is_own =
            target == "access" || target == "gbg_proxy" || target.starts_with("gbg_proxy::");
        is_own && *metadata.level() <= self.current()
    }

    fn current(&self) -> LevelFilter {
        LEVELS
            .get(self.0.load(Relaxed))
            .copied()
            .unwrap_or(LevelFilter::INFO)
    }
}

fn index_of(level: LevelFilter) -> usize {
    LEVELS
        .iter()
        .position(|&known| known == level)
        .unwrap_or_default()
}

impl<S: Subscriber> Filter<S> for LogLevel {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        self.is_logged(metadata)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.is_logged(metadata) {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.current())
    }
}

#[cfg(test)]
mod tests {
    use tracing::subscriber::with_default;
    use tracing_subscriber::layer::{Layer, SubscriberExt};
    use tracing_subscriber::{fmt, registry};

    use super::super::writer::SharedBuffer;
    use super::*;

    #[test]
    fn a_new_level_applies_to_the_next_line() {
        let text = SharedBuffer::default();
        let sink = text.clone();
        let level = LogLevel::new(LevelFilter::INFO);
        let lines = fmt::layer()
            .with_ansi(false)
            .with_writer(move || sink.clone())
            .with_filter(level.clone());
        let log = || {
            tracing::debug!("fine");
            tracing::error!(target: "h2", "a path");
            tracing::error!(target: "gbg_proxying", "another's");
        };
        with_default(registry().with(lines), || {
            for (set, lines) in [
                (LevelFilter::INFO, 0),
                (LevelFilter::DEBUG, 1),
                (LevelFilter::ERROR, 0),
            ] {
                level.set(set);
                log();
                let text = String::from_utf8(text.take()).unwrap();
                assert_eq!(
                    (text.matches("fine").count(), text.lines().count()),
                    (lines, lines),
                    "{text}"
                );
            }
        });
    }
}
