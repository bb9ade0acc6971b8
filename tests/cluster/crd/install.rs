//! `kubectl apply -k config/default`, and what the operator may do once it is installed.

use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::Value;
use tokio::sync::OnceCell;
use xtask::control_plane::{ControlPlane, shared};

use super::{eventually, feed, path, plane, run};
use crate::support::tools::kube_config;

const LINUX: &str = "virtual-kubelet-virtual-kubelet-linux-eastus";
const OPERATOR: &str = "system:serviceaccount:vkc-system:vkc";

/// The control plane with `config/default` installed: first as a dry run, then in earnest.
pub(super) async fn installed() -> &'static ControlPlane {
    static DONE: OnceCell<()> = OnceCell::const_new();
    DONE.get_or_init(|| async {
        plane().await;
        run(&["apply", "-f", &path("config/manager/namespace.yaml")]).await;
        let default = path("config/default");
        let dry = shared()
            .kubectl_run(&["apply", "-k", &default, "--dry-run=server"])
            .await
            .unwrap();
        assert!(
            dry.status.success() && !dry.stderr.contains("would violate"),
            "{}{}",
            dry.stdout,
            dry.stderr
        );
        let real = shared()
            .kubectl_run(&["apply", "--server-side", "-k", &default])
            .await
            .unwrap();
        assert!(
            real.status.success() && real.stderr.is_empty(),
            "{}{}",
            real.stdout,
            real.stderr
        );
    })
    .await;
    shared()
}

#[tokio::test]
async fn default_installs_and_its_pod_passes_the_restricted_profile() {
    installed().await;
    let pod = eventually("the Deployment makes its pod", 30, || async {
        let text = run(&[
            "get",
            "pods",
            "-n",
            "vkc-system",
            "-l",
            "app.kubernetes.io/name=vkc",
            "-o",
            "json",
        ])
        .await;
        let pods: Value = serde_json::from_str(&text).unwrap();
        pods["items"].get(0).cloned()
    })
    .await;
    let container = &pod["spec"]["containers"][0];
    assert_eq!(
        container["image"],
        concat!(
            "ghcr.io/virtual-kubelet-connector/vkc:",
            env!("CARGO_PKG_VERSION")
        )
    );
    assert!(
        pod["spec"]["priority"].as_i64().unwrap() > 1_000_000_000,
        "system-cluster-critical"
    );
}

#[tokio::test]
async fn samples_are_accepted_in_the_order_of_the_walk_through() {
    installed().await;
    run(&[
        "apply",
        "--dry-run=server",
        "-f",
        &path("config/samples/credentials-secret.yaml"),
    ])
    .await;
    run(&["apply", "--dry-run=server", "-k", &path("config/samples")]).await;
    for sample in ["minimal", "full", "short-toleration"] {
        run(&[
            "apply",
            "--dry-run=server",
            "-f",
            &path(&format!("config/samples/{sample}.yaml")),
        ])
        .await;
    }
}

#[tokio::test]
async fn any_node_drops_the_list_and_the_older_clusters() {
    installed().await;
    let text = run(&["kustomize", &path("config/any-node")]).await;
    let objects: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    let names = objects.iter().find(|object| {
        object["kind"] == "ClusterRole" && object["metadata"]["name"] == "vkc-node-names"
    });
    assert_eq!(
        names.unwrap()["rules"],
        serde_json::json!([
            {"apiGroups": ["authentication.k8s.io"], "resources": ["nodes"], "verbs": ["impersonate:arbitrary-node"]}
        ])
    );
    run(&[
        "apply",
        "--server-side",
        "--dry-run=server",
        "-k",
        &path("config/any-node"),
    ])
    .await;
}

#[tokio::test]
async fn gitops_examples_are_kustomizations() {
    plane().await;
    for part in ["argocd", "flux"] {
        run(&["kustomize", &path(&format!("config/{part}"))]).await;
    }
}

