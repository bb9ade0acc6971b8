//! The routes of exec, attach and port-forward: which pod and container, and whether it can be done.

use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;

use async_trait::async_trait;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use axum::routing::any;
use axum::{Extension, Router};
use bytes::Bytes;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{Container, ContainerState, Pod};
use tokio::sync::mpsc;

use super::api_error::ApiError;
use super::logs::Logs;
use super::portforward::{self, Inside, Target};
use super::remote::{self, Options};
use super::routes::{Caller, Kubelet, slot};
use super::{logs, pods};
use crate::azure::{AzureError, ErrorClass};
use crate::net::can_be_a_pods;
use crate::provider::Containers;
use crate::provider::exec::{Attached, Command, ExecError, Exit, Output, Streams, remark};
use crate::translate::PodKey;

type Shared = State<Arc<Kubelet>>;
type Answer = Result<Response, ApiError>;

/// Each route with and without the pod's UID, as a kubelet has them.
pub(super) fn router() -> Router<Arc<Kubelet>> {
    Router::new()
        .route("/exec/{namespace}/{pod}/{container}", any(exec))
        .route("/exec/{namespace}/{pod}/{uid}/{container}", any(exec))
        .route("/attach/{namespace}/{pod}/{container}", any(attach))
        .route("/attach/{namespace}/{pod}/{uid}/{container}", any(attach))
        .route("/portForward/{namespace}/{pod}", any(port_forward))
        .route("/portForward/{namespace}/{pod}/{uid}", any(port_forward))
}

/// What a path names.
#[derive(serde::Deserialize)]
struct Named {
    namespace: String,
    pod: String,
    #[serde(default)]
    uid: Option<String>,
    #[serde(default)]
    container: String,
}

impl Named {
    /// The pod, and what Azure knows it by.
    async fn pod(&self, kubelet: &Kubelet) -> Result<(Pod, PodKey), ApiError> {
        let pod = kubelet.pods.get(&self.namespace, &self.pod).await?;
        let same = |uid: &String| pod.metadata.uid.as_ref() == Some(uid);
        match PodKey::of(&pod) {
            Some(key) if self.uid.as_ref().is_none_or(same) => Ok((pod, key)),
            _ => Err(ApiError::not_found(format!(
                "pod {:?} does not exist",
                self.pod
            ))),
        }
    }
}

