//! Ours alone is logged, at any level: what libraries log may quote what a caller sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Metadata, Subscriber};
use tracing_core::callsite::rebuild_interest_cache;
use tracing_subscriber::layer::{Context, Filter};

/// From the least to the most.
const LEVELS: [LevelFilter; 6] = [
    LevelFilter::OFF,
    LevelFilter::ERROR,
    LevelFilter::WARN,
    LevelFilter::INFO,
    LevelFilter::DEBUG,
    LevelFilter::TRACE,
];

/// The least severe level that is logged, at the moment. What is logged is decided once for each
/// place in the code, and not for each line: no lock is taken there.
#[derive(Clone, Debug)]
pub struct LogLevel(Arc<AtomicUsize>);

impl LogLevel {
    /// One that is `level` for now.
    pub fn new(level: LevelFilter) -> Self {
        LogLevel(Arc::new(AtomicUsize::new(number(level))))
    }

    /// Logs what is at least of `level` from now on.
    pub fn set(&self, level: LevelFilter) {
        if self.0.swap(number(level), Relaxed) != number(level) {
            rebuild_interest_cache();
        }
    }

    fn takes(&self, metadata: &Metadata<'_>) -> bool {
        let target = metadata.target();
        let is_ours =
            target == "access" || target == "gbg_proxy" || target.starts_with("gbg_proxy::");
        is_ours && *metadata.level() <= self.current()
    }

    fn current(&self) -> LevelFilter {
        LEVELS
            .get(self.0.load(Relaxed))
            .copied()
            .unwrap_or(LevelFilter::INFO)
    }
}

fn number(level: LevelFilter) -> usize {
    LEVELS
        .iter()
        .position(|&known| known == level)
        .unwrap_or_default()
}

impl<S: Subscriber> Filter<S> for LogLevel {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        self.takes(metadata)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        match self.takes(metadata) {
            true => Interest::always(),
            false => Interest::never(),
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
    fn a_level_that_is_set_is_in_force_for_the_next_line_and_what_is_not_ours_never_is() {
        let text = SharedBuffer::default();
        let made = text.clone();
        let level = LogLevel::new(LevelFilter::INFO);
        let lines = fmt::layer()
            .with_ansi(false)
            .with_writer(move || made.clone())
            .with_filter(level.clone());
        let tell = || {
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
                tell();
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
