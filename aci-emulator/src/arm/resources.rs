//! Subscription, resource groups and the registration of the provider.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{
    Answer, Call, GROUP_VERSIONS, RESOURCE_VERSIONS, errors::ApiError, rules, world::ResourceGroup,
    world::display,
};

fn show(call: &Call<'_>, group: &ResourceGroup) -> Value {
    json!({
        "id": format!("/subscriptions/{}/resourceGroups/{}", call.shared.config.subscription_id, group.name),
        "name": group.name,
        "type": "Microsoft.Resources/resourceGroups",
        "location": group.location,
        "tags": group.tags,
        "properties": {"provisioningState": "Succeeded"},
    })
}

fn not_allowed(call: &Call<'_>) -> ApiError {
    ApiError::new(
        405,
        "MethodNotAllowed",
        format!(
            "The method '{}' is not allowed for '{}'.",
            call.method, call.path
        ),
    )
}

/// `GET /subscriptions/{s}`.
pub(crate) fn subscription(call: &Call<'_>) -> Answer {
    call.any_version()?;
    call.subscription_scope("Microsoft.Resources/subscriptions/read")?;
    let id = &call.shared.config.subscription_id;
    let body = json!({
        "id": format!("/subscriptions/{id}"), "subscriptionId": id, "tenantId": call.shared.config.tenant_id,
        "displayName": "aci-emulator", "state": "Enabled", "authorizationSource": "RoleBased",
    });
    Ok(Json(body).into_response())
}

/// `GET …/resourceGroups`.
pub(crate) fn list(call: &Call<'_>) -> Answer {
    call.version(&RESOURCE_VERSIONS)?;
    let world = call.shared.world.lock();
    let value: Vec<Value> = world
        .resource_groups
        .values()
        .map(|group| show(call, group))
        .collect();
    Ok(Json(json!({"value": value})).into_response())
}

/// One resource group: GET, HEAD, PUT, DELETE.
pub(crate) fn resource_group(call: &Call<'_>, name: &str) -> Answer {
    let version = call.version(&RESOURCE_VERSIONS);
    let mut world = call.shared.world.lock();
    if *call.method == Method::HEAD {
        let status = match (version, world.resource_group(name)) {
            (Err(_), _) => StatusCode::BAD_REQUEST,
            (_, Ok(_)) => StatusCode::NO_CONTENT,
            (_, Err(_)) => StatusCode::NOT_FOUND,
        };
        return Ok(status.into_response());
    }
    version?;
    match call.method.as_str() {
        "GET" => Ok(Json(show(call, world.resource_group(name)?)).into_response()),
        "PUT" => {
            let body = call.json()?;
            let Some(location) = rules::text(&body, "location") else {
                return Err(ApiError::bad(
                    "LocationRequired",
                    "The location property is required for this definition.",
                ));
            };
            rules::tags(body.get("tags"))?;
            let status = if world.resource_group(name).is_ok() {
                StatusCode::OK
            } else {
                StatusCode::CREATED
            };
            let tags = body
                .get("tags")
                .and_then(Value::as_object)
                .cloned()
                .unwrap_or_default();
            world.add_resource_group(name, location, tags);
            Ok((status, Json(show(call, world.resource_group(name)?))).into_response())
        }
        "DELETE" => {
            world.resource_group(name)?;
            world.remove_resource_group(name, call.now);
            drop(world);
            call.shared.check_all();
            Ok(StatusCode::ACCEPTED.into_response())
        }
        _ => Err(not_allowed(call)),
    }
}

/// `GET …/providers/Microsoft.ContainerInstance`.
pub(crate) fn provider(call: &Call<'_>) -> Answer {
    call.version(&RESOURCE_VERSIONS)?;
    if *call.method != Method::GET {
        return Err(not_allowed(call));
    }
    call.subscription_scope("Microsoft.Resources/subscriptions/providers/read")?;
    Ok(show_provider(call))
}

fn show_provider(call: &Call<'_>) -> Response {
    let config = &call.shared.config;
    let locations: Vec<String> = config
        .regions
        .iter()
        .map(|region| display(region))
        .collect();
    let kinds: Vec<Value> = ["containerGroups", "locations/operations", "locations/operationresults", "locations/usages", "locations/capabilities"]
        .into_iter()
        .map(|kind| json!({"resourceType": kind, "locations": locations, "apiVersions": GROUP_VERSIONS, "zoneMappings": [], "capabilities": "None"}))
        .collect();
    let state = call.shared.world.lock().provider_state(call.now).to_owned();
    Json(json!({
        "id": format!("/subscriptions/{}/providers/Microsoft.ContainerInstance", config.subscription_id),
        "namespace": "Microsoft.ContainerInstance",
        "registrationPolicy": "RegistrationRequired",
        "registrationState": state,
        "resourceTypes": kinds,
    }))
    .into_response()
}

/// `POST …/register` and `POST …/unregister`.
pub(crate) fn register(call: &Call<'_>, wanted: bool) -> Answer {
    call.version(&RESOURCE_VERSIONS)?;
    if *call.method != Method::POST {
        return Err(not_allowed(call));
    }
    call.subscription_scope("Microsoft.ContainerInstance/register/action")?;
    {
        let mut world = call.shared.world.lock();
        if wanted {
            world.register(call.now, call.shared.settings().register_delay);
        } else {
            "Unregistered".clone_into(&mut world.provider.state);
            world.provider.registered_at = None;
        }
    }
    Ok(show_provider(call))
}
