//! The certificate that a node shows: issued by the cluster, or from files that change.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use vkc::azure::AzureError;
use vkc::azure::monitor::Series;
use vkc::azure::throttle::LogPollScheduler;
use vkc::kube::client::Impersonation;
use vkc::kube::events::Events;
use vkc::kubelet::{self, Serving, client_ca};
use vkc::provider::exec::{Attached, Command, ExecError, Exit, Streams};
use vkc::provider::{Containers, LogPart};
use vkc::translate::PodKey;

use crate::support::fixture::eventually;
use crate::support::site::{plane, run};
use crate::support::tools::{believing, certificate, clients, get};

/// A node without containers.
struct Nothing;

#[async_trait]
impl Containers for Nothing {
    async fn logs(&self, _: &PodKey, _: &str, _: LogPart) -> Result<String, AzureError> {
        Ok(String::new())
    }

    async fn address(&self, _: &PodKey) -> Result<Option<std::net::IpAddr>, AzureError> {
        Ok(None)
    }

    fn log_polls(&self) -> Arc<LogPollScheduler> {
        Arc::default()
    }

    fn plan_metrics(&self, _: f64) {}

    async fn usage(&self, _: &PodKey, _: i64, _: i64, _: bool) -> Result<Vec<Series>, AzureError> {
        Ok(Vec::new())
    }

    async fn exec(&self, _: &PodKey, _: &str, _: &Command, _: Streams) -> Result<Exit, ExecError> {
        Err(ExecError::Lost)
    }

    async fn attach(&self, _: &PodKey, _: &Attached<'_>, _: Streams) -> Result<Exit, ExecError> {
        Err(ExecError::Lost)
    }
}

/// The kubelet API of one node in this process, and where it is.
struct Node {
    cancel: CancellationToken,
    task: tokio::task::JoinHandle<()>,
    url: String,
}

impl Node {
    async fn start(name: &str, serving: Serving) -> Self {
        let plane = plane().await;
        let kubeconfig = plane
            .kubeconfig_for_service_account("vkc-system", "vkc")
            .await
            .unwrap();
        // With no more than the rights of the operator's manifests.
        let clients = clients(&kubeconfig).await;
        let (sender, client_cas) = client_ca::channel();
        let follow = client_ca::follow(client_ca::Source::Cluster, clients.operator(), sender);
        let client = clients.as_node(name, Impersonation::Constrained).unwrap();
        let (events, recorder) = Events::spawn(client.clone(), "test");
        let dependencies = kubelet::Dependencies {
            node: name.to_owned(),
            ip: IpAddr::from([127, 0, 0, 1]),
            client,
            containers: Arc::new(Nothing),
            node_pods: vkc::pods::snapshot::channel().1,
            probes: vkc::pods::ProbeCounts::default(),
            events,
            shared: kubelet::Shared {
                ports: 0..=0,
                serving,
                client_cas,
                texts: kubelet::Texts::default(),
                observer: Arc::new(()),
            },
        };
        let cancel = CancellationToken::new();
        let (port_sender, mut port) = watch::channel(None);
        let server = kubelet::run(dependencies, port_sender, cancel.clone());
        let task = tokio::spawn(async move {
            tokio::select! {
                () = server => {}
                () = follow => {}
            }
            recorder.await.unwrap();
        });
        let port = port.wait_for(Option::is_some).await.unwrap().unwrap();
        Self {
            cancel,
            task,
            url: format!("https://127.0.0.1:{port}/healthz"),
        }
    }

    async fn stop(self) {
        self.cancel.cancel();
        self.task.await.unwrap();
    }
}

#[test]
fn by_a_request_that_somebody_approves() {
    run(async {
        let plane = plane().await;
        let node = Node::start("csr-node", Serving::Csr).await;
        let client = believing(
            &plane.ca_pem(),
            &certificate("csr-master", Some("system:masters")).await,
        );
        let requests = async || -> Value {
            let args = ["get", "csr", "-o", "json"];
            serde_json::from_str(&plane.kubectl_run(&args).await.unwrap().ok().unwrap()).unwrap()
        };
        let request = eventually("a request", 10, || async {
            let all = requests().await;
            let mut ours = all["items"].as_array().unwrap().clone();
            ours.retain(|request| request["spec"]["username"] == "system:node:csr-node");
            ours.pop().ok_or_else(|| all.to_string())
        })
        .await;
        assert_eq!(
            request["spec"]["signerName"],
            "kubernetes.io/kubelet-serving"
        );
        assert_eq!(
            request["status"],
            serde_json::json!({}),
            "nobody approves by himself"
        );
        assert!(
            client.get(&node.url).send().await.is_err(),
            "there is no certificate yet"
        );
        let name = request["metadata"]["name"].as_str().unwrap();
        let object = serde_json::json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "csr-node"}});
        let create = ["create", "-f", "-"];
        let object = object.to_string();
        let made = plane.kubectl_as(plane.kubeconfig(), &create, &object);
        made.await.unwrap().ok().unwrap();
        let advice = format!("kubectl certificate approve {name}");
        eventually("who looks at the node is told", 10, || async {
            let described = plane.kubectl_run(&["describe", "node", "csr-node"]).await;
            let described = described.unwrap().ok().unwrap();
            if described.contains("ServingCertificatePending") && described.contains(&advice) {
                Ok(())
            } else {
                Err(described)
            }
        })
        .await;
        let delete = plane.kubectl_run(&["delete", "node", "csr-node"]).await;
        delete.unwrap().ok().unwrap();
        let approve = plane.kubectl_run(&["certificate", "approve", name]).await;
        approve.unwrap().ok().unwrap();
        eventually("it serves what was issued", 30, || async {
            match client.get(&node.url).send().await {
                Ok(answer) => answer
                    .error_for_status()
                    .map(drop)
                    .map_err(|e| e.to_string()),
                Err(error) => Err(format!("{error:?}")),
            }
        })
        .await;
        node.stop().await;
    });
}

type Ca = CertifiedIssuer<'static, KeyPair>;

fn ca() -> Ca {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "files");
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn issue(ca: &Ca, directory: &Path) {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.subject_alt_names = vec![SanType::IpAddress(IpAddr::from([127, 0, 0, 1]))];
    let key = KeyPair::generate().unwrap();
    let chain = params.signed_by(&key, ca).unwrap().pem();
    std::fs::write(directory.join("tls.crt"), chain).unwrap();
    std::fs::write(directory.join("tls.key"), key.serialize_pem()).unwrap();
}

#[test]
fn from_files_that_change_under_open_connections() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let (old, new) = (ca(), ca());
        issue(&old, directory.path());
        let serving = Serving::Files(directory.path().to_owned());
        let node = Node::start("files-node", serving).await;
        let identity = certificate("files-master", Some("system:masters")).await;
        let connected = believing(&old.pem(), &identity);
        eventually("it serves the files", 10, || async {
            match connected.get(&node.url).send().await {
                Ok(answer) if answer.status().is_success() => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        // Half a change is no change.
        std::fs::write(directory.path().join("tls.key"), "rubbish").unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        issue(&new, directory.path());
        eventually("new connections see the new certificate", 20, || async {
            let fresh = believing(&new.pem(), &identity);
            fresh
                .get(&node.url)
                .send()
                .await
                .map(drop)
                .map_err(|error| format!("{error:?}"))
        })
        .await;
        assert_eq!(
            get(&connected, &node.url).await.0,
            200,
            "the old connection goes on"
        );
        assert!(
            believing(&old.pem(), &identity)
                .get(&node.url)
                .send()
                .await
                .is_err()
        );
        node.stop().await;
    });
}
