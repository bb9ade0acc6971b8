//! kubectl, and a client of the kubelet API that shows what it is told to show.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};
use reqwest::{Certificate, Client, Identity};
use serde_json::Value;
use vkc::kube::client::Clients;
use xtask::control_plane::{ControlPlane, Output};

use super::fixture::Fixture;
use super::site::plane;

/// The configuration of a client, as a file has it.
pub(crate) async fn kube_config(kubeconfig: &Path) -> Config {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .unwrap()
}

/// The operator's clients, with the rights of a file.
pub(crate) async fn clients(kubeconfig: &Path) -> Clients {
    Clients::new(kube_config(kubeconfig).await, Arc::new(())).unwrap()
}

/// Server-side apply as the administrator of `plane`, who takes no field from another.
pub(crate) async fn apply(plane: &ControlPlane, manifest: &Value) {
    let args = ["apply", "--server-side", "-f", "-"];
    let (admin, text) = (plane.kubeconfig(), manifest.to_string());
    let output = plane.kubectl_as(admin, &args, &text).await;
    output.unwrap().ok().unwrap();
}

/// What kubectl prints as the administrator of `plane`, or what it complains of.
pub(crate) async fn answer(plane: &ControlPlane, args: &[&str]) -> Result<String, String> {
    let output = plane.kubectl_run(args).await.unwrap();
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(output.stderr)
    }
}

/// Runs kubectl in the fixture's namespace.
pub(crate) async fn kubectl(fixture: &Fixture, args: &[&str]) -> Output {
    let mut all = vec!["--namespace", fixture.name.as_str()];
    all.extend_from_slice(args);
    plane().await.kubectl_run(&all).await.unwrap()
}

/// What kubectl prints, when it succeeds.
pub(crate) async fn printed(fixture: &Fixture, args: &[&str]) -> String {
    kubectl(fixture, args).await.ok().unwrap()
}

/// What kubectl complains of.
pub(crate) async fn complaint(fixture: &Fixture, args: &[&str]) -> String {
    let output = kubectl(fixture, args).await;
    assert!(
        !output.status.success(),
        "{args:?} printed {}",
        output.stdout
    );
    output.stderr
}

/// Certificate and key of `user` by the cluster's CA, as one PEM text.
pub(crate) async fn certificate(user: &str, group: Option<&str>) -> String {
    certificate_at(plane().await, user, group)
}

/// The same by the CA of another cluster.
pub(crate) fn certificate_at(plane: &ControlPlane, user: &str, group: Option<&str>) -> String {
    let kubeconfig = plane.kubeconfig_for(user, group).unwrap();
    let file = kubeconfig.file_stem().unwrap().to_str().unwrap().to_owned();
    let read = |end: &str| {
        let path = plane.dir().join("pki").join(format!("user-{file}.{end}"));
        std::fs::read_to_string(path).unwrap()
    };
    read("crt") + &read("key")
}

/// A client that takes any server and shows `identity`.
pub(crate) fn client(identity: Option<&str>) -> Client {
    let mut builder = Client::builder()
        .tls_danger_accept_invalid_certs(true)
        .timeout(Duration::from_secs(20))
        .no_proxy();
    if let Some(pem) = identity {
        builder = builder.identity(Identity::from_pem(pem.as_bytes()).unwrap());
    }
    builder.build().unwrap()
}

/// A client that believes only this CA.
pub(crate) fn believing(ca_pem: &str, identity: &str) -> Client {
    Client::builder()
        .tls_certs_only([Certificate::from_pem(ca_pem.as_bytes()).unwrap()])
        .identity(Identity::from_pem(identity.as_bytes()).unwrap())
        .timeout(Duration::from_secs(20))
        .no_proxy()
        .build()
        .unwrap()
}

/// Where the kubelet API of the fixture's Linux node is.
pub(crate) async fn address(fixture: &Fixture) -> String {
    let node = fixture
        .nodes()
        .get(&fixture.node_name("linux"))
        .await
        .unwrap();
    let node = serde_json::to_value(node).unwrap();
    let port = &node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"];
    assert!(
        port.as_u64().is_some_and(|port| port > 0),
        "{}",
        node["status"]
    );
    format!("https://127.0.0.1:{port}")
}

/// Status and text of an answer.
pub(crate) async fn get(client: &Client, url: &str) -> (u16, String) {
    let answer = client.get(url).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// Names of the items of a list.
pub(crate) fn names(list: &str) -> Vec<String> {
    let list: Value = serde_json::from_str(list).unwrap();
    let mut names: Vec<String> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["metadata"]["name"].as_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}
