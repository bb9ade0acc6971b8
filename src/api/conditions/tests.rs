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
fn words_are_in_camel_case_and_explained_once() {
    for table in [TYPES, reason::ALL] {
        for (word, meaning) in table {
            assert!(word.starts_with(|c: char| c.is_ascii_uppercase()), "{word}");
            assert!(word.chars().all(|c| c.is_ascii_alphanumeric()), "{word}");
            assert!(meaning.ends_with('.'), "{word}: {meaning}");
            let same = table.iter().filter(|(other, _)| other == word).count();
            assert_eq!(same, 1, "{word} is listed twice");
        }
    }
}

/// The rules of kstatus (sigs.k8s.io/cli-utils `pkg/kstatus/status`) that Flux, Helm and kpt wait by, for an object
/// that is not being deleted: `None` is a status without an answer in the list.
fn kstatus(generation: i64, observed: Option<i64>, conditions: &[Condition]) -> &'static str {
    if observed.is_some_and(|observed| observed != generation) {
        return "InProgress";
    }
    for condition in conditions {
        match (condition.type_.as_str(), condition.status.as_str()) {
            (RECONCILING, "True") => return "InProgress",
            (STALLED, "True") => return "Failed",
            _ => {}
        }
    }
    match find(conditions, READY).map(|ready| ready.status.as_str()) {
        Some("True") | None => "Current",
        Some(_) => "InProgress",
    }
}

#[test]
fn waiting_tools_see_what_we_mean() {
    let ready = || Wanted::yes(READY, reason::NODES_READY, "");
    let not_ready = || Wanted::no(READY, reason::NODES_NOT_READY, "");
    let working = || Wanted::yes(RECONCILING, reason::PROGRESSING, "");
    let stalled = || Wanted::yes(STALLED, reason::SECRET_NOT_FOUND, "");
    let suspended = || Wanted::yes(SUSPENDED, reason::SUSPENDED, "");
    let cases: &[(&str, Vec<Wanted>, i64, &str)] = &[
        ("all is well", vec![ready()], 2, "Current"),
        ("at work", vec![not_ready(), working()], 2, "InProgress"),
        ("hopeless", vec![not_ready(), stalled()], 2, "Failed"),
        (
            "hopeless wins",
            vec![working(), not_ready(), stalled()],
            2,
            "Failed",
        ),
        ("an older spec", vec![ready()], 1, "InProgress"),
        (
            "hopeless for an older spec",
            vec![not_ready(), stalled()],
            1,
            "InProgress",
        ),
        (
            "suspended while ready",
            vec![ready(), suspended()],
            2,
            "Current",
        ),
        (
            "ready and still busy",
            vec![ready(), working()],
            2,
            "InProgress",
        ),
    ];
    for (what, wanted, observed, expected) in cases {
        let conditions = merge(&[], wanted.clone(), 2, &at(1));
        assert_eq!(
            kstatus(2, Some(*observed), &conditions),
            *expected,
            "{what}"
        );
    }
}

#[test]
fn a_connector_that_nobody_has_seen_is_in_progress() {
    let status = crate::api::default_status();
    let conditions: Vec<Condition> = serde_json::from_value(status["conditions"].clone()).unwrap();
    assert_eq!(
        kstatus(1, status["observedGeneration"].as_i64(), &conditions),
        "InProgress"
    );
    assert_eq!(conditions[0].reason, reason::PENDING);
}
