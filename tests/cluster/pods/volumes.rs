//! Volumes that lie outside the pod, and what the service account's volume holds; applied with kubectl, as the users do.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::Api;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::support::fixture::{Fixture, PATIENCE, eventually, is_running, text, waiting};
use crate::support::site::{plane, run, shared};

const KEY: &str = "c3RvcmFnZS1rZXktb2YtdGhlLXRlc3Q=";

/// `kubectl apply` of these objects, those that are namespaced in the fixture's namespace.
async fn apply(fixture: &Fixture, items: Vec<Value>) {
    let plane = plane().await;
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
    let args = ["apply", "--namespace", &fixture.name, "-f", "-"];
    let applied = plane.kubectl_as(plane.kubeconfig(), &args, &list).await;
    applied.unwrap().ok().unwrap();
}

fn storage_secret(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        "stringData": {"azurestorageaccountname": "acct", "azurestorageaccountkey": KEY},
    })
}

/// A pod with one volume, which it mounts on `/data`.
fn pod(fixture: &Fixture, name: &str, source: &Value) -> Value {
    let mut volume = source.clone();
    volume["name"] = json!("data-volume");
    let mut spec = fixture.pod_spec("example.com/web");
    spec["automountServiceAccountToken"] = json!(false);
    spec["volumes"] = json!([volume]);
    spec["containers"][0]["volumeMounts"] = json!([{"name": "data-volume", "mountPath": "/data"}]);
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})
}

/// A volume that only the claims of the class `class` are bound to.
fn persistent_volume(name: &str, class: &str, source: &Value) -> Value {
    let mut spec = source.clone();
    spec["capacity"] = json!({"storage": "1Gi"});
    spec["accessModes"] = json!(["ReadWriteMany"]);
    spec["storageClassName"] = json!(class);
    spec["persistentVolumeReclaimPolicy"] = json!("Retain");
    json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec})
}

fn claim_spec(class: &str) -> Value {
    json!({
        "accessModes": ["ReadWriteMany"],
        "storageClassName": class,
        "resources": {"requests": {"storage": "1Gi"}},
    })
}

fn claim(name: &str, class: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": claim_spec(class),
    })
}

fn csi(share: &str, secret: Option<(&str, &str)>) -> Value {
    let mut csi = json!({
        "driver": "file.csi.azure.com",
        "volumeHandle": format!("rg#acct#{share}"),
        "volumeAttributes": {"shareName": share},
    });
    if let Some((namespace, name)) = secret {
        csi["nodeStageSecretRef"] = json!({"namespace": namespace, "name": name});
    }
    json!({"csi": csi})
}

/// The one volume of the group of the pod `name`, once that runs, as it was sent.
async fn sent(fixture: &Fixture, name: &str) -> Value {
    let pod = fixture
        .pod_until(name, "it runs", PATIENCE, is_running)
        .await;
    let put = fixture.control.last_put(&fixture.group_of(&pod)).unwrap();
    let volumes = put["properties"]["volumes"].as_array().unwrap();
    assert_eq!(volumes.len(), 1, "{name}");
    volumes[0].clone()
}

fn share(name: &str) -> Value {
    json!({
        "name": "data-volume",
        "azureFile": {"shareName": name, "storageAccountName": "acct", "storageAccountKey": KEY},
    })
}

async fn delete_volumes(fixture: &Fixture, names: &[&str]) {
    let api = Api::<PersistentVolume>::all(fixture.client.clone());
    for name in names {
        api.delete(name, &DeleteParams::default()).await.unwrap();
    }
}

/// What docs/volumes.md says to do where no field names the Secret of a volume; it is in the namespace `default`.
async fn let_the_node_read(fixture: &Fixture, name: &str) {
    let meta = json!({"name": "virtual-node-storage", "namespace": "default"});
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": meta,
        "rules": [{"apiGroups": [""], "resources": ["secrets"], "resourceNames": [name], "verbs": ["get"]}],
    });
    let node = format!("system:node:{}", fixture.node_name("linux"));
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": meta,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "virtual-node-storage"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": node}],
    });
    let mut secret = storage_secret(name);
    secret["metadata"]["namespace"] = json!("default");
    let plane = plane().await;
    let items = json!([role, binding, secret]);
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
    let args = ["apply", "-f", "-"];
    let applied = plane.kubectl_as(plane.kubeconfig(), &args, &list).await;
    applied.unwrap().ok().unwrap();
}

