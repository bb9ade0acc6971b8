//! The harness itself: what other tests take for granted about the control plane.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod};
use kube::api::{Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::json;
use xtask::control_plane::{
    Assets, ControlPlane, KUBERNETES_VERSION, Options, cache_root, shared, stderr_progress,
};

async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut look: impl FnMut() -> F,
) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn alive(pid: u32) -> bool {
    // A zombie counts as alive: the harness promises to reap.
    Path::new(&format!("/proc/{pid}")).exists()
        || (!Path::new("/proc/self").exists()
            && Command::new("kill")
                .args(["-0", &pid.to_string()])
                .status()
                .unwrap()
                .success())
}

#[tokio::test]
async fn reports_the_pinned_release() {
    let version = shared()
        .client()
        .await
        .unwrap()
        .apiserver_version()
        .await
        .unwrap();
    // Programs that were given, not built, have a release of their own.
    let built = shared().kubectl().starts_with(cache_root().unwrap());
    let release = if built {
        KUBERNETES_VERSION
    } else {
        version.git_version.as_str()
    };
    assert_eq!(version.git_version, release);
    assert!(
        release.starts_with(&format!("v{}.{}.", version.major, version.minor)),
        "{version:?}"
    );
    let kubectl = shared()
        .kubectl_run(&["version", "-o", "json"])
        .await
        .unwrap()
        .ok()
        .unwrap();
    let kubectl: serde_json::Value = serde_json::from_str(&kubectl).unwrap();
    assert_eq!(kubectl["clientVersion"]["gitVersion"], release);
    assert_eq!(kubectl["serverVersion"]["gitVersion"], release);
}

