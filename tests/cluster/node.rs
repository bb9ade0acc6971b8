//! A virtual node's Node, Lease and identity at a real API server.

mod anew;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Secret};
use kube::api::{
    DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::{OnceCell, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use vkc::api::{Os, VirtualKubeletConnector, node_name};
use vkc::kube::client::Impersonation;
use vkc::kube::identity::{self, Acquire as _, NodeIdentity, NodeIdentityError};
use vkc::node::NodeError;
use vkc::node::keeper::{NodeKeeper, NodeWanted, Registration, remove};
use vkc::node::spec::{NodeSpec, kubelet_version};
use vkc::node::status::Endpoint;
use xtask::control_plane::{Assets, ControlPlane, Options, shared, stderr_progress};

use crate::support::site::path;
use crate::support::tools::clients;
use crate::support::wait::eventually;

/// The control plane with the CRD installed.
async fn plane() -> &'static ControlPlane {
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    INSTALLED
        .get_or_init(|| async {
            for args in [
                vec![
                    "apply",
                    "--server-side",
                    "-f",
                    &path("config/manager/namespace.yaml"),
                ],
                vec!["apply", "--server-side", "-k", &path("config/rbac")],
                vec!["apply", "--server-side", "-k", &path("config/crd")],
                vec![
                    "wait",
                    "--for=condition=Established",
                    "--timeout=30s",
                    "crd/virtualkubeletconnectors.virtual-kubelet.io",
                ],
            ] {
                shared().kubectl_run(&args).await.unwrap().ok().unwrap();
            }
            // The kind is served a moment after the CRD is established.
            let connectors = Api::<VirtualKubeletConnector>::all(shared().client().await.unwrap());
            eventually("the kind is served", 30, || async {
                connectors.list(&ListParams::default()).await.ok()
            })
            .await;
        })
        .await;
    shared()
}

/// One virtual node with its keeper, which ends with it.
struct Fixture {
    admin: Client,
    identity: NodeIdentity,
    spec: NodeSpec,
    wanted: watch::Sender<NodeWanted>,
    registered: watch::Receiver<Registration>,
    keeper: AbortOnDropHandle<()>,
}

fn node_spec(connector: &VirtualKubeletConnector) -> NodeSpec {
    let name = connector.metadata.name.clone().unwrap();
    NodeSpec {
        name: node_name(&name, Os::Linux, "eastus"),
        os: Os::Linux,
        region: "eastus".to_owned(),
        connector_uid: connector.metadata.uid.clone().unwrap(),
        connector: name,
        labels: BTreeMap::from([("team".to_owned(), "platform".to_owned())]),
        annotations: BTreeMap::new(),
        taints: connector.spec.taints(),
        capacity: connector.spec.capacity(),
        allocatable: None,
        unschedulable: false,
    }
}

/// An owner for the Node: the garbage collector removes Nodes whose owner does not exist.
async fn connector(admin: &Client, name: &str) -> VirtualKubeletConnector {
    let connector = serde_json::from_value(json!({
        "apiVersion": "virtual-kubelet.io/v1alpha1", "kind": "VirtualKubeletConnector",
        "metadata": {"name": name}, "spec": {"region": "eastus", "aciResourceGroup": "rg"},
    }));
    let api = Api::<VirtualKubeletConnector>::all(admin.clone());
    api.create(&PostParams::default(), &connector.unwrap())
        .await
        .unwrap()
}

impl Fixture {
    async fn start(name: &str) -> Self {
        let plane = plane().await;
        Self::start_as(name, plane.kubeconfig().to_owned()).await
    }

    async fn start_as(name: &str, kubeconfig: PathBuf) -> Self {
        let admin = plane().await.client().await.unwrap();
        let clients = clients(&kubeconfig).await;
        let spec = node_spec(&connector(&admin, name).await);
        let version = clients
            .operator()
            .apiserver_version()
            .await
            .unwrap()
            .git_version;
        let identity = identity::acquire(&clients, &spec.name, &version, "vkc-system")
            .await
            .unwrap();
        let keeper = NodeKeeper {
            manager: clients.operator(),
            node: identity.client.clone(),
            kubelet_version: kubelet_version(&version),
        };
        let (wanted, wanted_rx) = watch::channel(NodeWanted {
            starting: false,
            spec: spec.clone(),
            ready: true,
            reason: "Synced".to_owned(),
            message: "pods are synced".to_owned(),
            azure: None,
            endpoint: Endpoint {
                ip: "127.0.0.1".to_owned(),
                kubelet_port: None,
            },
        });
        let (registered_tx, registered) = watch::channel(Registration::default());
        let keeper = AbortOnDropHandle::new(tokio::spawn(keeper.run(
            wanted_rx,
            registered_tx,
            CancellationToken::new(),
        )));
        Self {
            admin,
            identity,
            spec,
            wanted,
            registered,
            keeper,
        }
    }

    fn nodes(&self) -> Api<Node> {
        Api::all(self.admin.clone())
    }

    fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.admin.clone(), "kube-node-lease")
    }

    async fn registered(&mut self) -> Node {
        let registered = self.registered.wait_for(|r| r.registered && r.ready);
        tokio::time::timeout(Duration::from_secs(10), registered)
            .await
            .expect("registered")
            .unwrap();
        self.nodes().get(&self.spec.name).await.unwrap()
    }
}

