//! The objects that volumes are made of: one follower for each, however many pods have it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::Calls;
use super::plan::ObjectName;

pub(super) struct Objects<C> {
    calls: Arc<C>,
    changes: mpsc::Sender<ObjectName>,
    followed: HashMap<ObjectName, AbortOnDropHandle<()>>,
}

impl<C: Calls> Objects<C> {
    /// Tells `changes`.
    pub(super) fn new(calls: Arc<C>, changes: mpsc::Sender<ObjectName>) -> Self {
        Self {
            calls,
            changes,
            followed: HashMap::new(),
        }
    }

    /// Follows `wanted` from now on, and nothing else.
    pub(super) fn set(&mut self, wanted: &BTreeSet<ObjectName>) {
        self.followed.retain(|object, _| wanted.contains(object));
        for object in wanted {
            if !self.followed.contains_key(object) {
                let (calls, of, tell) = (
                    Arc::clone(&self.calls),
                    object.clone(),
                    self.changes.clone(),
                );
                let task = tokio::spawn(async move { calls.follow(of, tell).await });
                let task = AbortOnDropHandle::new(task);
                self.followed.insert(object.clone(), task);
            }
        }
    }
}
