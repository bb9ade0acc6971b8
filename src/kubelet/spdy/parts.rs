//! The parts of a session's data that are in memory, from when they are read until they are where they go.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// Parts of all streams of a session, each of which has 32 KB of what was read, or keeps as much: as many as one stream has on its
/// way.
const PARTS: usize = 16;

/// The room of one session.
#[derive(Debug)]
pub(super) struct Room(Arc<Semaphore>);

/// How many parts of a stream are in memory.
#[derive(Debug, Clone, Default)]
pub(super) struct Held(Arc<AtomicUsize>);

impl Held {
    pub(super) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Room {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(PARTS)))
    }

    /// Room for a part, if there is some before `deadline`.
    pub(super) async fn take(&self, deadline: Instant) -> Option<OwnedSemaphorePermit> {
        let room = timeout_at(deadline, self.0.clone().acquire_owned()).await;
        // It is never closed.
        room.ok()?.ok()
    }
}

/// `bytes` of a stream, which have `room` until the last copy of them is dropped.
pub(super) fn part(bytes: Bytes, room: OwnedSemaphorePermit, held: Held) -> Bytes {
    held.0.fetch_add(1, Ordering::Relaxed);
    Bytes::from_owner(Part {
        bytes,
        held,
        _room: room,
    })
}

struct Part {
    bytes: Bytes,
    held: Held,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.held.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn parts_have_room_until_they_are_where_they_go() {
        let (room, held) = (Room::new(), Held::default());
        let soon = || Instant::now() + Duration::from_secs(1);
        let mut parts = Vec::new();
        for _ in 0..PARTS {
            let taken = room.take(soon()).await.unwrap();
            parts.push(part(Bytes::from_static(b"x"), taken, held.clone()));
        }
        assert!(room.take(soon()).await.is_none());
        assert_eq!(held.count(), PARTS);
        let mut last = parts.pop().unwrap();
        // A copy of it is it.
        let copy = last.split_off(0);
        drop(last);
        assert!(room.take(soon()).await.is_none());
        assert_eq!(copy, "x");
        drop(copy);
        assert!(room.take(soon()).await.is_some());
        assert_eq!(held.count(), PARTS - 1);
    }
}
