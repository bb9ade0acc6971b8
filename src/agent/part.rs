//! A part of an agent: a task that runs until it is cancelled, and is started again when it ends by itself.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::Observer;
use crate::kube::backoff::Backoff;

/// A part that died is started again after this long, then after twice as long, and so on.
const FIRST: Duration = Duration::from_millis(500);
/// Longest pause between two starts: shorter than the 40 s of a node's lease, so that a part that works again keeps the
/// node Ready.
const CAP: Duration = Duration::from_secs(15);
/// A part that ran so long was well: its next pause is the first again.
const STEADY: Duration = Duration::from_mins(1);

/// Whose part it is, for the log and the metrics.
#[derive(Clone)]
pub(super) struct Owner {
    /// Name of the node.
    pub(super) node: String,
    pub(super) observer: Arc<dyn Observer>,
}

/// Runs what `begin` makes until `cancel`. Drop the handle to abort it.
pub(super) fn supervise(
    name: &'static str,
    owner: Owner,
    cancel: CancellationToken,
    begin: impl Fn() -> BoxFuture<'static, ()> + Send + 'static,
) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        let node = owner.node.as_str();
        let mut backoff = Backoff::new(FIRST, CAP);
        loop {
            let started = Instant::now();
            // A task of its own, so that a panic ends only the part.
            let ended = AbortOnDropHandle::new(tokio::spawn(begin())).await;
            if cancel.is_cancelled() {
                if let Err(error) = ended {
                    tracing::error!(node, part = name, %error, "a part of the agent died while it stopped");
                }
                return;
            }
            if started.elapsed() >= STEADY {
                backoff.reset();
            }
            let pause = backoff.next_delay();
            owner.observer.part_restarted(name);
            match ended {
                Ok(()) => {
                    tracing::error!(
                        node,
                        part = name,
                        ?pause,
                        "a part of the agent ended; it is started again"
                    );
                }
                Err(error) => {
                    tracing::error!(node, part = name, ?pause, %error, "a part of the agent died; it is started again");
                }
            }
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }))
}
