//! So many at once, and so many of one owner, whoever that is: nobody takes all from all others.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// Places that are shared out by owner.
#[derive(Debug, Clone)]
pub struct Shares<K: Eq + Hash> {
    /// Owners without a place are not in it.
    taken: Arc<Mutex<HashMap<K, usize>>>,
    all: usize,
    own: usize,
}

/// One place, until it is dropped.
#[derive(Debug)]
pub struct Share<K: Eq + Hash> {
    taken: Arc<Mutex<HashMap<K, usize>>>,
    owner: K,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// All are taken.
    All,
    /// The owner has as many as one may have.
    Own,
}

impl<K: Eq + Hash + Clone> Shares<K> {
    /// `all` places, `own` of them for each owner.
    pub fn new(all: usize, own: usize) -> Self {
        Self {
            taken: Arc::default(),
            all,
            own,
        }
    }

    /// A place for `owner`.
    ///
    /// # Errors
    /// When all that it may have are taken; they are free again as others are dropped.
    pub fn take(&self, owner: K) -> Result<Share<K>, Full> {
        let mut taken = self.taken.lock();
        if taken.values().sum::<usize>() >= self.all {
            return Err(Full::All);
        }
        let own = taken.get(&owner).copied().unwrap_or(0);
        if own >= self.own {
            return Err(Full::Own);
        }
        taken.insert(owner.clone(), own + 1);
        Ok(Share {
            taken: Arc::clone(&self.taken),
            owner,
        })
    }

    /// How many are taken.
    pub fn taken(&self) -> usize {
        self.taken.lock().values().sum()
    }
}

impl<K: Eq + Hash> Drop for Share<K> {
    fn drop(&mut self) {
        let mut taken = self.taken.lock();
        if let Some(own) = taken.get_mut(&self.owner) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                taken.remove(&self.owner);
            }
        }
    }
}

/// Room that is measured in some unit, and shared out by owner. Cheap to clone; all clones share it.
#[derive(Debug, Clone)]
pub struct Rooms<K: Eq + Hash> {
    all: Arc<Semaphore>,
    /// That of an owner is here while somebody has some of it, or waits for it.
    owners: Arc<Mutex<HashMap<K, Weak<Semaphore>>>>,
    own: usize,
}

/// Some room, until it is dropped.
#[derive(Debug)]
pub struct Room {
    own: OwnedSemaphorePermit,
    all: OwnedSemaphorePermit,
}

impl<K: Eq + Hash> Rooms<K> {
    /// `all` units, `own` of them for each owner.
    pub fn new(all: usize, own: usize) -> Self {
        Self {
            all: Arc::new(Semaphore::new(all)),
            owners: Arc::default(),
            own,
        }
    }

    /// So much for `owner`, if it is there now.
    ///
    /// # Errors
    /// Whose room is taken.
    pub fn try_take(&self, owner: K, units: u32) -> Result<Room, Full> {
        let own = self.of(owner).try_acquire_many_owned(units);
        let own = own.map_err(|_| Full::Own)?;
        let all = self.all.clone().try_acquire_many_owned(units);
        let all = all.map_err(|_| Full::All)?;
        Ok(Room { own, all })
    }

    /// So much for `owner`, as soon as it is there.
    ///
    /// # Errors
    /// Whose room was taken until `deadline`.
    pub async fn take(&self, owner: K, units: u32, deadline: Instant) -> Result<Room, Full> {
        // None is ever closed.
        let own = timeout_at(deadline, self.of(owner).acquire_many_owned(units)).await;
        let Ok(Ok(own)) = own else {
            return Err(Full::Own);
        };
        let all = timeout_at(deadline, self.all.clone().acquire_many_owned(units)).await;
        let Ok(Ok(all)) = all else {
            return Err(Full::All);
        };
        Ok(Room { own, all })
    }

    fn of(&self, owner: K) -> Arc<Semaphore> {
        let mut owners = self.owners.lock();
        if let Some(known) = owners.get(&owner).and_then(Weak::upgrade) {
            return known;
        }
        owners.retain(|_, room| room.strong_count() > 0);
        let room = Arc::new(Semaphore::new(self.own));
        owners.insert(owner, Arc::downgrade(&room));
        room
    }

    /// What nobody has.
    pub fn free(&self) -> usize {
        self.all.available_permits()
    }
}

impl Room {
    /// It has turned out that `units` are enough.
    pub fn shrink(&mut self, units: usize) {
        for room in [&mut self.own, &mut self.all] {
            let more = room.num_permits().saturating_sub(units);
            drop(room.split(more));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn room_is_shared_out_by_owner_and_those_who_have_none_are_forgotten() {
        let rooms = Rooms::new(10, 6);
        let soon = || Instant::now() + Duration::from_secs(1);
        let mut first = rooms.try_take("a", 6).unwrap();
        assert_eq!(rooms.try_take("a", 1).unwrap_err(), Full::Own);
        assert_eq!(rooms.take("a", 1, soon()).await.unwrap_err(), Full::Own);
        assert_eq!(rooms.take("b", 5, soon()).await.unwrap_err(), Full::All);
        first.shrink(2);
        assert_eq!(rooms.free(), 8);
        let other = rooms.take("b", 5, soon()).await.unwrap();
        assert_eq!(rooms.try_take("a", 4).unwrap_err(), Full::All);
        drop((first, other));
        assert_eq!(rooms.free(), 10);
        drop(rooms.try_take("c", 1).unwrap());
        assert_eq!(rooms.owners.lock().len(), 1);
    }

    #[test]
    fn one_owner_leaves_room_for_others_and_all_have_an_end() {
        let shares = Shares::new(3, 2);
        let first = shares.take("a").unwrap();
        let second = shares.take("a").unwrap();
        assert_eq!(shares.take("a").unwrap_err(), Full::Own);
        let other = shares.take("b").unwrap();
        assert_eq!(shares.take("b").unwrap_err(), Full::All);
        drop(first);
        let third = shares.take("a").unwrap();
        drop((second, third, other));
        assert_eq!(shares.taken(), 0);
        assert!(shares.taken.lock().is_empty());
    }
}
