//! A connector's life in Git: late credentials, no drift, an edit by hand, a mistake and its cure, removal in each order.

use serde_json::{Value, json};

use super::{FLUX, Stage, sync};
use crate::support::site::path;

const FILE: &str = "connectors/burst.yaml";
const CONNECTOR: &str = "vkc burst";
const NODE: &str = "node virtual-kubelet-burst-linux-eastus";

fn condition<'a>(object: &'a Value, type_: &str) -> &'a Value {
    let all = object["status"]["conditions"].as_array();
    all.and_then(|all| all.iter().find(|it| it["type"] == type_))
        .unwrap_or(&Value::Null)
}

fn is_ready(object: &Value) -> bool {
    let observed = object["status"]["observedGeneration"] == object["metadata"]["generation"];
    observed && condition(object, "Ready")["status"] == "True"
}

/// The Kustomization has applied this revision, and all of it is as it should be.
fn has_applied(object: &Value, revision: &str) -> bool {
    is_ready(object) && object["status"]["lastAppliedRevision"] == revision
}

fn connectors() -> String {
    format!("-n {FLUX} kustomization/vkc-connectors")
}

/// The operator out of Git, as `config/flux` has it.
async fn installed() -> Stage {
    let stage = Stage::new().await;
    let config = stage.git.work().join("config");
    copy(path("config").as_ref(), &config);
    // Kustomize takes no folder without an object.
    let note = "{apiVersion: v1, kind: ConfigMap, metadata: {name: fleet, namespace: default}}\n";
    stage.git.write("connectors/fleet.yaml", note);
    stage.git.push("the operator");
    for object in sync(stage.git.url()) {
        stage.apply(&object).await;
    }
    let operator = format!("-n {FLUX} kustomization/vkc");
    stage
        .until(&operator, "the operator is there", is_ready)
        .await;
    stage
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connector_comes_lives_and_goes_by_git() {
    let stage = installed().await;
    let mut operator = stage.operator().await;
    late_credentials(&stage).await;
    no_drift(&stage).await;
    a_mistake_and_its_cure(&stage).await;
    pruned(&stage).await;
    removed_in_either_order(&stage).await;
    operator.stop().await.unwrap();
}

/// A Secret that comes later than the connector, as from the External Secrets Operator, fails nothing.
async fn late_credentials(stage: &Stage) {
    let manifest = stage.manifest("burst");
    stage.git.write(FILE, &manifest);
    let revision = stage.git.push("a connector");
    stage.reconcile(&["gitrepository/flux-system"]).await;
    let waiting = stage
        .until(CONNECTOR, "it waits for its Secret", |it| {
            condition(it, "Ready")["reason"] == "SecretNotFound"
        })
        .await;
    assert_eq!(condition(&waiting, "Reconciling")["status"], "True");
    assert_eq!(condition(&waiting, "Stalled"), &Value::Null);
    let seen = stage.get(&connectors()).await;
    assert_ne!(
        condition(&seen, "Ready")["status"],
        "False",
        "{}",
        seen["status"]
    );
    stage.create_secret().await;
    stage
        .until(&connectors(), "the connector is ready", |it| {
            has_applied(it, &revision)
        })
        .await;
    assert!(is_ready(&stage.get(CONNECTOR).await));
}

/// What was applied is applied again without a write; what somebody changes by hand is brought back.
async fn no_drift(stage: &Stage) {
    let all = ["gitrepository/flux-system", "kustomization/vkc-connectors"];
    let before = stage.get(CONNECTOR).await;
    stage.reconcile(&all).await;
    let after = stage.get(CONNECTOR).await;
    let written = |it: &Value| {
        let entries = it["metadata"]["managedFields"].as_array().unwrap().clone();
        entries
            .into_iter()
            .find(|it| it["manager"] == "kustomize-controller")
            .unwrap()["time"]
            .clone()
    };
    assert_eq!(
        written(&before),
        written(&after),
        "Flux has nothing to change"
    );
    assert_eq!(
        before["metadata"]["generation"],
        after["metadata"]["generation"]
    );
    let patch = r#"{"spec":{"osType":"Both"}}"#;
    stage
        .kubectl(&format!("patch {CONNECTOR} --type=merge -p {patch}"))
        .await
        .unwrap();
    stage.reconcile(&all[1..]).await;
    stage
        .until(CONNECTOR, "Git has the last word", |it| {
            it["spec"]["osType"] == "Linux" && is_ready(it)
        })
        .await;
}

/// A mistake fails the Kustomization at once, not at its time-out of ten minutes, and says what to do; a commit cures it.
async fn a_mistake_and_its_cure(stage: &Stage) {
    let good = stage.manifest("burst");
    let bad = good.replace(
        "  osType: Linux",
        "  containerInstanceAPIVersion: \"2020-01-01\"\n  osType: Linux",
    );
    assert_ne!(good, bad);
    stage.git.write(FILE, &bad);
    stage.git.push("a mistake");
    stage.reconcile(&["gitrepository/flux-system"]).await;
    let failed = stage
        .until(&connectors(), "it has failed", |it| {
            condition(it, "Ready")["reason"] == "HealthCheckFailed"
        })
        .await;
    let message = condition(&failed, "Ready")["message"].as_str().unwrap();
    assert!(message.contains("burst"), "{message}");
    stage.git.write(FILE, &good);
    let revision = stage.git.push("its cure");
    stage.reconcile(&["gitrepository/flux-system"]).await;
    stage
        .until(&connectors(), "all is well", |it| {
            has_applied(it, &revision)
        })
        .await;
}

/// What leaves Git is drained, its container groups with it.
async fn pruned(stage: &Stage) {
    stage.plane.namespace_ready("default").await.unwrap();
    stage
        .apply(&json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "default"},
            "spec": {
                "nodeSelector": {"virtual-kubelet.io/connector": "burst"},
                "tolerations": [{"key": "virtual-kubelet.io/provider", "operator": "Exists"}],
                "containers": [{"name": "main", "image": "mcr.microsoft.com/azuredocs/aci-helloworld:latest"}],
            },
        }))
        .await;
    stage
        .until("pod web", "it runs", |it| {
            it["status"]["phase"] == "Running"
        })
        .await;
    assert_eq!(stage.azure.control().group_count(), 1);
    stage.git.remove(FILE);
    let revision = stage.git.push("no connector");
    stage.reconcile(&["gitrepository/flux-system"]).await;
    stage.until(CONNECTOR, "it is pruned", Value::is_null).await;
    stage.until(NODE, "it is gone", Value::is_null).await;
    assert_eq!(stage.azure.control().group_count(), 0);
    stage
        .until(&connectors(), "the rest is as it was", |it| {
            has_applied(it, &revision)
        })
        .await;
}

/// Connectors first; then both at once, where the operator outlives its Kustomization.
async fn removed_in_either_order(stage: &Stage) {
    for names in ["vkc-connectors", "vkc-connectors vkc"] {
        stage.git.write(FILE, &stage.manifest("burst"));
        let revision = stage.git.push("again");
        for object in sync(stage.git.url()) {
            stage.apply(&object).await;
        }
        stage.reconcile(&["gitrepository/flux-system"]).await;
        stage
            .until(&connectors(), "it is back", |it| has_applied(it, &revision))
            .await;
        stage
            .kubectl(&format!(
                "delete kustomization -n {FLUX} --timeout=60s {names}"
            ))
            .await
            .unwrap();
        assert!(
            stage.get(CONNECTOR).await.is_null(),
            "deleted before the Kustomization"
        );
        assert!(stage.get(NODE).await.is_null());
        let kept = stage.get("-n vkc-system deployment/vkc").await;
        assert!(!kept.is_null(), "the operator is there to drain");
        stage.git.remove(FILE);
        stage.git.push("none");
    }
}
