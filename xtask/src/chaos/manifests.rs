//! What is created.

use anyhow::Result;
use serde_json::{Value, json};
use xtask::stack::Emulator;

use super::plan::Policy;
use super::rig::{CONNECTOR, NAMESPACES, REGION, RESOURCE_GROUP, SECRET};
use super::world::TOUCH;

/// Label of all that a run creates.
pub(super) const APP: &str = "chaos.test/app";
/// Secret with a word that must not be told.
const WORDS: &str = "words";

/// The namespace of the `number`th of something.
pub(super) fn home(number: u64) -> &'static str {
    let [first, second] = NAMESPACES;
    if number.is_multiple_of(2) {
        first
    } else {
        second
    }
}

pub(super) fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {APP: "yes"}}})
}

pub(super) fn words(namespace: &str, word: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": WORDS, "namespace": namespace},
        "stringData": {"word": word},
    })
}

/// One connector with a node for each operating system.
pub(super) fn connector(emulator: &Emulator) -> Result<Value> {
    let spec = json!({
        "osType": "Both",
        "region": REGION,
        "aciResourceGroup": RESOURCE_GROUP,
        "publicIP": true,
        "credentials": { "type": "ServicePrincipal", "secretRef": { "name": SECRET } },
        "node": { "capacity": { "cpu": "5000", "memory": "20000Gi", "pods": "2000" } },
    });
    emulator.connector(CONNECTOR, spec)
}

/// A container group that is not ours.
pub(super) fn foreign_group(name: &str) -> Value {
    let tags = if name == "another-cluster" {
        // All the tags of a pod of ours, but for the cluster.
        json!({
            "vkc-cluster": "22222222-2222-4222-8222-222222222222", "vkc-connector": "33333333-3333-4333-8333-333333333333",
            "vkc-node": format!("virtual-kubelet-{CONNECTOR}-linux-{REGION}"), "vkc-namespace": NAMESPACES[0],
            "vkc-pod": "theirs", "vkc-uid": "44444444-4444-4444-8444-444444444444",
        })
    } else {
        json!({"team": "somebody-else"})
    };
    json!({"location": REGION, "tags": tags, "properties": {
        "osType": "Linux", "restartPolicy": "Always",
        "containers": [{"name": "web", "properties": {
            "image": "nginx:1", "resources": {"requests": {"cpu": 1.0, "memoryInGB": 1.5}},
        }}],
    }})
}

fn container(name: &str, image: &str) -> Value {
    json!({
        "name": name,
        "image": image,
        "env": [{"name": "WORD", "valueFrom": {"secretKeyRef": {"name": WORDS, "key": "word"}}}],
        "ports": [{"containerPort": if name == "main" { 80 } else { 81 }}],
    })
}

/// A spec for one of the nodes; with `code` the container ends with it.
fn pod_spec(windows: bool, policy: &str, code: Option<u64>) -> Value {
    let image = match code {
        Some(code) => format!("example.test/exit:{code}"),
        None => "example.test/web:1".to_owned(),
    };
    json!({
        "restartPolicy": policy,
        "terminationGracePeriodSeconds": 5,
        "containers": [container("main", &image)],
        "nodeSelector": {
            "kubernetes.io/os": if windows { "windows" } else { "linux" },
            "type": "virtual-kubelet",
        },
        "tolerations": [{"key": "virtual-kubelet.io/provider", "operator": "Exists"}],
    })
}

pub(super) fn pod(name: &str, windows: bool, policy: Policy, code: Option<u64>) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": {APP: name}},
        "spec": pod_spec(windows, policy.word(), code),
    })
}

fn template(app: &str, spec: &Value) -> Value {
    json!({"metadata": {"labels": {APP: app}}, "spec": spec})
}

/// The second has two containers and one before them, the fourth is for Windows.
pub(super) fn deployment(number: u64, replicas: u64) -> Value {
    let name = format!("web-{number}");
    let mut spec = pod_spec(number == 3, "Always", None);
    if number == 1
        && let Some(members) = spec.as_object_mut()
    {
        let two = [
            container("main", "example.test/web:1"),
            container("side", "example.test/side:1"),
        ];
        members.insert("containers".to_owned(), json!(two));
        let init = json!([{"name": "init", "image": "example.test/init:1"}]);
        members.insert("initContainers".to_owned(), init);
    }
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "labels": {APP: name}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {APP: name}},
            "template": template(&name, &spec),
        },
    })
}

pub(super) fn stateful_set(number: u64, replicas: u64) -> Value {
    let name = format!("db-{number}");
    json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet",
        "metadata": {"name": name, "labels": {APP: name}},
        "spec": {
            "replicas": replicas,
            "serviceName": name,
            "podManagementPolicy": if number == 0 { "OrderedReady" } else { "Parallel" },
            "selector": {"matchLabels": {APP: name}},
            "template": template(&name, &pod_spec(false, "Always", None)),
        },
    })
}

/// A Job that is to run exactly `completions` times: nobody touches its pods.
pub(super) fn job(number: u64, completions: u64, on_failure: bool) -> Value {
    let name = format!("job-{number}");
    let policy = if on_failure { "OnFailure" } else { "Never" };
    let mut template = template(&name, &pod_spec(false, policy, Some(0)));
    if let Some(labels) = template
        .pointer_mut("/metadata/labels")
        .and_then(Value::as_object_mut)
    {
        labels.insert(TOUCH.to_owned(), json!("no"));
    }
    json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": name, "labels": {APP: name, TOUCH: "no"}},
        "spec": {
            "completions": completions,
            "parallelism": completions,
            "backoffLimit": 20,
            "template": template,
        },
    })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
    use k8s_openapi::api::batch::v1::Job;
    use k8s_openapi::api::core::v1::Pod;

    use super::*;

    #[test]
    fn manifests_are_what_they_say() {
        for number in 0..4 {
            let web: Deployment = serde_json::from_value(deployment(number, 3)).unwrap();
            let spec = web.spec.unwrap().template.spec.unwrap();
            assert_eq!(spec.containers.len(), if number == 1 { 2 } else { 1 });
            assert_eq!(
                spec.node_selector.unwrap()["kubernetes.io/os"],
                if number == 3 { "windows" } else { "linux" }
            );
        }
        let set: StatefulSet = serde_json::from_value(stateful_set(0, 2)).unwrap();
        assert_eq!(set.spec.unwrap().replicas, Some(2));
        let job: Job = serde_json::from_value(job(1, 2, true)).unwrap();
        let labels = job.spec.unwrap().template.metadata.unwrap().labels.unwrap();
        assert_eq!(labels[TOUCH], "no");
        let pod: Pod = serde_json::from_value(pod("p", true, Policy::Never, Some(3))).unwrap();
        assert_eq!(
            pod.spec.unwrap().containers[0].image.as_deref(),
            Some("example.test/exit:3")
        );
    }

    #[test]
    fn names_alternate_between_the_namespaces() {
        assert_eq!((home(2), home(3)), ("chaos-0", "chaos-1"));
    }
}
