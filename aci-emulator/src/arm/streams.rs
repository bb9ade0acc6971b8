//! logs, exec and attach of a container.

use axum::{Json, response::IntoResponse};
use serde_json::{Value, json};

use super::{Answer, Call, errors::ApiError, lifecycle::Phase, rules, schema};
use crate::exec::Session;

fn no_container(group: &str, container: &str) -> ApiError {
    ApiError::new(
        404,
        "ContainerNotFound",
        format!("The container '{container}' could not be found in container group '{group}'."),
    )
}

/// `{"content": "…"}`.
pub(crate) fn logs(call: &Call<'_>, resource_group: &str, name: &str, container: &str) -> Answer {
    let tail = number(call, "tail")?;
    let timestamps = match call.parameter("timestamps").as_deref() {
        None => false,
        Some(text) if text.eq_ignore_ascii_case("true") => true,
        Some(text) if text.eq_ignore_ascii_case("false") => false,
        Some(text) => return Err(invalid("timestamps", text)),
    };
    let mut world = call.shared.world.lock();
    let group = world.existing(resource_group, name, call.now)?;
    let mut lives = group.life.containers.iter().chain(&group.life.inits);
    let life = lives
        .find(|life| life.name == container)
        .ok_or_else(|| no_container(name, container))?;
    if life.phase == Phase::Unstarted {
        return Err(ApiError::new(
            404,
            "ContainerLogNotAvailable",
            format!(
                "Log of container '{container}' in container group '{name}' is not available yet. Please check container 'InstanceView' for more information or retry later."
            ),
        ));
    }
    let stopped = matches!(life.phase, Phase::Ended(_));
    Ok(Json(json!({"content": life.log.content(tail, timestamps, stopped)})).into_response())
}

fn invalid(name: &str, text: &str) -> ApiError {
    ApiError::bad(
        "InvalidQueryParameter",
        format!("The value '{text}' of query parameter '{name}' is invalid."),
    )
}

fn number(call: &Call<'_>, name: &str) -> Result<Option<usize>, ApiError> {
    match call.parameter(name) {
        None => Ok(None),
        Some(text) => match text
            .parse::<i32>()
            .ok()
            .and_then(|n| usize::try_from(n).ok())
        {
            Some(n) => Ok(Some(n)),
            None => Err(invalid(name, &text)),
        },
    }
}

/// exec and attach: the address of a `WebSocket` on this listener and its password.
pub(crate) fn open(
    call: &Call<'_>,
    resource_group: &str,
    name: &str,
    container: &str,
    verb: &str,
) -> Answer {
    let body = if verb == "exec" {
        let body = call.json()?;
        schema::check_exec(&body)?;
        body
    } else {
        Value::Null
    };
    let mut world = call.shared.world.lock();
    let group = world.existing(resource_group, name, call.now)?;
    let life = group
        .life
        .containers
        .iter()
        .find(|life| life.name == container);
    let life = life.ok_or_else(|| no_container(name, container))?;
    if life.phase == Phase::Unstarted {
        return Err(ApiError::new(
            409,
            "ContainerGroupDeploymentNotReady",
            format!(
                "The container group '{name}' is not ready for this operation. Please retry later."
            ),
        ));
    }
    let size = |member: &str, default: i64| {
        body.pointer(&format!("/terminalSize/{member}"))
            .and_then(Value::as_i64)
            .unwrap_or(default)
    };
    let (rows, cols) = (size("rows", 24), size("cols", 80));
    let session = if verb == "exec" {
        Session::exec(
            rules::text(&body, "command").unwrap_or_default(),
            (rows, cols),
            (super::world::Key::new(resource_group, name), container),
            &group.body,
        )
    } else {
        Session::attach(super::world::Key::new(resource_group, name), container)
    };
    drop(world);
    let (id, password) = call.shared.sessions.add(session);
    let host = call.shared.url.trim_start_matches("https://");
    let stream = if verb == "exec" {
        "execstream"
    } else {
        "attachstream"
    };
    Ok(Json(json!({
        "webSocketUri": format!("wss://{host}/{stream}/sessionId/{id}?api-version=1.0&rows={rows}&cols={cols}"),
        "password": password,
    }))
    .into_response())
}
