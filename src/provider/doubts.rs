//! Pods that may be other than their status says: who used their containers met something else. PURE but for the waiting.

use std::collections::BTreeSet;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::exec::ExecError;
use crate::azure::{AzureError, ErrorClass};
use crate::translate::PodKey;

/// More are not remembered: their next looks come in any case.
const KEPT: usize = 256;

/// The doubts about a node's pods, each told once.
#[derive(Debug, Default)]
pub struct Doubts {
    pods: Mutex<BTreeSet<PodKey>>,
    told: Notify,
}

impl Doubts {
    /// Notes a doubt.
    pub fn add(&self, pod: &PodKey) {
        let mut pods = self.pods.lock();
        if pods.len() < KEPT {
            pods.insert(pod.clone());
            self.told.notify_one();
        }
    }

    /// The next pod to look at; waits for one. For one caller at a time; dropping the future loses nothing.
    pub async fn next(&self) -> PodKey {
        loop {
            let pod = self.pods.lock().pop_first();
            if let Some(pod) = pod {
                return pod;
            }
            self.told.notified().await;
        }
    }
}

/// Whether Azure's answer about a container that should run means that its pod should be looked at.
pub(super) fn is_doubtful(error: &AzureError) -> bool {
    matches!(
        error.class,
        ErrorClass::NotFound | ErrorClass::Conflict | ErrorClass::Transitioning
    )
}

/// The same for a session; one that was cut may have been so by the end of its container.
pub(super) fn is_doubtful_end(error: &ExecError) -> bool {
    match error {
        ExecError::Azure(error) | ExecError::Attach(error) => is_doubtful(error),
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
        let doubts = Doubts::default();
        for name in ["b", "a", "b"] {
            doubts.add(&key(name));
        }
        assert_eq!(doubts.next().await, key("a"));
        assert_eq!(doubts.next().await, key("b"));
        let (next, ()) = tokio::join!(doubts.next(), async {
            tokio::task::yield_now().await;
            doubts.add(&key("c"));
        });
        assert_eq!(next, key("c"));
        let quiet = tokio::time::timeout(std::time::Duration::from_secs(1), doubts.next()).await;
        assert!(quiet.is_err(), "nothing is told twice");
        for number in 0..1000 {
            doubts.add(&key(&number.to_string()));
        }
        assert_eq!(doubts.pods.lock().len(), KEPT);
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
            assert_eq!(is_doubtful(&error()), doubtful, "{class:?}");
            assert_eq!(is_doubtful_end(&ExecError::Azure(error())), doubtful);
            assert_eq!(is_doubtful_end(&ExecError::Attach(error())), doubtful);
        }
        assert!(is_doubtful_end(&ExecError::Lost));
        assert!(!is_doubtful_end(&ExecError::Limited));
    }
}
