//! Makes a [`World`] of what the API server, the emulator and the processes show.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use chrono::Utc;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, Namespace, Node, Pod};
use kube::api::{DynamicObject, ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::Value;

use super::rig::{CONNECTOR, FOREIGN, NAMESPACE, Rig};
use super::world::{Change, GroupSeen, NodeSeen, Owner, PodSeen, TOUCH, Time, Workload, World};

/// Namespace of the nodes' Leases.
const LEASES: &str = "kube-node-lease";
/// Annotation of a connector whose groups without a pod are to go.
const AGREE: &str = "virtual-kubelet.io/delete-orphans";
/// Label of the Leases by which replicas own connectors.
const OWNED: &str = "virtual-kubelet.io/lease";
/// Nothing is to be written about pods for this long.
const REST: Duration = Duration::from_secs(8);

/// What a person would have to write on the connector so that its many groups without a pod are deleted at once.
pub(super) fn agreement(connector: &Value) -> Option<String> {
    let conditions = connector.pointer("/status/conditions")?.as_array()?;
    let held = conditions.iter().find(|condition| {
        let is =
            |name: &str, value: &str| condition.get(name).and_then(Value::as_str) == Some(value);
        is("type", "OrphansFound") && is("reason", "TooMany")
    })?;
    let message = held.get("message")?.as_str()?;
    let (_, rest) = message.split_once(&format!("{AGREE}="))?;
    Some(rest.split([';', ' ']).next()?.to_owned())
}

/// Does it.
pub(super) async fn agree(client: &Client, tokens: &str) -> Result<()> {
    let patch = Patch::Merge(serde_json::json!({"metadata": {"annotations": {AGREE: tokens}}}));
    let parameters = PatchParams::default();
    connectors(client)
        .patch(CONNECTOR, &parameters, &patch)
        .await?;
    Ok(())
}

/// The connector as it is.
pub(super) async fn connector(client: &Client) -> Result<Value> {
    Ok(serde_json::to_value(
        connectors(client).get(CONNECTOR).await?,
    )?)
}

fn connectors(client: &Client) -> Api<DynamicObject> {
    let resource = kube::core::ApiResource {
        group: "virtual-kubelet.io".to_owned(),
        version: "v1alpha1".to_owned(),
        api_version: "virtual-kubelet.io/v1alpha1".to_owned(),
        kind: "VirtualKubeletConnector".to_owned(),
        plural: "virtualkubeletconnectors".to_owned(),
    };
    Api::all_with(client.clone(), &resource)
}

/// All but what takes long: the requests, the logs, the rest.
pub(super) async fn world(rig: &Rig) -> Result<World> {
    let client = &rig.client;
    let all = ListParams::default();
    let state = rig.emulator.ask("state").await?;
    let groups = state.get("groups").and_then(Value::as_array);
    let groups = groups.context("the emulator's state has no groups")?;
    let changes: Vec<Change> = serde_json::from_value(rig.emulator.ask("changes").await?)?;
    let pods = Api::<Pod>::all(client.clone()).list(&all).await?;
    let namespaces = Api::<Namespace>::all(client.clone()).list(&all).await?;
    let ending = namespaces
        .iter()
        .filter(|it| it.metadata.deletion_timestamp.is_some());
    Ok(World {
        now: Utc::now(),
        pods: pods.iter().map(PodSeen::of).collect(),
        history: rig.history.pods(),
        groups: groups.iter().map(GroupSeen::of).collect(),
        changes,
        foreign: FOREIGN.map(str::to_owned).to_vec(),
        connector: connector(client).await?,
        nodes: nodes(client).await?,
        readiness: rig.history.nodes(),
        outages: rig.history.outages(),
        leases: leases(client).await?,
        owners: owners(client).await?,
        workloads: workloads(client).await?,
        ending: ending.map(kube::ResourceExt::name_any).collect(),
        processes: rig.operators.lock().await.seen(),
        ..World::default()
    })
}

/// Everything.
pub(super) async fn last_world(rig: &Rig) -> Result<World> {
    let versions = |world: &World| -> BTreeMap<String, String> {
        let pods = world.pods.iter();
        pods.map(|pod| (pod.uid.clone(), pod.version.clone()))
            .collect()
    };
    let before = versions(&world(rig).await?);
    tokio::time::sleep(REST).await;
    let mut world = world(rig).await?;
    let restless = versions(&world)
        .into_iter()
        .filter(|(uid, version)| before.get(uid).is_some_and(|before| before != version));
    world.restless = restless.map(|(uid, _)| uid).collect();
    let requests = rig.emulator.ask("requests").await?;
    std::fs::write(rig.dir.join("requests.json"), requests.to_string())?;
    world.foreign_calls = foreign_calls(&requests);
    for log in logs(&rig.dir)? {
        world.panics.extend(panics(&log)?);
        world.leaks.extend(super::canaries(rig).find_in(&log)?);
    }
    let canaries = super::canaries(rig).clone();
    for (place, text) in told(rig).await? {
        world.leaks.extend(canaries.find(&place, &text));
    }
    Ok(world)
}

/// The logs of all replicas that there ever were.
fn logs(dir: &Path) -> Result<Vec<PathBuf>> {
    let dirs = std::fs::read_dir(dir.join("operators"))?;
    let logs: Result<Vec<PathBuf>, _> = dirs
        .map(|entry| entry.map(|entry| entry.path().join("vkc.log")))
        .collect();
    Ok(logs?)
}

/// Lines of a panic, and the one behind each.
fn panics(log: &Path) -> Result<Vec<String>> {
    let text = std::fs::read(log).with_context(|| format!("cannot read {}", log.display()))?;
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let pairs = lines.windows(2).filter_map(|pair| match pair {
        [line, next] if line.contains("panicked at") => {
            Some(format!("{}: {line} {next}", log.display()))
        }
        _ => None,
    });
    Ok(pairs.collect())
}

/// Everything that the operators tell anybody, but for their logs.
async fn told(rig: &Rig) -> Result<Vec<(String, String)>> {
    let (client, all) = (&rig.client, ListParams::default());
    let mut told = Vec::new();
    // Secrets themselves are in the API server, which may have them; a status, an Event or a label may not.
    let events = Api::<Event>::all(client.clone()).list(&all).await?;
    let nodes = Api::<Node>::all(client.clone()).list(&all).await?;
    let pods = Api::<Pod>::all(client.clone()).list(&all).await?;
    told.push(("the Events".to_owned(), lines(&events.items)?));
    told.push(("the Nodes".to_owned(), lines(&nodes.items)?));
    told.push(("the Pods".to_owned(), lines(&pods.items)?));
    let connector = connector(client).await?;
    told.push((
        "the connector".to_owned(),
        connector.get("status").unwrap_or(&Value::Null).to_string(),
    ));
    let http = reqwest::Client::builder()
        .timeout(Duration::from_secs(10))
        .no_proxy()
        .build()?;
    let metrics = rig.operators.lock().await.metrics();
    for (name, url) in metrics {
        let answer = http.get(format!("{url}/metrics")).send().await?;
        let text = String::from_utf8_lossy(&answer.bytes().await?).into_owned();
        std::fs::write(rig.dir.join(format!("{name}.metrics.txt")), &text)?;
        told.push((format!("the metrics of {name}"), text));
    }
    Ok(told)
}

fn lines<T: serde::Serialize>(items: &[T]) -> Result<String> {
    let lines: Result<Vec<String>, _> = items.iter().map(serde_json::to_string).collect();
    Ok(lines?.join("\n"))
}

/// Writes to groups that are not ours, but for the PUT that made each, whatever they were answered.
fn foreign_calls(requests: &Value) -> Vec<String> {
    let text = |request: &Value, name: &str| {
        request
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let mut calls = Vec::new();
    for name in FOREIGN {
        let part = format!("/containergroups/{name}");
        let of_it = requests.as_array().into_iter().flatten().filter(|request| {
            let path = text(request, "path").to_lowercase();
            path.split_once(&part)
                .is_some_and(|(_, rest)| rest.is_empty() || rest.starts_with('/'))
                && text(request, "method") != "GET"
        });
        calls.extend(of_it.skip(1).map(|request| {
            format!(
                "{} {} {} {}",
                text(request, "at"),
                text(request, "method"),
                text(request, "path"),
                request.get("status").unwrap_or(&Value::Null)
            )
        }));
    }
    calls
}

async fn nodes(client: &Client) -> Result<Vec<NodeSeen>> {
    let nodes = Api::<Node>::all(client.clone())
        .list(&ListParams::default())
        .await?;
    let seen = nodes.iter().map(|node| {
        let conditions = node
            .status
            .as_ref()
            .and_then(|status| status.conditions.as_deref());
        let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref());
        NodeSeen {
            name: node.name_any(),
            ready: conditions
                .unwrap_or_default()
                .iter()
                .any(|condition| condition.type_ == "Ready" && condition.status == "True"),
            taints: taints
                .unwrap_or_default()
                .iter()
                .map(|taint| taint.key.clone())
                .collect(),
        }
    });
    Ok(seen.collect())
}

async fn leases(client: &Client) -> Result<BTreeMap<String, Option<Time>>> {
    let leases = Api::<Lease>::namespaced(client.clone(), LEASES);
    let leases = leases.list(&ListParams::default()).await?;
    let seen = leases.iter().map(|lease| {
        let renewed = lease
            .spec
            .as_ref()
            .and_then(|spec| spec.renew_time.as_ref());
        (
            lease.name_any(),
            renewed.and_then(|at| at.0.to_string().parse().ok()),
        )
    });
    Ok(seen.collect())
}

async fn owners(client: &Client) -> Result<Vec<Owner>> {
    let leases = Api::<Lease>::namespaced(client.clone(), NAMESPACE);
    let leases = leases.list(&ListParams::default().labels(OWNED)).await?;
    let seen = leases.iter().map(|lease| {
        let spec = lease.spec.as_ref();
        let renewed = spec.and_then(|spec| spec.renew_time.as_ref());
        Owner {
            name: lease.name_any(),
            about: lease.labels().get(OWNED).cloned().unwrap_or_default(),
            holder: spec
                .and_then(|spec| spec.holder_identity.clone())
                .unwrap_or_default(),
            renewed: renewed.and_then(|at| at.0.to_string().parse().ok()),
        }
    });
    Ok(seen.collect())
}

async fn workloads(client: &Client) -> Result<Vec<Workload>> {
    let all = ListParams::default();
    let mut seen = Vec::new();
    let title = |namespace: Option<String>, name: String| {
        format!("{}/{name}", namespace.unwrap_or_default())
    };
    for it in &Api::<Deployment>::all(client.clone()).list(&all).await? {
        let wanted = it.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
        let there = it
            .status
            .as_ref()
            .and_then(|status| status.ready_replicas)
            .unwrap_or(0);
        seen.push(Workload {
            kind: "Deployment".to_owned(),
            name: title(it.namespace(), it.name_any()),
            wanted: wanted.into(),
            there: there.into(),
            ..Workload::default()
        });
    }
    for it in &Api::<StatefulSet>::all(client.clone()).list(&all).await? {
        let wanted = it.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
        let there = it
            .status
            .as_ref()
            .and_then(|status| status.ready_replicas)
            .unwrap_or(0);
        seen.push(Workload {
            kind: "StatefulSet".to_owned(),
            name: title(it.namespace(), it.name_any()),
            wanted: wanted.into(),
            there: there.into(),
            ..Workload::default()
        });
    }
    for it in &Api::<Job>::all(client.clone()).list(&all).await? {
        let wanted = it
            .spec
            .as_ref()
            .and_then(|spec| spec.completions)
            .unwrap_or(1);
        let status = it.status.as_ref();
        let conditions = status.and_then(|status| status.conditions.as_deref());
        let complete = conditions
            .unwrap_or_default()
            .iter()
            .any(|condition| condition.type_ == "Complete" && condition.status == "True");
        seen.push(Workload {
            kind: "Job".to_owned(),
            name: title(it.namespace(), it.name_any()),
            wanted: wanted.into(),
            there: status
                .and_then(|status| status.succeeded)
                .unwrap_or(0)
                .into(),
            complete,
            untouched: it.labels().get(TOUCH).is_some_and(|touch| touch == "no"),
        });
    }
    Ok(seen)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_writes_to_foreign_groups_count_and_not_the_one_that_made_them() {
        let call = |method: &str, name: &str| json!({"at": "t", "method": method, "status": 200, "path": format!("/x/containerGroups/{name}")});
        let requests = json!([
            call("PUT", "somebody-else"),
            call("GET", "somebody-else"),
            call("PUT", "another-cluster"),
            call("DELETE", "somebody-else-2"),
            call("DELETE", "Somebody-Else"),
            call("POST", "another-cluster/stop"),
        ]);
        assert_eq!(
            foreign_calls(&requests),
            [
                "t DELETE /x/containerGroups/Somebody-Else 200",
                "t POST /x/containerGroups/another-cluster/stop 200",
            ]
        );
    }

    #[test]
    fn a_person_reads_what_to_write() {
        let message = "9 container groups have lost their pods at once […]. To delete them now, annotate the connector with \
            virtual-kubelet.io/delete-orphans=a1b2,c3d4; to keep them, set spec.orphanPolicy: Report";
        let connector = |reason: &str| json!({"status": {"conditions": [{"type": "OrphansFound", "reason": reason, "message": message}]}});
        assert_eq!(
            agreement(&connector("TooMany")).as_deref(),
            Some("a1b2,c3d4")
        );
        assert_eq!(agreement(&connector("OrphansFound")), None);
    }

    #[test]
    fn panics_are_found_in_logs() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(
            file.path(),
            "INFO fine\nthread 'vkc' panicked at src/x.rs:1:2:\nindex out\n",
        )
        .unwrap();
        let found = panics(file.path()).unwrap();
        assert_eq!(found.len(), 1);
        assert!(found[0].ends_with("src/x.rs:1:2: index out"), "{found:?}");
    }
}