fn has_taint(node: &Node, key: &str) -> bool {
    node.spec
        .iter()
        .flat_map(|s| s.taints.iter().flatten())
        .any(|taint| taint.key == key)
}

fn condition(node: &Node, type_: &str) -> String {
    let conditions = node
        .status
        .as_ref()
        .unwrap()
        .conditions
        .as_deref()
        .unwrap_or_default();
    conditions
        .iter()
        .find(|c| c.type_ == type_)
        .map(|c| c.status.clone())
        .unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_ever_sees_the_node_without_its_taint() {
    let admin = plane().await.client().await.unwrap();
    let nodes = Api::<Node>::all(admin.clone());
    let start = nodes
        .list(&ListParams::default().limit(1))
        .await
        .unwrap()
        .metadata
        .resource_version
        .unwrap();
    let fields = "metadata.name=virtual-kubelet-first-linux-eastus";
    let mut events = nodes
        .watch(&WatchParams::default().fields(fields).timeout(60), &start)
        .await
        .unwrap()
        .boxed();
    let mut fixture = Fixture::start("first").await;
    let event = events.try_next().await.unwrap().expect("an event");
    let WatchEvent::Added(node) = event else {
        panic!("not an addition: {event:?}")
    };
    assert!(has_taint(&node, "virtual-kubelet.io/provider"));
    let labels = node.metadata.labels.clone().unwrap();
    assert_eq!(labels["kubernetes.io/role"], "agent");
    assert_eq!(labels["virtual-kubelet.io/connector"], "first");
    assert_eq!(labels["team"], "platform");
    assert_eq!(
        node.metadata.owner_references.as_ref().unwrap()[0].uid,
        fixture.spec.connector_uid
    );
    // The status comes with the same write.
    let status = node.status.as_ref().unwrap();
    assert_eq!(status.capacity.as_ref().unwrap()["cpu"].0, "100");
    assert!(
        status
            .node_info
            .as_ref()
            .unwrap()
            .kubelet_version
            .contains("-vkc-v")
    );
    assert_eq!(condition(&node, "Ready"), "True");
    assert_eq!(condition(&fixture.registered().await, "Ready"), "True");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_deleted_by_hand_is_back_and_its_pods_are_not_touched() {
    let mut fixture = Fixture::start("revenant").await;
    let first = fixture.registered().await;
    let namespace: Namespace =
        serde_json::from_value(json!({"metadata": {"name": "revenant"}})).unwrap();
    Api::<Namespace>::all(fixture.admin.clone())
        .create(&PostParams::default(), &namespace)
        .await
        .unwrap();
    plane().await.namespace_ready("revenant").await.unwrap();
    let pods = Api::<Pod>::namespaced(fixture.admin.clone(), "revenant");
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "p"},
        "spec": {"nodeName": fixture.spec.name, "containers": [{"name": "c", "image": "i"}]},
    }))
    .unwrap();
    let pod = pods.create(&PostParams::default(), &pod).await.unwrap();

    fixture
        .nodes()
        .delete(&fixture.spec.name, &DeleteParams::default())
        .await
        .unwrap();
    let again = eventually("the Node is back", 5, || async {
        let node = fixture.nodes().get_opt(&fixture.spec.name).await.unwrap()?;
        (node.metadata.uid != first.metadata.uid).then_some(node)
    })
    .await;
    assert!(has_taint(&again, "virtual-kubelet.io/provider"));
    let live = pods.get("p").await.unwrap();
    assert_eq!(
        (live.metadata.uid, live.metadata.deletion_timestamp),
        (pod.metadata.uid, None)
    );
    // The lease follows the new Node.
    eventually("the lease belongs to the new Node", 5, || async {
        let lease = fixture
            .leases()
            .get_opt(&fixture.spec.name)
            .await
            .unwrap()?;
        let owner = lease.metadata.owner_references?.first()?.uid.clone();
        (Some(owner) == again.metadata.uid).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lease_is_renewed_as_a_kubelets() {
    let mut fixture = Fixture::start("lease").await;
    fixture.registered().await;
    let renewed = || async {
        let spec = fixture
            .leases()
            .get_opt(&fixture.spec.name)
            .await
            .unwrap()?
            .spec?;
        assert_eq!(
            spec.holder_identity.as_deref(),
            Some(fixture.spec.name.as_str())
        );
        assert_eq!(spec.lease_duration_seconds, Some(40));
        Some(spec.renew_time?.0)
    };
    let first = eventually("a lease", 5, renewed).await;
    let second = eventually("a renewal", 13, || async {
        renewed().await.filter(|time| *time > first)
    })
    .await;
    let pause = second.duration_since(first).as_secs_f64();
    assert!((9.0..11.5).contains(&pause), "renewed after {pause} s");
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_is_repaired_and_an_idle_node_is_not_written() {
    let mut fixture = Fixture::start("drift").await;
    fixture.registered().await;
    let patch = json!({"metadata": {"labels": {"kubernetes.io/role": "other", "foreign": "stays"}}, "spec": {"taints": null}});
    fixture
        .nodes()
        .patch(
            &fixture.spec.name,
            &PatchParams::default(),
            &Patch::Merge(&patch),
        )
        .await
        .unwrap();
    eventually(
        "label and taint are back, and the foreign label stays",
        5,
        || async {
            let node = fixture.nodes().get(&fixture.spec.name).await.unwrap();
            let labels = node.metadata.labels.clone().unwrap_or_default();
            let back = labels["kubernetes.io/role"] == "agent"
                && has_taint(&node, "virtual-kubelet.io/provider");
            (back && labels["foreign"] == "stays").then_some(())
        },
    )
    .await;

    // A new spec: the user's label goes, the node is cordoned, Ready is False.
    fixture.wanted.send_modify(|wanted| {
        wanted.spec.labels.clear();
        wanted.spec.unschedulable = true;
        wanted.ready = false;
    });
    let node = eventually("the new spec is on the Node", 5, || async {
        let node = fixture.nodes().get(&fixture.spec.name).await.unwrap();
        let cordoned = node.spec.as_ref()?.unschedulable == Some(true);
        let gone = !node.metadata.labels.as_ref()?.contains_key("team");
        (cordoned && gone && condition(&node, "Ready") == "False").then_some(node)
    })
    .await;
    assert!(node.metadata.labels.unwrap().contains_key("foreign"));

    // The node lifecycle controller adds its taints; after that nobody has a reason to write.
    let settled = eventually("nothing is written for 3 s", 20, || async {
        let before = fixture
            .nodes()
            .get(&fixture.spec.name)
            .await
            .unwrap()
            .metadata
            .resource_version;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let after = fixture.nodes().get(&fixture.spec.name).await.unwrap();
        (before == after.metadata.resource_version).then_some(after)
    })
    .await;
    assert!(
        has_taint(&settled, "node.kubernetes.io/not-ready"),
        "the taints of others stay"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_reaches_its_own_pods_secrets_only() {
    let fixture = Fixture::start("reach").await;
    assert_eq!(fixture.identity.unscoped, None);
    let secret: Secret =
        serde_json::from_value(json!({"metadata": {"name": "foreign-to-reach"}})).unwrap();
    Api::<Secret>::namespaced(fixture.admin.clone(), "default")
        .create(&PostParams::default(), &secret)
        .await
        .unwrap();
    let as_node = Api::<Secret>::namespaced(fixture.identity.client.clone(), "default");
    let refused = as_node.get("foreign-to-reach").await.unwrap_err();
    assert!(
        matches!(&refused, kube::Error::Api(status) if status.code == 403),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_account_of_the_manifests_is_enough() {
    let plane = plane().await;
    let kubeconfig = plane
        .kubeconfig_for_service_account("vkc-system", "vkc")
        .await
        .unwrap();
    let mut fixture = Fixture::start_as("virtual-kubelet", kubeconfig.clone()).await;
    assert_eq!(fixture.identity.mode, Impersonation::Constrained);
    assert_eq!(fixture.identity.unscoped, None);
    fixture.registered().await;
    eventually("a lease", 5, || async {
        fixture.leases().get_opt(&fixture.spec.name).await.unwrap()
    })
    .await;

    let clients = clients(&kubeconfig).await;
    let refused = identity::acquire(
        &clients,
        "virtual-kubelet-unlisted-linux-eastus",
        "v1.36.3",
        "vkc-system",
    )
    .await;
    let Err(NodeIdentityError::Forbidden { hint, .. }) = refused else {
        panic!("not refused: {refused:?}")
    };
    assert!(
        hint.contains("resourceNames: [virtual-kubelet-unlisted-linux-eastus]"),
        "{hint}"
    );

    fixture.keeper.abort();
    remove(&clients.operator(), &fixture.spec).await.unwrap();
    assert!(
        fixture
            .nodes()
            .get_opt(&fixture.spec.name)
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        fixture
            .leases()
            .get_opt(&fixture.spec.name)
            .await
            .unwrap()
            .is_none()
    );
    remove(&clients.operator(), &fixture.spec)
        .await
        .expect("nothing left to remove is success");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_nodes_name_is_not_taken() {
    let admin = plane().await.client().await.unwrap();
    let node: Node =
        serde_json::from_value(json!({"metadata": {"name": "virtual-kubelet-taken-linux-eastus"}}))
            .unwrap();
    Api::<Node>::all(admin.clone())
        .create(&PostParams::default(), &node)
        .await
        .unwrap();
    let mut fixture = Fixture::start("taken").await;
    let problem = tokio::time::timeout(
        Duration::from_secs(10),
        fixture.registered.wait_for(|r| r.problem.is_some()),
    );
    let problem = problem.await.unwrap().unwrap().problem.clone().unwrap();
    assert!(problem.contains("is not a virtual node"), "{problem}");
    let live = fixture.nodes().get(&fixture.spec.name).await.unwrap();
    assert!(!has_taint(&live, "virtual-kubelet.io/provider"));
    assert!(matches!(
        remove(&admin, &fixture.spec).await,
        Err(NodeError::Foreign(_))
    ));
    // Once it is gone, the name is ours.
    fixture
        .nodes()
        .delete(&fixture.spec.name, &DeleteParams::default())
        .await
        .unwrap();
    eventually("registered", 15, || {
        let registered = fixture.registered.borrow().registered;
        async move { registered.then_some(()) }
    })
    .await;
}

/// Hears nothing.
pub(crate) struct Deaf;

impl identity::Observer for Deaf {
    fn scoped(&self, _: &str, _: bool) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_that_the_api_server_does_not_limit_is_refused_unless_a_flag_accepts_it() {
    // A plane of its own: what is granted here concerns every node.
    let assets = Assets::resolve(stderr_progress).unwrap();
    for (rule, what) in [
        (
            json!({"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}),
            "read any Secret",
        ),
        (Value::Null, "create and change other nodes"),
    ] {
        let options = Options {
            without_node_restriction: rule.is_null(),
            ..Options::default()
        };
        let plane = ControlPlane::start(&assets, options).await.unwrap();
        if !rule.is_null() {
            let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
                "metadata": {"name": "all-nodes"}, "rules": [rule]});
            let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
                "metadata": {"name": "all-nodes"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "all-nodes"},
                "subjects": [{"kind": "Group", "name": "system:nodes", "apiGroup": "rbac.authorization.k8s.io"}]});
            for object in [role, binding] {
                let admin = plane.kubeconfig();
                let made = plane
                    .kubectl_as(admin, &["apply", "-f", "-"], &object.to_string())
                    .await;
                made.unwrap().ok().unwrap();
            }
        }
        let all = clients(plane.kubeconfig()).await;
        let source = |allow_unscoped| identity::Source {
            clients: all.clone(),
            node: "virtual-kubelet-wide-linux-eastus".to_owned(),
            server_version: "v1.36.3".to_owned(),
            probe_namespace: "default".to_owned(),
            allow_unscoped,
            observer: Arc::new(Deaf),
        };
        let refused = eventually("the rule is in force", 15, || async {
            match source(false).acquire().await {
                Err(error @ NodeIdentityError::Unscoped { .. }) => Some(error.to_string()),
                _ => None,
            }
        })
        .await;
        assert!(refused.contains(what), "{refused}");
        assert!(refused.contains("--allow-unscoped-nodes"), "{refused}");
        source(true).acquire().await.unwrap();
    }
}
