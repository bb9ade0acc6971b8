//! Row 24: two clusters, one resource group, everything under the same names.

use std::path::Path;

use k8s_openapi::api::core::v1::{Namespace, Pod, Secret};
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use vkc::api::VirtualKubeletConnector;
use xtask::control_plane::{ControlPlane, Options};
use xtask::stack::Operator;

use crate::support::fixture::{
    Fixture, PATIENCE, condition, credentials, eventually, is_running, text,
};
use crate::support::site::{NAMESPACE, installed, run, shared};

/// Another cluster with an operator and a connector like the fixture's.
struct Other {
    plane: ControlPlane,
    operator: Option<Operator>,
    client: Client,
    name: String,
}

impl Other {
    async fn start(fixture: &Fixture) -> Self {
        let plane = installed(Options::default()).await;
        let client = plane.client().await.unwrap();
        let mut other = Self {
            plane,
            operator: None,
            client,
            name: fixture.name.clone(),
        };
        other.start_operator().await;
        other.copy_of(fixture).await;
        other
    }

    async fn start_operator(&mut self) {
        let kubeconfig = self
            .plane
            .kubeconfig_for_service_account(NAMESPACE, "vkc")
            .await
            .unwrap();
        let program = Path::new(env!("CARGO_BIN_EXE_vkc"));
        let dir = self.plane.dir();
        let operator = Operator::start(program, dir, &kubeconfig, NAMESPACE, &[]).await;
        self.operator = Some(operator.unwrap());
    }

    /// The fixture's namespace, Secret and connector, as somebody makes them who copies his manifests.
    async fn copy_of(&self, fixture: &Fixture) {
        let params = PostParams::default();
        let namespace: Namespace =
            serde_json::from_value(json!({"metadata": {"name": self.name}})).unwrap();
        let namespaces = Api::<Namespace>::all(self.client.clone());
        namespaces.create(&params, &namespace).await.unwrap();
        self.plane.namespace_ready(&self.name).await.unwrap();
        let secret = credentials(NAMESPACE, &self.name, &fixture.config);
        let secret: Secret = serde_json::from_value(secret).unwrap();
        let secrets = Api::<Secret>::namespaced(self.client.clone(), NAMESPACE);
        secrets.create(&params, &secret).await.unwrap();
        let first = fixture.connector().await;
        let connector: VirtualKubeletConnector = serde_json::from_value(json!({
            "apiVersion": first["apiVersion"],
            "kind": first["kind"],
            "metadata": {"name": self.name},
            "spec": first["spec"],
        }))
        .unwrap();
        self.connectors().create(&params, &connector).await.unwrap();
        eventually("the other connector is Ready", 60, || async {
            let connector = self.connectors().get(&self.name).await.unwrap();
            let connector = serde_json::to_value(connector).unwrap();
            if condition(&connector, "Ready")["status"] == "True" {
                Ok(())
            } else {
                Err(connector["status"].to_string())
            }
        })
        .await;
    }

    fn connectors(&self) -> Api<VirtualKubeletConnector> {
        Api::all(self.client.clone())
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.name)
    }

    async fn run_pod(&self, name: &str, spec: &Value) -> Value {
        let pod = json!({"metadata": {"name": name}, "spec": spec});
        let pod: Pod = serde_json::from_value(pod).unwrap();
        self.pods()
            .create(&PostParams::default(), &pod)
            .await
            .unwrap();
        eventually("the pod of the other cluster runs", PATIENCE, || async {
            let pod = self.pods().get(name).await.unwrap();
            let pod = serde_json::to_value(pod).unwrap();
            if is_running(&pod) {
                Ok(pod)
            } else {
                Err(pod["status"].to_string())
            }
        })
        .await
    }
}

async fn is_gone(fixture: &Fixture, group: &str, limit: u64) {
    eventually("the group of the other cluster is gone", limit, || async {
        match fixture.control.group(group) {
            None => Ok(()),
            Some(_) => Err("still there".to_owned()),
        }
    })
    .await;
}

#[test]
fn two_clusters_with_the_same_names_in_one_resource_group_leave_each_other_alone() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "twins", "Linux").await;
        let mut other = Other::start(&fixture).await;
        let spec = fixture.pod_spec("example.com/web");
        let ours = fixture.run_pod("web").await;
        let mut theirs = Vec::new();
        for name in ["web", "deleted", "vanished"] {
            theirs.push(fixture.group_of(&other.run_pod(name, &spec).await));
        }
        let our_group = fixture.group_of(&ours);
        assert_eq!(fixture.control.group_count(), 4);
        let tags = |group: &str| fixture.control.group(group).unwrap()["tags"].clone();
        let (one, another) = (tags(&our_group), tags(&theirs[0]));
        for same in ["vkc-node", "vkc-namespace", "vkc-pod"] {
            assert_eq!(one[same], another[same], "{same}");
        }
        assert_ne!(one["vkc-cluster"], another["vkc-cluster"]);
        let unharmed = async || {
            let now = fixture.pod("web").await;
            assert!(is_running(&now), "{}", now["status"]);
            assert_eq!(now["metadata"]["uid"], ours["metadata"]["uid"]);
            let mut calls = fixture.calls(&our_group);
            calls.retain(|(method, _)| method != "GET");
            assert_eq!(calls, [("PUT".to_owned(), 201)]);
        };

        // A pod is deleted there.
        let params = DeleteParams::default();
        other.pods().delete("deleted", &params).await.unwrap();
        is_gone(&fixture, &theirs[1], PATIENCE).await;
        unharmed().await;

        // One vanishes while nobody looks there: the sweep for orphans finds what is its own.
        other.operator.take().unwrap().process().kill();
        let force = DeleteParams::default().grace_period(0);
        other.pods().delete("vanished", &force).await.unwrap();
        other.start_operator().await;
        is_gone(&fixture, &theirs[2], 90).await;
        unharmed().await;
        let orphans = fixture.connector().await;
        let orphans = condition(&orphans, "OrphansFound");
        assert_ne!(orphans["status"], "True", "{orphans}");

        // The connector there goes, with all that it has.
        let background = DeleteParams::background();
        let connectors = other.connectors();
        connectors.delete(&other.name, &background).await.unwrap();
        is_gone(&fixture, &theirs[0], 90).await;
        eventually("the other connector is gone", 60, || async {
            match connectors.get_opt(&other.name).await.unwrap() {
                None => Ok(()),
                Some(left) => Err(serde_json::to_value(left).unwrap()["status"].to_string()),
            }
        })
        .await;
        unharmed().await;
        let groups = fixture.control.groups();
        let names: Vec<&str> = groups.iter().map(|group| text(&group["name"])).collect();
        assert_eq!(names, [our_group.as_str()]);
        fixture.finish().await;
    });
}
