//! The admin endpoint: [`Control`] over HTTP, under `/_emulator/`. No token is asked for.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Path, State},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    arm::clusters::ManagedCluster,
    arm::network::Subnet,
    config::optional_seconds,
    control::{Control, ControlError},
    faults::Fault,
    registry::Image,
    shared::Shared,
};

/// Longest fault: its body may be a log of 4 MB, in JSON, in JSON.
const FAULT: usize = 24 << 20;

type Emulated = State<Arc<Shared>>;

/// Everything under `/_emulator`.
pub(crate) fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/state", get(state))
        .route("/requests", get(requests).delete(reset))
        .route("/counts", get(counts))
        .route("/changes", get(changes))
        .route("/settings", get(settings).post(change))
        .route(
            "/faults",
            get(faults)
                .post(inject)
                .delete(clear)
                .layer(DefaultBodyLimit::max(FAULT)),
        )
        .route("/provider", post(provider))
        .route(
            "/resourceGroups/{name}",
            post(add_resource_group).delete(remove_resource_group),
        )
        .route("/subnets", post(set_subnet))
        .route("/managedClusters", post(set_managed_cluster))
        .route("/clients", post(client))
        .route("/identities", post(identities))
        .route("/tokens", get(exchanges).delete(revoke))
        .route("/failNextPuts", post(fail_next).delete(fail_none))
        .route("/images", get(images).post(push))
        .route("/groups/{group}", get(group).delete(delete))
        .route("/groups/{group}/{verb}", post(group_verb))
        .route(
            "/groups/{group}/containers/{container}/{verb}",
            post(container_verb),
        )
}

fn control(shared: &Arc<Shared>) -> Control {
    Control::new(Arc::clone(shared))
}

fn done(result: Result<(), ControlError>) -> Response {
    match result {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => refuse(&error),
    }
}

fn refuse(error: &ControlError) -> Response {
    let status = match error {
        ControlError::NoGroup(_) | ControlError::NoContainer(_) => StatusCode::NOT_FOUND,
        ControlError::NotRunning(_) | ControlError::Runs(_) => StatusCode::CONFLICT,
        ControlError::Settings(_) => StatusCode::BAD_REQUEST,
    };
    (status, Json(json!({"error": error.to_string()}))).into_response()
}

async fn state(State(shared): Emulated) -> Json<Value> {
    let control = control(&shared);
    let (resource_groups, provider): (Vec<Value>, String) = {
        let now = shared.clock.now();
        let mut world = shared.world.lock();
        let groups = world
            .resource_groups
            .values()
            .map(|group| json!({"name": group.name, "location": group.location}));
        (groups.collect(), world.provider_state(now).to_owned())
    };
    let network = shared.runner.as_ref().map(|runner| runner.network());
    Json(json!({
        "network": network,
        "url": shared.url, "tenantId": shared.config.tenant_id, "clientId": shared.config.client_id,
        "subscriptionId": shared.config.subscription_id, "regions": shared.config.regions, "providerState": provider,
        "resourceGroups": resource_groups, "settings": control.settings(), "faults": control.faults(), "counts": control.counts(),
        "groups": control.groups(), "images": control.images(),
    }))
}

async fn requests(State(shared): Emulated) -> Response {
    Json(control(&shared).requests()).into_response()
}

async fn reset(State(shared): Emulated) -> StatusCode {
    control(&shared).reset_requests();
    StatusCode::NO_CONTENT
}

async fn changes(State(shared): Emulated) -> Response {
    Json(control(&shared).changes()).into_response()
}

async fn counts(State(shared): Emulated) -> Response {
    Json(control(&shared).counts()).into_response()
}

async fn settings(State(shared): Emulated) -> Response {
    Json(control(&shared).settings()).into_response()
}

async fn change(State(shared): Emulated, Json(patch): Json<Map<String, Value>>) -> Response {
    match control(&shared).merge_settings(&patch) {
        Ok(settings) => Json(settings).into_response(),
        Err(error) => refuse(&error),
    }
}

async fn faults(State(shared): Emulated) -> Json<Vec<Fault>> {
    Json(control(&shared).faults())
}

async fn inject(State(shared): Emulated, Json(fault): Json<Fault>) -> StatusCode {
    control(&shared).inject(fault);
    StatusCode::NO_CONTENT
}

async fn clear(State(shared): Emulated) -> StatusCode {
    control(&shared).clear_faults();
    StatusCode::NO_CONTENT
}

async fn images(State(shared): Emulated) -> Json<Vec<String>> {
    Json(control(&shared).images())
}