#[test]
fn shares_reach_the_group_by_pod_claim_and_ephemeral_claim() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "shares", "Linux").await;
        let name = fixture.name.as_str();
        let in_tree = json!({"azureFile": {"shareName": "in-tree", "secretName": "storage"}});
        let inline = json!({"csi": {
            "driver": "file.csi.azure.com",
            "readOnly": true,
            "nodePublishSecretRef": {"name": "storage"},
            "volumeAttributes": {"shareName": "inline", "secretName": "storage"},
        }});
        let by_claim = json!({"persistentVolumeClaim": {"claimName": "by-claim"}});
        let by_old_claim = json!({"persistentVolumeClaim": {"claimName": "by-old-claim"}});
        let ephemeral =
            json!({"ephemeral": {"volumeClaimTemplate": {"spec": claim_spec("shares-ephemeral")}}});
        let old = json!({"azureFile": {"shareName": "old", "secretName": "storage", "secretNamespace": name}});
        let items = vec![
            storage_secret("storage"),
            persistent_volume(
                "shares-claim",
                "shares-claim",
                &csi("claimed", Some((name, "storage"))),
            ),
            persistent_volume("shares-old", "shares-old", &old),
            persistent_volume(
                "shares-ephemeral",
                "shares-ephemeral",
                &csi("passing", Some((name, "storage"))),
            ),
            claim("by-claim", "shares-claim"),
            claim("by-old-claim", "shares-old"),
            pod(&fixture, "in-tree", &in_tree),
            pod(&fixture, "inline", &inline),
            pod(&fixture, "by-claim", &by_claim),
            pod(&fixture, "by-old-claim", &by_old_claim),
            pod(&fixture, "ephemeral", &ephemeral),
        ];
        apply(&fixture, items).await;
        let mut read_only = share("inline");
        read_only["azureFile"]["readOnly"] = json!(true);
        assert_eq!(sent(&fixture, "in-tree").await, share("in-tree"));
        assert_eq!(sent(&fixture, "inline").await, read_only);
        assert_eq!(sent(&fixture, "by-claim").await, share("claimed"));
        assert_eq!(sent(&fixture, "by-old-claim").await, share("old"));
        assert_eq!(sent(&fixture, "ephemeral").await, share("passing"));
        // The claim of the ephemeral volume is the controller manager's, and goes with its pod.
        let claims = fixture.api::<PersistentVolumeClaim>();
        assert!(
            claims
                .get_opt("ephemeral-data-volume")
                .await
                .unwrap()
                .is_some()
        );
        // The key stands nowhere in the open.
        let shown: String = fixture
            .control
            .groups()
            .iter()
            .map(Value::to_string)
            .collect();
        assert!(shown.contains("claimed") && !shown.contains(KEY));
        delete_volumes(
            &fixture,
            &["shares-claim", "shares-old", "shares-ephemeral"],
        )
        .await;
        fixture.finish().await;
    });
}

