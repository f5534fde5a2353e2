//! Liveness check of a worker thread: a task on its runtime answers each request of the check,
//! which a thread that hangs does not.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// A thread that takes longer to answer is not alive.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Checks one thread.
#[derive(Clone, Debug)]
pub(crate) struct LivenessProbe(mpsc::Sender<oneshot::Sender<()>>);

/// The thread's end of the check.
#[derive(Debug)]
pub(crate) struct LivenessResponder(mpsc::Receiver<oneshot::Sender<()>>);

/// Both ends.
pub(crate) fn channel() -> (LivenessProbe, LivenessResponder) {
    let (sender, receiver) = mpsc::channel(1);
    (LivenessProbe(sender), LivenessResponder(receiver))
}

impl LivenessProbe {
    /// Whether each of `pulses` answers in time or has ended. An unexpected end is reported
    /// elsewhere.
    pub(crate) async fn all_respond(pulses: &[LivenessProbe]) -> bool {
        let ask = async {
            for pulse in pulses {
                pulse.ask().await;
            }
        };
        timeout(ANSWER_TIMEOUT, ask).await.is_ok()
    }

    async fn ask(&self) {
        let (sender, answer) = oneshot::channel();
        if self.0.send(sender).await.is_ok() {
            // An error means that it has ended.
            let _ = answer.await;
        }
    }
}

impl LivenessResponder {
    /// Answers checks for as long as it is polled.
    pub(crate) async fn respond(mut self) {
        while let Some(asked) = self.0.recv().await {
            // The check may have timed out.
            let _ = asked.send(());
        }
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_a_thread_that_hangs_is_not_alive() {
        let ((one, heart), (other, other_heart)) = (channel(), channel());
        let both = [one, other];
        let turning = tokio::spawn(heart.respond());
        assert!(!LivenessProbe::all_respond(&both).await);
        assert!(!LivenessProbe::all_respond(&both).await);
        let others = tokio::spawn(other_heart.respond());
        assert!(LivenessProbe::all_respond(&both).await);
        for ended in [turning, others] {
            ended.abort();
            let _ = ended.await;
        }
        assert!(LivenessProbe::all_respond(&both).await);
    }
}
