//! CredentialsReady: what Microsoft Entra ID says about an identity, and when it ends.

use chrono::{DateTime, Utc};

use super::{Finding, Subject};
use crate::api::conditions::{CREDENTIALS_READY, reason};
use crate::azure::{AzureError, ErrorClass, Provider};

/// The end of a certificate is told so many days ahead.
const EXPIRY_NOTICE_DAYS: i64 = 14;

/// Entra ID's word, and ARM's 401, which is about the same thing.
pub(super) fn judge(
    token: &Result<(), AzureError>,
    provider: Option<&Result<Provider, AzureError>>,
    subject: &Subject,
    now: DateTime<Utc>,
) -> Finding {
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
            return Finding::good(CREDENTIALS_READY, reason::TOKEN_ACQUIRED, message);
        }
    };
    let AzureError {
        class,
        code,
        message,
        ..
    } = error;
    match (class, code.as_str()) {
        (ErrorClass::BadCredentials, _) if expires.is_some_and(|at| at <= now) => Finding::bad(
            CREDENTIALS_READY,
            reason::CREDENTIALS_EXPIRED,
            format!(
                "the certificate in {source} has expired ({code}); put a new one under key AZURE_CLIENT_CERTIFICATE of {source}"
            ),
        ),
        (ErrorClass::BadCredentials, "AADSTS7000222") => Finding::bad(
            CREDENTIALS_READY,
            reason::CREDENTIALS_EXPIRED,
            format!(
                "the client secret in {source} has expired (AADSTS7000222); put a new one under key AZURE_CLIENT_SECRET of {source}"
            ),
        ),
        (ErrorClass::BadCredentials, "AADSTS7000215") => Finding::bad(
            CREDENTIALS_READY,
            reason::CREDENTIALS_REJECTED,
            format!(
                "client secret of {who} was refused by Microsoft Entra ID (AADSTS7000215); put a current one under key AZURE_CLIENT_SECRET of {source}"
            ),
        ),
        (ErrorClass::BadCredentials, _) => Finding::bad(
            CREDENTIALS_READY,
            reason::CREDENTIALS_REJECTED,
            format!("{who} of {source} was refused: {message}"),
        ),
        (ErrorClass::Unauthenticated, _) => Finding::bad(
            CREDENTIALS_READY,
            reason::CREDENTIALS_REJECTED,
            format!(
                "Azure Resource Manager refused the token of {who} of {source} ({code}); check the tenant and the cloud's audience"
            ),
        ),
        (ErrorClass::Invalid, _) => Finding::bad(
            CREDENTIALS_READY,
            reason::CREDENTIALS_REJECTED,
            format!("{who} of {source} cannot be used: {message}"),
        ),
        _ => Finding::later(
            CREDENTIALS_READY,
            reason::TOKEN_UNAVAILABLE,
            format!("no token for {who} of {source}, trying again: {error}"),
        ),
    }
}

/// What is added to good news about a certificate that ends soon.
fn expiry_notice(at: DateTime<Utc>, now: DateTime<Utc>) -> Option<String> {
    let days = (at - now).num_days();
    (days < EXPIRY_NOTICE_DAYS).then(|| {
        format!(
            "; its certificate expires at {}: put a new one under key AZURE_CLIENT_CERTIFICATE before",
            at.format("%Y-%m-%dT%H:%M:%SZ")
        )
    })
}
