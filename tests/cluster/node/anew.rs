//! A node whose identity stops being accepted is itself again without a restart of the operator.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use vkc::kube::identity::{KeptIdentity, Source, keep};
use vkc::node::keeper::{NodeKeeper, NodeWanted, Registration};
use vkc::node::spec::kubelet_version;

use super::*;
use crate::support::tools;

async fn apply(objects: &[Value]) {
    for object in objects {
        tools::apply(shared(), object).await;
    }
}

async fn delete_binding(name: &str) {
    let args = ["delete", "clusterrolebinding", name];
    shared().kubectl_run(&args).await.unwrap().ok().unwrap();
}

fn binding(name: &str, role: &str, account: &str) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": "vkc-system"}],
    })
}

struct Stage {
    admin: Client,
    node: String,
    kept: KeptIdentity,
    _wanted: watch::Sender<NodeWanted>,
    _keeper: AbortOnDropHandle<()>,
}

impl Stage {
    /// A node kept by a service account of its own, with `rules` beside those of the manifests.
    async fn start(name: &str, rules: &Value) -> Self {
        let plane = plane().await;
        let admin = plane.client().await.unwrap();
        let spec = node_spec(&connector(&admin, name).await);
        let account = format!("vkc-{name}");
        apply(&[
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account, "namespace": "vkc-system"}}),
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": account}, "rules": rules}),
            binding(&format!("{account}-manager"), "vkc-manager", &account),
            binding(&format!("{account}-identity"), "vkc-node-identity", &account),
            binding(&account, &account, &account),
        ])
        .await;
        let kubeconfig = plane
            .kubeconfig_for_service_account("vkc-system", &account)
            .await
            .unwrap();
        let clients = clients(&kubeconfig).await;
        let source = Source {
            clients: clients.clone(),
            node: spec.name.clone(),
            server_version: "v1.36.3".to_owned(),
            probe_namespace: "vkc-system".to_owned(),
            allow_unscoped: false,
            observer: Arc::new(super::Deaf),
        };
        let kept = eventually("the rules are in force", 15, || async {
            keep(Arc::new(source.clone()), &spec.name).await.ok()
        })
        .await;
        let keeper = NodeKeeper {
            manager: clients.operator(),
            node: kept.client(),
            kubelet_version: kubelet_version("v1.36.3"),
        };
        let node = spec.name.clone();
        let (wanted, wanted_rx) = watch::channel(NodeWanted {
            starting: false,
            spec,
            ready: true,
            reason: "Synced".to_owned(),
            message: "pods are synced".to_owned(),
            azure: None,
            endpoint: Endpoint::default(),
        });
        let (registered, _) = watch::channel(Registration::default());
        let keeper = keeper.run(wanted_rx, registered, CancellationToken::new());
        let stage = Self {
            admin,
            node,
            kept,
            _wanted: wanted,
            _keeper: AbortOnDropHandle::new(tokio::spawn(keeper)),
        };
        stage.works("after the start", 20).await;
        stage
    }

    async fn renewed(&self) -> Option<Timestamp> {
        let leases = Api::<Lease>::namespaced(self.admin.clone(), "kube-node-lease");
        let lease = leases.get_opt(&self.node).await.unwrap()?;
        Some(lease.spec?.renew_time?.0)
    }

    /// The lease is renewed twice from now on, and the Node is Ready.
    async fn works(&self, when: &str, limit: u64) {
        for _ in 0..2 {
            let before = self.renewed().await;
            eventually(&format!("the lease is renewed {when}"), limit, || async {
                self.renewed().await.filter(|now| Some(*now) > before)
            })
            .await;
        }
        let nodes = Api::<Node>::all(self.admin.clone());
        eventually(&format!("the node is Ready {when}"), 10, || async {
            let node = nodes.get(&self.node).await.ok()?;
            (condition(&node, "Ready") == "True").then_some(())
        })
        .await;
    }
}

fn constrained(node: &str) -> Value {
    json!({
        "apiGroups": ["authentication.k8s.io"], "resources": ["nodes"], "resourceNames": [node],
        "verbs": ["impersonate:arbitrary-node"],
    })
}

/// Conformance, defect 1: with both ways granted, the API server takes the older one while the other does not work, and
/// keeps to it.
#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_takes_the_other_way_of_impersonation_does_not_kill_the_node() {
    let name = "both-ways";
    let node = node_name(name, Os::Linux, "eastus");
    let rules = json!([
        constrained(&node),
        {"apiGroups": [""], "resources": ["users"], "resourceNames": [format!("system:node:{node}")], "verbs": ["impersonate"]},
        {"apiGroups": [""], "resources": ["groups"], "resourceNames": ["system:nodes"], "verbs": ["impersonate"]},
    ]);
    let stage = Stage::start(name, &rules).await;
    delete_binding("vkc-both-ways-identity").await;
    stage.works("by the older way", 25).await;
    apply(&[binding(
        "vkc-both-ways-identity",
        "vkc-node-identity",
        "vkc-both-ways",
    )])
    .await;
    stage.works("with both ways again", 25).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_rule_was_deleted_says_so_and_is_ready_again_when_it_is_back() {
    let name = "rule-gone";
    let node = node_name(name, Os::Linux, "eastus");
    let stage = Stage::start(name, &json!([constrained(&node)])).await;
    delete_binding("vkc-rule-gone").await;
    let mut refused = stage.kept.refused();
    let told = tokio::time::timeout(Duration::from_secs(40), refused.wait_for(Option::is_some));
    let told = told.await.expect("refused").unwrap().clone().unwrap();
    assert!(told.contains(&format!("resourceNames: [{node}]")), "{told}");
    apply(&[binding("vkc-rule-gone", "vkc-rule-gone", "vkc-rule-gone")]).await;
    let again = tokio::time::timeout(Duration::from_secs(40), refused.wait_for(Option::is_none));
    again.await.expect("accepted again").unwrap();
    stage.works("after the rule is back", 20).await;
}
