//! A control plane that is a copy of another one, with the same UIDs, Leases and Secrets, and an operator in each: what
//! docs/reliability.md promises in rows 5 and 24. On a control plane of its own:
//! the copy works with all connectors there are.

use std::path::Path;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::events::v1::Event;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use vkc::api::VirtualKubeletConnector;
use xtask::control_plane::{Assets, ControlPlane, Options, stderr_progress};
use xtask::stack::Operator;

use crate::support::fixture::{Fixture, PATIENCE, condition, eventually, is_running, text};
use crate::support::site::{NAMESPACE, Site, run};

static SITE: Site = Site::new();
const ANNOTATION: &str = "virtual-kubelet.io/delete-orphans";

/// A copy of the control plane as it is, with an operator.
struct Copy {
    // The process first: it ends before its API server.
    _operator: Operator,
    _plane: ControlPlane,
    client: Client,
    name: String,
}

impl Copy {
    async fn of(fixture: &Fixture) -> Self {
        let saved = tempfile::tempdir().unwrap();
        let data = saved.path().join("etcd");
        SITE.plane().await.save_etcd(&data).unwrap();
        let options = Options {
            restore_from: Some(data),
            ..Options::default()
        };
        let assets = Assets::resolve(stderr_progress).unwrap();
        let plane = ControlPlane::start(&assets, options).await.unwrap();
        let kubeconfig = plane.kubeconfig_for_service_account(NAMESPACE, "vkc");
        let kubeconfig = kubeconfig.await.unwrap();
        let program = Path::new(env!("CARGO_BIN_EXE_vkc"));
        let operator = Operator::start(program, plane.dir(), &kubeconfig, NAMESPACE, &[]);
        Self {
            _operator: operator.await.unwrap(),
            client: plane.client().await.unwrap(),
            _plane: plane,
            name: fixture.name.clone(),
        }
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.name)
    }

    async fn orphans_found(&self) -> Value {
        let connectors = Api::<VirtualKubeletConnector>::all(self.client.clone());
        let connector = connectors.get(&self.name).await.unwrap();
        condition(&serde_json::to_value(connector).unwrap(), "OrphansFound").clone()
    }

    /// A person says that the copy is the one that goes on: a token is good for what there was to agree to.
    async fn is_told_to_go_on(&self, fixture: &Fixture, old_token: &str, vanished: &str) {
        let connectors = Api::<VirtualKubeletConnector>::all(self.client.clone());
        let agree = async |token: &str| {
            let patch = json!({"metadata": {"annotations": {ANNOTATION: token}}});
            let (params, patch) = (PatchParams::default(), Patch::Merge(&patch));
            connectors.patch(&self.name, &params, &patch).await.unwrap();
        };
        agree(old_token).await;
        eventually("an agreement to what is listed now", 120, || async {
            let message = text(&self.orphans_found().await["message"]).to_owned();
            if let Some(token) = token(&message) {
                agree(&token).await;
            }
            match fixture.control.group(vanished) {
                None => Ok(()),
                Some(_) => Err(message),
            }
        })
        .await;
    }

    /// Reasons of the Events about a pod.
    async fn told(&self, pod: &str) -> Vec<String> {
        let events = Api::<Event>::namespaced(self.client.clone(), &self.name);
        let about = ListParams::default().fields(&format!("regarding.name={pod}"));
        let events = events.list(&about).await.unwrap();
        let reasons = events.items.into_iter().filter_map(|event| event.reason);
        reasons.collect()
    }
}

/// Who holds the connector's Lease.
async fn holder(client: &Client, connector: &str) -> String {
    let leases = Api::<Lease>::namespaced(client.clone(), NAMESPACE);
    let name = format!("vkc-connector-{connector}");
    let spec = leases.get(&name).await.unwrap().spec;
    spec.and_then(|spec| spec.holder_identity)
        .unwrap_or_default()
}

/// The groups' token in the message.
fn token(message: &str) -> Option<String> {
    let (_, rest) = message.split_once(&format!("{ANNOTATION}="))?;
    Some(rest.split(' ').next()?.to_owned())
}

#[test]
fn the_operator_of_a_copied_control_plane_notices_and_deletes_nothing() {
    run(async {
        let operator = SITE.shared().await;
        let fixture = Fixture::start(&operator, "copied", "Linux").await;
        let mut groups = Vec::new();
        for name in ["kept", "ended", "vanished"] {
            groups.push(fixture.group_of(&fixture.run_pod(name).await));
        }
        let uid = fixture.pod("kept").await["metadata"]["uid"].clone();
        let copy = Copy::of(&fixture).await;
        let pods = copy.pods();
        assert_eq!(
            serde_json::to_value(pods.get("kept").await.unwrap()).unwrap()["metadata"]["uid"],
            uid,
            "the same pod in both"
        );

        let first = holder(&fixture.client, &fixture.name).await;
        eventually("the copy's operator works", PATIENCE, || async {
            match holder(&copy.client, &fixture.name).await {
                it if it != first => Ok(()),
                same => Err(same),
            }
        })
        .await;

        // The first cluster goes on, and makes a group of which the copy knows no pod.
        let later = fixture.group_of(&fixture.run_pod("later").await);
        let found = eventually("the copy notices", 120, || async {
            let found = copy.orphans_found().await;
            if found["reason"] == "AnotherControlPlane" {
                Ok(found)
            } else {
                Err(found.to_string())
            }
        })
        .await;
        assert_eq!(found["status"], "True");
        let message = text(&found["message"]).to_owned();
        assert!(message.contains(&later), "{message}");
        let token = token(&message).unwrap();

        // What a careful person does in a copy: the workloads of the other cluster are ended here.
        let params = DeleteParams::default();
        pods.delete("ended", &params).await.unwrap();
        pods.delete("vanished", &params.clone().grace_period(0))
            .await
            .unwrap();
        eventually("the pod's owner is told why", PATIENCE, || async {
            let told = copy.told("ended").await;
            if told.iter().any(|reason| reason == "AnotherControlPlane") {
                Ok(())
            } else {
                Err(format!("{told:?}"))
            }
        })
        .await;
        // The list that comes next knows of the vanished one, too.
        eventually("the vanished one is counted", 90, || async {
            let found = copy.orphans_found().await;
            if text(&found["message"]).contains(&groups[2]) {
                Ok(())
            } else {
                Err(found.to_string())
            }
        })
        .await;
        for group in groups.iter().chain([&later]) {
            let mut calls = fixture.calls(group);
            calls.retain(|(method, _)| method != "GET");
            assert_eq!(calls, [("PUT".to_owned(), 201)], "{group}");
        }

        // The first cluster is as it was, and its pods are its own to delete.
        assert_ne!(
            condition(&fixture.connector().await, "OrphansFound")["status"],
            "True"
        );
        for name in ["kept", "ended", "vanished", "later"] {
            assert!(is_running(&fixture.pod(name).await), "{name}");
        }
        for (name, group) in [("ended", &groups[1]), ("later", &later)] {
            fixture.api::<Pod>().delete(name, &params).await.unwrap();
            eventually("its group is gone", PATIENCE, || async {
                match fixture.control.group(group) {
                    None => Ok(()),
                    Some(_) => Err("still there".to_owned()),
                }
            })
            .await;
        }

        copy.is_told_to_go_on(&fixture, &token, &groups[2]).await;
        assert!(
            fixture.control.group(&groups[0]).is_some(),
            "it has its pod in both"
        );
        assert!(SITE.plane().await.check().is_ok());
        fixture.finish().await;
    });
}
