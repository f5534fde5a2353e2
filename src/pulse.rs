//! Whether a worker still turns: it answers when it is asked, and one that hangs does not.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// How long a worker may take to answer; one that takes longer serves nobody meanwhile.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks a worker whether it lives.
#[derive(Clone, Debug)]
pub struct Pulse(mpsc::Sender<oneshot::Sender<()>>);

/// The end that the worker has.
#[derive(Debug)]
pub(super) struct Heart(mpsc::Receiver<oneshot::Sender<()>>);

/// Both ends.
pub(super) fn channel() -> (Pulse, Heart) {
    let (sender, receiver) = mpsc::channel(1);
    (Pulse(sender), Heart(receiver))
}

impl Pulse {
    /// Whether it answers, or has ended: of an end that nobody asked for others tell.
    pub async fn is_felt(&self) -> bool {
        let (sender, answer) = oneshot::channel();
        let asked = async {
            if self.0.send(sender).await.is_ok() {
                // An error means that it has ended.
                let _ = answer.await;
            }
        };
        timeout(PATIENCE, asked).await.is_ok()
    }
}

impl Heart {
    /// Answers whoever asks, for as long as it is polled.
    pub(super) async fn beat(mut self) {
        while let Some(asked) = self.0.recv().await {
            // Who asked may have lost patience.
            let _ = asked.send(());
        }
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_hangs_is_told_from_one_that_turns_and_from_one_that_has_ended() {
        let (pulse, heart) = channel();
        assert!(!pulse.is_felt().await);
        assert!(!pulse.is_felt().await);
        let turning = tokio::spawn(heart.beat());
        assert!(pulse.is_felt().await);
        turning.abort();
        let _ = turning.await;
        assert!(pulse.is_felt().await);
    }
}
