use std::collections::BTreeMap;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::api::Os;
use crate::translate::testing::{HELLO, changed, defaults, object, owner, pod};
use crate::translate::{Reference, Refusals, Resolved, Translation, container_group};

const KEY: &str = "c2VjcmV0LWtleQ==";

/// A volume mounted by a container of the Linux fixture that runs as root, with these objects in the cluster.
fn translate(source: &Value, resolved: &Resolved) -> Result<Translation, Refusals> {
    let mut volume = source.clone();
    volume["name"] = json!("share");
    let changes = [
        ("/spec/volumes", json!([volume])),
        (
            "/spec/containers/0/volumeMounts",
            json!([{"name": "share", "mountPath": "/mnt"}]),
        ),
    ];
    let pod = pod(HELLO, &changes);
    container_group(&pod, &defaults(Os::Linux), &owner(&pod), resolved)
}

fn arc<T: DeserializeOwned>(value: &Value) -> Arc<T> {
    Arc::new(serde_json::from_value(value.clone()).unwrap())
}

type Data = &'static [(&'static str, &'static [u8])];
type Changes<'a> = &'a [(&'a str, Value)];

fn of(namespace: &str, name: &str) -> Reference {
    Reference::SecretIn {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    }
}

/// Secrets of storage accounts: of the pod's namespace `own`, and in all ways that a volume may name one.
fn secrets() -> BTreeMap<Reference, Option<Arc<crate::translate::Object>>> {
    const FULL: Data = &[
        ("azurestorageaccountname", b"acct\n"),
        ("azurestorageaccountkey", KEY.as_bytes()),
    ];
    const KEY_ONLY: Data = &[("azurestorageaccountkey", KEY.as_bytes())];
    const SHORT: Data = &[("AccountName", b"other"), ("accountkey", KEY.as_bytes())];
    let secret = |name: &str| Reference::Secret(name.to_owned());
    let all: [(Reference, Option<Data>); 10] = [
        (secret("own"), Some(FULL)),
        (secret("short"), Some(SHORT)),
        (secret("keyless"), Some(&FULL[..1])),
        (secret("gone"), None),
        (of("default", "own"), Some(FULL)),
        (of("default", "nameless"), Some(KEY_ONLY)),
        (of("storage", "stage"), Some(FULL)),
        (of("storage", "gone"), None),
        (
            of("default", "azure-storage-account-acct-secret"),
            Some(KEY_ONLY),
        ),
        (
            of("kube-system", "azure-storage-account-made-secret"),
            Some(KEY_ONLY),
        ),
    ];
    all.into_iter()
        .map(|(reference, data)| (reference, data.map(object)))
        .collect()
}

fn resolved() -> Resolved {
    Resolved {
        objects: secrets(),
        ..Resolved::default()
    }
}

/// What is mounted, without its name, and the reasons of the Events.
fn made(source: &Value, resolved: &Resolved) -> (Value, Vec<&'static str>) {
    let made = translate(source, resolved).unwrap_or_else(|why| panic!("{source}: {why}"));
    let volumes = made.group.properties.volumes;
    assert_eq!(volumes.len(), 1, "{source}");
    let mut volume = serde_json::to_value(&volumes[0]).unwrap();
    assert_eq!(volume["name"], "share");
    let reasons = made.notes.iter().map(|note| note.reason).collect();
    (volume["azureFile"].take(), reasons)
}

fn refused(source: &Value, resolved: &Resolved) -> Vec<(String, &'static str, bool)> {
    let refusals = translate(source, resolved).unwrap_err();
    assert!(!refusals.to_string().contains(KEY));
    let told = refusals.0.into_iter();
    told.map(|it| (it.field, it.reason, it.is_retryable))
        .collect()
}

fn share(account: &str) -> Value {
    json!({"shareName": "data", "storageAccountName": account, "storageAccountKey": KEY})
}

fn read_only(mut share: Value) -> Value {
    share["readOnly"] = json!(true);
    share
}

fn inline(attributes: Value) -> Value {
    let mut attributes = attributes;
    attributes["shareName"] = json!("data");
    json!({"csi": {"driver": "file.csi.azure.com", "volumeAttributes": attributes}})
}

#[test]
fn a_share_of_a_pod_is_mounted_with_the_key_of_its_secret() {
    let in_tree = |secret: &str| json!({"azureFile": {"shareName": "data", "secretName": secret}});
    let mut by_reference = inline(json!({}));
    by_reference["csi"]["nodePublishSecretRef"] = json!({"name": "short"});
    let mut by_both =
        inline(json!({"secretname": "own", "server": "acct.privatelink.file.core.windows.net"}));
    by_both["csi"]["nodePublishSecretRef"] = json!({"name": "own"});
    by_both["csi"]["readOnly"] = json!(true);
    let mut closed = in_tree("own");
    closed["azureFile"]["readOnly"] = json!(true);
    let table = [
        (in_tree("own"), share("acct"), vec![]),
        (in_tree("short"), share("other"), vec![]),
        (closed, read_only(share("acct")), vec![]),
        (inline(json!({"secretName": "own"})), share("acct"), vec![]),
        (
            inline(json!({"secretName": "nameless", "storageAccount": "mine"})),
            share("mine"),
            vec![],
        ),
        (
            inline(
                json!({"secretName": "own", "secretNamespace": "default", "protocol": "smb", "mountOptions": "dir_mode=0777,ro"}),
            ),
            read_only(share("acct")),
            vec!["ApproximatedOnAci"],
        ),
        (by_reference, share("other"), vec![]),
        (by_both, read_only(share("acct")), vec![]),
    ];
    for (source, expected, reasons) in table {
        assert_eq!(made(&source, &resolved()), (expected, reasons), "{source}");
    }
}

#[test]
fn a_share_that_aci_cannot_mount_is_refused_and_a_missing_key_is_waited_for() {
    let mut secretless = inline(json!({}));
    secretless["csi"]["nodePublishSecretRef"] = json!({"name": ""});
    let mut shareless = inline(json!({"secretName": "own"}));
    shareless["csi"]["volumeAttributes"]["shareName"] = json!("");
    let other = json!({"csi": {"driver": "secrets-store.csi.k8s.io"}});
    let in_tree = |secret: &str| json!({"azureFile": {"shareName": "data", "secretName": secret}});
    let attribute = |name: &str, value: &str| {
        let mut attributes = json!({"secretName": "own"});
        attributes[name] = json!(value);
        inline(attributes)
    };
    let attributes = "csi.volumeAttributes";
    let table = [
        (other, "csi.driver", "NotSupportedOnAci", false),
        (secretless, attributes, "NotSupportedOnAci", false),
        (shareless, attributes, "NotSupportedOnAci", false),
        (
            attribute("Protocol", "nfs"),
            attributes,
            "NotSupportedOnAci",
            false,
        ),
        (
            attribute("fsType", "ext4"),
            attributes,
            "NotSupportedOnAci",
            false,
        ),
        (
            attribute("diskName", "a.vhd"),
            attributes,
            "NotSupportedOnAci",
            false,
        ),
        (
            attribute("folderName", "a"),
            attributes,
            "NotSupportedOnAci",
            false,
        ),
        (
            attribute("clientID", "a"),
            attributes,
            "NotSupportedOnAci",
            false,
        ),
        (
            attribute("mountWithManagedIdentity", "true"),
            attributes,
            "NotSupportedOnAci",
            false,
        ),
        (
            attribute("secretNamespace", "kube-system"),
            attributes,
            "NotSupportedOnAci",
            false,
        ),
        (
            attribute("server", "example.com"),
            "csi",
            "ReferenceNotSupportedOnAci",
            true,
        ),
        (
            attribute("server", "acct.example.com"),
            "csi",
            "ReferenceNotSupportedOnAci",
            true,
        ),
        (in_tree("gone"), "azureFile", "FailedMount", true),
        (in_tree("keyless"), "azureFile", "FailedMount", true),
    ];
    for (source, field, reason, heals) in table {
        let expected = [(format!("spec.volumes[0].{field}"), reason, heals)];
        assert_eq!(refused(&source, &resolved()), expected, "{source}");
    }
    let why = translate(&json!({"csi": {"driver": "d.example.com"}}), &resolved()).unwrap_err();
    assert!(why.to_string().contains("d.example.com"), "{why}");
}

/// A claim `data` bound to the volume `pv-1`, which is `source`; `changes` are to the claim, then to the volume.
fn bound(source: &Value, changes: [Changes<'_>; 2]) -> Resolved {
    let claim = json!({
        "metadata": {"name": "data", "namespace": "default", "uid": "claim-uid"},
        "spec": {"volumeName": "pv-1", "accessModes": ["ReadWriteMany"]},
        "status": {"phase": "Bound"},
    });
    let volume = json!({
        "metadata": {"name": "pv-1"},
        "spec": {"claimRef": {"name": "data", "namespace": "default", "uid": "claim-uid"}, "accessModes": ["ReadWriteMany"]},
    });
    let mut volume = changed(&volume.to_string(), changes[1]);
    for (member, value) in source.as_object().unwrap() {
        volume["spec"][member] = value.clone();
    }
    let mut resolved = resolved();
    let claim = changed(&claim.to_string(), changes[0]);
    for name in ["data", "aci-helloworld-5d6f7c8b9d-x7k2p-share"] {
        resolved.claims.insert(name.to_owned(), Some(arc(&claim)));
    }
    resolved
        .volumes
        .insert("pv-1".to_owned(), Some(arc(&volume)));
    resolved
}

fn csi(handle: &str, attributes: &Value, stage: Option<&str>) -> Value {
    let mut csi = json!({"driver": "file.csi.azure.com", "volumeHandle": handle, "volumeAttributes": attributes});
    if let Some(name) = stage {
        csi["nodeStageSecretRef"] = json!({"name": name, "namespace": "storage"});
    }
    json!({"csi": csi})
}

fn claim() -> Value {
    json!({"persistentVolumeClaim": {"claimName": "data"}})
}

#[test]
fn a_claim_leads_to_a_volume_and_that_to_a_secret() {
    let named = json!({"shareName": "data", "storageAccount": "acct"});
    let mut closed = csi("h", &named, Some("stage"));
    closed["csi"]["readOnly"] = json!(true);
    let mut options = csi("h", &named, Some("stage"));
    options["mountOptions"] = json!(["dir_mode=0777", "ro"]);
    let mut mode = csi("h", &named, Some("stage"));
    mode["accessModes"] = json!(["ReadOnlyMany"]);
    let told = vec!["ApproximatedOnAci"];
    let table = [
        (csi("any", &named, Some("stage")), share("acct"), vec![]),
        (
            csi("rg#acct#data#", &json!({}), Some("stage")),
            share("acct"),
            vec![],
        ),
        // As the driver makes them: the Secret of the account, in the namespace that the handle ends with.
        (
            csi("rg#made#data###kube-system", &json!({}), None),
            share("made"),
            vec![],
        ),
        (csi("h", &named, None), share("acct"), vec![]),
        (
            csi(
                "h",
                &json!({"shareName": "data", "secretName": "own"}),
                None,
            ),
            share("acct"),
            vec![],
        ),
        (
            csi(
                "h",
                &json!({"shareName": "${pvc.metadata.namespace}-${pvc.metadata.name}-${pv.metadata.name}", "secretName": "own"}),
                None,
            ),
            json!({"shareName": "default-data-pv-1", "storageAccountName": "acct", "storageAccountKey": KEY}),
            vec![],
        ),
        (closed, read_only(share("acct")), vec![]),
        (options, read_only(share("acct")), told),
        (mode, read_only(share("acct")), vec![]),
        (
            json!({"azureFile": {"shareName": "data", "secretName": "stage", "secretNamespace": "storage"}}),
            share("acct"),
            vec![],
        ),
        (
            json!({"azureFile": {"shareName": "data", "secretName": "own", "readOnly": true}}),
            read_only(share("acct")),
            vec![],
        ),
    ];
    for (volume, expected, reasons) in table {
        let resolved = bound(&volume, [&[], &[]]);
        assert_eq!(made(&claim(), &resolved), (expected, reasons), "{volume}");
    }
    let closed = json!({"persistentVolumeClaim": {"claimName": "data", "readOnly": true}});
    let resolved = bound(&csi("h", &named, Some("stage")), [&[], &[]]);
    assert_eq!(made(&closed, &resolved).0, read_only(share("acct")));
}

#[test]
fn each_step_of_the_way_is_asked_for_when_the_one_before_is_known() {
    let source = csi("h", &json!({"shareName": "data"}), Some("stage"));
    let all = bound(&source, [&[], &[]]);
    let mut known = Resolved {
        services: Some(Arc::from([])),
        kubernetes: Some(None),
        ..Resolved::default()
    };
    let mut asked = Vec::new();
    for _ in 0..3 {
        let references = translate(&claim(), &known).unwrap().references;
        let mut unknown: Vec<_> = references
            .into_iter()
            .filter(|it| !known.knows(it))
            .collect();
        assert_eq!(unknown.len(), 1);
        let next = unknown.remove(0);
        match &next {
            Reference::Claim(name) => {
                known.claims.insert(name.clone(), all.claims[name].clone());
            }
            Reference::Volume(name) => {
                known
                    .volumes
                    .insert(name.clone(), all.volumes[name].clone());
            }
            other => {
                known
                    .objects
                    .insert(other.clone(), all.objects[other].clone());
            }
        }
        asked.push(next);
    }
    let expected = [
        Reference::Claim("data".to_owned()),
        Reference::Volume("pv-1".to_owned()),
        of("storage", "stage"),
    ];
    assert_eq!(asked, expected);
    assert_eq!(made(&claim(), &known).0["storageAccountKey"], KEY);
}

#[test]
fn a_claim_that_leads_nowhere_is_waited_for() {
    let good = csi("h", &json!({"shareName": "data"}), Some("stage"));
    let not_bound = "PersistentVolumeClaimNotBound";
    let not_ours = "ReferenceNotSupportedOnAci";
    let disk = json!({"csi": {"driver": "disk.csi.azure.com", "volumeHandle": "h"}});
    let nfs = json!({"nfs": {"server": "s", "path": "/"}});
    let table: [(&Value, [Changes<'_>; 2], &str); 12] = [
        (
            &good,
            [&[("/status/phase", json!("Pending"))], &[]],
            not_bound,
        ),
        (&good, [&[("/spec/volumeName", json!(""))], &[]], not_bound),
        (
            &good,
            [
                &[("/metadata/deletionTimestamp", json!("2026-01-01T00:00:00Z"))],
                &[],
            ],
            not_bound,
        ),
        (
            &good,
            [&[], &[("/spec/claimRef/uid", json!("another"))]],
            not_bound,
        ),
        (&good, [&[], &[("/spec/claimRef", json!(null))]], not_bound),
        (
            &good,
            [&[("/spec/volumeMode", json!("Block"))], &[]],
            not_ours,
        ),
        (
            &good,
            [&[("/spec/volumeName", json!("pv-2"))], &[]],
            "PersistentVolumeNotFound",
        ),
        (&disk, [&[], &[]], not_ours),
        (&nfs, [&[], &[]], not_ours),
        (
            &csi("h", &json!({"shareName": "data", "protocol": "nfs"}), None),
            [&[], &[]],
            not_ours,
        ),
        (&csi("h", &json!({}), Some("stage")), [&[], &[]], not_ours),
        (
            &csi("h", &json!({"shareName": "data"}), Some("gone")),
            [&[], &[]],
            "FailedMount",
        ),
    ];
    for (source, changes, reason) in table {
        let mut resolved = bound(source, changes);
        resolved.volumes.insert("pv-2".to_owned(), None);
        let expected = [(
            "spec.volumes[0].persistentVolumeClaim".to_owned(),
            reason,
            true,
        )];
        assert_eq!(
            refused(&claim(), &resolved),
            expected,
            "{source} {changes:?}"
        );
    }
    let why = translate(&claim(), &bound(&disk, [&[], &[]])).unwrap_err();
    assert!(why.to_string().contains("disk.csi.azure.com"), "{why}");
    let mut gone = resolved();
    gone.claims.insert("data".to_owned(), None);
    let field = "spec.volumes[0].persistentVolumeClaim".to_owned();
    assert_eq!(
        refused(&claim(), &gone),
        [(field, "PersistentVolumeClaimNotFound", true)]
    );
}

#[test]
fn the_claim_of_an_ephemeral_volume_must_be_the_pod_s_own() {
    let source = csi("h", &json!({"shareName": "data"}), Some("stage"));
    let ephemeral =
        json!({"ephemeral": {"volumeClaimTemplate": {"spec": {"accessModes": ["ReadWriteMany"]}}}});
    let owner = |uid: &str, controller: bool| json!([{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": uid, "controller": controller}]);
    let own = "3f0c9a52-6a3e-4b8e-9d0e-5a1f1b0d7c11";
    let with = |owners: Value| bound(&source, [&[("/metadata/ownerReferences", owners)], &[]]);
    assert_eq!(made(&ephemeral, &with(owner(own, true))).0, share("acct"));
    for owners in [owner("another", true), owner(own, false), json!([])] {
        let field = "spec.volumes[0].ephemeral".to_owned();
        let expected = [(field, "PersistentVolumeClaimNotOwned", true)];
        assert_eq!(refused(&ephemeral, &with(owners)), expected);
    }
}

#[test]
fn the_key_does_not_show_in_debug_and_another_user_than_root_is_told() {
    let source = json!({"azureFile": {"shareName": "data", "secretName": "own"}});
    let made = translate(&source, &resolved()).unwrap();
    assert!(!format!("{made:?}").contains(KEY));
    let changes = [
        (
            "/spec/volumes",
            json!([{"name": "share", "azureFile": source["azureFile"]}]),
        ),
        (
            "/spec/containers/0/volumeMounts",
            json!([{"name": "share", "mountPath": "/mnt"}]),
        ),
        ("/spec/securityContext", json!({"runAsUser": 1000})),
    ];
    let pod = pod(HELLO, &changes);
    let made = container_group(&pod, &defaults(Os::Linux), &owner(&pod), &resolved()).unwrap();
    let told: Vec<_> = made
        .notes
        .iter()
        .map(|note| (note.field.as_str(), note.reason))
        .collect();
    let expected = [("spec.containers[0].volumeMounts[0]", "ApproximatedOnAci")];
    assert_eq!(told, expected);
}
