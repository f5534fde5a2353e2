//! Blocking work, one piece at a time: a file system that hangs holds one thread of tokio's
//! blocking pool, which name lookups need as well.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// Runs one piece of blocking work at a time: each retry of hanging work would hold another thread.
#[derive(Debug)]
pub(crate) struct SerialBlocking {
    permit: Arc<Semaphore>,
}

impl Default for SerialBlocking {
    fn default() -> Self {
        SerialBlocking {
            permit: Arc::new(Semaphore::new(1)),
        }
    }
}

impl SerialBlocking {
    /// Runs `work` after the work before it; `None` if it panics. Dropping the future does not
    /// cancel work that has started.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let permit = Arc::clone(&self.permit).acquire_owned().await.ok()?;
        let work = move || {
            let result = work();
            drop(permit);
            result
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
    async fn hanging_work_holds_one_thread() {
        let serial = SerialBlocking::default();
        let (release, held) = mpsc::channel::<()>();
        let limit = Duration::from_millis(50);
        assert!(
            timeout(limit, serial.run(move || held.recv()))
                .await
                .is_err()
        );
        let (started, is_started) = mpsc::channel();
        assert!(
            timeout(limit, serial.run(move || started.send(())))
                .await
                .is_err()
        );
        assert!(is_started.try_recv().is_err(), "a second thread was taken");
        drop(release);
        assert_eq!(serial.run(|| 1).await, Some(1));
    }
}
