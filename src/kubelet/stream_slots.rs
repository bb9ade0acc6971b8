//! How many logs, exec sessions and forwarded ports of a node go on at once, and how many of one namespace.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// Those of one node.
const NODE: usize = 256;
/// Those of one namespace on it: none takes more than half, so that others have some.
const NAMESPACE: usize = 128;

/// The places for the streams of a node.
#[derive(Debug, Clone)]
pub struct StreamSlots {
    taken: Arc<Mutex<Taken>>,
    node: usize,
    namespace: usize,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    /// Namespaces without a stream are not in it.
    by_namespace: HashMap<String, usize>,
}

/// The place of one stream, until it is dropped.
#[derive(Debug)]
pub struct StreamSlot {
    taken: Arc<Mutex<Taken>>,
    namespace: String,
}

/// Why a stream has no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoStreamSlot {
    /// All are taken.
    #[error("too many logs, exec sessions and forwarded ports of this node at once")]
    Node,
    /// The namespace has as many as one may have.
    #[error(
        "too many logs, exec sessions and forwarded ports of this namespace on this node at once"
    )]
    Namespace,
}

impl Default for StreamSlots {
    fn default() -> Self {
        Self::new(NODE, NAMESPACE)
    }
}

impl StreamSlots {
    /// `node` places in all, `namespace` of them for each namespace.
    pub fn new(node: usize, namespace: usize) -> Self {
        Self {
            taken: Arc::default(),
            node,
            namespace,
        }
    }

    /// A place for a stream of a pod in `namespace`.
    ///
    /// # Errors
    /// When all that it may have are taken; they are free again as streams end.
    pub fn take(&self, namespace: &str) -> Result<StreamSlot, NoStreamSlot> {
        let mut taken = self.taken.lock();
        if taken.all >= self.node {
            return Err(NoStreamSlot::Node);
        }
        let own = taken.by_namespace.get(namespace).copied().unwrap_or(0);
        if own >= self.namespace {
            return Err(NoStreamSlot::Namespace);
        }
        taken.all += 1;
        taken.by_namespace.insert(namespace.to_owned(), own + 1);
        Ok(StreamSlot {
            taken: Arc::clone(&self.taken),
            namespace: namespace.to_owned(),
        })
    }

    /// How many are taken.
    pub fn taken(&self) -> usize {
        self.taken.lock().all
    }
}

impl Drop for StreamSlot {
    fn drop(&mut self) {
        let mut taken = self.taken.lock();
        taken.all = taken.all.saturating_sub(1);
        if let Some(own) = taken.by_namespace.get_mut(&self.namespace) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                taken.by_namespace.remove(&self.namespace);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_leaves_room_for_others_and_a_node_has_an_end() {
        let slots = StreamSlots::new(3, 2);
        let first = slots.take("a").unwrap();
        let second = slots.take("a").unwrap();
        assert_eq!(slots.take("a").unwrap_err(), NoStreamSlot::Namespace);
        let other = slots.take("b").unwrap();
        assert_eq!(slots.take("b").unwrap_err(), NoStreamSlot::Node);
        drop(first);
        let third = slots.take("a").unwrap();
        drop((second, third, other));
        assert_eq!(slots.taken(), 0);
        assert!(slots.taken.lock().by_namespace.is_empty());
    }
}
