use proptest::prelude::*;

use super::*;

fn line(items: &[(usize, u64, &'static str)]) -> FairQueue<&'static str, ()> {
    let mut line = FairQueue::new(3, None);
    for (lane, tenant, key) in items {
        line.push(*lane, *tenant, *key, ());
    }
    line
}

/// Serves until nobody waits; the keys in order.
fn served(
    callers: &mut FairQueue<&'static str, ()>,
    places: &[(usize, u64, &'static str)],
) -> String {
    let mut order = String::new();
    while let Some((key, ())) = callers.head() {
        let key = *key;
        let (lane, tenant, _) = *places.iter().find(|(_, _, k)| *k == key).unwrap();
        callers.serve(lane, tenant, &key);
        order.push_str(key);
    }
    order
}

#[test]
fn members_take_turns_and_earlier_lanes_go_first() {
    for (items, order) in [
        (&[(0, 1, "a"), (0, 1, "b"), (0, 1, "c")][..], "abc"),
        (
            &[(0, 1, "a"), (0, 1, "b"), (0, 2, "x"), (0, 2, "y")],
            "axby",
        ),
        (
            &[(1, 1, "a"), (0, 2, "x"), (1, 3, "m"), (0, 2, "y")],
            "xyam",
        ),
        (
            &[(0, 1, "a"), (0, 1, "b"), (0, 1, "c"), (0, 2, "x")],
            "axbc",
        ),
    ] {
        assert_eq!(served(&mut line(items), items), order);
    }
}

#[test]
fn who_gives_up_is_out_and_the_others_move_on() {
    let mut line = line(&[(0, 1, "a"), (0, 1, "b"), (0, 2, "x")]);
    assert_eq!(line.ahead(0, 1, &"b"), Some(2));
    assert!(line.remove(0, 2, &"x"));
    assert!(!line.remove(0, 2, &"x"));
    assert_eq!(line.ahead(0, 1, &"b"), Some(1));
    line.retain(|()| false);
    assert!(line.is_empty());
    assert_eq!((line.ahead(0, 1, &"b"), line.ahead_of_new(0, 1)), (None, 0));
}

#[test]
fn patience_gives_later_lanes_a_turn_in_five() {
    let mut line = FairQueue::new(2, Some(4));
    for n in 0..9 {
        line.push(0, 1, n, ());
    }
    line.push(1, 1, 100, ());
    line.push(1, 1, 101, ());
    let mut order = Vec::new();
    while let Some((key, ())) = line.head() {
        let key = *key;
        line.serve(usize::from(key >= 100), 1, &key);
        order.push(key);
    }
    assert_eq!(order, [0, 1, 2, 3, 100, 4, 5, 6, 7, 101, 8]);
}

proptest! {
    /// What the line says about a place is what happens, and nobody waits for more than one turn of each other tenant
    /// before each of its own.
    #[test]
    fn the_place_is_kept_and_no_member_starves(
        callers in proptest::collection::vec((0usize..2, 0u64..6), 1..80),
        before in 0usize..20,
    ) {
        let mut line = FairQueue::new(2, None);
        for (n, (lane, tenant)) in callers.iter().enumerate() {
            let foreseen = line.ahead_of_new(*lane, *tenant);
            line.push(*lane, *tenant, n, ());
            prop_assert_eq!(line.ahead(*lane, *tenant, &n), Some(foreseen));
        }
        let mut turn = 0;
        let mut foreseen = Vec::new();
        while let Some((key, ())) = line.head() {
            let key = *key;
            if turn == before {
                foreseen = callers.iter().enumerate()
                    .map(|(n, (lane, tenant))| line.ahead(*lane, *tenant, &n))
                    .collect();
            }
            if let Some(ahead) = foreseen.get(key).copied().flatten() {
                prop_assert_eq!(ahead, turn - before);
            }
            let (lane, tenant) = callers[key];
            line.serve(lane, tenant, &key);
            turn += 1;
        }
        prop_assert_eq!(turn, callers.len());
        for (n, (lane, tenant)) in callers.iter().enumerate() {
            let own = callers[..n].iter().filter(|c| *c == &(*lane, *tenant)).count();
            let in_lane: std::collections::BTreeSet<u64> =
                callers.iter().filter(|c| c.0 == *lane).map(|c| c.1).collect();
            if before == 0 && *lane == 0 {
                let waited = foreseen.get(n).copied().flatten().unwrap_or_default();
                prop_assert!(waited < (own + 1) * in_lane.len(), "caller {n} waited {waited} turns");
            }
        }
    }
}
