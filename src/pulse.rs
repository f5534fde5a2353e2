//! Whether a thread still turns: a task of its own answers when it is asked, and one that hangs
//! does not.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// How long a thread may take to answer; one that takes longer serves nobody meanwhile.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks a thread whether it lives.
#[derive(Clone, Debug)]
pub struct Pulse(mpsc::Sender<oneshot::Sender<()>>);

/// The end that the thread has.
#[derive(Debug)]
pub struct Heart(mpsc::Receiver<oneshot::Sender<()>>);

/// Both ends.
pub fn channel() -> (Pulse, Heart) {
    let (sender, receiver) = mpsc::channel(1);
    (Pulse(sender), Heart(receiver))
}

impl Pulse {
    /// Whether all of `pulses` answer in time, or have ended: of an end that nobody asked for
    /// others tell.
    pub async fn are_felt(pulses: &[Pulse]) -> bool {
        let ask = async {
            for pulse in pulses {
                pulse.ask().await;
            }
        };
        timeout(PATIENCE, ask).await.is_ok()
    }

    async fn ask(&self) {
        let (sender, answer) = oneshot::channel();
        if self.0.send(sender).await.is_ok() {
            // An error means that it has ended.
            let _ = answer.await;
        }
    }
}

impl Heart {
    /// Answers whoever asks, for as long as it is polled.
    pub async fn beat(mut self) {
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
    async fn a_thread_that_hangs_is_told_from_one_that_turns_and_from_one_that_has_ended() {
        let ((one, heart), (other, other_heart)) = (channel(), channel());
        let both = [one, other];
        let turning = tokio::spawn(heart.beat());
        assert!(!Pulse::are_felt(&both).await);
        assert!(!Pulse::are_felt(&both).await);
        let others = tokio::spawn(other_heart.beat());
        assert!(Pulse::are_felt(&both).await);
        for ended in [turning, others] {
            ended.abort();
            let _ = ended.await;
        }
        assert!(Pulse::are_felt(&both).await);
    }
}
