//! `kubectl top`: the figures' whole way, from Azure Monitor over a virtual node's kubelet API and metrics-server to the
//! terminal.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use serde_json::{Value, json};
use xtask::control_plane::{Assets, kubeconfig, stderr_progress};
use xtask::ports::free_port;
use xtask::process::Process;

use super::Args;
use super::session::Session;
use super::view::Os;

const NAMESPACE: &str = "kube-system";
const NAME: &str = "metrics-server";
const RBAC: &str = include_str!("../../control-plane/metrics-server/rbac.yaml");
/// A rate needs two figures, and a node asks Azure once a minute; the rest is for busy machines.
const DEADLINE: Duration = Duration::from_mins(3);
/// A node gives up on Azure after seven seconds.
const NODE_TIMEOUT: Duration = Duration::from_secs(9);
const REPORT_EVERY: Duration = Duration::from_secs(15);

/// Where the figures of the pods are read.
#[derive(Debug)]
pub(super) enum Top {
    /// From metrics-server, which is this program.
    MetricsServer(PathBuf),
    /// From the nodes: metrics-server could not be built.
    Nodes,
    /// Nowhere: it was not wanted, or the cluster cannot reach this machine.
    Nowhere,
}

impl Top {
    /// Finds or builds metrics-server, for a control plane of our own.
    pub(super) fn resolve(args: &Args, assets: Option<&Assets>) -> Self {
        let assets = match assets {
            Some(assets) if args.kubeconfig.is_none() && !args.no_top => assets,
            _ => return Self::Nowhere,
        };
        match assets.metrics_server(stderr_progress) {
            Ok(program) => Self::MetricsServer(program),
            Err(error) => {
                println!(
                    "metrics-server cannot be built; figures are read from the nodes: {error:#}"
                );
                Self::Nodes
            }
        }
    }
}

impl Session {
    /// The rights that metrics-server has in a cluster, and a kubeconfig with them. Then metrics-server, if it is there.
    pub(super) async fn start_top(&mut self, top: &Top) -> Result<()> {
        if matches!(top, Top::Nowhere) {
            return Ok(());
        }
        self.apply(RBAC).await?;
        let config = self.metrics_server_kubeconfig();
        kubeconfig::for_service_account(self.admin_kubeconfig(), &config, NAMESPACE, NAME).await?;
        match top {
            Top::MetricsServer(program) => self.start_metrics_server(program, &config).await,
            Top::Nodes | Top::Nowhere => Ok(()),
        }
    }

    fn metrics_server_kubeconfig(&self) -> PathBuf {
        self.dir().join("metrics-server.kubeconfig")
    }

    /// metrics-server as a process of its own, and the API server sent to it.
    async fn start_metrics_server(&mut self, program: &Path, config: &Path) -> Result<()> {
        let port = free_port()?;
        let mut command = Command::new(program);
        for flag in [
            "kubeconfig",
            "authentication-kubeconfig",
            "authorization-kubeconfig",
        ] {
            command.arg(format!("--{flag}={}", config.display()));
        }
        command
            .arg(format!("--secure-port={port}"))
            .arg(format!(
                "--cert-dir={}",
                self.dir().join("metrics-server").display()
            ))
            .args([
                "--bind-address=127.0.0.1",
                // Nodes serve certificates of their own, as in clusters that do not check them.
                "--kubelet-insecure-tls",
                "--kubelet-preferred-address-types=InternalIP",
                "--kubelet-use-node-status-port",
                // The shortest that it takes, and with it the longest time for a scrape.
                "--metric-resolution=10s",
                "--kubelet-request-timeout=9s",
            ]);
        let process = Process::spawn(NAME, command, self.dir())?;
        self.apply(
            &json!({
                "apiVersion": "v1",
                "kind": "List",
                "items": [
                    {
                        "apiVersion": "v1",
                        "kind": "Service",
                        "metadata": { "name": NAME, "namespace": NAMESPACE },
                        // Endpoints may not be on loopback; a name may.
                        "spec": { "type": "ExternalName", "externalName": "localhost" },
                    },
                    {
                        "apiVersion": "apiregistration.k8s.io/v1",
                        "kind": "APIService",
                        "metadata": { "name": "v1beta1.metrics.k8s.io" },
                        "spec": {
                            "group": "metrics.k8s.io",
                            "version": "v1beta1",
                            "service": { "name": NAME, "namespace": NAMESPACE, "port": port },
                            "insecureSkipTLSVerify": true,
                            "groupPriorityMinimum": 100,
                            "versionPriority": 100,
                        },
                    },
                ],
            })
            .to_string(),
        )
        .await?;
        self.say(&format!(
            "started metrics-server on port {port} and registered v1beta1.metrics.k8s.io"
        ));
        println!(
            "         metrics-server (pid {}): {}",
            process.id(),
            process.log().display()
        );
        self.metrics_server = Some(process);
        Ok(())
    }

