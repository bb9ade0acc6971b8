//! Container groups: PUT, GET, LIST, PATCH, DELETE, start, stop, restart.

mod put;

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use base64::Engine as _;
use http::StatusCode;
use serde_json::json;

use super::{
    Answer, Call,
    errors::ApiError,
    locations, rules, schema, streams,
    view::{self, Look, render},
    world::{Key, Operation, World},
};
use crate::{clock::plus, journal::Kind};
use put::{count_for_provider, put};

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
    let before = group.clone();
    if let (Some(tags), Some(echo)) = (
        body.get("tags").filter(|tags| !tags.is_null()),
        group.echo.as_object_mut(),
    ) {
        echo.insert("tags".to_owned(), tags.clone());
    }
    let answer = Json(render(group, Look::Full, call.now)).into_response();
    let token = Some(call.token);
    world.journal.note(call.now, Kind::Tagged, &before, token);
    Ok(answer)
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
    let (before, token) = (group.clone(), Some(call.token));
    world.journal.note(now, Kind::Deleted, &before, token);
    let group = before;
    if settings.delete_delay.is_zero() {
        let last = render(&group, Look::Full, now);
        world.groups.remove(&key);
        drop(world);
        call.shared.check(&key, now);
        return Ok(Json(last).into_response());
    }
    let (home, location) = (group.resource_group, group.location);
    let (operation, id) = start_operation(call, &mut world, &key, &home, name, &location);
    if let Some(group) = world.groups.get_mut(&key) {
        group.life.gone_at = Some(plus(now, settings.delete_delay));
        group.operation.clone_from(&id);
    }
    drop(world);
    call.shared.check(&key, now);
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
    let before = group.clone();
    let token = Some(call.token);
    let status = match verb {
        "stop" => {
            group.life.stop();
            world.journal.note(now, Kind::Stopped, &before, token);
            drop(world);
            call.shared.check(&key, now);
            return Ok(StatusCode::NO_CONTENT.into_response());
        }
        "start" if group.life.uses_cores() => return Ok(StatusCode::NO_CONTENT.into_response()),
        "start" => StatusCode::ACCEPTED,
        _ => StatusCode::NO_CONTENT,
    };
    group.life.run_again(now, delay);
    let kind = if verb == "start" {
        Kind::Started
    } else {
        Kind::Restarted
    };
    world.journal.note(now, kind, &before, token);
    let group = before;
    let (home, location) = (group.resource_group.clone(), group.location.clone());
    let (operation, id) = start_operation(call, &mut world, &key, &home, name, &location);
    if let Some(group) = world.groups.get_mut(&key) {
        group.operation.clone_from(&id);
    }
    drop(world);
    call.shared.check(&key, now);
    Ok(accepted(call, status, &operation, &id))
}
