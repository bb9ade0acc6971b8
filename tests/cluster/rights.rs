//! Rights that are used, and nothing else: what the operator asks of an API server in a life that has something of everything, by
//! its audit log, beside what `config/rbac` grants.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Secret};
use kube::Api;
use serde_json::{Value, json};

use crate::support::fixture::{Fixture, PATIENCE, eventually, is_running, text};
use crate::support::site::{Runs, Site, path, run};

/// Alone on a control plane: whatever else the operator did would be in the log.
static SITE: Site = Site::new();

/// What this life does not need, and the tests that do.
const ELSEWHERE: [(&str, &str); 10] = [
    (
        "operator create tokenreviews",
        "kubelet::own_metrics, over HTTPS",
    ),
    (
        "operator create subjectaccessreviews",
        "kubelet::own_metrics, over HTTPS",
    ),
    (
        "operator delete pods",
        "connector::removal, after the drain's time",
    ),
    (
        "operator get pods",
        "pods::restart, whose pods went meanwhile",
    ),
    (
        "operator get leases",
        "replicas, two that claim one connector",
    ),
    (
        "operator patch events",
        "what is told again and again is one Event",
    ),
    (
        "node patch events",
        "what is told again and again is one Event",
    ),
    ("node create tokenreviews", "kubelet::api, with a token"),
    (
        "node create certificatesigningrequests",
        "kubelet::certificates",
    ),
    (
        "node get certificatesigningrequests",
        "kubelet::certificates",
    ),
];

/// `operator patch nodes`, `node get secrets`, for each verb and resource of the rules.
fn granted() -> BTreeSet<String> {
    let files = ["manager_role", "node_identity_role"];
    let texts =
        files.map(|file| std::fs::read_to_string(path(&format!("config/rbac/{file}.yaml"))));
    let texts = texts.map(Result::unwrap).join("\n---\n");
    let documents = texts
        .split("\n---\n")
        .map(|text| serde_saphyr::from_str::<Value>(text).unwrap());
    let mut granted = BTreeSet::new();
    for rule in documents.flat_map(|it| it["rules"].as_array().cloned().unwrap_or_default()) {
        let list = |key: &str| {
            rule[key]
                .as_array()
                .unwrap()
                .iter()
                .map(|it| text(it).to_owned())
                .collect::<Vec<_>>()
        };
        for (verb, resource) in list("verbs").iter().flat_map(|verb| {
            list("resources")
                .into_iter()
                .map(move |it| (verb.clone(), it))
        }) {
            let (who, verb) = match verb.strip_prefix("impersonate-on:arbitrary-node:") {
                Some(verb) => ("node", verb.to_owned()),
                None => ("operator", verb),
            };
            granted.insert(format!("{who} {verb} {resource}"));
        }
    }
    granted
}

/// The same of what was asked, with the answers' codes.
fn asked(log: &str) -> BTreeMap<String, BTreeSet<u64>> {
    let mut asked: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
    for line in log.lines() {
        // The last line may be half written.
        let Ok(entry) = serde_json::from_str::<Value>(line) else {
            continue;
        };
        let user = text(&entry["user"]["username"]);
        let object = &entry["objectRef"];
        // At each start it tries what must not work.
        let is_trial = text(&entry["requestURI"]).contains("dryRun=All");
        if user != "system:serviceaccount:vkc-system:vkc"
            || object["resource"].is_null()
            || is_trial
        {
            continue;
        }
        let who = if entry["impersonatedUser"].is_null() {
            "operator"
        } else {
            "node"
        };
        let mut resource = text(&object["resource"]).to_owned();
        if let Some(part) = object["subresource"].as_str() {
            resource = format!("{resource}/{part}");
        }
        let what = format!("{who} {} {resource}", text(&entry["verb"]));
        let code = entry["responseStatus"]["code"].as_u64().unwrap_or_default();
        asked.entry(what).or_default().insert(code);
    }
    asked
}