#[test]
fn what_a_share_needs_is_waited_for_and_another_kind_of_volume_is_refused() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "unshared", "Linux").await;
        let name = fixture.name.as_str();
        let claimed = |claim: &str| json!({"persistentVolumeClaim": {"claimName": claim}});
        let disk = json!({"csi": {"driver": "disk.csi.azure.com", "volumeHandle": "d"}});
        let items = vec![
            persistent_volume(
                "unshared-keyless",
                "unshared-keyless",
                &csi("late", Some((name, "late"))),
            ),
            persistent_volume("unshared-disk", "unshared-disk", &disk),
            // No field that the Node authorizer follows names the Secret.
            persistent_volume("unshared-hidden", "unshared-hidden", &csi("hidden", None)),
            claim("keyless", "unshared-keyless"),
            claim("disk", "unshared-disk"),
            claim("hidden", "unshared-hidden"),
            pod(&fixture, "keyless", &claimed("keyless")),
            pod(&fixture, "disk", &claimed("disk")),
            pod(&fixture, "hidden", &claimed("hidden")),
        ];
        apply(&fixture, items).await;
        let told = |name: &'static str, reason: &'static str, word: &'static str| {
            let fixture = &fixture;
            async move {
                let is_so = |pod: &Value| {
                    let message =
                        text(&pod["status"]["containerStatuses"][0]["state"]["waiting"]["message"]);
                    waiting(pod) == reason && message.contains(word)
                };
                let pod = fixture.pod_until(name, reason, PATIENCE, is_so).await;
                assert_eq!(pod["status"]["phase"], "Pending");
                assert_eq!(fixture.calls(name), []);
            }
        };
        // As with a kubelet no container is at fault.
        let keyless = fixture
            .pod_until("keyless", "it waits", PATIENCE, |pod| {
                waiting(pod) == "ContainerCreating"
            })
            .await;
        let event = fixture.event(&keyless, "FailedMount").await;
        let note = "MountVolume.SetUp failed for volume \"data-volume\" : secret \"unshared/late\" not found";
        assert_eq!(text(&event["note"]), note);
        assert_eq!(fixture.calls("keyless"), []);
        told("disk", "ReferenceNotSupportedOnAci", "disk.csi.azure.com").await;
        told("hidden", "ReferenceForbidden", "nodeStageSecretRef").await;
        // An unbound claim keeps the scheduler from the pod, so the node sees it only where the scheduler is passed by.
        let mut direct = pod(&fixture, "unbound", &claimed("unbound"));
        direct["spec"]["nodeName"] = json!(fixture.node_name("linux"));
        apply(&fixture, vec![direct]).await;
        told("unbound", "PersistentVolumeClaimNotFound", "unbound").await;
        apply(&fixture, vec![claim("unbound", "unshared-unbound")]).await;
        told("unbound", "PersistentVolumeClaimNotBound", "unbound").await;
        let volume = csi("bound-late", Some((name, "late")));
        let late = persistent_volume("unshared-unbound", "unshared-unbound", &volume);
        apply(&fixture, vec![storage_secret("late"), late]).await;
        assert_eq!(sent(&fixture, "keyless").await, share("late"));
        assert_eq!(sent(&fixture, "unbound").await, share("bound-late"));
        let_the_node_read(&fixture, "azure-storage-account-acct-secret").await;
        assert_eq!(sent(&fixture, "hidden").await, share("hidden"));
        let all = [
            "unshared-keyless",
            "unshared-disk",
            "unshared-hidden",
            "unshared-unbound",
        ];
        delete_volumes(&fixture, &all).await;
        fixture.finish().await;
    });
}

#[test]
fn every_pod_gets_the_token_the_certificate_and_the_namespace_of_its_account() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "account", "Linux").await;
        let pod = fixture.run_pod("plain").await;
        let put = fixture.control.last_put(&fixture.group_of(&pod)).unwrap();
        let properties = &put["properties"];
        let mount = &properties["containers"][0]["properties"]["volumeMounts"][0];
        assert_eq!(
            mount["mountPath"],
            "/var/run/secrets/kubernetes.io/serviceaccount"
        );
        assert_eq!(mount["readOnly"], true);
        let volume = &properties["volumes"][0];
        assert_eq!(volume["name"], mount["name"]);
        let files = volume["secret"].as_object().unwrap();
        let names: Vec<&str> = files.keys().map(String::as_str).collect();
        assert_eq!(names, ["ca.crt", "namespace", "token"]);
        let file = |name: &str| {
            let content = BASE64_STANDARD.decode(text(&files[name])).unwrap();
            String::from_utf8(content).unwrap()
        };
        assert_eq!(file("namespace"), fixture.name);
        assert!(file("ca.crt").starts_with("-----BEGIN CERTIFICATE-----"));
        // The API server knows the token as the pod's, and gave it the long life of those that are not read again.
        let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": file("token")}});
        let review = eventually("the token is reviewed", 10, || async {
            let plane = plane().await;
            let args = ["create", "-o", "json", "-f", "-"];
            let made = plane
                .kubectl_as(plane.kubeconfig(), &args, &review.to_string())
                .await;
            let output = made.unwrap().ok().map_err(|error| error.to_string())?;
            serde_json::from_str::<Value>(&output).map_err(|error| error.to_string())
        })
        .await;
        assert_eq!(review["status"]["authenticated"], true, "{review}");
        let user = &review["status"]["user"];
        assert_eq!(
            user["username"],
            format!("system:serviceaccount:{}:default", fixture.name)
        );
        let bound = &user["extra"]["authentication.kubernetes.io/pod-uid"][0];
        assert_eq!(*bound, pod["metadata"]["uid"]);
        let token = file("token");
        let claims = token.split('.').nth(1).unwrap();
        let claims = base64::prelude::BASE64_URL_SAFE_NO_PAD
            .decode(claims)
            .unwrap();
        let claims: Value = serde_json::from_slice(&claims).unwrap();
        let life = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
        assert_eq!(life, 365 * 24 * 3600, "{claims}");
        fixture.finish().await;
    });
}
