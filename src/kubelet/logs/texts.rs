//! How much of logs' texts may be in memory at once, in the whole process.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::super::api_error::ApiError;

const MOST: usize = 96 << 20;
/// What a text may have until it is there: Azure's answer is not longer.
const UNKNOWN: usize = 8 << 20;
/// Bytes are counted by so many.
const UNIT: usize = 1 << 10;
/// Who does not get room within this time is told to come again.
const WAIT: Duration = Duration::from_secs(10);

/// The room for texts. Cheap to clone; all clones share it.
#[derive(Debug, Clone)]
pub struct Texts(Arc<Semaphore>);

impl Default for Texts {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MOST / UNIT)))
    }
}

/// Room for one text, until it is dropped.
#[derive(Debug)]
pub(super) struct Room(OwnedSemaphorePermit);

impl Texts {
    /// Room for a text of unknown length.
    pub(super) async fn room(&self) -> Result<Room, ApiError> {
        let room = self.0.clone().acquire_many_owned(units(UNKNOWN));
        match tokio::time::timeout(WAIT, room).await {
            Ok(Ok(room)) => Ok(Room(room)),
            // It is never closed.
            Ok(Err(_)) | Err(_) => Err(ApiError {
                retry_after: Some(5),
                ..ApiError::new(
                    http::StatusCode::TOO_MANY_REQUESTS,
                    "too many logs are being read at once",
                )
            }),
        }
    }
}

impl Room {
    /// It has turned out that `bytes` are enough.
    pub(super) fn shrink(&mut self, bytes: usize) {
        let much = self.0.num_permits();
        let enough = usize::try_from(units(bytes)).unwrap_or(much);
        drop(self.0.split(much.saturating_sub(enough)));
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
        let mut rooms = Vec::new();
        for _ in 0..MOST / UNKNOWN {
            rooms.push(texts.room().await.unwrap());
        }
        let refused = texts.room().await.unwrap_err();
        assert_eq!(refused.status, http::StatusCode::TOO_MANY_REQUESTS);
        // Short texts give back what they do not need.
        for room in &mut rooms {
            room.shrink(100);
        }
        let mut more = Vec::new();
        for _ in 0..MOST / UNKNOWN - 1 {
            more.push(texts.room().await.unwrap());
        }
        drop((rooms, more));
        assert_eq!(texts.0.available_permits(), MOST / UNIT);
    }
}
