//! `CredentialsReady`: what Microsoft Entra ID says about an identity, and when it ends. PURE.

use chrono::{DateTime, Utc};

use super::{ConditionUpdate, Subject};
use crate::api::conditions::{CREDENTIALS_READY, reason};
use crate::azure::{AzureError, ErrorClass, Provider};

/// The end of a certificate is told so many days ahead.
const EXPIRY_NOTICE_DAYS: i64 = 14;
const DAY_SECONDS: i64 = 86_400;

/// Entra ID's word, and ARM's 401, which is about the same thing.
pub(super) fn evaluate(
    token: &Result<(), AzureError>,
    provider: Option<&Result<Provider, AzureError>>,
    subject: &Subject,
    now: DateTime<Utc>,
) -> ConditionUpdate {
    let Subject {
        who,
        source,
        expires,
        ..
    } = subject;
    let error = match (token, provider) {
        (Err(error), _) => error,
        (Ok(()), Some(Err(error))) if error.class == ErrorClass::Unauthenticated => error,
        (Ok(()), _) => {
            let notice = expires.and_then(|at| expiry_notice(at, now));
            let message = format!(
                "{who} of {source} was accepted{}",
                notice.unwrap_or_default()
            );
            return ConditionUpdate::good(CREDENTIALS_READY, reason::TOKEN_ACQUIRED, message);
        }
    };
    let AzureError {
        class,
        code,
        message,
        ..
    } = error;
    match (class, code.as_str()) {
        (ErrorClass::BadCredentials, _) if expires.is_some_and(|at| at <= now) => {
            ConditionUpdate::bad(
                CREDENTIALS_READY,
                reason::CREDENTIALS_EXPIRED,
                format!(
                    "the certificate in {source} has expired ({code}); put a new one under key AZURE_CLIENT_CERTIFICATE of {source}"
                ),
            )
        }
        (ErrorClass::BadCredentials, "AADSTS7000222") => ConditionUpdate::bad(
            CREDENTIALS_READY,
            reason::CREDENTIALS_EXPIRED,
            format!(
                "the client secret in {source} has expired (AADSTS7000222); put a new one under key AZURE_CLIENT_SECRET of {source}"
            ),
        ),
        (ErrorClass::BadCredentials, "AADSTS7000215") => ConditionUpdate::bad(
            CREDENTIALS_READY,
            reason::CREDENTIALS_REJECTED,
            format!(
                "client secret of {who} was refused by Microsoft Entra ID (AADSTS7000215); put a current one under key AZURE_CLIENT_SECRET of {source}"
            ),
        ),
        (ErrorClass::BadCredentials, _) => ConditionUpdate::bad(
            CREDENTIALS_READY,
            reason::CREDENTIALS_REJECTED,
            format!("{who} of {source} was refused: {message}"),
        ),
        (ErrorClass::Unauthenticated, _) => ConditionUpdate::bad(
            CREDENTIALS_READY,
            reason::CREDENTIALS_REJECTED,
            format!(
                "Azure Resource Manager refused the token of {who} of {source} ({code}); check the tenant and the cloud's audience"
            ),
        ),
        (ErrorClass::Invalid, _) => ConditionUpdate::bad(
            CREDENTIALS_READY,
            reason::CREDENTIALS_REJECTED,
            format!("{who} of {source} cannot be used: {message}"),
        ),
        _ => ConditionUpdate::later(
            CREDENTIALS_READY,
            reason::TOKEN_UNAVAILABLE,
            format!("no token for {who} of {source}, trying again: {error}"),
        ),
    }
}

/// What is added to good news about a certificate that ends soon.
fn expiry_notice(at: DateTime<Utc>, now: DateTime<Utc>) -> Option<String> {
    days_left(at, now).map(|_| {
        format!(
            "; its certificate expires at {}: put a new one under key AZURE_CLIENT_CERTIFICATE before",
            stamp(at)
        )
    })
}

/// A warning about a certificate that ends soon, once a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::connector) struct ExpiryWarning {
    /// The same all day: lower-case letters and digits.
    pub(in crate::connector) id: String,
    pub(in crate::connector) note: String,
}

/// The warning of today; `None` while there is time, and when it is too late.
pub(in crate::connector) fn expiry_warning(
    at: DateTime<Utc>,
    source: &str,
    now: DateTime<Utc>,
) -> Option<ExpiryWarning> {
    let days = days_left(at, now).filter(|_| at > now)?;
    let when = match days {
        0 => "in less than a day".to_owned(),
        1 => "in 1 day".to_owned(),
        days => format!("in {days} days"),
    };
    Some(ExpiryWarning {
        id: format!("expiry{:x}d{days}", at.timestamp()),
        note: format!(
            "the certificate in {source} expires {when}, at {}; put a new one under its key AZURE_CLIENT_CERTIFICATE before",
            stamp(at)
        ),
    })
}

/// Whole days until `at`, once they are few.
fn days_left(at: DateTime<Utc>, now: DateTime<Utc>) -> Option<i64> {
    let seconds = (at - now).num_seconds();
    (seconds < EXPIRY_NOTICE_DAYS * DAY_SECONDS).then(|| seconds.div_euclid(DAY_SECONDS))
}

fn stamp(at: DateTime<Utc>) -> impl std::fmt::Display {
    at.format("%Y-%m-%dT%H:%M:%SZ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_told_once_a_day_from_two_weeks_before() {
        let at = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let warning = |before: i64| {
            let now = at - chrono::Duration::seconds(before);
            expiry_warning(at, "Secret ns/sp", now)
        };
        for (before, wanted) in [
            (14 * DAY_SECONDS, None),
            (14 * DAY_SECONDS - 1, Some("in 13 days")),
            (DAY_SECONDS + 1, Some("in 1 day,")),
            (DAY_SECONDS - 1, Some("in less than a day")),
            (0, None),
            (-1, None),
        ] {
            let note = warning(before).map(|warning| warning.note);
            assert_eq!(note.is_some(), wanted.is_some(), "{before}: {note:?}");
            assert!(
                note.unwrap_or_default()
                    .contains(wanted.unwrap_or_default())
            );
        }
        assert_eq!(
            warning(3 * DAY_SECONDS + 5),
            warning(3 * DAY_SECONDS + 50_000)
        );
        assert_ne!(warning(3 * DAY_SECONDS), warning(3 * DAY_SECONDS - 1));
        let id = warning(1).unwrap().id;
        assert!(
            id.chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()),
            "{id}"
        );
    }
}
