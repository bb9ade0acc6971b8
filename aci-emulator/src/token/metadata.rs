//! The instance metadata service of a virtual machine: Microsoft's page "How to use managed identities for Azure resources
//! on an Azure VM to acquire an access token". Plain HTTP, on a listener of its own.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::{Proof, audience, issue};
use crate::{arm::parameter, clock::Time, shared::Shared};

/// Versions of the service that have tokens.
const VERSIONS: [&str; 12] = [
    "2018-02-01",
    "2018-04-02",
    "2018-10-01",
    "2019-02-01",
    "2019-03-11",
    "2019-04-30",
    "2019-06-01",
    "2019-06-04",
    "2019-08-01",
    "2019-11-01",
    "2020-06-01",
    "2021-02-01",
];

pub(crate) fn is_metadata_path(path: &str) -> bool {
    path.starts_with("/metadata/")
}

fn refuse(status: StatusCode, error: &str, text: &str) -> Response {
    (
        status,
        Json(json!({"error": error, "error_description": text})),
    )
        .into_response()
}

pub(super) fn answer(
    shared: &Shared,
    path: &str,
    query: &str,
    headers: &HeaderMap,
    now: Time,
) -> Response {
    let bad = |text: &str| refuse(StatusCode::BAD_REQUEST, "invalid_request", text);
    if headers
        .get("metadata")
        .is_none_or(|value| !value.as_bytes().eq_ignore_ascii_case(b"true"))
    {
        return refuse(
            StatusCode::BAD_REQUEST,
            "bad_request_102",
            "Required metadata header not specified",
        );
    }
    // Nothing that a proxy has passed on.
    if headers.contains_key("x-forwarded-for") {
        return bad("The request was forwarded");
    }
    if path != "/metadata/identity/oauth2/token" {
        return StatusCode::NOT_FOUND.into_response();
    }
    match parameter(query, "api-version") {
        Some(version) if VERSIONS.contains(&version.as_str()) => {}
        _ => {
            let text = "Bad request. api-version is invalid or was not specified in the request.";
            let body = json!({"error": text, "newest-versions": VERSIONS.get(9..)});
            return (StatusCode::BAD_REQUEST, Json(body)).into_response();
        }
    }
    let Some(resource) = parameter(query, "resource") else {
        return bad("Required audience parameter not specified");
    };
    let scope = format!("{}/.default", resource.trim_end_matches('/'));
    let audience = match audience(shared, Some(&scope)) {
        Ok(audience) => audience,
        Err(error) => {
            let text = format!("AADSTS{}: {}", error.code, error.text);
            return refuse(StatusCode::BAD_REQUEST, "invalid_resource", &text);
        }
    };
    let mut entra = shared.entra.lock();
    let machine = &entra.machine;
    let client_id = match parameter(query, "client_id").map(|id| id.to_lowercase()) {
        Some(id) => {
            Some(id).filter(|id| machine.user.contains(id) || machine.system.as_ref() == Some(id))
        }
        None => match (&machine.system, machine.user.as_slice()) {
            (Some(id), _) | (None, [id]) => Some(id.clone()),
            (None, []) => None,
            (None, _) => {
                return bad(
                    "Multiple user assigned identities exist, please specify the clientId / resourceId of the identity in the token request",
                );
            }
        },
    };
    let Some(client_id) = client_id else {
        return bad("Identity not found");
    };
    let Some(object_id) = entra
        .client(&client_id)
        .map(|client| client.object_id.clone())
    else {
        return bad("Identity not found");
    };
    let issued = issue(
        shared,
        &mut entra,
        object_id,
        audience,
        &client_id,
        Proof::Machine,
        now,
    );
    let seconds = issued
        .get("expires_in")
        .and_then(Value::as_i64)
        .unwrap_or_default();
    // Numbers are texts here.
    Json(json!({
        "access_token": issued.get("access_token"), "client_id": client_id, "expires_in": seconds.to_string(), "ext_expires_in": seconds.to_string(),
        "expires_on": (now.timestamp() + seconds).to_string(), "not_before": now.timestamp().to_string(), "resource": resource, "token_type": "Bearer",
    }))
    .into_response()
}
