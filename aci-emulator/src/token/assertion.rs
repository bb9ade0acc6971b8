//! Client assertions: workload identity federation.

use base64::Engine as _;
use serde_json::Value;

use super::OAuthError;
use crate::clock::Time;

/// A federated token: shape, audience, time and, when configured, issuer and subject.
pub(super) fn check(
    federated: &[(String, String)],
    assertion: &str,
    now: Time,
) -> Result<(), OAuthError> {
    let malformed = || {
        OAuthError::new(
            401,
            "invalid_client",
            50027,
            "JWT token is invalid or malformed.",
        )
    };
    let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    // A token file often ends in a newline, which clients send along.
    let parts: Vec<&str> = assertion.trim().split('.').collect();
    let [_, claims, _] = parts.as_slice() else {
        return Err(malformed());
    };
    let claims = engine.decode(claims).map_err(|_| malformed())?;
    let claims: Value = serde_json::from_slice(&claims).map_err(|_| malformed())?;
    let text = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default();
    let wanted = "api://AzureADTokenExchange";
    let for_us = match claims.get("aud") {
        Some(Value::Array(all)) => all.iter().any(|one| one == wanted),
        Some(one) => one == wanted,
        None => false,
    };
    if !for_us {
        return Err(OAuthError::new(
            401,
            "invalid_client",
            700_212,
            "No matching federated identity record found for presented assertion audience.",
        ));
    }
    if claims
        .get("exp")
        .and_then(Value::as_i64)
        .is_none_or(|exp| exp <= now.timestamp())
    {
        return Err(OAuthError::new(
            401,
            "invalid_client",
            700_024,
            "Client assertion is not within its valid time range.",
        ));
    }
    if federated.is_empty()
        || federated
            .iter()
            .any(|(issuer, subject)| issuer == text("iss") && subject == text("sub"))
    {
        return Ok(());
    }
    Err(OAuthError::new(
        401,
        "invalid_client",
        700_213,
        format!(
            "No matching federated identity record found for presented assertion subject '{}'.",
            text("sub")
        ),
    ))
}
