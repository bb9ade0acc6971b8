use k8s_openapi::jiff::Timestamp;

use super::*;

fn at(second: i64) -> Time {
    Time(Timestamp::from_second(second).unwrap())
}

fn types(conditions: &[Condition]) -> Vec<&str> {
    conditions
        .iter()
        .map(|condition| condition.type_.as_str())
        .collect()
}

#[test]
fn the_order_is_ready_then_trouble_then_the_alphabet() {
    let wanted = vec![
        Wanted::yes(RESOURCE_GROUP_READY, reason::RESOURCE_GROUP_FOUND, "found"),
        Wanted::yes(RECONCILING, reason::PROGRESSING, "starting"),
        Wanted::unknown(CREDENTIALS_READY, reason::PENDING, "not looked at yet"),
        Wanted::no(READY, reason::NODES_NOT_READY, "0/1 nodes"),
    ];
    let mut reversed = wanted.clone();
    reversed.reverse();
    let one = merge(&[], wanted, 1, &at(10));
    assert_eq!(
        types(&one),
        [READY, RECONCILING, CREDENTIALS_READY, RESOURCE_GROUP_READY]
    );
    assert_eq!(
        one,
        merge(&[], reversed, 1, &at(10)),
        "the order of asking does not matter"
    );
}

#[test]
fn a_transition_is_a_change_of_status_alone() {
    let old = merge(
        &[],
        vec![Wanted::no(READY, reason::NODES_NOT_READY, "0/2 nodes")],
        1,
        &at(10),
    );
    let same = merge(
        &old,
        vec![Wanted::no(READY, reason::SECRET_NOT_FOUND, "no Secret")],
        2,
        &at(20),
    );
    assert_eq!(same[0].last_transition_time, at(10));
    assert_eq!(
        (same[0].reason.as_str(), same[0].message.as_str()),
        (reason::SECRET_NOT_FOUND, "no Secret")
    );
    assert_eq!(same[0].observed_generation, Some(2));
    let changed = merge(
        &same,
        vec![Wanted::yes(READY, reason::NODES_READY, "2/2 nodes")],
        2,
        &at(30),
    );
    assert_eq!(changed[0].last_transition_time, at(30));
}

#[test]
fn the_same_wishes_write_the_same_list() {
    let wanted = || {
        vec![
            Wanted::yes(READY, reason::NODES_READY, "2/2 nodes"),
            Wanted::yes(NODES_READY, reason::NODES_READY, "2/2 nodes"),
        ]
    };
    let first = merge(&[], wanted(), 4, &at(10));
    assert_eq!(merge(&first, wanted(), 4, &at(99)), first);
}

#[test]
fn trouble_is_absent_when_idle_and_never_double() {
    let cases: &[(Vec<Wanted>, &[&str])] = &[
        (
            vec![
                Wanted::no(STALLED, "X", ""),
                Wanted::unknown(RECONCILING, "X", ""),
            ],
            &[],
        ),
        (
            vec![
                Wanted::yes(RECONCILING, "X", ""),
                Wanted::yes(STALLED, "X", ""),
            ],
            &[STALLED],
        ),
        (
            vec![
                Wanted::yes(RECONCILING, "X", ""),
                Wanted::no(STALLED, "X", ""),
            ],
            &[RECONCILING],
        ),
        (vec![Wanted::yes(STALLED, "X", "")], &[STALLED]),
    ];
    for (wanted, expected) in cases {
        assert_eq!(
            types(&merge(&[], wanted.clone(), 1, &at(1))),
            *expected,
            "{wanted:?}"
        );
    }
}

#[test]
fn what_is_not_wanted_goes_and_the_first_of_two_counts() {
    let old = merge(
        &[],
        vec![Wanted::yes(SUSPENDED, reason::SUSPENDED, "")],
        1,
        &at(1),
    );
    let next = merge(
        &old,
        vec![
            Wanted::yes(READY, "A", "first"),
            Wanted::no(READY, "B", "second"),
        ],
        1,
        &at(2),
    );
    assert_eq!(types(&next), [READY]);
    assert_eq!(next[0].message, "first");
}

#[test]
fn ready_is_kept_while_suspended() {
    let old = merge(
        &[],
        vec![Wanted::no(READY, reason::SECRET_NOT_FOUND, "no Secret")],
        1,
        &at(1),
    );
    let kept = Wanted::kept(&old, READY).unwrap();
    let next = merge(
        &old,
        vec![
            kept,
            Wanted::yes(SUSPENDED, reason::SUSPENDED, "spec.suspend is set"),
        ],
        2,
        &at(2),
    );
    assert_eq!(types(&next), [READY, SUSPENDED]);
    assert_eq!(
        next[0],
        Condition {
            observed_generation: Some(2),
            ..old[0].clone()
        }
    );
    assert_eq!(Wanted::kept(&old, NODES_READY), None);
}

#[test]
fn messages_are_one_short_line_without_a_period() {
    let long = "x".repeat(MAX_MESSAGE);
    let cases: &[(&str, String)] = &[
        ("two\n lines\tof text.", "two lines of text".to_owned()),
        ("", String::new()),
        ("trailing... ", "trailing".to_owned()),
        ("10.5 of 20.", "10.5 of 20".to_owned()),
        (&long, long.clone()),
        (
            &format!("{long}y"),
            format!("{}…", "x".repeat(MAX_MESSAGE - 1)),
        ),
        (
            &"é".repeat(600),
            format!("{}…", "é".repeat(MAX_MESSAGE - 1)),
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(message(text), *expected);
    }
}

#[test]
fn reasons_are_one_camel_case_word_each() {
    for reason in reason::ALL {
        assert!(
            reason.starts_with(|c: char| c.is_ascii_uppercase()),
            "{reason}"
        );
        assert!(
            reason.chars().all(|c| c.is_ascii_alphanumeric()),
            "{reason}"
        );
        assert_eq!(
            reason::ALL.iter().filter(|other| *other == reason).count(),
            1,
            "{reason} is listed twice"
        );
    }
}
