//! Errors of the token service, in words that say what to change.
//!
//! Codes: Microsoft Entra authentication and authorization error codes (`AADSTS…`).

use std::error::Error as StdError;

use azure_core::error::ErrorKind;
use azure_core::http::RawResponse;
use serde::Deserialize;

use super::super::redact::Secrets;
use super::{AzureError, ErrorClass, body};
use crate::causes::{causes, chain};

/// The token error inside `error`, if it is one.
pub(in crate::azure) fn token_error(error: &azure_core::Error) -> Option<AzureError> {
    let outer: &(dyn StdError + 'static) = error;
    let mut in_credential = false;
    for inner in std::iter::once(outer).chain(causes(error)) {
        if let Some(known) = inner.downcast_ref::<AzureError>() {
            return Some(known.clone());
        }
        in_credential |= inner
            .downcast_ref::<azure_core::Error>()
            .is_some_and(|inner| matches!(inner.kind(), ErrorKind::Credential));
    }
    in_credential
        .then(|| AzureError::local(ErrorClass::Identity, "TokenUnavailable", &chain(error)))
}

/// What the token service says with an error (RFC 6749, section 5.2, and Entra's own members).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Refusal {
    error: String,
    error_description: String,
    error_codes: Vec<u32>,
}

/// An answer of the token service that is not a token, to a request with the body `sent`.
pub(in crate::azure) fn from_answer(response: &RawResponse, sent: &[u8]) -> AzureError {
    let status = u16::from(response.status());
    let mut refusal: Refusal = serde_json::from_slice(response.body()).unwrap_or_default();
    refusal.error_description = Secrets::of(sent).hide(&refusal.error_description);
    let retry_after = body::retry_after(response.headers(), chrono::Utc::now());
    let local = |class, code: &str, message: &str| AzureError {
        status: Some(status),
        retry_after,
        request_id: body::header(response.headers(), "x-ms-request-id").map(super::one_line),
        ..AzureError::local(class, code, message)
    };
    let number = refusal
        .error_codes
        .first()
        .copied()
        .or_else(|| number_in(&refusal.error_description));
    let transient = status == 429 || status >= 500 || refusal.error == "temporarily_unavailable";
    let Some(number) = number else {
        let text = format!(
            "the token service answered HTTP {status} {} {}",
            refusal.error, refusal.error_description
        );
        let refused = matches!(
            refusal.error.as_str(),
            "invalid_client" | "unauthorized_client" | "invalid_grant"
        );
        let class = if refused && !transient {
            ErrorClass::BadCredentials
        } else {
            ErrorClass::Identity
        };
        return local(class, "TokenRefused", &text);
    };
    let code = format!("AADSTS{number}");
    if transient {
        return local(
            ErrorClass::Identity,
            &code,
            &first_line(&refusal.error_description),
        );
    }
    let message = match (advice(number), trust_advice(number)) {
        (Some(advice), _) => format!("{advice} ({code})"),
        // Entra's own sentence has the subject or the thumbprint.
        (None, Some(advice)) => format!("{} {advice}", first_line(&refusal.error_description)),
        (None, None) => first_line(&refusal.error_description),
    };
    local(ErrorClass::BadCredentials, &code, &message)
}

/// What to do about a refusal.
fn advice(number: u32) -> Option<&'static str> {
    Some(match number {
        7_000_215 => {
            "the client secret is wrong: set AZURE_CLIENT_SECRET to the value of a client secret of the application, \
             not to the secret's ID"
        }
        7_000_222 => {
            "the client secret has expired: create a new client secret for the application and set AZURE_CLIENT_SECRET \
             to its value"
        }
        700_016 => {
            "the application is not known in the tenant: check AZURE_CLIENT_ID and AZURE_TENANT_ID, and that the \
             application has a service principal there"
        }
        90_002 => {
            "the tenant does not exist: check AZURE_TENANT_ID and that the cloud is the right one"
        }
        900_023 => "the tenant is neither a GUID nor a domain name: check AZURE_TENANT_ID",
        7_000_112 => "the application is disabled: enable its service principal in the tenant",
        500_011 => {
            "the audience is not known in the tenant: check the cloud and the audience of the custom cloud"
        }
        _ => return None,
    })
}

/// What to do when an assertion is not believed.
fn trust_advice(number: u32) -> Option<&'static str> {
    Some(match number {
        70_021 | 700_211 | 700_212 | 700_213 => {
            "Give the application or managed identity a federated credential with the cluster's issuer, the subject \
             system:serviceaccount:NAMESPACE:NAME of the operator and the audience api://AzureADTokenExchange"
        }
        700_027 => {
            "Upload the certificate under key AZURE_CLIENT_CERTIFICATE to the application (az ad app credential reset \
             --append --cert @FILE.pem), or put the one that is there into the Secret"
        }
        700_024 | 50_027 => {
            "Check that the clock is right and that the token file is a projected service account token"
        }
        _ => return None,
    })
}

/// An answer of Azure's instance metadata service that is not a token: Microsoft's page "How to use managed identities
/// for Azure resources on an Azure VM to acquire an access token", error handling.
pub(in crate::azure) fn from_metadata(response: &RawResponse) -> AzureError {
    let error = from_answer(response, b"");
    if error.status != Some(400) || error.code != "TokenRefused" {
        return error;
    }
    let refusal: Refusal = serde_json::from_slice(response.body()).unwrap_or_default();
    let text = format!(
        "the instance metadata service says {:?}: assign the identity to the virtual machines or scale set of the node \
         that the operator runs on, and name its client ID if there is more than one",
        first_line(&refusal.error_description)
    );
    AzureError {
        status: error.status,
        request_id: error.request_id,
        ..AzureError::local(ErrorClass::BadCredentials, "IdentityNotAssigned", &text)
    }
}

/// The number of the first `AADSTS…` in `text`.
fn number_in(text: &str) -> Option<u32> {
    let digits: String = text
        .split_once("AADSTS")?
        .1
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    digits.parse().ok()
}

/// The sentence before Entra's trace and correlation IDs.
fn first_line(description: &str) -> String {
    let line = description.lines().next().unwrap_or_default();
    line.split(" Trace ID:")
        .next()
        .unwrap_or_default()
        .to_owned()
}

#[cfg(test)]
mod tests;
