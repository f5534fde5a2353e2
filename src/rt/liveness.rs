//! Liveness check of a worker thread: a task on its runtime responds to probes, unless the thread
//! hangs.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// A thread that takes longer to respond is not alive.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Probe of one thread.
#[derive(Clone, Debug)]
pub(crate) struct LivenessProbe(mpsc::Sender<oneshot::Sender<()>>);

/// The end of the probe in the thread.
#[derive(Debug)]
pub(crate) struct LivenessResponder(mpsc::Receiver<oneshot::Sender<()>>);

pub(crate) fn channel() -> (LivenessProbe, LivenessResponder) {
    let (sender, receiver) = mpsc::channel(1);
    (LivenessProbe(sender), LivenessResponder(receiver))
}

impl LivenessProbe {
    /// Whether each thread responds in time or has ended. An unexpected end is reported elsewhere.
    pub(crate) async fn all_respond(probes: &[LivenessProbe]) -> bool {
        let probe_all = async {
            for probe in probes {
                probe.wait().await;
            }
        };
        timeout(RESPONSE_TIMEOUT, probe_all).await.is_ok()
    }

    async fn wait(&self) {
        let (sender, response) = oneshot::channel();
        if self.0.send(sender).await.is_ok() {
            // An error means that the thread has ended.
            let _ = response.await;
        }
    }
}

impl LivenessResponder {
    /// Responds to probes for as long as it is polled.
    pub(crate) async fn respond(mut self) {
        while let Some(probe) = self.0.recv().await {
            // The probe may have timed out.
            let _ = probe.send(());
        }
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_a_hanging_thread_is_not_alive() {
        let ((first, first_responder), (second, second_responder)) = (channel(), channel());
        let both = [first, second];
        let first_task = tokio::spawn(first_responder.respond());
        assert!(!LivenessProbe::all_respond(&both).await);
        assert!(!LivenessProbe::all_respond(&both).await);
        let second_task = tokio::spawn(second_responder.respond());
        assert!(LivenessProbe::all_respond(&both).await);
        for ended in [first_task, second_task] {
            ended.abort();
            let _ = ended.await;
        }
        assert!(LivenessProbe::all_respond(&both).await);
    }
}
