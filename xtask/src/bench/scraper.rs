//! A reader of a node's figures with a token and the rights of a service account, as metrics-server is one.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use serde_json::{Value, json};
use xtask::control_plane::ControlPlane;

use super::kubelet::address;
use xtask::stack::apply;

/// The service account, its role and what binds them.
const NAME: &str = "bench-scraper";
const NAMESPACE: &str = "kube-system";
/// Longer than any reader waits, so that one that takes too long shows in the result.
const TIMEOUT: Duration = Duration::from_secs(30);

/// What metrics-server scrapes.
pub(super) const RESOURCE: &str = "/metrics/resource";
/// What it scraped before, and other readers still do.
pub(super) const SUMMARY: &str = "/stats/summary";

/// Somebody who may read the figures of one node.
pub(super) struct Scraper {
    client: reqwest::Client,
    base: String,
    token: String,
}

/// One scrape: seconds until its last byte, and the containers whose memory it tells.
pub(super) struct Scrape {
    pub(super) seconds: f64,
    pub(super) figures: usize,
}

impl Scraper {
    /// One for the pod's node, with rights made for it.
    pub(super) async fn of(plane: &ControlPlane, client: &Client, pod: &Pod) -> Result<Self> {
        for manifest in rights() {
            apply(plane, &manifest).await?;
        }
        let kubeconfig = plane
            .kubeconfig_for_service_account(NAMESPACE, NAME)
            .await?;
        let http = reqwest::Client::builder()
            // Nodes serve certificates of their own, as in clusters that do not check them.
            .tls_danger_accept_invalid_certs(true)
            .timeout(TIMEOUT)
            .no_proxy()
            .build()?;
        Ok(Self {
            client: http,
            base: format!("https://{}", address(client, pod).await?),
            token: token(&kubeconfig)?,
        })
    }

    /// Asks once for [`RESOURCE`] or [`SUMMARY`] and reads the answer to its end.
    pub(super) async fn scrape(&self, path: &str) -> Result<Scrape> {
        let begin = Instant::now();
        let url = format!("{}{path}", self.base);
        let answer = self.client.get(url).bearer_auth(&self.token).send().await;
        let answer = answer.with_context(|| format!("cannot scrape {path}"))?;
        let text = answer.error_for_status()?.text().await?;
        let seconds = begin.elapsed().as_secs_f64();
        let figures = if path == SUMMARY {
            summarized(&serde_json::from_str(&text)?)
        } else {
            told(&text)
        };
        Ok(Scrape { seconds, figures })
    }
}

/// What metrics-server has in a cluster, as far as it is about nodes' figures.
fn rights() -> [Value; 3] {
    [
        json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": { "name": NAME, "namespace": NAMESPACE },
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": { "name": NAME },
            "rules": [{
                "apiGroups": [""],
                "resources": ["nodes/metrics", "nodes/stats"],
                "verbs": ["get"],
            }],
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": { "name": NAME },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": NAME },
            "subjects": [{ "kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE }],
        }),
    ]
}

/// The token in a kubeconfig of the control plane, which is JSON.
fn token(kubeconfig: &Path) -> Result<String> {
    let config: Value = serde_json::from_str(&std::fs::read_to_string(kubeconfig)?)?;
    let token = config.pointer("/users/0/user/token");
    let token = token.and_then(Value::as_str);
    Ok(token.context("the kubeconfig has no token")?.to_owned())
}

/// Containers with a figure of memory in Prometheus' text.
fn told(text: &str) -> usize {
    text.lines()
        .filter(|line| line.starts_with("container_memory_working_set_bytes{"))
        .count()
}

/// The same in a summary.
fn summarized(summary: &Value) -> usize {
    let of = |value: &Value, key: &str| value.get(key).and_then(Value::as_array).cloned();
    let pods = of(summary, "pods").unwrap_or_default();
    pods.iter()
        .filter_map(|pod| of(pod, "containers"))
        .flatten()
        .filter(|container| container.pointer("/memory/workingSetBytes").is_some())
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_with_figures_are_counted() {
        let text = "# TYPE container_memory_working_set_bytes gauge\n\
            container_memory_working_set_bytes{container=\"c\",pod=\"a\"} 1\n\
            container_memory_working_set_bytes{container=\"c\",pod=\"b\"} 2\n\
            node_memory_working_set_bytes 3\n";
        assert_eq!(told(text), 2);
        let summary = json!({ "pods": [
            { "containers": [{ "memory": { "workingSetBytes": 1 } }, { "name": "new" }] },
            { "podRef": {} },
        ] });
        assert_eq!(summarized(&summary), 1);
    }
}
