//! Availability zones that had no capacity: a container group has one zone, and the next of those that are preferred is tried
//! while the first is full. Forgotten by a restart, which costs one try. PURE but for its lock.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// How long a zone counts as full: capacity comes back within minutes, and each try of a full zone costs a create.
const FULL: Duration = Duration::from_mins(10);

/// The zones of a region that are full.
#[derive(Debug, Default)]
pub(super) struct FullZones(Mutex<HashMap<String, Instant>>);

impl FullZones {
    /// Azure had no capacity in `zones` at `now`.
    pub(super) fn note(&self, zones: &[String], now: Instant) {
        let mut full = self.0.lock();
        full.retain(|_, until| *until > now);
        full.extend(zones.iter().map(|zone| (zone.clone(), now + FULL)));
    }

    /// Those that are full at `now`, in order.
    pub(super) fn at(&self, now: Instant) -> Vec<String> {
        let full = self.0.lock();
        let full = full.iter().filter(|(_, until)| **until > now);
        let mut zones: Vec<String> = full.map(|(zone, _)| zone.clone()).collect();
        zones.sort();
        zones
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_zone_is_full_for_ten_minutes() {
        let zones = FullZones::default();
        let one = ["1".to_owned()];
        assert_eq!(zones.at(Instant::now()), [""; 0]);
        zones.note(&one, Instant::now());
        tokio::time::advance(Duration::from_mins(9)).await;
        zones.note(&["2".to_owned()], Instant::now());
        assert_eq!(zones.at(Instant::now()), ["1", "2"]);
        tokio::time::advance(Duration::from_mins(1)).await;
        assert_eq!(zones.at(Instant::now()), ["2"]);
        zones.note(&one, Instant::now());
        tokio::time::advance(Duration::from_mins(10)).await;
        assert_eq!(zones.at(Instant::now()), [""; 0]);
    }
}
