//! What the provider answers for a region: operations, usages, capabilities, cached images.

use axum::{Json, response::IntoResponse};
use http::{HeaderValue, Method, StatusCode, header};
use serde_json::{Value, json};

use super::{
    Answer, Call,
    errors::ApiError,
    view::group_events,
    world::{Operation, display, normal},
};
use crate::clock::stamp_ticks;

/// `…/locations/{location}/{what}`; the words are lower-cased.
pub(crate) fn route(call: &Call<'_>, location: &str, what: &[&str]) -> Answer {
    if *call.method != Method::GET {
        return Err(call.unknown());
    }
    call.any_version()?;
    match what {
        ["operations", id] => {
            call.subscription_scope("Microsoft.ContainerInstance/locations/operations/read")?;
            operation(call, id)
        }
        ["operationresults", id] => {
            call.subscription_scope("Microsoft.ContainerInstance/locations/operationResults/read")?;
            operation_result(call, id)
        }
        [kind @ ("usages" | "capabilities" | "cachedimages")] => {
            call.group_version()?;
            call.subscription_scope(&format!(
                "Microsoft.ContainerInstance/locations/{kind}/read"
            ))?;
            let region = normal(location);
            if !call.shared.config.regions.contains(&region) {
                return Err(ApiError::bad(
                    "LocationNotAvailableForResourceType",
                    format!(
                        "The provided location '{location}' is not available for resource type 'Microsoft.ContainerInstance/locations'."
                    ),
                ));
            }
            let value = match *kind {
                "usages" => usages(call, &region),
                "capabilities" => capabilities(call, &region),
                _ => json!([]),
            };
            Ok(Json(json!({"value": value})).into_response())
        }
        _ => Err(call.unknown()),
    }
}

/// Headers that lead to an operation.
pub(crate) fn async_operation(
    call: &Call<'_>,
    operation: &Operation,
    id: &str,
) -> (http::HeaderName, HeaderValue) {
    let url = url(call, operation, "operations", id);
    (
        http::HeaderName::from_static("azure-asyncoperation"),
        header_value(&url),
    )
}

/// The same as `Location`.
pub(crate) fn location(
    call: &Call<'_>,
    operation: &Operation,
    id: &str,
) -> (http::HeaderName, HeaderValue) {
    let url = url(call, operation, "operationresults", id);
    (header::LOCATION, header_value(&url))
}

fn header_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

fn url(call: &Call<'_>, operation: &Operation, kind: &str, id: &str) -> String {
    format!(
        "{}/subscriptions/{}/providers/Microsoft.ContainerInstance/locations/{}/{kind}/{id}?api-version=2018-06-01",
        call.shared.url,
        call.shared.config.subscription_id,
        normal(&operation.location)
    )
}

/// State and events of an operation: those of its group while it is the group's last one.
fn status(call: &Call<'_>, id: &str) -> Result<(Operation, String, Vec<Value>), ApiError> {
    let mut world = call.shared.world.lock();
    let operation = world.operations.get(id).cloned().ok_or_else(|| {
        ApiError::new(
            404,
            "OperationNotFound",
            format!("The operation '{id}' could not be found."),
        )
    })?;
    let group = world
        .group(&operation.key, call.now)
        .filter(|group| group.operation == id);
    let (state, events) = match group {
        Some(group) => (
            group.life.provisioning_state(call.now).to_owned(),
            group_events(group, call.now),
        ),
        None => ("Succeeded".to_owned(), Vec::new()),
    };
    Ok((operation, state, events))
}

fn operation(call: &Call<'_>, id: &str) -> Answer {
    let (operation, state, events) = status(call, id)?;
    let body = json!({
        "id": operation.id,
        "status": state,
        "startTime": stamp_ticks(operation.started),
        "properties": {"events": events},
    });
    Ok(Json(body).into_response())
}

fn operation_result(call: &Call<'_>, id: &str) -> Answer {
    let (operation, state, _) = status(call, id)?;
    if matches!(state.as_str(), "Succeeded" | "Failed" | "Canceled") {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let retry = (header::RETRY_AFTER, HeaderValue::from_static("1"));
    Ok((
        StatusCode::ACCEPTED,
        [location(call, &operation, id), retry],
    )
        .into_response())
}

fn usages(call: &Call<'_>, region: &str) -> Value {
    let settings = call.shared.settings();
    let mut world = call.shared.world.lock();
    world.advance_all(call.now);
    let here = || {
        world
            .groups
            .values()
            .filter(|group| normal(&group.location) == region)
    };
    let cores: f64 = here()
        .filter(|group| group.life.uses_cores())
        .map(|group| group.cores)
        .sum::<f64>()
        + settings.others_cores;
    let usage = |value: &str, localized: &str, current: Value, limit: Value| {
        json!({
            "id": format!("/subscriptions/{}/providers/Microsoft.ContainerInstance/locations/{region}/usages/{value}", call.shared.config.subscription_id),
            "unit": "Count", "currentValue": current, "limit": limit, "name": {"value": value, "localizedValue": localized},
        })
    };
    json!([
        usage(
            "ContainerGroups",
            "Container Groups",
            json!(here().count() as u64 + u64::from(settings.others_groups)),
            json!(settings.quota_groups)
        ),
        usage(
            "StandardCores",
            "Standard Cores",
            json!(cores.ceil()),
            json!(settings.quota_cores)
        ),
        usage(
            "StandardSpotCores",
            "Standard Spot Cores",
            json!(0),
            json!(settings.quota_cores)
        ),
    ])
}

fn capabilities(call: &Call<'_>, region: &str) -> Value {
    let settings = call.shared.settings();
    let (cpu, memory) = (settings.max_group_cpu, settings.max_group_memory);
    let of = |os: &str, address: &str| {
        json!({
            "resourceType": "containerGroups", "osType": os, "location": display(region), "ipAddressType": address, "gpu": "None",
            "capabilities": {"maxMemoryInGB": memory, "maxCpu": cpu, "maxGpuCount": 0.0},
        })
    };
    json!([
        of("Linux", "Public"),
        of("Linux", "Private"),
        of("Windows", "Public"),
        of("Windows", "Private")
    ])
}
