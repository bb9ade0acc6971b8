//! Whose connection ends when there are too many. PURE.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};

/// How many connections there may be.
#[derive(Debug, Clone, Copy)]
pub struct Most {
    /// Of those who have not proven who they are.
    pub strangers: usize,
    /// Of those who have.
    pub known: usize,
    /// Of one address among these.
    pub known_of_one: usize,
}

/// A connection, in the order of their beginnings.
pub type Id = u64;

/// The connections there are.
#[derive(Debug)]
pub struct Places {
    most: Most,
    next: Id,
    strangers: BTreeMap<Id, IpAddr>,
    known: HashMap<Id, IpAddr>,
}

impl Places {
    pub fn new(most: Most) -> Self {
        Self {
            most,
            next: 0,
            strangers: BTreeMap::new(),
            known: HashMap::new(),
        }
    }

    /// A place for a connection from `address`, and the connection that has to end for it, if any.
    pub fn take(&mut self, address: IpAddr) -> (Id, Option<Id>) {
        let cut = (self.strangers.len() >= self.most.strangers)
            .then(|| self.first_of_most())
            .flatten();
        if let Some(cut) = cut {
            self.strangers.remove(&cut);
        }
        let id = self.next;
        self.next += 1;
        self.strangers.insert(id, network(address));
        (id, cut)
    }

    /// Who is behind the connection has proven who he is: it is not ended for others any more, unless there are too many such.
    pub fn prove(&mut self, id: Id) {
        let Some(address) = self.strangers.get(&id).copied() else {
            return;
        };
        let of_one = self.known.values().filter(|it| **it == address).count();
        if self.known.len() < self.most.known && of_one < self.most.known_of_one {
            self.strangers.remove(&id);
            self.known.insert(id, address);
        }
    }

    /// The connection has ended.
    pub fn leave(&mut self, id: Id) {
        self.strangers.remove(&id);
        self.known.remove(&id);
    }

    /// The oldest connection of the address that has the most; of several such the oldest of all.
    fn first_of_most(&self) -> Option<Id> {
        let mut of: HashMap<IpAddr, (usize, Id)> = HashMap::new();
        for (id, address) in &self.strangers {
            of.entry(*address).or_insert((0, *id)).0 += 1;
        }
        let most = of
            .values()
            .max_by_key(|(count, id)| (*count, std::cmp::Reverse(*id)));
        most.map(|(_, id)| *id)
    }
}

/// What counts as one address: of IPv6 the network that a machine may choose addresses from (RFC 4291).
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let bits = address.to_bits() >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from_bits(bits))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MOST: Most = Most {
        strangers: 4,
        known: 3,
        known_of_one: 2,
    };

    fn address(n: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, n])
    }

    #[test]
    fn whoever_has_the_most_gives_up_the_oldest() {
        let mut places = Places::new(MOST);
        let (first, none) = places.take(address(1));
        assert_eq!(none, None);
        for _ in 0..3 {
            assert_eq!(places.take(address(1)).1, None);
        }
        // A newcomer is served, and so is the one after him.
        let (probe, cut) = places.take(address(2));
        assert_eq!(cut, Some(first));
        for _ in 0..100 {
            let (_, cut) = places.take(address(1));
            assert_ne!(cut, Some(probe));
            assert!(cut.is_some());
        }
        places.leave(probe);
        assert_eq!(places.take(address(3)).1, None);
    }

    #[test]
    fn who_is_known_is_not_cut_off_and_one_address_does_not_take_all() {
        let mut places = Places::new(MOST);
        let server: Vec<Id> = (0..3).map(|_| places.take(address(1)).0).collect();
        for id in &server {
            places.prove(*id);
        }
        assert_eq!((places.known.len(), places.strangers.len()), (2, 1));
        for n in 2..100 {
            let (_, cut) = places.take(address(n));
            assert!(cut.is_none_or(|cut| cut == server[2] || !server.contains(&cut)));
        }
        assert_eq!(places.known.len(), 2);
    }

    #[test]
    fn a_machine_is_one_address() {
        let one = |text: &str| network(text.parse().unwrap());
        assert_eq!(one("fd00::1:2:3:4"), one("fd00::9"));
        assert_ne!(one("fd00:0:0:1::1"), one("fd00:0:0:2::1"));
        assert_eq!(one("::ffff:10.0.0.1"), address(1));
        assert_ne!(one("10.0.0.1"), one("10.0.0.2"));
    }

    proptest! {
        #[test]
        fn there_are_never_more_than_allowed(acts in prop::collection::vec((0u8..3, 0u8..6), 0..200)) {
            let mut places = Places::new(MOST);
            let mut open: Vec<Id> = Vec::new();
            for (act, n) in acts {
                let one = open.get(usize::from(n) % open.len().max(1)).copied();
                match (act, one) {
                    (0, _) | (_, None) => {
                        let (id, cut) = places.take(address(n));
                        open.retain(|known| Some(*known) != cut);
                        open.push(id);
                    }
                    (1, Some(id)) => places.prove(id),
                    (_, Some(id)) => {
                        places.leave(id);
                        open.retain(|known| *known != id);
                    }
                }
                prop_assert!(places.strangers.len() <= MOST.strangers && places.known.len() <= MOST.known);
                prop_assert_eq!(places.strangers.len() + places.known.len(), open.len());
            }
        }
    }
}
