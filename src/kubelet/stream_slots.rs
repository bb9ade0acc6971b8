//! How many logs, exec sessions and forwarded ports of a node go on at once, and how many of one namespace.

use crate::shares::{Share, Shares};

/// Those of one node.
const NODE: usize = 256;
/// Those of one namespace on it: none takes more than half, so that others have some.
const NAMESPACE: usize = 128;

/// The places for the streams of a node, by namespace.
pub type StreamSlots = Shares<String>;
/// The place of one stream, until it is dropped.
pub type StreamSlot = Share<String>;

/// The places of a node.
pub fn of_node() -> StreamSlots {
    Shares::new(NODE, NAMESPACE)
}
