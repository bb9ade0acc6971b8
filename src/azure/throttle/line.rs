//! Who goes next. PURE.
//!
//! A line has lanes, the first before the others. Within a lane the members (connectors) take turns, and each member's
//! calls go in the order they came. So nobody waits for more than one call of each other member before each of his own.

use std::collections::VecDeque;

#[derive(Debug)]
struct Member<K, V> {
    id: u64,
    items: VecDeque<(K, V)>,
}

#[derive(Debug)]
struct Lane<K, V> {
    /// In the order of their next turns.
    members: VecDeque<Member<K, V>>,
    /// Turns of lanes before this one while somebody waited here.
    passed: u32,
    /// After so many of them this lane has a turn too; none without.
    patience: Option<u32>,
}

/// See the module. `K` names a caller among those of its member.
#[derive(Debug)]
pub(super) struct Line<K, V> {
    lanes: Vec<Lane<K, V>>,
}

impl<K: PartialEq, V> Line<K, V> {
    /// Lanes that have a turn after `patience` turns of those before them; none without.
    pub(super) fn new(lanes: usize, patience: Option<u32>) -> Self {
        let lane = |_| Lane {
            members: VecDeque::new(),
            passed: 0,
            patience,
        };
        Self {
            lanes: (0..lanes.max(1)).map(lane).collect(),
        }
    }

    /// The same line, in which `lane` has another patience.
    pub(super) fn with_patience(mut self, lane: usize, patience: u32) -> Self {
        if let Some(lane) = self.lanes.get_mut(lane) {
            lane.patience = Some(patience);
        }
        self
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lanes.iter().all(|lane| lane.members.is_empty())
    }

    /// Callers of `member` that wait, in all lanes.
    pub(super) fn waiting(&self, member: u64) -> usize {
        let of = |lane: &Lane<K, V>| {
            let found = lane.members.iter().find(|m| m.id == member);
            found.map_or(0, |m| m.items.len())
        };
        self.lanes.iter().map(of).sum()
    }

    /// Puts a caller at the end of its member's part of `lane`.
    pub(super) fn push(&mut self, lane: usize, member: u64, key: K, value: V) {
        let Some(lane) = self.lanes.get_mut(lane) else {
            return;
        };
        if let Some(known) = lane.members.iter_mut().find(|m| m.id == member) {
            known.items.push_back((key, value));
        } else {
            let items = VecDeque::from([(key, value)]);
            lane.members.push_back(Member { id: member, items });
        }
    }

    pub(super) fn get_mut(&mut self, lane: usize, member: u64, key: &K) -> Option<&mut V> {
        let members = &mut self.lanes.get_mut(lane)?.members;
        let member = members.iter_mut().find(|m| m.id == member)?;
        let item = member.items.iter_mut().find(|(k, _)| k == key)?;
        Some(&mut item.1)
    }

    /// How many go before this caller; `None` when it is not in the line. Somebody's patience is not reckoned with.
    pub(super) fn ahead(&self, lane: usize, member: u64, key: &K) -> Option<usize> {
        let members = &self.lanes.get(lane)?.members;
        let found = members.iter().find(|m| m.id == member)?;
        let index = found.items.iter().position(|(k, _)| k == key)?;
        Some(self.before(lane, member, index))
    }

    /// How many would go before a new caller of `member`.
    pub(super) fn ahead_of_new(&self, lane: usize, member: u64) -> usize {
        let found = self
            .lanes
            .get(lane)
            .and_then(|lane| lane.members.iter().find(|m| m.id == member));
        self.before(lane, member, found.map_or(0, |m| m.items.len()))
    }

    /// Callers before number `index` of `member`: earlier lanes, and as many turns of each other member as it has had by
    /// then, and one more of those that come first in a round.
    fn before(&self, lane: usize, member: u64, index: usize) -> usize {
        let earlier = self.lanes.iter().take(lane);
        let earlier: usize = earlier
            .flat_map(|lane| lane.members.iter())
            .map(|m| m.items.len())
            .sum();
        let mut first = true;
        let mut beside = index;
        for other in self.lanes.get(lane).into_iter().flat_map(|l| &l.members) {
            if other.id == member {
                first = false;
            } else {
                beside += other.items.len().min(index + usize::from(first));
            }
        }
        earlier + beside
    }

    /// Who goes next.
    pub(super) fn head(&self) -> Option<(&K, &V)> {
        let lane = self.lanes.get(self.next_lane()?)?;
        let (key, value) = lane.members.front()?.items.front()?;
        Some((key, value))
    }

    fn next_lane(&self) -> Option<usize> {
        let waits = |lane: &Lane<K, V>| !lane.members.is_empty();
        let first = self.lanes.iter().position(waits)?;
        let tired = |lane: &Lane<K, V>| {
            waits(lane) && lane.patience.is_some_and(|limit| lane.passed >= limit)
        };
        Some(self.lanes.iter().rposition(tired).unwrap_or(first))
    }

    /// The caller has had its turn: it leaves, and its member's next turn comes after those of the others.
    pub(super) fn serve(&mut self, lane: usize, member: u64, key: &K) {
        if !self.remove(lane, member, key) {
            return;
        }
        for (index, other) in self.lanes.iter_mut().enumerate() {
            if index == lane || other.members.is_empty() {
                other.passed = 0;
            } else if index > lane {
                other.passed = other.passed.saturating_add(1);
            }
        }
        if let Some(lane) = self.lanes.get_mut(lane)
            && let Some(index) = lane.members.iter().position(|m| m.id == member)
            && let Some(served) = lane.members.remove(index)
        {
            lane.members.push_back(served);
        }
    }

    /// The caller has given up. True when it was in the line.
    pub(super) fn remove(&mut self, lane: usize, member: u64, key: &K) -> bool {
        let mut found = false;
        if let Some(lane) = self.lanes.get_mut(lane) {
            if let Some(member) = lane.members.iter_mut().find(|m| m.id == member) {
                let index = member.items.iter().position(|(k, _)| k == key);
                found = index.is_some_and(|index| member.items.remove(index).is_some());
            }
            lane.members.retain(|m| !m.items.is_empty());
        }
        found
    }

    /// Drops the callers for whom `keep` is false.
    pub(super) fn retain(&mut self, keep: impl Fn(&V) -> bool) {
        for lane in &mut self.lanes {
            for member in &mut lane.members {
                member.items.retain(|(_, value)| keep(value));
            }
            lane.members.retain(|m| !m.items.is_empty());
        }
    }
}

#[cfg(test)]
mod tests;
