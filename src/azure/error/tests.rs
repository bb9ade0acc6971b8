use azure_core::error::ErrorKind;
use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn a_message_is_one_bounded_line(text in "\\PC{0,40}|(?s).{0,2000}") {
        let line = one_line(&text);
        prop_assert!(line.chars().count() <= MAX_MESSAGE);
        prop_assert!(!line.chars().any(char::is_control));
        prop_assert_eq!(line.trim(), line.as_str());
    }
}

#[test]
fn a_short_text_stays_as_it_is() {
    assert_eq!(
        one_line("  The image\r\n\t'a'  is\u{0}gone "),
        "The image 'a' is gone"
    );
    let longest = "x".repeat(MAX_MESSAGE);
    assert_eq!(one_line(&longest), longest);
    assert!(one_line(&format!("{longest}x")).ends_with('…'));
}

#[test]
fn the_cause_is_told_and_nothing_twice() {
    let cause = std::io::Error::other("certificate has expired");
    let inner =
        azure_core::Error::with_error(ErrorKind::Connection, cause, "failed to execute request");
    let outer =
        azure_core::Error::with_error(ErrorKind::Other, inner, "non-transport error occurred");
    assert_eq!(
        chain(&outer),
        "non-transport error occurred: failed to execute request: certificate has expired"
    );
}

#[test]
fn only_a_broken_connection_may_have_done_something() {
    for (kind, class, may_have) in [
        (ErrorKind::Connection, ErrorClass::Connection, false),
        (ErrorKind::Io, ErrorClass::Connection, true),
        (ErrorKind::DataConversion, ErrorClass::Protocol, true),
        (ErrorKind::Credential, ErrorClass::Identity, false),
    ] {
        let inner = azure_core::Error::with_message(kind.clone(), "inner");
        let outer = azure_core::Error::with_error(ErrorKind::Other, inner, "outer");
        let error = AzureError::from_pipeline(&outer);
        assert_eq!(error.class, class, "{kind}");
        assert_eq!(error.may_have_taken_effect(), may_have, "{kind}");
        assert!(error.is_retryable(), "{kind}");
        assert_eq!(error.message, "outer: inner");
    }
    assert!(AzureError::timeout("put_group", Duration::from_secs(1)).may_have_taken_effect());
    assert!(AzureError::protocol(Some(201), "unreadable").may_have_taken_effect());
    assert!(!AzureError::protocol(Some(302), "elsewhere").may_have_taken_effect());
}

#[test]
fn every_class_is_listed_once() {
    let listed: std::collections::HashSet<_> = ErrorClass::ALL.into_iter().collect();
    assert_eq!(listed.len(), ErrorClass::Protocol as usize + 1);
}

#[test]
fn display_is_code_and_message() {
    let error = AzureError::local(ErrorClass::Throttled, "BudgetUsedUp", "later");
    assert_eq!(error.to_string(), "BudgetUsedUp: later");
    assert_eq!(error.reason(), "Throttled");
}
