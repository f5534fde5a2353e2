//! Blocking work, one piece at a time: a file system that hangs holds one thread of tokio's
//! blocking pool, which name lookups need as well.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// Runs one piece of blocking work at a time. Each retry of one that hangs would hold one more
/// thread.
#[derive(Debug)]
pub(crate) struct SerialBlocking {
    free: Arc<Semaphore>,
}

impl Default for SerialBlocking {
    fn default() -> Self {
        SerialBlocking {
            free: Arc::new(Semaphore::new(1)),
        }
    }
}

impl SerialBlocking {
    /// Runs `work` when the work before it has ended; `None` if it panics. Dropping the future does
    /// not cancel work that has started.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let permit = Arc::clone(&self.free).acquire_owned().await.ok()?;
        let work = move || {
            let done = work();
            drop(permit);
            done
        };
        spawn_blocking(work).await.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn work_that_hangs_holds_one_thread_and_the_next_waits_for_it() {
        let serial = SerialBlocking::default();
        let (release, held) = mpsc::channel::<()>();
        let limit = Duration::from_millis(50);
        assert!(
            timeout(limit, serial.run(move || held.recv()))
                .await
                .is_err()
        );
        let (began, begun) = mpsc::channel();
        assert!(
            timeout(limit, serial.run(move || began.send(())))
                .await
                .is_err()
        );
        assert!(begun.try_recv().is_err(), "a second thread was taken");
        drop(release);
        assert_eq!(serial.run(|| 1).await, Some(1));
    }
}
