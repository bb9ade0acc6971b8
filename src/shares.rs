//! So many at once, and so many of one owner, whoever that is: nobody takes all from all others.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;

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

#[cfg(test)]
mod tests {
    use super::*;

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
