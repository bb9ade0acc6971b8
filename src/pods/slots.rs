//! The places of a node's operations.

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::provider::Slot;

/// So many operations at once.
#[derive(Debug, Clone)]
pub(super) struct Slots {
    free: Arc<Semaphore>,
    all: usize,
}

/// The place of one operation, until it is dropped.
#[derive(Debug)]
pub(super) struct OperationSlot {
    held: Mutex<Option<OwnedSemaphorePermit>>,
    free: Arc<Semaphore>,
}

impl Slots {
    pub(super) fn new(all: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(all)),
            all,
        }
    }

    /// A place, if there is one.
    pub(super) fn take(&self) -> Option<Arc<OperationSlot>> {
        let held = self.free.clone().try_acquire_owned().ok()?;
        Some(Arc::new(OperationSlot {
            held: Mutex::new(Some(held)),
            free: self.free.clone(),
        }))
    }

    pub(super) fn is_free(&self) -> bool {
        self.free.available_permits() > 0
    }

    /// How many are taken.
    pub(super) fn taken(&self) -> usize {
        self.all.saturating_sub(self.free.available_permits())
    }

    /// Until one is free.
    pub(super) async fn freed(&self) {
        // It is never closed; what is acquired is free again at once.
        let _ = self.free.acquire().await;
    }
}

#[async_trait]
impl Slot for OperationSlot {
    fn leave(&self) {
        self.held.lock().take();
    }

    async fn again(&self) {
        if self.held.lock().is_some() {
            return;
        }
        let held = self.free.clone().acquire_owned().await.ok();
        *self.held.lock() = held;
    }
}