/// A pod with a variable of a Secret, a file of a `ConfigMap`, a claim and a token.
async fn something_of_everything(fixture: &Fixture) {
    let meta = |name: &str| json!({"name": name});
    fixture
        .create::<Secret>(&json!({"metadata": meta("s"), "stringData": {"k": "v",
            "azurestorageaccountname": "acct", "azurestorageaccountkey": "c3RvcmFnZQ=="}}))
        .await;
    fixture
        .create::<ConfigMap>(&json!({"metadata": meta("c"), "data": {"k": "v"}}))
        .await;
    let volume = json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": fixture.name}, "spec": {
        "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteMany"], "storageClassName": fixture.name,
        "azureFile": {"shareName": "share", "secretName": "s", "secretNamespace": fixture.name}}});
    let plane = SITE.plane().await;
    let args = ["apply", "-f", "-"];
    let volume = volume.to_string();
    let applied = plane.kubectl_as(plane.kubeconfig(), &args, &volume);
    applied.await.unwrap().ok().unwrap();
    fixture
        .create::<PersistentVolumeClaim>(
            &json!({"metadata": meta("p"), "spec": {"accessModes": ["ReadWriteMany"],
            "storageClassName": fixture.name, "resources": {"requests": {"storage": "1Gi"}}}}),
        )
        .await;
    let patch = json!({
        "containers": [{"name": "main", "image": "example.com/web",
            "env": [{"name": "S", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
            "volumeMounts": [{"name": "c", "mountPath": "/c"}, {"name": "p", "mountPath": "/p"}]}],
        "volumes": [{"name": "c", "configMap": {"name": "c"}}, {"name": "p", "persistentVolumeClaim": {"claimName": "p"}}],
    });
    fixture.create_pod("all", "example.com/web", patch).await;
    fixture
        .pod_until("all", "it runs", PATIENCE, is_running)
        .await;
    let logs = plane
        .kubectl_run(&["logs", "--namespace", &fixture.name, "all"])
        .await;
    logs.unwrap().ok().unwrap();
    let end = ["delete", "pod", "--namespace", &fixture.name, "all"];
    plane.kubectl_run(&end).await.unwrap().ok().unwrap();
}

/// Waits until the Lease of the node was renewed.
async fn renewed(fixture: &Fixture) {
    let leases: Api<Lease> = Api::namespaced(fixture.client.clone(), "kube-node-lease");
    let node = fixture.node_name("linux");
    let renewal = || async {
        let lease = leases.get(&node).await.unwrap();
        lease
            .spec
            .and_then(|spec| spec.renew_time)
            .map(|time| time.0)
    };
    let first = renewal().await;
    eventually("the Lease is renewed", PATIENCE, || async {
        renewal().await != first
    })
    .await;
}

#[test]
fn each_right_is_used_and_nothing_is_asked_in_vain() {
    run(async {
        let operator = SITE.shared().await;
        let fixture = Fixture::start(&operator, "rights", "Linux").await;
        something_of_everything(&fixture).await;
        let plane = operator.plane();
        // A change of the node, and a renewal of its Lease.
        let capacity = r#"{"spec":{"node":{"capacity":{"pods":"7"}}}}"#;
        let change = ["patch", "vkc", "rights", "--type=merge", "-p", capacity];
        plane.kubectl_run(&change).await.unwrap().ok().unwrap();
        // A drain evicts.
        fixture.run_pod("evicted").await;
        renewed(&fixture).await;
        let connector = ["delete", "vkc", "rights", "--timeout=60s"];
        plane.kubectl_run(&connector).await.unwrap().ok().unwrap();

        let elsewhere: BTreeSet<String> = ELSEWHERE.map(|(what, _)| what.to_owned()).into();
        let granted = granted();
        let asked = eventually("every other right is used", PATIENCE, || async {
            let asked = asked(&std::fs::read_to_string(plane.audit_log()).unwrap());
            let unused = granted.iter().filter(|it| !asked.contains_key(*it));
            let unused: BTreeSet<String> = unused.cloned().collect();
            let missing: Vec<_> = unused.difference(&elsewhere).collect();
            if missing.is_empty() {
                Ok(asked)
            } else {
                Err(format!("{missing:?}"))
            }
        })
        .await;
        for what in &elsewhere {
            assert!(granted.contains(what), "{what} is granted no more");
        }
        for (what, codes) in &asked {
            assert!(
                granted.contains(what),
                "asked and not granted: {what} {codes:?}"
            );
            // The Node authorizer learns of a pod a little later than its node.
            assert!(
                !codes.contains(&403) || what.starts_with("node "),
                "{what} {codes:?}"
            );
        }
    });
}
