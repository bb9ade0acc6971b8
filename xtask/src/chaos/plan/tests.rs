use std::collections::BTreeSet;

use super::*;

const MINUTE: u64 = 60_000;

#[test]
fn a_plan_is_a_function_of_its_seed() {
    let plan = Plan::new(7, 10 * MINUTE, 2);
    assert_eq!(plan, Plan::new(7, 10 * MINUTE, 2));
    assert_ne!(plan, Plan::new(8, 10 * MINUTE, 2));
    // What was noted about a seed stays true as long as this does.
    let first: Vec<String> = Plan::new(1, MINUTE, 1)
        .acts
        .iter()
        .take(3)
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        first,
        [
            r#"{"at":3060,"lane":"pods","act":"scale","deployment":2,"replicas":4}"#,
            r#"{"at":4117,"lane":"azure","act":"arm","answer":"notFound","method":"GET","times":3,"seconds":3}"#,
            r#"{"at":4125,"lane":"operators","act":"allOperatorsDown","away":24370,"end":"Kill"}"#,
        ]
    );
}

#[test]
fn one_lane_does_not_move_another() {
    let (one, two) = (Plan::new(3, 5 * MINUTE, 1), Plan::new(3, 5 * MINUTE, 2));
    assert_eq!(one.of(Lane::Pods), two.of(Lane::Pods));
    assert_eq!(one.of(Lane::Azure), two.of(Lane::Azure));
    assert_ne!(one.of(Lane::Operators), two.of(Lane::Operators));
}

#[test]
fn a_few_seeds_have_every_kind_of_act() {
    let kinds = |replicas| -> BTreeSet<&'static str> {
        let plans = (1..=5).map(|seed| Plan::new(seed, 10 * MINUTE, replicas));
        plans
            .flat_map(|plan| plan.acts)
            .map(|planned| planned.act.kind())
            .collect()
    };
    assert_eq!(kinds(2).len(), 38, "{:?}", kinds(2));
    let missing: Vec<_> = kinds(2).difference(&kinds(1)).copied().collect();
    assert_eq!(missing, ["double an operator", "pause an operator"]);
}

#[test]
fn acts_of_a_lane_follow_each_other_and_end_in_time() {
    for seed in 0..50 {
        let plan = Plan::new(seed, 3 * MINUTE, 3);
        assert!(plan.acts.is_sorted_by_key(|planned| planned.at));
        for lane in [Lane::Pods, Lane::Operators, Lane::Plane, Lane::Azure] {
            let acts = plan.of(lane);
            assert!(!acts.is_empty(), "{lane:?} of seed {seed} is idle");
            for pair in acts.windows(2) {
                let [before, after] = pair else { continue };
                assert!(
                    before.at + before.act.lasts() <= after.at,
                    "{before} {after}"
                );
            }
            let last = acts.last().unwrap();
            assert!(last.at + last.act.lasts() <= 3 * MINUTE, "{last}");
        }
    }
}

#[test]
fn even_a_minute_is_lively() {
    for seed in 0..20 {
        let plan = Plan::new(seed, MINUTE, 1);
        assert!(
            plan.of(Lane::Pods).len() > 20,
            "{}",
            plan.of(Lane::Pods).len()
        );
        assert!(plan.of(Lane::Azure).len() > 6);
    }
}

#[test]
fn no_group_is_denied_twice_and_no_delete_at_all() {
    for seed in 0..20 {
        for planned in Plan::new(seed, 10 * MINUTE, 1).acts {
            if let Act::Arm {
                answer: Answer::NotFound,
                method,
                ..
            } = planned.act
            {
                assert_eq!(method, Some("GET"));
            }
        }
    }
}
