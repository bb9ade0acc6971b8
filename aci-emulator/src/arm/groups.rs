//! Container groups: PUT, GET, LIST, PATCH, DELETE, start, stop, restart.

use std::sync::Arc;

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use base64::Engine as _;
use http::StatusCode;
use serde_json::{Value, json};

use super::{
    Answer, Call,
    errors::ApiError,
    lifecycle::{ContainerLife, Life, Outcome, Plan, Policy},
    locations, rules, schema, streams,
    view::{self, Look, render},
    world::{Group, Key, Operation, World, normal},
};
use crate::{clock::plus, config::Settings};

/// `…/containerGroups/{names…}` of a resource group.
pub(crate) fn route(call: &mut Call<'_>, resource_group: &str, names: &[&str]) -> Answer {
    let version = call.group_version()?;
    let verbs: Vec<String> = names.iter().map(|name| name.to_lowercase()).collect();
    let verb = verbs.last().map_or("", String::as_str);
    match (call.method.as_str(), names) {
        ("GET", []) => list(call, Some(resource_group)),
        ("PUT", [name]) => put(call, &version, resource_group, name),
        ("GET", [name]) => {
            let mut world = call.shared.world.lock();
            let group = world.existing(resource_group, name, call.now)?;
            Ok(Json(render(group, Look::Full, call.now)).into_response())
        }
        ("PATCH", [name]) => patch(call, resource_group, name),
        ("DELETE", [name]) => delete(call, resource_group, name),
        ("POST", [name, _]) if matches!(verb, "start" | "stop" | "restart") => {
            action(call, resource_group, name, verb)
        }
        ("GET", [name, _]) if verb == "outboundnetworkdependenciesendpoints" => {
            call.shared
                .world
                .lock()
                .existing(resource_group, name, call.now)?;
            Ok(Json(json!([])).into_response())
        }
        ("GET", [name, _, container, _]) if verb == "logs" => {
            streams::logs(call, resource_group, name, container)
        }
        ("POST", [name, _, container, _]) if matches!(verb, "exec" | "attach") => {
            streams::open(call, resource_group, name, container, verb)
        }
        _ => Err(call.unknown()),
    }
}

/// All groups of the subscription.
pub(crate) fn list_subscription(call: &Call<'_>) -> Answer {
    call.group_version()?;
    call.subscription_scope("Microsoft.ContainerInstance/containerGroups/read")?;
    list(call, None)
}

/// One page; the skip token is the key of the last item before it.
fn list(call: &Call<'_>, resource_group: Option<&str>) -> Answer {
    let size = call.shared.settings().page_size.max(1);
    let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let after = match call.parameter("$skiptoken") {
        None => None,
        Some(token) => {
            let text = engine
                .decode(&token)
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok());
            let key = text
                .as_deref()
                .and_then(|text| text.split_once('/'))
                .map(|(group, name)| Key::new(group, name));
            Some(
                key.ok_or_else(|| ApiError::bad("InvalidSkipToken", "The skip token is invalid."))?,
            )
        }
    };
    let mut world = call.shared.world.lock();
    let scope = match resource_group {
        Some(name) => Some(world.resource_group(name)?.name.to_lowercase()),
        None => None,
    };
    world.advance_all(call.now);
    let mut wanted = world
        .groups
        .iter()
        .filter(|(key, _)| {
            scope
                .as_ref()
                .is_none_or(|scope| key.resource_group == *scope)
        })
        .filter(|(key, _)| after.as_ref().is_none_or(|after| *key > after))
        .peekable();
    let mut value = Vec::new();
    let mut last = None;
    while let Some((key, group)) = wanted.next_if(|_| value.len() < size) {
        value.push(render(group, Look::Item, call.now));
        last = Some(key);
    }
    let mut body = json!({"value": value});
    if let (Some(key), true, Some(map)) = (last, wanted.peek().is_some(), body.as_object_mut()) {
        let token = engine.encode(format!("{}/{}", key.resource_group, key.name));
        let version = call.parameter("api-version").unwrap_or_default();
        let next = format!(
            "{}{}?api-version={version}&%24skiptoken={token}",
            call.shared.url, call.path
        );
        map.insert("nextLink".to_owned(), json!(next));
    }
    Ok(Json(body).into_response())
}

