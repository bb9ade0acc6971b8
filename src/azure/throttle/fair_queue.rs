//! A fair queue with priorities. PURE.
//!
//! A queue has lanes, the first before the others. Within a lane the tenants (connectors) take turns, and each tenant's
//! calls go in the order they came. So no call waits for more than one call of each other tenant before each of its own.

use std::collections::VecDeque;

#[derive(Debug)]
struct Tenant<K, V> {
    id: u64,
    items: VecDeque<(K, V)>,
}

#[derive(Debug)]
struct Lane<K, V> {
    /// In the order of their next turns.
    tenants: VecDeque<Tenant<K, V>>,
    /// Turns of lanes before this one while somebody waited here.
    passed: u32,
    /// After so many of them this lane has a turn too; none without.
    patience: Option<u32>,
}

/// See the module. `K` names a caller among those of its tenant.
#[derive(Debug)]
pub(super) struct FairQueue<K, V> {
    lanes: Vec<Lane<K, V>>,
}

impl<K: PartialEq, V> FairQueue<K, V> {
    /// Lanes that have a turn after `patience` turns of those before them; none without.
    pub(super) fn new(lanes: usize, patience: Option<u32>) -> Self {
        let lane = |_| Lane {
            tenants: VecDeque::new(),
            passed: 0,
            patience,
        };
        Self {
            lanes: (0..lanes.max(1)).map(lane).collect(),
        }
    }

    /// The same queue, in which `lane` has another patience.
    pub(super) fn with_patience(mut self, lane: usize, patience: u32) -> Self {
        if let Some(lane) = self.lanes.get_mut(lane) {
            lane.patience = Some(patience);
        }
        self
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lanes.iter().all(|lane| lane.tenants.is_empty())
    }

    /// Callers of `tenant` that wait, in all lanes.
    pub(super) fn waiting(&self, tenant: u64) -> usize {
        let of = |lane: &Lane<K, V>| {
            let found = lane.tenants.iter().find(|m| m.id == tenant);
            found.map_or(0, |m| m.items.len())
        };
        self.lanes.iter().map(of).sum()
    }

    /// Puts a caller at the end of its tenant's part of `lane`.
    pub(super) fn push(&mut self, lane: usize, tenant: u64, key: K, value: V) {
        let Some(lane) = self.lanes.get_mut(lane) else {
            return;
        };
        if let Some(known) = lane.tenants.iter_mut().find(|m| m.id == tenant) {
            known.items.push_back((key, value));
        } else {
            let items = VecDeque::from([(key, value)]);
            lane.tenants.push_back(Tenant { id: tenant, items });
        }
    }

    pub(super) fn get_mut(&mut self, lane: usize, tenant: u64, key: &K) -> Option<&mut V> {
        let tenants = &mut self.lanes.get_mut(lane)?.tenants;
        let tenant = tenants.iter_mut().find(|m| m.id == tenant)?;
        let item = tenant.items.iter_mut().find(|(k, _)| k == key)?;
        Some(&mut item.1)
    }

    /// How many go before this caller; `None` when it is not queued. The patience of later lanes is not counted.
    pub(super) fn ahead(&self, lane: usize, tenant: u64, key: &K) -> Option<usize> {
        let tenants = &self.lanes.get(lane)?.tenants;
        let found = tenants.iter().find(|m| m.id == tenant)?;
        let index = found.items.iter().position(|(k, _)| k == key)?;
        Some(self.before(lane, tenant, index))
    }

    /// How many would go before a new caller of `tenant`.
    pub(super) fn ahead_of_new(&self, lane: usize, tenant: u64) -> usize {
        let found = self
            .lanes
            .get(lane)
            .and_then(|lane| lane.tenants.iter().find(|m| m.id == tenant));
        self.before(lane, tenant, found.map_or(0, |m| m.items.len()))
    }

    /// Callers before number `index` of `tenant`: earlier lanes, and as many turns of each other tenant as it has had by
    /// then, and one more of those that come first in a round.
    fn before(&self, lane: usize, tenant: u64, index: usize) -> usize {
        let earlier = self.lanes.iter().take(lane);
        let earlier: usize = earlier
            .flat_map(|lane| lane.tenants.iter())
            .map(|m| m.items.len())
            .sum();
        let mut first = true;
        let mut beside = index;
        for other in self.lanes.get(lane).into_iter().flat_map(|l| &l.tenants) {
            if other.id == tenant {
                first = false;
            } else {
                beside += other.items.len().min(index + usize::from(first));
            }
        }
        earlier + beside
    }

    pub(super) fn head(&self) -> Option<(&K, &V)> {
        let lane = self.lanes.get(self.next_lane()?)?;
        let (key, value) = lane.tenants.front()?.items.front()?;
        Some((key, value))
    }

    fn next_lane(&self) -> Option<usize> {
        let waits = |lane: &Lane<K, V>| !lane.tenants.is_empty();
        let first = self.lanes.iter().position(waits)?;
        let tired = |lane: &Lane<K, V>| {
            waits(lane) && lane.patience.is_some_and(|limit| lane.passed >= limit)
        };
        Some(self.lanes.iter().rposition(tired).unwrap_or(first))
    }

    /// The caller has had its turn: it leaves, and its tenant's next turn comes after those of the others.
    pub(super) fn serve(&mut self, lane: usize, tenant: u64, key: &K) {
        if !self.remove(lane, tenant, key) {
            return;
        }
        for (index, other) in self.lanes.iter_mut().enumerate() {
            if index == lane || other.tenants.is_empty() {
                other.passed = 0;
            } else if index > lane {
                other.passed = other.passed.saturating_add(1);
            }
        }
        if let Some(lane) = self.lanes.get_mut(lane)
            && let Some(index) = lane.tenants.iter().position(|m| m.id == tenant)
            && let Some(served) = lane.tenants.remove(index)
        {
            lane.tenants.push_back(served);
        }
    }

    /// The caller has given up. True when it was queued.
    pub(super) fn remove(&mut self, lane: usize, tenant: u64, key: &K) -> bool {
        let mut found = false;
        if let Some(lane) = self.lanes.get_mut(lane) {
            if let Some(tenant) = lane.tenants.iter_mut().find(|m| m.id == tenant) {
                let index = tenant.items.iter().position(|(k, _)| k == key);
                found = index.is_some_and(|index| tenant.items.remove(index).is_some());
            }
            lane.tenants.retain(|m| !m.items.is_empty());
        }
        found
    }

    /// Drops the callers for whom `keep` is false.
    pub(super) fn retain(&mut self, keep: impl Fn(&V) -> bool) {
        for lane in &mut self.lanes {
            for tenant in &mut lane.tenants {
                tenant.items.retain(|(_, value)| keep(value));
            }
            lane.tenants.retain(|m| !m.items.is_empty());
        }
    }
}

#[cfg(test)]
mod tests;
