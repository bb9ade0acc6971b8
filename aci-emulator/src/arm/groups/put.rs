//! PUT of a container group: what admits it, what an update may be, how it will end.

use std::sync::Arc;

use axum::{Json, response::IntoResponse};
use http::StatusCode;
use serde_json::{Value, json};

use super::start_operation;
use crate::{
    arm::{
        Answer, Call,
        driver::{Driver, Progress},
        errors::ApiError,
        lifecycle::{ContainerLife, Life, Outcome, Plan, Policy},
        locations, network, rules, schema,
        view::{self, Look, render},
        world::{Group, Key, World, normal},
    },
    clock::plus,
    config::Settings,
    journal::Kind,
};

/// Counts a PUT or DELETE against the provider's limits.
pub(super) fn count_for_provider(call: &mut Call<'_>, settings: &Settings) -> Result<(), ApiError> {
    if settings.throttle {
        let mut throttle = call.shared.throttle.lock();
        let now = std::time::Instant::now();
        call.provider = Some(throttle.take_provider(
            settings.provider_requests_5m,
            settings.provider_requests_1h,
            now,
        )?);
    }
    Ok(())
}

pub(super) fn put(call: &mut Call<'_>, version: &str, resource_group: &str, name: &str) -> Answer {
    let settings = call.shared.settings();
    let body = call.json()?;
    admit(call, resource_group, name, &body)?;
    count_for_provider(call, &settings)?;
    schema::check_group(&body, version)?;
    rules::check(name, &body, &settings)?;
    let driver = driver(call, name, &body)?;

    let key = Key::new(resource_group, name);
    let (now, mut world) = (call.now, call.shared.world.lock());
    let location = rules::text(&body, "location")
        .unwrap_or_default()
        .to_owned();
    let cores = cores(&body);
    world.resource_group(resource_group)?;
    let old = world.group(&key, now).cloned();
    if let Some(old) = &old {
        check_update(old, name, &location, &body, &call.now)?;
    }
    network::admit(call, &world, name, &body, old.is_none())?;
    world.check_quota(&key, &location, cores, &settings, now)?;

    let outcome = outcome(&mut world, &body);
    let ip = match &old {
        Some(old) => old.life.ip,
        None => world.allocate_ip(),
    };
    let life = Life {
        asked: now,
        ready: plus(now, settings.start_delay),
        outcome,
        policy: Policy::parse(
            body.pointer("/properties/restartPolicy")
                .and_then(Value::as_str),
        ),
        backoff: settings.crash_backoff,
        ip,
        repair: None,
        stopped: false,
        gone_at: None,
        containers: lives(&body, "containers", &settings),
        inits: lives(&body, "initContainers", &settings),
        forced_provisioning: None,
        forced_state: None,
        driver,
    };
    let home = world.resource_group(resource_group)?;
    let echo = view::echo(&call.shared.config.subscription_id, home, name, &body);
    let resource_group = home.name.clone();
    let operation = start_operation(call, &mut world, &key, &resource_group, name, &location);
    let group = Group {
        resource_group,
        name: name.to_owned(),
        location,
        echo,
        body: Arc::new(body),
        cores,
        life,
        operation: operation.1.clone(),
        page_status: world.groups.get(&key).map_or(200, |old| old.page_status),
    };
    let answer = render(&group, Look::Accepted, now);
    let status = if old.is_some() {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    let (kind, before) = match &old {
        Some(old) => (Kind::Replaced, old),
        None => (Kind::Created, &group),
    };
    let token = Some(call.token);
    world.journal.note(now, kind, before, token);
    world.groups.insert(key.clone(), group);
    drop(world);
    call.shared.check(&key, now);
    let header = locations::async_operation(call, &operation.0, &operation.1);
    Ok((status, [header], Json(answer)).into_response())
}

/// What ARM checks before the provider sees the request.
fn admit(call: &Call<'_>, resource_group: &str, name: &str, body: &Value) -> Result<(), ApiError> {
    let mut world = call.shared.world.lock();
    world.resource_group(resource_group)?;
    if world.provider_state(call.now) != "Registered" {
        return Err(ApiError::not_registered());
    }
    rules::group_name(name)?;
    if !body.is_object() {
        return Err(ApiError::content(
            "Error converting value to type 'ContainerGroup'. Path ''",
        ));
    }
    let Some(location) = rules::text(body, "location").filter(|location| !location.is_empty())
    else {
        return Err(ApiError::bad(
            "LocationRequired",
            "The location property is required for this definition.",
        ));
    };
    let regions = &call.shared.config.regions;
    if !regions.contains(&normal(location)) {
        return Err(ApiError::bad(
            "LocationNotAvailableForResourceType",
            format!(
                "The provided location '{location}' is not available for resource type 'Microsoft.ContainerInstance/containerGroups'. List of available regions for the resource type is '{}'.",
                regions.join(",")
            ),
        ));
    }
    Ok(())
}

/// What an existing group cannot become. A group that has ended is deployed as new.
fn check_update(
    old: &Group,
    name: &str,
    location: &str,
    body: &Value,
    now: &crate::clock::Time,
) -> Result<(), ApiError> {
    if old.life.transitioning(*now) {
        return Err(ApiError::transitioning(name));
    }
    if normal(&old.location) != normal(location) {
        return Err(ApiError::new(
            409,
            "InvalidResourceLocation",
            format!(
                "The resource '{name}' already exists in location '{}' in resource group '{}'. A resource with the same name cannot be created in location '{location}'. Please select a new resource name.",
                old.location, old.resource_group
            ),
        ));
    }
    if old.life.uses_cores() && fixed(&old.body) != fixed(body) {
        return Err(ApiError::bad(
            "InvalidContainerGroupUpdate",
            format!(
                "The updates on container group '{name}' are invalid. If you are going to update the os type, restart policy, network profile, CPU, memory or GPU resources for a container group, you must delete it first and then create a new one."
            ),
        ));
    }
    Ok(())
}

/// What an update may not change.
fn fixed(body: &Value) -> Value {
    let at = |path: &str| body.pointer(path).cloned().unwrap_or_default();
    let resources: Vec<(Value, Value)> = rules::items(&at("/properties"), "containers")
        .iter()
        .map(|container| {
            (
                container.get("name").cloned().unwrap_or_default(),
                container
                    .pointer("/properties/resources")
                    .cloned()
                    .unwrap_or_default(),
            )
        })
        .collect();
    json!([
        at("/properties/osType"),
        body.pointer("/properties/restartPolicy")
            .filter(|policy| !policy.is_null())
            .cloned()
            .unwrap_or_else(|| json!("Always")),
        at("/properties/ipAddress/type"),
        at("/properties/subnetIds"),
        at("/properties/diagnostics"),
        resources,
    ])
}

fn cores(body: &Value) -> f64 {
    let none = Value::Null;
    rules::items(body.get("properties").unwrap_or(&none), "containers")
        .iter()
        .filter_map(|container| {
            container
                .pointer("/properties/resources/requests/cpu")?
                .as_f64()
        })
        .sum()
}

/// What makes this group live. An image that is not there is refused, as the service does it.
fn driver(call: &Call<'_>, name: &str, body: &Value) -> Result<Driver, ApiError> {
    let linux = body.pointer("/properties/osType").and_then(Value::as_str) != Some("Windows");
    let Some(runner) = call.shared.runner.as_ref().filter(|_| linux) else {
        return Ok(Driver::Clock);
    };
    let none = Value::Null;
    let properties = body.get("properties").unwrap_or(&none);
    for member in ["containers", "initContainers"] {
        for container in rules::items(properties, member) {
            let image = container.pointer("/properties/image");
            let image = image.and_then(Value::as_str).unwrap_or_default();
            if !runner.has_image(image, &call.shared.url) {
                return Err(ApiError::inaccessible_image(name, image));
            }
        }
    }
    Ok(Driver::Processes(Progress::Starting))
}

/// How this PUT ends: by knob, or by an image made for it.
fn outcome(world: &mut World, body: &Value) -> Outcome {
    if let Some(late_start) = world.no_capacity.pop_front() {
        return Outcome::NoCapacity { late_start };
    }
    let none = Value::Null;
    let images = rules::items(body.get("properties").unwrap_or(&none), "containers")
        .iter()
        .filter_map(|container| container.pointer("/properties/image")?.as_str());
    if images
        .into_iter()
        .any(|image| image.contains("no-capacity"))
    {
        return Outcome::NoCapacity { late_start: None };
    }
    Outcome::Starts
}

fn lives(body: &Value, member: &str, settings: &Settings) -> Vec<ContainerLife> {
    let none = Value::Null;
    rules::items(body.get("properties").unwrap_or(&none), member)
        .iter()
        .map(|container| {
            let image = container
                .pointer("/properties/image")
                .and_then(Value::as_str)
                .unwrap_or_default();
            let command = rules::items(container.get("properties").unwrap_or(&none), "command");
            let code = exit_code(image).or_else(|| exit_command(command));
            let plan = code.map(|code| Plan {
                after: settings.exit_after,
                code,
            });
            ContainerLife::new(
                rules::text(container, "name")
                    .unwrap_or_default()
                    .to_owned(),
                image.to_owned(),
                plan,
            )
        })
        .collect()
}

/// The code of an image made to end: `…/exit:N`.
fn exit_code(image: &str) -> Option<i32> {
    let (_, tag) = image.rsplit_once("/exit:")?;
    tag.parse().ok()
}

/// The code of a command that does nothing but end: `sh -c "exit N"`.
fn exit_command(command: &[Value]) -> Option<i32> {
    let words: Vec<&str> = command.iter().filter_map(Value::as_str).collect();
    match words.as_slice() {
        ["sh" | "/bin/sh", "-c", script] => script.strip_prefix("exit")?.trim_start().parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_does_nothing_but_end_ends() {
        let code = |script: &str| exit_command(&[json!("sh"), json!("-c"), json!(script)]);
        assert_eq!(code("exit 0"), Some(0));
        assert_eq!(code("exit 7"), Some(7));
        assert_eq!(code("exit 7; true"), None);
        assert_eq!(code("sleep 1"), None);
        assert_eq!(exit_command(&[json!("exit 0")]), None);
    }

    #[test]
    fn only_images_made_for_it_end_by_themselves() {
        assert_eq!(exit_code("example.test/exit:3"), Some(3));
        assert_eq!(exit_code("docker.io/library/exit:0"), Some(0));
        assert_eq!(exit_code("example.test/exit:latest"), None);
        assert_eq!(exit_code("nginx:1"), None);
    }
}
