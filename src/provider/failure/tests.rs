use super::*;
use crate::azure::ErrorClass;

fn azure(class: ErrorClass, status: Option<u16>) -> AzureError {
    AzureError {
        class,
        status,
        code: "Code".to_owned(),
        message: "Azure's words.".to_owned(),
        retry_after: None,
        request_id: None,
    }
}

#[test]
fn every_class_has_a_row_with_a_reason_and_a_remedy_where_a_person_must_act() {
    for class in ErrorClass::ALL {
        let row = follows(class);
        let failure = Failure::from(azure(class, Some(400)));
        assert!(
            row.reason.bytes().all(|b| b.is_ascii_alphanumeric()),
            "{class:?}"
        );
        assert_eq!(failure.reason, row.reason);
        assert!(failure.message.starts_with("Azure's words"), "{class:?}");
        let acts = matches!(
            row.kind,
            FailureKind::Shared | FailureKind::Invalid | FailureKind::Image
        );
        assert!(!acts || !row.remedy.is_empty(), "{class:?}");
        let advised = acts && row.kind != FailureKind::Image;
        assert!(
            !advised || failure.message.ends_with(row.remedy),
            "{class:?}: {}",
            failure.message
        );
        assert!(failure.message.len() < 512, "{class:?}");
    }
}

#[test]
fn what_may_have_been_done_is_looked_up_first() {
    use ErrorClass as C;
    for (class, status, doubt) in [
        (C::Timeout, None, true),
        (C::Unavailable, Some(503), true),
        (C::Protocol, Some(201), true),
        (C::Protocol, Some(404), false),
        (C::Conflict, Some(409), true),
        (C::Transitioning, Some(409), true),
        (C::Throttled, Some(429), false),
        (C::Quota, Some(409), false),
        (C::Identity, None, false),
    ] {
        let failure = Failure::from(azure(class, status));
        assert_eq!(
            failure.kind.may_have_taken_effect(),
            doubt,
            "{class:?} {status:?}"
        );
    }
}

#[test]
fn a_wait_that_the_server_asks_for_is_kept_and_some_have_a_least() {
    let wait = |class, asked: Option<u64>| {
        let retry_after = asked.map(Duration::from_secs);
        Failure::from(AzureError {
            retry_after,
            ..azure(class, Some(429))
        })
        .retry_after
        .map(|wait| wait.as_secs())
    };
    assert_eq!(wait(ErrorClass::Throttled, Some(17)), Some(17));
    assert_eq!(wait(ErrorClass::Throttled, None), Some(2));
    assert_eq!(wait(ErrorClass::Throttled, Some(0)), Some(2));
    assert_eq!(wait(ErrorClass::Registry, None), Some(30));
    assert_eq!(wait(ErrorClass::Quota, None), None);
}
