//! The places of one listener, with the ends of the connections that have them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::{Id, Most, Places};

/// Gives out places. Cheap to clone; all clones share them.
#[derive(Debug, Clone)]
pub struct Seats(Arc<Mutex<Taken>>);

#[derive(Debug)]
struct Taken {
    places: Places,
    ends: HashMap<Id, CancellationToken>,
}

/// The place of one connection, until it is dropped.
#[derive(Debug)]
pub struct Seat {
    id: Id,
    seats: Seats,
    cut: CancellationToken,
}

impl Seats {
    /// Places for so many.
    pub fn new(most: Most) -> Self {
        Self(Arc::new(Mutex::new(Taken {
            places: Places::new(most),
            ends: HashMap::new(),
        })))
    }

    /// A place for a connection from `address`; another one may have to end for it.
    pub fn take(&self, address: IpAddr) -> Seat {
        let mut taken = self.0.lock();
        let (id, cut) = taken.places.take(address);
        if let Some(end) = cut.and_then(|cut| taken.ends.remove(&cut)) {
            tracing::debug!("a connection was ended for another one");
            end.cancel();
        }
        let cut = CancellationToken::new();
        taken.ends.insert(id, cut.clone());
        Seat {
            id,
            seats: self.clone(),
            cut,
        }
    }
}

impl Seat {
    /// See [`Places::prove`].
    pub fn prove(&self) {
        self.seats.0.lock().places.prove(self.id);
    }

    /// Until the place is needed for somebody else.
    pub async fn cut(&self) {
        self.cut.cancelled().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.0.lock();
        taken.places.leave(self.id);
        taken.ends.remove(&self.id);
    }
}