async fn exec(
    State(kubelet): Shared,
    Path(named): Path<Named>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Answer {
    let options = Options::of(request.uri())?;
    let argv = remote::command(request.uri())?;
    if argv.is_empty() {
        return Err(ApiError::bad_request(
            "you must specify at least 1 command for the container",
        ));
    }
    let (pod, key) = named.pod(&kubelet).await?;
    running(&pod, &named.container)?;
    let slot = slot(&kubelet, (&named.namespace, &named.pod), &caller)?;
    let containers = kubelet.containers.clone();
    let command = Command {
        argv,
        tty: options.tty,
    };
    let backend = move |streams: Streams| async move {
        containers
            .exec(&key, &named.container, &command, streams)
            .await
    };
    let sessions = &kubelet.sessions;
    Ok(remote::serve(request, options, sessions, slot, backend))
}

async fn attach(
    State(kubelet): Shared,
    Path(named): Path<Named>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Answer {
    let options = Options::of(request.uri())?;
    let (pod, key) = named.pod(&kubelet).await?;
    let container = running(&pod, &named.container)?;
    // The terminal is the container's own or none; the client cannot wish for one.
    let tty = options.tty && container.tty == Some(true);
    let has_own = container.tty == Some(true) || container.stdin == Some(true);
    let slot = slot(&kubelet, (&named.namespace, &named.pod), &caller)?;
    let (containers, logs) = (kubelet.containers.clone(), kubelet.logs.clone());
    let backend = move |streams: Streams| async move {
        let output = streams.output.clone();
        let to = Attached {
            name: &named.container,
            tty,
            has_own,
        };
        let attached = containers.attach(&key, &to, streams);
        match attached.await {
            // What is gone has no log either.
            Err(ExecError::Attach(error)) if error.class != ErrorClass::NotFound => {
                let target = logs::Target {
                    namespace: named.namespace,
                    pod: named.pod,
                    container: named.container,
                };
                show_log(&logs, target, &error, &output).await
            }
            ended => ended,
        }
    };
    let sessions = &kubelet.sessions;
    Ok(remote::serve(request, options, sessions, slot, backend))
}

/// Shows a container's log from now on, in the place of an attach that Azure did not grant.
async fn show_log(
    logs: &Logs,
    target: logs::Target,
    error: &AzureError,
    output: &mpsc::Sender<(Output, Bytes)>,
) -> Result<Exit, ExecError> {
    let text = format!(
        "Azure did not attach ({}); this is what the log gets from now on, seconds late and without any input",
        error.told()
    );
    // Who is gone is noticed below.
    let _ = output.send(remark(&text)).await;
    let lines = logs.from_now_on(target).await;
    let lines = lines.map_err(|refusal| ExecError::Log(refusal.text))?;
    let mut lines = pin!(lines);
    while let Some(bytes) = lines.next().await {
        if output.send((Output::Stdout, bytes)).await.is_err() {
            break;
        }
    }
    Ok(Exit::Unknown)
}

async fn port_forward(
    State(kubelet): Shared,
    Path(named): Path<Named>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Answer {
    let (pod, key) = named.pod(&kubelet).await?;
    let slot = slot(&kubelet, (&named.namespace, &named.pod), &caller)?;
    let name = format!("{}/{}", named.namespace, named.pod);
    let running = running_containers(&pod);
    let address = match address(&pod, kubelet.ip) {
        Ok(known) => {
            let now = kubelet.containers.address(&key).await;
            let now = now.map_err(|error| ApiError::azure("where the pod is", &error))?;
            still(known, now)
        }
        none => none,
    };
    let inside: Option<Arc<dyn Inside>> = if running.is_empty() {
        None
    } else {
        Some(Arc::new(ByShim {
            containers: kubelet.containers.clone(),
            pod: key,
            running,
        }))
    };
    let target = Target { address, inside };
    let sessions = &kubelet.sessions;
    Ok(portforward::serve(request, name, target, sessions, slot))
}

/// The container `name` of `pod`, if it runs. PURE.
fn running<'a>(pod: &'a Pod, name: &str) -> Result<&'a Container, ApiError> {
    let container = pods::container(pod, name)
        .ok_or_else(|| ApiError::not_found(format!("container not found ({name:?})")))?;
    let state = logs::container::status(pod, name).and_then(|status| status.state.as_ref());
    if state.is_some_and(|state| state.running.is_some()) {
        return Ok(container);
    }
    let why = match state {
        Some(ContainerState {
            terminated: Some(ended),
            ..
        }) => format!("it has ended with exit code {}", ended.exit_code),
        Some(ContainerState {
            waiting: Some(waiting),
            ..
        }) => format!(
            "it waits: {}",
            waiting.reason.as_deref().unwrap_or("unknown")
        ),
        _ => "it has not started".to_owned(),
    };
    let pod = pod.metadata.name.as_deref().unwrap_or_default();
    Err(ApiError::bad_request(format!(
        "container {name:?} in pod {pod:?} is not running: {why}"
    )))
}

/// The way into a pod by the shim in one of its containers.
struct ByShim {
    containers: Arc<dyn Containers>,
    pod: PodKey,
    /// Names of those that run.
    running: Vec<String>,
}

#[async_trait]
impl Inside for ByShim {
    async fn connect(&self, port: u16, streams: Streams) -> Result<Exit, ExecError> {
        let session = self
            .containers
            .connect(&self.pod, &self.running, port, streams);
        session.await
    }
}

/// The containers of `pod` that run. PURE.
fn running_containers(pod: &Pod) -> Vec<String> {
    let statuses = pod.status.iter().flat_map(|it| &it.container_statuses);
    let runs = |state: &ContainerState| state.running.is_some();
    statuses
        .flatten()
        .filter(|it| it.state.as_ref().is_some_and(runs))
        .map(|it| it.name.clone())
        .collect()
}

/// Where the ports of `pod` are, seen from the node at `own`. PURE.
fn address(pod: &Pod, own: IpAddr) -> Result<IpAddr, String> {
    let needs = "port-forward needs an address that the operator can reach";
    let status = pod.status.clone().unwrap_or_default();
    if status.phase.as_deref() != Some("Running") {
        return Err("the pod is not running".to_owned());
    }
    let address = status.pod_ip.unwrap_or_default();
    if address.is_empty() {
        return Err(format!(
            "{needs}: the pod has none; give the connector a subnetID, or publicIP: true"
        ));
    }
    let ip: IpAddr = address
        .parse()
        .map_err(|_| format!("{needs}: {address:?} is none"))?;
    if !can_be_a_pods(ip, own) {
        return Err(format!("{needs}: {address} is no address of a pod"));
    }
    Ok(ip.to_canonical())
}

/// `known`, if it is the pod's address `now`: Azure gives the address of a group that has gone, or was moved, to somebody else, and the
/// pod's status follows some seconds later. PURE.
fn still(known: IpAddr, now: Option<IpAddr>) -> Result<IpAddr, String> {
    if now.map(|now| now.to_canonical()) == Some(known) {
        return Ok(known);
    }
    Err(format!(
        "the pod was at {known} and is not any more; its status follows in some seconds: try again then"
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(status: &serde_json::Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u"},
            "spec": {"containers": [{"name": "c", "tty": true}]},
            "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn only_a_running_container_takes_a_session() {
        let state = |state| {
            pod(
                &json!({"containerStatuses": [{"name": "c", "ready": true, "restartCount": 0, "image": "", "imageID": "", "state": state}]}),
            )
        };
        assert_eq!(
            running(&state(json!({"running": {}})), "c").unwrap().tty,
            Some(true)
        );
        for (pod, name, status, text) in [
            (
                state(json!({"running": {}})),
                "d",
                404,
                "container not found (\"d\")",
            ),
            (
                state(json!({"waiting": {"reason": "ImagePullBackOff"}})),
                "c",
                400,
                "container \"c\" in pod \"p\" is not running: it waits: ImagePullBackOff",
            ),
            (
                state(json!({"terminated": {"exitCode": 3}})),
                "c",
                400,
                "container \"c\" in pod \"p\" is not running: it has ended with exit code 3",
            ),
            (
                pod(&json!({})),
                "c",
                400,
                "container \"c\" in pod \"p\" is not running: it has not started",
            ),
        ] {
            let refusal = running(&pod, name).unwrap_err();
            assert_eq!(
                (refusal.status.as_u16(), refusal.text.as_str()),
                (status, text)
            );
        }
    }

    #[test]
    fn another_address_than_azure_says_now_is_not_dialled() {
        let of = |text: &str| text.parse::<IpAddr>().unwrap();
        let known = of("10.0.0.4");
        assert_eq!(still(known, Some(known)), Ok(known));
        assert_eq!(still(known, Some(of("::ffff:10.0.0.4"))), Ok(known));
        for other in [Some(of("10.0.0.5")), None] {
            let refused = still(known, other).unwrap_err();
            assert!(refused.contains("10.0.0.4") && !refused.contains("10.0.0.5"));
        }
    }

    #[test]
    fn ports_are_at_the_pod_s_address() {
        let own = IpAddr::from([10, 9, 9, 9]);
        let of = |phase, ip: &str| address(&pod(&json!({"phase": phase, "podIP": ip})), own);
        assert_eq!(of("Running", "10.0.0.4"), Ok("10.0.0.4".parse().unwrap()));
        assert_eq!(
            of("Pending", "10.0.0.4"),
            Err("the pod is not running".to_owned())
        );
        for local in [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "168.63.129.16",
            "0.0.0.0",
            "fe80::1",
            "127.0.0.1",
            "::1",
            "10.9.9.9",
        ] {
            let refused = of("Running", local).unwrap_err();
            assert!(refused.ends_with("is no address of a pod"), "{refused}");
        }
        assert!(of("Running", "").unwrap_err().contains("subnetID"));
        assert!(
            of("Running", "nowhere")
                .unwrap_err()
                .contains("\"nowhere\" is none")
        );
    }
}