async fn push(State(shared): Emulated, Json(image): Json<Image>) -> Json<Value> {
    Json(json!({"digest": control(&shared).push_image(&image)}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Provider {
    state: String,
}

async fn provider(State(shared): Emulated, Json(to): Json<Provider>) -> StatusCode {
    control(&shared).set_provider_state(&to.state);
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    location: String,
}

async fn add_resource_group(
    State(shared): Emulated,
    Path(name): Path<String>,
    Json(place): Json<Place>,
) -> StatusCode {
    control(&shared).add_resource_group(&name, &place.location);
    StatusCode::NO_CONTENT
}

async fn remove_resource_group(State(shared): Emulated, Path(name): Path<String>) -> StatusCode {
    if control(&shared).remove_resource_group(&name) {
        StatusCode::NO_CONTENT
    } else {
        StatusCode::NOT_FOUND
    }
}

async fn set_subnet(State(shared): Emulated, Json(subnet): Json<Subnet>) -> Json<Value> {
    Json(json!({"id": control(&shared).set_subnet(subnet)}))
}

async fn set_managed_cluster(
    State(shared): Emulated,
    Json(cluster): Json<ManagedCluster>,
) -> StatusCode {
    control(&shared).set_managed_cluster(cluster);
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ClientProof {
    /// The configured client when absent.
    client_id: Option<String>,
    secret: Option<String>,
    /// Certificates in PEM.
    certificate: Option<String>,
}

async fn client(State(shared): Emulated, Json(client): Json<ClientProof>) -> StatusCode {
    let control = control(&shared);
    let id = client
        .client_id
        .as_deref()
        .unwrap_or(&shared.config.client_id);
    if let Some(secret) = &client.secret {
        control.add_client(id, secret);
    }
    match &client.certificate {
        Some(pem) if !control.set_certificates(id, pem) => StatusCode::BAD_REQUEST,
        _ => StatusCode::NO_CONTENT,
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct Identities {
    system: Option<String>,
    user: Vec<String>,
}

async fn identities(State(shared): Emulated, Json(machine): Json<Identities>) -> StatusCode {
    let user: Vec<&str> = machine.user.iter().map(String::as_str).collect();
    control(&shared).assign_identities(machine.system.as_deref(), &user);
    StatusCode::NO_CONTENT
}

async fn exchanges(State(shared): Emulated) -> Response {
    Json(control(&shared).exchanges()).into_response()
}

async fn revoke(State(shared): Emulated) -> StatusCode {
    control(&shared).revoke_tokens();
    StatusCode::NO_CONTENT
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct Options {
    count: Option<usize>,
    #[serde(with = "optional_seconds")]
    late_start: Option<Duration>,
    exit_code: i32,
    text: String,
    provisioning_state: Option<String>,
    state: Option<String>,
    status: Option<u16>,
}

async fn fail_next(State(shared): Emulated, Json(options): Json<Options>) -> StatusCode {
    control(&shared).fail_next_puts(options.count.unwrap_or(1), options.late_start);
    StatusCode::NO_CONTENT
}

async fn fail_none(State(shared): Emulated) -> StatusCode {
    control(&shared).fail_no_puts();
    StatusCode::NO_CONTENT
}

async fn group(State(shared): Emulated, Path(group): Path<String>) -> Response {
    match control(&shared).group(&group) {
        Some(group) => Json(group).into_response(),
        None => refuse(&ControlError::NoGroup(group)),
    }
}

async fn delete(State(shared): Emulated, Path(group): Path<String>) -> Response {
    done(control(&shared).delete_group(&group))
}

async fn group_verb(
    State(shared): Emulated,
    Path((group, verb)): Path<(String, String)>,
    options: Option<Json<Options>>,
) -> Response {
    let (control, Json(options)) = (control(&shared), options.unwrap_or_default());
    done(match verb.as_str() {
        "platformRestart" => control.platform_restart(&group),
        "repair" => control.repair(&group),
        "stop" => control.stop_group(&group),
        "page" => control.set_page_status(&group, options.status.unwrap_or(200)),
        "fail" => control.fail_group(&group, options.late_start),
        "force" => control
            .set_provisioning_state(&group, options.provisioning_state.as_deref())
            .and_then(|()| control.set_state(&group, options.state.as_deref())),
        _ => return StatusCode::NOT_FOUND.into_response(),
    })
}

async fn container_verb(
    State(shared): Emulated,
    Path((group, container, verb)): Path<(String, String, String)>,
    options: Option<Json<Options>>,
) -> Response {
    let (control, Json(options)) = (control(&shared), options.unwrap_or_default());
    done(match verb.as_str() {
        "exit" => control.finish_container(&group, &container, options.exit_code),
        "crash" => control.crash_container(
            &group,
            &container,
            if options.exit_code == 0 {
                1
            } else {
                options.exit_code
            },
        ),
        "heal" => control.heal_container(&group, &container),
        "log" => control.append_log(&group, &container, &options.text),
        _ => return StatusCode::NOT_FOUND.into_response(),
    })
}