/// `verb [group/]resource[/subresource] [namespace][=name]`
async fn may(client: &Client, user: &str, question: &str) -> bool {
    let mut words = question.split(' ');
    let (verb, resource) = (words.next().unwrap(), words.next().unwrap());
    let (namespace, name) = words.next().map_or(("", ""), |place| {
        place.split_once('=').unwrap_or((place, ""))
    });
    let (group, resource) = resource.split_once(':').unwrap_or(("", resource));
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(user.to_owned()),
            groups: Some(vec![
                "system:serviceaccounts".into(),
                "system:authenticated".into(),
            ]),
            resource_attributes: Some(ResourceAttributes {
                verb: some(verb),
                group: some(group),
                resource: some(resource),
                subresource: some(subresource),
                namespace: some(namespace),
                name: some(name),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let reviews: Api<SubjectAccessReview> = Api::all(client.clone());
    reviews
        .create(&PostParams::default(), &review)
        .await
        .unwrap()
        .status
        .unwrap()
        .allowed
}

#[tokio::test]
async fn the_operator_may_do_its_work_and_no_more() {
    let client = installed().await.client().await.unwrap();
    let allowed = [
        "watch virtual-kubelet.io:virtualkubeletconnectors",
        "patch virtual-kubelet.io:virtualkubeletconnectors",
        "patch virtual-kubelet.io:virtualkubeletconnectors/status",
        "create nodes",
        "delete nodes",
        "patch nodes",
        "list pods",
        "create pods/eviction default",
        "delete pods default",
        "create events.k8s.io:events default",
        "get namespaces =kube-system",
        "list namespaces",
        "create authentication.k8s.io:tokenreviews",
        "create authorization.k8s.io:subjectaccessreviews",
        "watch namespaces",
        "get secrets vkc-system=aci-credentials",
        "watch secrets vkc-system",
        "create coordination.k8s.io:leases vkc-system",
        "update coordination.k8s.io:leases vkc-system",
        "delete coordination.k8s.io:leases kube-node-lease",
        "list configmaps kube-system=extension-apiserver-authentication",
        "watch configmaps kube-system=extension-apiserver-authentication",
        "create authentication.k8s.io:selfsubjectreviews",
        "create authorization.k8s.io:selfsubjectaccessreviews",
    ];
    let refused = [
        "create virtual-kubelet.io:virtualkubeletconnectors",
        "delete virtual-kubelet.io:virtualkubeletconnectors",
        "update virtual-kubelet.io:virtualkubeletconnectors",
        "update virtual-kubelet.io:virtualkubeletconnectors/status",
        "update virtual-kubelet.io:virtualkubeletconnectors/finalizers",
        "list nodes",
        "watch nodes",
        "update nodes",
        "watch pods",
        "create events default",
        "get coordination.k8s.io:leases kube-node-lease",
        "patch nodes/status",
        "patch pods/status default",
        "patch namespaces =default",
        "update namespaces",
        "create pods default",
        "get secrets default",
        "list secrets",
        "get configmaps default",
        "get configmaps kube-system",
        "get configmaps kube-system=extension-apiserver-authentication",
        "create secrets vkc-system",
        "create serviceaccounts/token default",
        "create coordination.k8s.io:leases kube-node-lease",
        "update coordination.k8s.io:leases kube-node-lease",
        "get nodes/proxy",
        "impersonate users =admin",
        "impersonate users =system:node:real",
        "impersonate groups =system:masters",
        "impersonate:arbitrary-node authentication.k8s.io:nodes =real",
        "patch rbac.authorization.k8s.io:clusterroles",
    ];
    let mut wrong = Vec::new();
    for (questions, expected) in [(&allowed[..], true), (&refused[..], false)] {
        for question in questions {
            if may(&client, OPERATOR, question).await != expected {
                wrong.push(format!("{question}: expected {expected}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn the_operator_acts_as_its_listed_nodes_and_as_no_other() {
    let plane = installed().await;
    let kubeconfig = plane
        .kubeconfig_for_service_account("vkc-system", "vkc")
        .await
        .unwrap();
    let config = kube_config(&kubeconfig).await;
    // With the group the server can only use the older rules, which are not there: they stand in config/before-1.36, because a
    // server that finds both remembers which one worked last, and then does without the group. Without it only the newer
    // rules name the group.
    for (groups, newer) in [(None, true), (Some(vec!["system:nodes".to_owned()]), false)] {
        for (node, listed) in [(LINUX, true), ("real-node", false)] {
            let allowed = listed && newer;
            let mut config = config.clone();
            config.proxy_url = None;
            config.auth_info.impersonate = Some(format!("system:node:{node}"));
            config.auth_info.impersonate_groups.clone_from(&groups);
            let reviews: Api<SelfSubjectReview> = Api::all(Client::try_from(config).unwrap());
            let answer = reviews
                .create(&PostParams::default(), &SelfSubjectReview::default())
                .await;
            match answer {
                Ok(review) => {
                    let user = review.status.unwrap().user_info.unwrap();
                    assert!(allowed, "acted as {node} with {groups:?}");
                    assert!(user.groups.unwrap().contains(&"system:nodes".to_owned()));
                }
                Err(kube::Error::Api(status)) => assert!(
                    !allowed && status.code == 403,
                    "{node} {groups:?}: {status:?}"
                ),
                Err(error) => panic!("{error}"),
            }
        }
    }
}

#[tokio::test]
async fn a_connector_brings_the_names_of_its_nodes_itself() {
    let client = installed().await.client().await.unwrap();
    let question =
        "impersonate:arbitrary-node authentication.k8s.io:nodes =virtual-kubelet-own-linux-eastus";
    assert!(!may(&client, OPERATOR, question).await);
    let role = serde_json::json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": "vkc-nodes-own", "labels": {"virtual-kubelet.io/node-names": "true"}},
        "rules": [{
            "apiGroups": ["authentication.k8s.io"], "resources": ["nodes"],
            "resourceNames": ["virtual-kubelet-own-linux-eastus"], "verbs": ["impersonate:arbitrary-node"],
        }],
    });
    feed(&["apply", "--server-side", "-f", "-"], &role).await;
    eventually("the operator may act as the node", 30, || async {
        may(&client, OPERATOR, question).await.then_some(())
    })
    .await;
    // Whoever applies the operator again, as Flux does, leaves them.
    run(&["apply", "--server-side", "-k", &path("config/rbac")]).await;
    assert!(may(&client, OPERATOR, question).await);
}

#[tokio::test]
async fn people_read_connectors_with_view_and_write_them_as_cluster_admins_of_the_tenant() {
    let client = installed().await.client().await.unwrap();
    for (role, reads, writes) in [
        ("view", true, false),
        ("edit", true, false),
        ("admin", true, true),
    ] {
        let user = format!("person-{role}");
        run(&[
            "create",
            "clusterrolebinding",
            &user,
            &format!("--clusterrole={role}"),
            &format!("--user={user}"),
        ])
        .await;
        let answer = eventually("the aggregated role reaches the authorizer", 30, || async {
            let read = may(
                &client,
                &user,
                "list virtual-kubelet.io:virtualkubeletconnectors",
            )
            .await;
            let write = may(
                &client,
                &user,
                "create virtual-kubelet.io:virtualkubeletconnectors",
            )
            .await;
            (read == reads && write == writes).then_some((read, write))
        })
        .await;
        assert_eq!(answer, (reads, writes), "{role}");
        assert!(
            !may(
                &client,
                &user,
                "patch virtual-kubelet.io:virtualkubeletconnectors/status"
            )
            .await,
            "{role}"
        );
    }
}

#[tokio::test]
async fn the_operator_can_be_removed_without_the_kind() {
    plane().await;
    let kinds = async |folder: &str| -> Vec<String> {
        let text = run(&["kustomize", &path(folder)]).await;
        let objects: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
        let name = |object: &Value| format!("{}/{}", object["kind"], object["metadata"]["name"]);
        objects.iter().map(name).collect()
    };
    let operator = kinds("config/operator").await;
    assert!(
        !operator
            .iter()
            .any(|name| name.contains("CustomResourceDefinition")),
        "{operator:?}"
    );
    let mut both = kinds("config/crd").await;
    assert_eq!(both.len(), 1);
    both.extend(operator);
    both.sort();
    let mut default = kinds("config/default").await;
    default.sort();
    assert_eq!(default, both);
    // Whoever prunes leaves the kind, and with it the connectors.
    let text = run(&["kustomize", &path("config/crd")]).await;
    let kind: Value = serde_saphyr::from_str(&text).unwrap();
    let annotations = &kind["metadata"]["annotations"];
    assert_eq!(annotations["helm.sh/resource-policy"], "keep");
    assert_eq!(annotations["kustomize.toolkit.fluxcd.io/prune"], "disabled");
    assert_eq!(
        annotations["argocd.argoproj.io/sync-options"],
        "Prune=false,Delete=false"
    );
}