fn count_for_provider(call: &mut Call<'_>, settings: &Settings) -> Result<(), ApiError> {
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

fn put(call: &mut Call<'_>, version: &str, resource_group: &str, name: &str) -> Answer {
    let settings = call.shared.settings();
    let body = call.json()?;
    admit(call, resource_group, name, &body)?;
    count_for_provider(call, &settings)?;
    schema::check_group(&body, version)?;
    rules::check(name, &body, &settings)?;

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
    world.check_quota(
        &key,
        &location,
        cores,
        (settings.quota_groups, settings.quota_cores),
        now,
    )?;

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
    };
    let answer = render(&group, Look::Accepted, now);
    let status = if old.is_some() {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    world.groups.insert(key.clone(), group);
    drop(world);
    call.shared.pages.check(key, now);
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
            let plan = exit_code(image).map(|code| Plan {
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

fn start_operation(
    call: &Call<'_>,
    world: &mut World,
    key: &Key,
    resource_group: &str,
    name: &str,
    location: &str,
) -> (Operation, String) {
    let operation = Operation {
        id: view::id(&call.shared.config.subscription_id, resource_group, name),
        key: key.clone(),
        location: location.to_owned(),
        started: call.now,
    };
    let id = world.operations.start(operation.clone());
    (operation, id)
}

/// Replaces the whole tag map and nothing else; nothing restarts.
fn patch(call: &Call<'_>, resource_group: &str, name: &str) -> Answer {
    let body = call.json()?;
    schema::check_patch(&body)?;
    rules::tags(body.get("tags"))?;
    let mut world = call.shared.world.lock();
    let group = world.existing(resource_group, name, call.now)?;
    if let (Some(tags), Some(echo)) = (
        body.get("tags").filter(|tags| !tags.is_null()),
        group.echo.as_object_mut(),
    ) {
        echo.insert("tags".to_owned(), tags.clone());
    }
    Ok(Json(render(group, Look::Full, call.now)).into_response())
}

/// 200 with the last state, 204 when there was none, 202 by setting.
fn delete(call: &mut Call<'_>, resource_group: &str, name: &str) -> Answer {
    let settings = call.shared.settings();
    count_for_provider(call, &settings)?;
    let key = Key::new(resource_group, name);
    let (now, mut world) = (call.now, call.shared.world.lock());
    world.resource_group(resource_group)?;
    let Some(group) = world.group(&key, now) else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    if group.life.transitioning(now)
        && (group.life.gone_at.is_some() || !settings.delete_while_transitioning)
    {
        return Err(ApiError::transitioning(name));
    }
    if settings.delete_delay.is_zero() {
        let last = render(group, Look::Full, now);
        world.groups.remove(&key);
        drop(world);
        call.shared.pages.check(key, now);
        return Ok(Json(last).into_response());
    }
    group.life.gone_at = Some(plus(now, settings.delete_delay));
    let (home, location) = (group.resource_group.clone(), group.location.clone());
    let (operation, id) = start_operation(call, &mut world, &key, &home, name, &location);
    if let Some(group) = world.groups.get_mut(&key) {
        group.operation.clone_from(&id);
    }
    drop(world);
    call.shared.pages.check(key, now);
    Ok(accepted(call, StatusCode::ACCEPTED, &operation, &id))
}

fn accepted(call: &Call<'_>, status: StatusCode, operation: &Operation, id: &str) -> Response {
    let retry = (
        http::header::RETRY_AFTER,
        http::HeaderValue::from_static("1"),
    );
    (
        status,
        [
            locations::location(call, operation, id),
            locations::async_operation(call, operation, id),
            retry,
        ],
    )
        .into_response()
}

/// start (202), restart (204 with Location), stop (204, done at once).
fn action(call: &Call<'_>, resource_group: &str, name: &str, verb: &str) -> Answer {
    let delay = call.shared.settings().start_delay;
    let key = Key::new(resource_group, name);
    let (now, mut world) = (call.now, call.shared.world.lock());
    let group = world.existing(resource_group, name, now)?;
    if group.life.transitioning(now) {
        return Err(ApiError::transitioning(name));
    }
    let status = match verb {
        "stop" => {
            group.life.stop();
            drop(world);
            call.shared.pages.check(key, now);
            return Ok(StatusCode::NO_CONTENT.into_response());
        }
        "start" if group.life.uses_cores() => return Ok(StatusCode::NO_CONTENT.into_response()),
        "start" => StatusCode::ACCEPTED,
        _ => StatusCode::NO_CONTENT,
    };
    group.life.run_again(now, delay);
    let (home, location) = (group.resource_group.clone(), group.location.clone());
    let (operation, id) = start_operation(call, &mut world, &key, &home, name, &location);
    if let Some(group) = world.groups.get_mut(&key) {
        group.operation.clone_from(&id);
    }
    drop(world);
    call.shared.pages.check(key, now);
    Ok(accepted(call, status, &operation, &id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_images_made_for_it_end_by_themselves() {
        assert_eq!(exit_code("example.test/exit:3"), Some(3));
        assert_eq!(exit_code("docker.io/library/exit:0"), Some(0));
        assert_eq!(exit_code("example.test/exit:latest"), None);
        assert_eq!(exit_code("nginx:1"), None);
    }
}
