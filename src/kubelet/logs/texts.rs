//! How much of logs' texts may be in memory at once: in the whole process, and of the containers of one namespace.

use std::time::Duration;

use tokio::time::Instant;

use super::super::api_error::ApiError;
use crate::shares::{self, Full, Rooms};

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
pub struct Texts(Rooms<String>);

impl Default for Texts {
    fn default() -> Self {
        Self(Rooms::new(MOST / UNIT, NAMESPACE / UNIT))
    }
}

/// Room for one text, until it is dropped.
#[derive(Debug)]
pub(super) struct Room(shares::Room);

impl Texts {
    /// Room for a text of unknown length from `namespace`.
    pub(super) async fn room(&self, namespace: &str) -> Result<Room, ApiError> {
        let (owner, deadline) = (namespace.to_owned(), Instant::now() + WAIT);
        let room = self.0.take(owner, units(UNKNOWN), deadline).await;
        room.map(Room).map_err(|full| {
            let text = match full {
                Full::Own => {
                    "logs of this namespace are being read too slowly, and no more of them is kept in memory: read them to \
                     their end, or stop reading them"
                }
                Full::All => "too many logs are being read at once",
            };
            ApiError {
                retry_after: Some(5),
                ..ApiError::new(http::StatusCode::TOO_MANY_REQUESTS, text)
            }
        })
    }
}

#[cfg(test)]
impl Texts {
    /// Bytes that nobody has.
    pub(super) fn free(&self) -> usize {
        self.0.free() * UNIT
    }
}

impl Room {
    /// It has turned out that `bytes` are enough.
    pub(super) fn shrink(&mut self, bytes: usize) {
        self.0.shrink(bytes.div_ceil(UNIT));
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
    async fn a_namespace_leaves_half_to_the_others() {
        let texts = Texts::default();
        let mut rooms = Vec::new();
        for _ in 0..NAMESPACE / UNKNOWN {
            rooms.push(texts.room("a").await.unwrap());
        }
        assert!(texts.room("a").await.is_err());
        rooms.push(texts.room("b").await.unwrap());
        rooms.clear();
        rooms.push(texts.room("c").await.unwrap());
        rooms.push(texts.room("a").await.unwrap());
    }
}