    /// Waits for figures of both pods and shows them. None in time is an error when `must`, else it is only said.
    pub(super) async fn see_figures(&mut self, top: &Top, must: bool) -> Result<()> {
        if matches!(top, Top::Nowhere) {
            return Ok(());
        }
        self.say("waiting for figures of both pods; metrics-server needs two of each node, which asks Azure once a minute");
        let started = Instant::now();
        let mut next = REPORT_EVERY;
        loop {
            self.check_processes()?;
            let Err(objection) = self.figures(top).await else {
                break;
            };
            if objection.starts_with("cpu of") {
                self.keep_busy().await?;
            }
            let elapsed = started.elapsed();
            if elapsed >= DEADLINE {
                let said = format!("no figures after {} s: {objection}", DEADLINE.as_secs());
                ensure!(!must, said);
                self.say(&said);
                return Ok(());
            }
            if elapsed >= next {
                self.say(&format!("still waiting for figures: {objection}"));
                next += REPORT_EVERY;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        self.say(&format!(
            "figures came after {} s",
            started.elapsed().as_secs()
        ));
        if matches!(top, Top::Nodes) {
            for os in [Os::Linux, Os::Windows] {
                println!("\n{}: GET /metrics/resource", os.node());
                print!("{}", self.ask_node(os).await?);
            }
            return Ok(());
        }
        for args in [
            &["get", "apiservice", "v1beta1.metrics.k8s.io"][..],
            &["top", "pod", "--all-namespaces"],
            &["top", "node"],
        ] {
            println!("\n$ kubectl {}", args.join(" "));
            print!("{}", self.kubectl(args).await?);
        }
        println!();
        Ok(())
    }

    /// The first thing that has no figures yet.
    async fn figures(&self, top: &Top) -> Result<(), String> {
        if matches!(top, Top::Nodes) {
            for os in [Os::Linux, Os::Windows] {
                let text = self.ask_node(os).await;
                node_tells(os, &text.map_err(|error| format!("{error:#}"))?)?;
            }
            return Ok(());
        }
        let list = async |what: &str| -> Result<Value, String> {
            let path = format!("/apis/metrics.k8s.io/v1beta1/{what}");
            let text = self.kubectl(&["get", "--raw", &path]).await;
            let text = text.map_err(|error| format!("{error:#}"))?;
            serde_json::from_str(&text).map_err(|error| error.to_string())
        };
        let pods = list("namespaces/default/pods").await?;
        let nodes = list("nodes").await?;
        [Os::Linux, Os::Windows]
            .into_iter()
            .try_for_each(|os| metrics_server_tells(os, &pods, &nodes))
    }

    /// What a node answers to metrics-server. Directly: the API server's proxy goes to no node on loopback.
    async fn ask_node(&self, os: Os) -> Result<String> {
        let node: Node = Api::all(self.client().await?).get(os.node()).await?;
        let port = node
            .status
            .and_then(|status| status.daemon_endpoints)
            .and_then(|endpoints| endpoints.kubelet_endpoint)
            .map(|endpoint| endpoint.port)
            .with_context(|| format!("node {} has no kubelet port", os.node()))?;
        let config: Value =
            serde_json::from_str(&std::fs::read_to_string(self.metrics_server_kubeconfig())?)?;
        let token = config
            .pointer("/users/0/user/token")
            .and_then(Value::as_str)
            .context("the kubeconfig has no token")?;
        let client = reqwest::Client::builder()
            .tls_danger_accept_invalid_certs(true)
            .timeout(NODE_TIMEOUT)
            .no_proxy()
            .build()?;
        let url = format!("https://127.0.0.1:{port}/metrics/resource");
        let answer = client.get(url).bearer_auth(token).send().await?;
        Ok(answer.error_for_status()?.text().await?)
    }
}

/// `text` is what a node answers: its pod is in it.
fn node_tells(os: Os, text: &str) -> Result<(), String> {
    let pod = format!("pod=\"{}-", os.deployment());
    for metric in [
        "container_cpu_usage_seconds_total{",
        "container_memory_working_set_bytes{",
    ] {
        if !text
            .lines()
            .any(|line| line.starts_with(metric) && line.contains(&pod))
        {
            return Err(format!(
                "node {} has no {}",
                os.node(),
                metric.trim_end_matches('{')
            ));
        }
    }
    Ok(())
}

/// `pods` and `nodes` are lists of `metrics.k8s.io`: the pod of `os` and its node are in them, with figures that are not
/// nothing.
fn metrics_server_tells(os: Os, pods: &Value, nodes: &Value) -> Result<(), String> {
    let named = |list: &Value, matches: &dyn Fn(&str) -> bool| -> Option<Value> {
        let items = list.get("items")?.as_array()?;
        let name = |item: &Value| item.pointer("/metadata/name")?.as_str().map(matches);
        items.iter().find(|item| name(item) == Some(true)).cloned()
    };
    let prefix = format!("{}-", os.deployment());
    let pod = named(pods, &|name| name.starts_with(&prefix))
        .ok_or_else(|| format!("metrics-server has no pod of {}", os.deployment()))?;
    let node = named(nodes, &|name| name == os.node())
        .ok_or_else(|| format!("metrics-server has no node {}", os.node()))?;
    for (of, usage) in [
        (os.deployment(), pod.pointer("/containers/0/usage")),
        (os.node(), node.get("usage")),
    ] {
        for resource in ["cpu", "memory"] {
            let figure = usage
                .and_then(|usage| usage.get(resource))
                .and_then(Value::as_str)
                .unwrap_or("0");
            if figure.starts_with('0') {
                return Err(format!("{resource} of {of} is {figure}"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(name: &str, usage: &Value) -> Value {
        json!({
            "metadata": { "name": name },
            "containers": [{ "name": "c", "usage": usage }],
            "usage": usage,
        })
    }

    #[test]
    fn figures_count_when_pod_and_node_have_both() {
        let full = json!({ "cpu": "5000123n", "memory": "19532Ki" });
        let pods = |usage: &Value| json!({ "items": [item("aci-helloworld-abc-1", usage)] });
        let nodes = |usage: &Value| json!({ "items": [item(Os::Linux.node(), usage)] });
        let tells = |pods: &Value, nodes: &Value| metrics_server_tells(Os::Linux, pods, nodes);
        assert_eq!(tells(&pods(&full), &nodes(&full)), Ok(()));
        let none = json!({ "items": [] });
        let idle = json!({ "cpu": "0", "memory": "19532Ki" });
        for (pods, nodes, said) in [
            (&none, &nodes(&full), "no pod of aci-helloworld"),
            (&pods(&full), &none, "no node virtual-kubelet"),
            (&pods(&idle), &nodes(&full), "cpu of aci-helloworld is 0"),
            (
                &pods(&full),
                &nodes(&json!({ "cpu": "1m" })),
                "memory of virtual-kubelet",
            ),
        ] {
            let objection = tells(pods, nodes).unwrap_err();
            assert!(objection.contains(said), "{objection:?}: {said:?}");
        }
    }

    #[test]
    fn a_node_tells_both_figures_of_its_pod() {
        let line = |metric: &str, pod: &str| {
            format!("{metric}{{container=\"c\",pod=\"{pod}-1\",namespace=\"default\"}} 1 1000\n")
        };
        let cpu = line("container_cpu_usage_seconds_total", "nanoserver-iis");
        let memory = line("container_memory_working_set_bytes", "nanoserver-iis");
        let tells = |text: &str| node_tells(Os::Windows, text);
        assert_eq!(tells(&format!("{cpu}{memory}")), Ok(()));
        assert!(tells(&cpu).unwrap_err().contains("memory"));
        assert!(
            tells(&line("container_cpu_usage_seconds_total", "other"))
                .unwrap_err()
                .contains("cpu")
        );
    }
}
