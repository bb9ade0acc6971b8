//! How much of logs' texts may be in memory at once: in the whole process, and of the containers of one namespace.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::super::api_error::ApiError;

const MOST: usize = 96 << 20;
/// Readers of one namespace who do not read on leave half of it to the others.
const NAMESPACE: usize = MOST / 2;
/// What a text may have until it is there: Azure's answer of 8 MB in JSON, in which each end of a line is two bytes, and twice the 4 MB
/// of text that are read out of it.
const UNKNOWN: usize = 16 << 20;
/// Bytes are counted by so many.
const UNIT: usize = 1 << 10;
/// Who does not get room within this time is told to come again.
const WAIT: Duration = Duration::from_secs(10);

/// The room for texts. Cheap to clone; all clones share it.
#[derive(Debug, Clone)]
pub struct Texts {
    all: Arc<Semaphore>,
    /// That of a namespace is here while somebody has some of it, or waits for it.
    own: Arc<Mutex<HashMap<String, Weak<Semaphore>>>>,
}

impl Default for Texts {
    fn default() -> Self {
        Self {
            all: Arc::new(Semaphore::new(MOST / UNIT)),
            own: Arc::default(),
        }
    }
}

/// Room for one text, until it is dropped.
#[derive(Debug)]
pub(super) struct Room {
    own: OwnedSemaphorePermit,
    all: OwnedSemaphorePermit,
}

impl Texts {
    /// Room for a text of unknown length from `namespace`.
    pub(super) async fn room(&self, namespace: &str) -> Result<Room, ApiError> {
        let deadline = Instant::now() + WAIT;
        let own = "logs of this namespace are being read too slowly, and no more of them is kept in memory: read them to \
                   their end, or stop reading them";
        let own = take(self.own(namespace), deadline, own).await?;
        let all = "too many logs are being read at once";
        let all = take(self.all.clone(), deadline, all).await?;
        Ok(Room { own, all })
    }

    fn own(&self, namespace: &str) -> Arc<Semaphore> {
        let mut own = self.own.lock();
        if let Some(known) = own.get(namespace).and_then(Weak::upgrade) {
            return known;
        }
        own.retain(|_, room| room.strong_count() > 0);
        let room = Arc::new(Semaphore::new(NAMESPACE / UNIT));
        own.insert(namespace.to_owned(), Arc::downgrade(&room));
        room
    }
}

async fn take(
    room: Arc<Semaphore>,
    deadline: Instant,
    refusal: &str,
) -> Result<OwnedSemaphorePermit, ApiError> {
    match timeout_at(deadline, room.acquire_many_owned(units(UNKNOWN))).await {
        Ok(Ok(room)) => Ok(room),
        // It is never closed.
        Ok(Err(_)) | Err(_) => Err(ApiError {
            retry_after: Some(5),
            ..ApiError::new(http::StatusCode::TOO_MANY_REQUESTS, refusal)
        }),
    }
}

#[cfg(test)]
impl Texts {
    /// Bytes that nobody has.
    pub(super) fn free(&self) -> usize {
        self.all.available_permits() * UNIT
    }
}

impl Room {
    /// It has turned out that `bytes` are enough.
    pub(super) fn shrink(&mut self, bytes: usize) {
        for room in [&mut self.own, &mut self.all] {
            let much = room.num_permits();
            let enough = usize::try_from(units(bytes)).unwrap_or(much);
            drop(room.split(much.saturating_sub(enough)));
        }
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_bounded_number_of_bytes_is_in_memory_whatever_the_number_of_readers() {
        let texts = Texts::default();
        let namespace = |n: usize| ["a", "b"][n % 2];
        let mut rooms = Vec::new();
        for n in 0..MOST / UNKNOWN {
            rooms.push(texts.room(namespace(n)).await.unwrap());
        }
        let refused = texts.room("c").await.unwrap_err();
        assert_eq!(refused.status, http::StatusCode::TOO_MANY_REQUESTS);
        // Short texts give back what they do not need.
        for room in &mut rooms {
            room.shrink(100);
        }
        let mut more = Vec::new();
        for n in 0..MOST / UNKNOWN - 2 {
            more.push(texts.room(namespace(n)).await.unwrap());
        }
        drop((rooms, more));
        assert_eq!(texts.free(), MOST);
    }

    #[tokio::test(start_paused = true)]
    async fn a_namespace_leaves_half_to_the_others_and_is_forgotten_when_it_reads_nothing() {
        let texts = Texts::default();
        let mut rooms = Vec::new();
        for _ in 0..NAMESPACE / UNKNOWN {
            rooms.push(texts.room("a").await.unwrap());
        }
        assert!(texts.room("a").await.is_err());
        rooms.push(texts.room("b").await.unwrap());
        rooms.clear();
        rooms.push(texts.room("c").await.unwrap());
        assert_eq!(texts.own.lock().len(), 1);
        rooms.push(texts.room("a").await.unwrap());
    }
}
