//! Who should have what. PURE.
//!
//! Connectors stay where they are: one moves only when the most loaded replica has at least two more than the least loaded
//! one. Who gives and who gets follows from the loads and the names alone, so that all replicas that see the same come to the
//! same result, and only the giver acts.

use std::collections::BTreeMap;

/// Connectors that each live replica holds.
pub type Loads = BTreeMap<String, usize>;

/// Who should take each of the connectors that nobody holds: one after the other, the replica with the fewest by then.
pub fn assign<'a>(
    free: impl IntoIterator<Item = &'a str>,
    loads: &Loads,
) -> BTreeMap<&'a str, String> {
    let mut loads = loads.clone();
    let mut sorted: Vec<&str> = free.into_iter().collect();
    sorted.sort_unstable();
    let mut assigned = BTreeMap::new();
    for connector in sorted {
        let Some(replica) = least(&loads) else { break };
        if let Some(load) = loads.get_mut(&replica) {
            *load += 1;
        }
        assigned.insert(connector, replica);
    }
    assigned
}

/// The one connector that should move next: from whom, to whom. `None` when the loads differ by one at most.
pub fn next_move(loads: &Loads) -> Option<(&str, String)> {
    let to = least(loads)?;
    let lowest = *loads.get(&to)?;
    // Of equals the first by name gives.
    let highest = *loads.values().max()?;
    let (from, _) = loads.iter().find(|(_, load)| **load == highest)?;
    (highest >= lowest + 2).then_some((from.as_str(), to))
}

/// The least loaded; of equals the first by name.
pub fn least(loads: &Loads) -> Option<String> {
    let found = loads.iter().min_by_key(|(name, load)| (**load, *name))?;
    Some(found.0.clone())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn loads(of: &[(&str, usize)]) -> Loads {
        of.iter().map(|(n, l)| ((*n).to_owned(), *l)).collect()
    }

    #[test]
    fn what_nobody_holds_goes_to_who_has_least() {
        let assigned = assign(["d", "c", "b", "a"], &loads(&[("r1", 2), ("r2", 0)]));
        let of = |name: &str| assigned.get(name).map(String::as_str);
        assert_eq!(
            [of("a"), of("b"), of("c"), of("d")],
            [Some("r2"), Some("r2"), Some("r1"), Some("r2")]
        );
        assert!(assign(["a"], &Loads::new()).is_empty());
    }

    #[test]
    fn one_too_many_is_no_reason_to_move() {
        assert_eq!(next_move(&loads(&[("r1", 2), ("r2", 1)])), None);
        assert_eq!(
            next_move(&loads(&[("r1", 2), ("r2", 2), ("r3", 0)])),
            Some(("r1", "r3".to_owned()))
        );
        assert_eq!(next_move(&loads(&[("r1", 7)])), None);
        assert_eq!(next_move(&Loads::new()), None);
    }

    /// The fewest moves that bring every load to within one of all others.
    fn fewest(loads: &Loads) -> usize {
        let (n, r) = (loads.values().sum::<usize>(), loads.len());
        let mut sorted: Vec<usize> = loads.values().copied().collect();
        sorted.sort_unstable_by(|a, b| b.cmp(a));
        let target = |place: usize| n / r + usize::from(place < n % r);
        sorted
            .iter()
            .enumerate()
            .map(|(place, load)| load.saturating_sub(target(place)))
            .sum()
    }

    fn any_loads() -> impl Strategy<Value = Loads> {
        proptest::collection::vec(0_usize..30, 1..6).prop_map(|all| {
            let named = all.into_iter().enumerate();
            named.map(|(i, load)| (format!("r{i}"), load)).collect()
        })
    }

    proptest! {
        #[test]
        fn moves_end_in_balance_and_are_as_few_as_can_be(start in any_loads()) {
            let mut loads = start.clone();
            let mut moves = 0;
            while let Some((from, to)) = next_move(&loads) {
                let from = from.to_owned();
                *loads.get_mut(&from).unwrap() -= 1;
                *loads.get_mut(&to).unwrap() += 1;
                moves += 1;
                prop_assert!(moves <= 200, "no end");
            }
            let (most, least) = (loads.values().max().unwrap(), loads.values().min().unwrap());
            prop_assert!(most - least <= 1);
            prop_assert_eq!(moves, fewest(&start));
        }

        /// Replicas look at different times. Each acts on what it saw last, one move at a time, and looks again before its
        /// next one: nothing moves back and forth.
        #[test]
        fn old_views_cause_no_ping_pong(
            start in any_loads(),
            looks in proptest::collection::vec(0_usize..6, 0..400),
        ) {
            let mut truth = start.clone();
            let names: Vec<String> = truth.keys().cloned().collect();
            let mut views: Vec<Loads> = names.iter().map(|_| truth.clone()).collect();
            let mut moves = 0;
            let turns = looks.iter().map(|look| look % names.len());
            let rest = (0..names.len()).cycle().take(names.len() * 400);
            for turn in turns.chain(rest) {
                // What a replica holds itself it knows for sure.
                let me = &names[turn];
                let mine = truth[me];
                views[turn].insert(me.clone(), mine);
                match next_move(&views[turn]) {
                    Some((from, to)) if from == me && mine > 0 => {
                        *truth.get_mut(me).unwrap() -= 1;
                        *truth.get_mut(&to).unwrap() += 1;
                        moves += 1;
                        views[turn] = truth.clone();
                    }
                    _ => views[turn] = truth.clone(),
                }
            }
            let (most, least) = (truth.values().max().unwrap(), truth.values().min().unwrap());
            prop_assert!(most - least <= 1);
            // Each replica can act once on an old view.
            prop_assert!(moves <= fewest(&start) + names.len(), "{moves} moves for {start:?}");
        }

        #[test]
        fn every_free_connector_has_one_taker_and_takers_balance(count in 0_usize..40, replicas in 1_usize..5) {
            let names: Vec<String> = (0..count).map(|i| format!("c{i}")).collect();
            let loads: Loads = (0..replicas).map(|i| (format!("r{i}"), 0)).collect();
            let assigned = assign(names.iter().map(String::as_str), &loads);
            prop_assert_eq!(assigned.len(), count);
            let mut got = loads.clone();
            for taker in assigned.values() {
                *got.get_mut(taker).unwrap() += 1;
            }
            prop_assert!(got.values().max().unwrap() - got.values().min().unwrap() <= 1);
        }
    }
}
