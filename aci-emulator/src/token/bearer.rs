//! The check of a call's token.

use http::{HeaderMap, header};

use super::{RESOURCES, own};
use crate::{
    arm::errors::ApiError,
    clock::{Time, stamp_seconds},
    shared::Shared,
};

/// Who calls.
pub(crate) struct Caller {
    /// Object ID of the principal.
    pub(crate) principal: String,
    /// Number of its token.
    pub(crate) token: u64,
}

/// The principal behind a call's bearer token.
pub(crate) fn authenticate(
    shared: &Shared,
    headers: &HeaderMap,
    now: Time,
) -> Result<Caller, ApiError> {
    let refuse = |code: &str, message: String| {
        let mut error = ApiError::new(401, code, message.clone());
        error.challenge = Some(format!(
            "Bearer authorization_uri=\"{}/{}\", error=\"invalid_token\", error_description=\"{message}\"",
            shared.url, shared.config.tenant_id
        ).into());
        Err(error)
    };
    let Some(given) = headers.get(header::AUTHORIZATION) else {
        return refuse(
            "AuthenticationFailed",
            "Authentication failed. The 'Authorization' header is missing.".to_owned(),
        );
    };
    let token = given
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let Some((_, token)) = token else {
        return refuse(
            "AuthenticationFailed",
            "Authentication failed. The 'Authorization' header is provided in an invalid format."
                .to_owned(),
        );
    };
    let Some(issued) = shared.entra.lock().token(token.trim()) else {
        return refuse(
            "InvalidAuthenticationToken",
            "The access token is invalid.".to_owned(),
        );
    };
    if issued.expires <= now {
        let (expiry, now) = (stamp_seconds(issued.expires), stamp_seconds(now));
        return refuse(
            "ExpiredAuthenticationToken",
            format!(
                "The access token expiry UTC time '{expiry}' is earlier than current UTC time '{now}'."
            ),
        );
    }
    let management = RESOURCES.get(..2).unwrap_or_default();
    if management.contains(&issued.audience.as_str()) || own(shared, &issued.audience) {
        return Ok(Caller {
            principal: issued.object_id,
            token: issued.number,
        });
    }
    refuse(
        "InvalidAuthenticationTokenAudience",
        format!(
            "The access token has been obtained for wrong audience or resource '{}'. It should exactly match with one of the allowed audiences 'https://management.azure.com'.",
            issued.audience
        ),
    )
}