#[tokio::test]
async fn node_restriction_limits_an_impersonated_node() {
    let kubeconfig = Kubeconfig::read_from(shared().kubeconfig()).unwrap();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .unwrap();
    config.auth_info.impersonate = Some("system:node:own".into());
    config.auth_info.impersonate_groups = Some(vec!["system:nodes".into()]);
    let nodes: Api<Node> = Api::all(Client::try_from(config).unwrap());
    let node = |name: &str| {
        serde_json::from_value::<Node>(json!({ "metadata": { "name": name } })).unwrap()
    };

    nodes
        .create(&PostParams::default(), &node("own"))
        .await
        .unwrap();
    let refused = nodes
        .create(&PostParams::default(), &node("another"))
        .await
        .unwrap_err();
    let kube::Error::Api(status) = refused else {
        panic!("{refused}")
    };
    assert_eq!(status.code, 403, "{}", status.message);
    assert!(
        status.message.contains("is not allowed to"),
        "{}",
        status.message
    );

    let label = json!({ "metadata": { "labels": { "node-restriction.kubernetes.io/x": "y" } } });
    let refused = nodes
        .patch("own", &PatchParams::default(), &Patch::Merge(&label))
        .await
        .unwrap_err();
    let kube::Error::Api(status) = refused else {
        panic!("{refused}")
    };
    assert_eq!(status.code, 403, "{}", status.message);

    let all: Api<Node> = Api::all(shared().client().await.unwrap());
    all.delete("own", &kube::api::DeleteParams::default())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_pod_is_scheduled_to_a_node_made_by_hand() {
    let client = shared().client().await.unwrap();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace =
        serde_json::from_value(json!({ "metadata": { "name": "harness-schedule" } })).unwrap();
    namespaces
        .create(&PostParams::default(), &namespace)
        .await
        .unwrap();
    shared().namespace_ready("harness-schedule").await.unwrap();

    let nodes: Api<Node> = Api::all(client.clone());
    let node: Node = serde_json::from_value(json!({
        "metadata": { "name": "by-hand", "labels": { "harness": "schedule" } },
        "status": {
            "capacity": { "cpu": "4", "memory": "8Gi", "pods": "10" },
            "allocatable": { "cpu": "4", "memory": "8Gi", "pods": "10" },
            "conditions": [{ "type": "Ready", "status": "True", "reason": "Harness", "message": "",
                "lastHeartbeatTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z" }],
        },
    }))
    .unwrap();
    nodes.create(&PostParams::default(), &node).await.unwrap();

    let pods: Api<Pod> = Api::namespaced(client.clone(), "harness-schedule");
    let pod: Pod = serde_json::from_value(json!({
        "metadata": { "name": "pod" },
        "spec": {
            "nodeSelector": { "harness": "schedule" },
            "tolerations": [{ "operator": "Exists" }],
            "containers": [{ "name": "c", "image": "example.test/none" }],
        },
    }))
    .unwrap();
    pods.create(&PostParams::default(), &pod).await.unwrap();
    let node_name = eventually("the pod is bound", || async {
        pods.get("pod")
            .await
            .unwrap()
            .spec
            .and_then(|spec| spec.node_name)
    })
    .await;
    assert_eq!(node_name, "by-hand");

    // The aggregation layer's configuration, from which a kubelet API takes its client CAs.
    let maps: Api<ConfigMap> = Api::namespaced(client, "kube-system");
    let map = maps
        .get("extension-apiserver-authentication")
        .await
        .unwrap();
    let data = map.data.unwrap();
    assert!(data["client-ca-file"].contains("BEGIN CERTIFICATE"));
    assert!(data["requestheader-client-ca-file"].contains("BEGIN CERTIFICATE"));
}

#[tokio::test]
async fn kubeconfigs_carry_the_identity_asked_for() {
    let plane = shared();
    let whoami = |kubeconfig: std::path::PathBuf| async move {
        let args = ["auth", "whoami", "-o", "json"];
        let text = plane
            .kubectl_as(&kubeconfig, &args, "")
            .await
            .unwrap()
            .ok()
            .unwrap();
        let review: serde_json::Value = serde_json::from_str(&text).unwrap();
        let info = &review["status"]["userInfo"];
        let groups: Vec<String> = serde_json::from_value(info["groups"].clone()).unwrap();
        (info["username"].as_str().unwrap().to_owned(), groups)
    };
    let (user, groups) = whoami(plane.kubeconfig_for("jane", Some("team-a")).unwrap()).await;
    assert_eq!(user, "jane");
    assert_eq!(groups, ["team-a", "system:authenticated"]);
    let account = plane
        .kubeconfig_for_service_account("default", "default")
        .await
        .unwrap();
    let (user, _) = whoami(account).await;
    assert_eq!(user, "system:serviceaccount:default:default");
}

#[tokio::test]
async fn a_plane_of_its_own_can_be_paused_restarted_and_leaves_nothing() {
    let assets = Assets::resolve(stderr_progress).unwrap();
    let options = Options {
        audit_log: true,
        ..Options::default()
    };
    let plane = ControlPlane::start(&assets, options).await.unwrap();
    let client = plane.client().await.unwrap();
    let namespaces: Api<Namespace> = Api::all(client);

    plane.pause_api_server().unwrap();
    let hung = tokio::time::timeout(Duration::from_millis(300), namespaces.get("default")).await;
    assert!(hung.is_err(), "a paused API server answered");
    plane.resume_api_server().unwrap();
    namespaces.get("default").await.unwrap();

    plane.restart_api_server().await.unwrap();
    let fresh: Api<Namespace> = Api::all(plane.client().await.unwrap());
    fresh.get("default").await.unwrap();
    for grace in [None, Some(Duration::from_secs(10))] {
        plane.stop_etcd(grace).await.unwrap();
        plane.start_etcd().await.unwrap();
        plane.stop_api_server(grace).await.unwrap();
        let away = fresh.get("default").await;
        assert!(away.is_err(), "an API server that was ended answered");
        plane.start_api_server().await.unwrap();
        fresh.get("kube-node-lease").await.unwrap();
    }
    let audit = std::fs::read_to_string(plane.audit_log()).unwrap();
    let event: serde_json::Value = serde_json::from_str(audit.lines().next().unwrap()).unwrap();
    assert_eq!(event["level"], "Metadata");

    plane.check().unwrap();
    let pids: Vec<u32> = plane
        .processes()
        .into_iter()
        .map(|(_, pid, _)| pid)
        .collect();
    let dir = plane.dir().to_owned();
    assert!(pids.iter().all(|pid| alive(*pid)));
    drop(plane);
    assert!(
        pids.iter().all(|pid| !alive(*pid)),
        "a process is left of {pids:?}"
    );
    assert!(!dir.exists(), "{} is left", dir.display());
}
