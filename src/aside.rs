//! Work with files in a thread of its own: a file system that hangs must hang nothing else.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// Does one piece of work at a time: a file system that hangs holds one thread, and not one more
/// for each try. Together these would be all that look up names.
#[derive(Debug)]
pub struct Aside {
    free: Arc<Semaphore>,
}

impl Default for Aside {
    fn default() -> Self {
        Aside {
            free: Arc::new(Semaphore::new(1)),
        }
    }
}

impl Aside {
    /// Does `work` when what was begun before has ended; `None` if it panics. Nobody need wait for
    /// its end.
    pub async fn run<T: Send + 'static>(
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
        let aside = Aside::default();
        let (release, held) = mpsc::channel::<()>();
        let patience = Duration::from_millis(50);
        assert!(
            timeout(patience, aside.run(move || held.recv()))
                .await
                .is_err()
        );
        let (began, begun) = mpsc::channel();
        assert!(
            timeout(patience, aside.run(move || began.send(())))
                .await
                .is_err()
        );
        assert!(begun.try_recv().is_err(), "a second thread was taken");
        drop(release);
        assert_eq!(aside.run(|| 1).await, Some(1));
    }
}
