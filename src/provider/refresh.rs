//! Requests to read a pod's container group again: an exec, attach or log call met a state that contradicts its status.
//! Pure but for the waiting.

use std::collections::BTreeSet;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::exec::ExecError;
use crate::azure::{AzureError, ErrorClass};
use crate::translate::PodKey;

/// More are not remembered: every pod is polled in any case.
const KEPT: usize = 256;

/// The pods of a node to refresh, each once.
#[derive(Debug, Default)]
pub struct RefreshRequests {
    pods: Mutex<BTreeSet<PodKey>>,
    added: Notify,
}

impl RefreshRequests {
    /// Asks for a refresh of `pod`.
    pub fn add(&self, pod: &PodKey) {
        let mut pods = self.pods.lock();
        if pods.len() < KEPT {
            pods.insert(pod.clone());
            self.added.notify_one();
        }
    }

    /// The next pod to refresh; waits for one. For one caller at a time; dropping the future loses nothing.
    pub async fn next(&self) -> PodKey {
        loop {
            let pod = self.pods.lock().pop_first();
            if let Some(pod) = pod {
                return pod;
            }
            self.added.notified().await;
        }
    }
}

/// Whether Azure's answer about a container that should run contradicts the pod's status.
pub(super) fn contradicts_status(error: &AzureError) -> bool {
    matches!(
        error.class,
        ErrorClass::NotFound | ErrorClass::Conflict | ErrorClass::Transitioning
    )
}

/// The same for a session; one that was cut may have been so by the end of its container.
pub(super) fn end_contradicts_status(error: &ExecError) -> bool {
    match error {
        ExecError::Azure(error) | ExecError::Attach(error) => contradicts_status(error),
        ExecError::Lost => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> PodKey {
        PodKey {
            namespace: "default".into(),
            name: name.into(),
            uid: name.into(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_doubt_is_told_once_and_none_is_lost() {
        let refreshes = RefreshRequests::default();
        for name in ["b", "a", "b"] {
            refreshes.add(&key(name));
        }
        assert_eq!(refreshes.next().await, key("a"));
        assert_eq!(refreshes.next().await, key("b"));
        let (next, ()) = tokio::join!(refreshes.next(), async {
            tokio::task::yield_now().await;
            refreshes.add(&key("c"));
        });
        assert_eq!(next, key("c"));
        let quiet = tokio::time::timeout(std::time::Duration::from_secs(1), refreshes.next()).await;
        assert!(quiet.is_err(), "nothing is told twice");
        for number in 0..1000 {
            refreshes.add(&key(&number.to_string()));
        }
        assert_eq!(refreshes.pods.lock().len(), KEPT);
    }

    #[test]
    fn only_answers_about_the_group_raise_doubts() {
        for (class, doubtful) in [
            (ErrorClass::NotFound, true),
            (ErrorClass::Conflict, true),
            (ErrorClass::Transitioning, true),
            (ErrorClass::Throttled, false),
            (ErrorClass::Unavailable, false),
            (ErrorClass::ResourceGroupNotFound, false),
        ] {
            let error = || AzureError {
                class,
                status: None,
                code: "Code".to_owned(),
                message: "text".to_owned(),
                retry_after: None,
                request_id: None,
            };
            assert_eq!(contradicts_status(&error()), doubtful, "{class:?}");
            assert_eq!(end_contradicts_status(&ExecError::Azure(error())), doubtful);
            assert_eq!(
                end_contradicts_status(&ExecError::Attach(error())),
                doubtful
            );
        }
        assert!(end_contradicts_status(&ExecError::Lost));
        assert!(!end_contradicts_status(&ExecError::Limited));
    }
}
