//! What the connector's `containerGroup` and a pod's annotations make of a group.

use serde_json::{Value, json};

use super::{Note, Translation, body, container_group};
use crate::api::{ContainerGroupSku, Os, Priority};
use crate::azure::model::SecretText;
use crate::translate::testing::{HELLO, changed, defaults, owner, resolved};
use crate::translate::{ClusterDns, GroupDefaults, Refusals, Workspace};

mod refusals;

const A: &str = "/subscriptions/S/resourceGroups/rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities/a";
const B: &str = "/subscriptions/S/resourceGroups/rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities/b";
const SUBNET: &str =
    "/subscriptions/S/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/v/subnets/aci";

/// Short keys are ours.
fn annotated(text: &str, annotations: &[(&str, &str)]) -> k8s_openapi::api::core::v1::Pod {
    let annotations: serde_json::Map<String, Value> = annotations
        .iter()
        .map(|(key, value)| {
            let ours = if key.contains(['/', '.']) {
                (*key).to_owned()
            } else {
                format!("virtual-kubelet.io/{key}")
            };
            (ours, json!(value))
        })
        .collect();
    serde_json::from_value(changed(
        text,
        &[("/metadata/annotations", json!(annotations))],
    ))
    .unwrap()
}

fn connector() -> GroupDefaults {
    GroupDefaults {
        identity_ids: vec![A.to_owned(), B.to_owned()],
        zones: vec!["2".to_owned(), "1".to_owned()],
        log_analytics: Some(Workspace {
            id: "w".to_owned(),
            key: Some(SecretText::new("hush".to_owned())),
        }),
        ..defaults(Os::Linux)
    }
}

fn in_subnet() -> GroupDefaults {
    GroupDefaults {
        subnet_id: Some(SUBNET.to_owned()),
        public_ip: false,
        cluster_dns: ClusterDns {
            servers: vec![[10, 0, 0, 10].into()],
            domain: "cluster.local".to_owned(),
        },
        ..connector()
    }
}

fn quiet() -> GroupDefaults {
    GroupDefaults {
        public_ip: false,
        ..connector()
    }
}

fn translate(
    text: &str,
    annotations: &[(&str, &str)],
    defaults: &GroupDefaults,
) -> Result<Translation, Refusals> {
    let pod = annotated(text, annotations);
    container_group(&pod, defaults, &owner(&pod), &resolved())
}

/// The body, checked as ACI would.
fn put(annotations: &[(&str, &str)], defaults: &GroupDefaults) -> Value {
    let translation = translate(HELLO, annotations, defaults)
        .unwrap_or_else(|refusals| panic!("{annotations:?}: {refusals}"));
    let body = serde_json::to_value(&translation.group).unwrap();
    body::check(&body).unwrap_or_else(|why| panic!("{why}\n{body:#}"));
    assert_eq!(translation.notes, [], "{annotations:?}");
    body
}

fn refusals(
    text: &str,
    annotations: &[(&str, &str)],
    defaults: &GroupDefaults,
) -> Vec<(String, &'static str)> {
    let refused = translate(text, annotations, defaults).err();
    let refused = refused.map(|refusals| refusals.0).unwrap_or_default();
    refused
        .into_iter()
        .map(|refusal| (refusal.field, refusal.reason))
        .collect()
}

fn at(key: &str) -> String {
    format!("metadata.annotations[virtual-kubelet.io/{key}]")
}

#[test]
fn the_connector_s_features_reach_every_group() {
    let body = put(&[], &connector());
    assert_eq!(body.get("identity"), None, "a pod has none by default");
    assert_eq!(body["zones"], json!(["2"]));
    let logs = json!({
        "workspaceId": "w",
        "workspaceKey": "hush",
        "metadata": {
            "pod-namespace": "default",
            "pod-name": "aci-helloworld-5d6f7c8b9d-x7k2p",
            "pod-uuid": "3f0c9a52-6a3e-4b8e-9d0e-5a1f1b0d7c11",
        },
    });
    assert_eq!(
        body["properties"]["diagnostics"],
        json!({"logAnalytics": logs})
    );
    assert!(body["properties"].get("priority").is_none());

    let spot = GroupDefaults {
        priority: Priority::Spot,
        ..quiet()
    };
    assert_eq!(put(&[], &spot)["properties"]["priority"], "Spot");
    let confidential = GroupDefaults {
        sku: ContainerGroupSku::Confidential,
        ..connector()
    };
    assert_eq!(put(&[], &confidential)["properties"]["sku"], "Confidential");
}

#[test]
fn identities_can_be_fewer_and_never_others() {
    let with = |value: &str| put(&[("identity", value)], &connector())["identity"].clone();
    let lower = A.to_lowercase();
    let both = format!("system, {A}");
    let user = json!({"type": "UserAssigned", "userAssignedIdentities": {A: {}}});
    for (value, expected) in [
        ("none", json!(null)),
        ("system", json!({"type": "SystemAssigned"})),
        (A, user.clone()),
        (&*lower, user),
        (
            &*both,
            json!({"type": "SystemAssigned, UserAssigned", "userAssignedIdentities": {A: {}}}),
        ),
    ] {
        assert_eq!(with(value), expected, "{value}");
    }
    let foreign = A.replace("/a", "/owner");
    let got = refusals(HELLO, &[("identity", &foreign)], &connector());
    assert_eq!(got, [(at("identity"), "AnnotationNotAllowed")]);
    let mut none = connector();
    none.identity_ids.clear();
    let got = refusals(HELLO, &[("identity", A)], &none);
    assert_eq!(got, [(at("identity"), "AnnotationNotAllowed")]);
    for bad in ["", "all", "none,system", "/subscriptions/x", "system,"] {
        let got = refusals(HELLO, &[("identity", bad)], &connector());
        assert_eq!(got, [(at("identity"), "InvalidAnnotation")], "{bad}");
    }
}

#[test]
fn the_identity_that_pulls_is_attached_where_it_pulls_and_no_pod_gets_it_by_asking() {
    let puller = A.replace("/a", "/acrpull");
    let defaults = GroupDefaults {
        registry_identity_id: Some(puller.clone()),
        ..connector()
    };
    let identity_for = |image: &str, annotations: &[(&str, &str)]| {
        let pod = annotated(HELLO, annotations);
        let mut pod: Value = serde_json::to_value(pod).unwrap();
        pod["spec"]["containers"][0]["image"] = json!(image);
        let pod = serde_json::from_value(pod).unwrap();
        let made = container_group(&pod, &defaults, &owner(&pod), &resolved()).unwrap();
        serde_json::to_value(&made.group).unwrap()["identity"].clone()
    };
    let of = |kind: &str, users: &[&str]| {
        let users: serde_json::Map<String, Value> = users
            .iter()
            .map(|id| ((*id).to_owned(), json!({})))
            .collect();
        json!({"type": kind, "userAssignedIdentities": users})
    };
    let azure = "team.azurecr.io/a";
    assert_eq!(identity_for("example.com/a", &[]), Value::Null);
    assert_eq!(identity_for(azure, &[]), of("UserAssigned", &[&puller]));
    assert_eq!(
        identity_for(azure, &[("identity", "none")]),
        of("UserAssigned", &[&puller])
    );
    assert_eq!(
        identity_for(azure, &[("identity", A)]),
        of("UserAssigned", &[A, &puller])
    );
    assert_eq!(
        identity_for(azure, &[("identity", "system")]),
        of("SystemAssigned, UserAssigned", &[&puller])
    );
    assert_eq!(
        identity_for("example.com/a", &[("identity", "system")]),
        json!({"type": "SystemAssigned"})
    );
    let got = refusals(HELLO, &[("identity", &puller)], &defaults);
    assert_eq!(got, [(at("identity"), "AnnotationNotAllowed")]);
}

type Case<'a> = (&'a [(&'a str, &'a str)], &'a str, Value);

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn annotations_win_over_the_connector() {
    let policy = "cGFja2FnZSBwb2xpY3k=";
    let vault = [
        ("encryption-vault-url", "https://v.vault.azure.net"),
        ("encryption-key-name", "k"),
        ("encryption-key-version", "0123abc"),
        ("encryption-identity", A),
        ("identity", A),
    ];
    let cases: [Case<'_>; 21] = [
        (&[("zone", "3")], "/zones", json!(["3"])),
        (&[("zone", "none")], "/zones", json!(null)),
        (&[("zone", "3;1, 2")], "/zones", json!(["3"])),
        (
            &[
                ("microsoft.containerinstance.virtualnode.zones", ""),
                ("microsoft.containerinstance.virtualnode.identity", ""),
                ("microsoft.containerinstance.virtualnode.customtags", ""),
            ],
            "/zones",
            json!(["2"]),
        ),
        (
            &[(
                "microsoft.containerinstance.virtualnode.customtags",
                "team=a;cost:b=c;vkc-uid=x;VKC-not-enforced=y;",
            )],
            "/tags/cost",
            json!("b=c"),
        ),
        (
            &[("tags", "vkc-uid=x;VKC-not-enforced=y")],
            "/tags/VKC-not-enforced",
            json!(null),
        ),
        (
            &[("sku", "dedicated")],
            "/properties/sku",
            json!("Dedicated"),
        ),
        (
            &[("container-sku", "confidential")],
            "/properties/sku",
            json!("Confidential"),
        ),
        (
            &[("cce-policy", policy)],
            "/properties/sku",
            json!("Confidential"),
        ),
        (
            &[("cce-policy", policy), ("sku", "Confidential")],
            "/properties/confidentialComputeProperties",
            json!({"ccePolicy": policy}),
        ),
        (
            &[("confidential-compute-cce-policy", policy)],
            "/properties/confidentialComputeProperties",
            json!({"ccePolicy": policy}),
        ),
        (
            &[("microsoft.containerinstance.virtualnode.ccepolicy", policy)],
            "/properties/confidentialComputeProperties",
            json!({"ccePolicy": policy}),
        ),
        (
            &vault,
            "/properties/encryptionProperties",
            json!({"vaultBaseUrl": "https://v.vault.azure.net", "keyName": "k", "keyVersion": "0123abc", "identity": A}),
        ),
        (
            &vault[..3],
            "/properties/encryptionProperties",
            json!({"vaultBaseUrl": "https://v.vault.azure.net", "keyName": "k", "keyVersion": "0123abc"}),
        ),
        (
            &[("log-analytics", "off")],
            "/properties/diagnostics",
            json!(null),
        ),
        (
            &[("log-type", "containerinsights")],
            "/properties/diagnostics/logAnalytics/logType",
            json!("ContainerInsights"),
        ),
        (
            &[("public-ip", "false")],
            "/properties/ipAddress",
            json!(null),
        ),
        (
            &[("public-ip", "false"), ("priority", "Spot")],
            "/properties/priority",
            json!("Spot"),
        ),
        (
            &[("dns-label", "my-app"), ("dns-label-scope", "noreuse")],
            "/properties/ipAddress",
            json!({"type": "Public", "ports": [{"port": 80, "protocol": "TCP"}], "dnsNameLabel": "my-app",
                   "autoGeneratedDomainNameLabelScope": "Noreuse"}),
        ),
        (
            &[("virtualkubelet.io/dnsnamelabel", "my-app")],
            "/properties/ipAddress/dnsNameLabel",
            json!("my-app"),
        ),
        (
            &[
                (
                    "microsoft.containerinstance.virtualnode.injectkubeproxy",
                    "false",
                ),
                ("realtime-metrics", "false"),
            ],
            "/properties/extensions",
            json!(null),
        ),
    ];
    for (annotations, pointer, expected) in cases {
        let body = put(annotations, &connector());
        let got = body.pointer(pointer).unwrap_or(&Value::Null);
        assert_eq!(*got, expected, "{annotations:?}");
    }
    let spot = GroupDefaults {
        priority: Priority::Spot,
        ..quiet()
    };
    let body = put(&[("priority", "regular")], &spot);
    assert!(body["properties"].get("priority").is_none());
    let body = put(
        &[
            ("realtime-metrics", "true"),
            ("subnet", &SUBNET.to_uppercase()),
        ],
        &in_subnet(),
    );
    assert_eq!(
        body["properties"]["extensions"],
        json!([{"name": "vk-realtime-metrics", "properties": {"extensionType": "realtime-metrics", "version": "1.0"}}])
    );
    assert_eq!(body["properties"]["subnetIds"], json!([{"id": SUBNET}]));
}

#[test]
fn each_kind_of_group_has_its_size() {
    let sized = |cpu: &str, memory: &str, annotations: &[(&str, &str)]| {
        let pod = annotated(HELLO, annotations);
        let mut pod: Value = serde_json::to_value(pod).unwrap();
        pod["spec"]["containers"][0]["resources"] =
            json!({"limits": {"cpu": cpu, "memory": memory}});
        let pod = serde_json::from_value(pod).unwrap();
        let translation = container_group(&pod, &quiet(), &owner(&pod), &resolved());
        if let Ok(translation) = &translation {
            body::check(&serde_json::to_value(&translation.group).unwrap()).unwrap();
        }
        translation
            .map(drop)
            .map_err(|refusals| refusals.to_string())
    };
    for (annotations, fits, too_much) in [
        (
            &[("priority", "Spot")][..],
            ("4", "16G"),
            [("4100m", "1G"), ("1", "17G")],
        ),
        (
            &[("sku", "Confidential")],
            ("31", "180G"),
            [("32", "1G"), ("1", "181G")],
        ),
        (&[], ("31", "240G"), [("32", "1G"), ("1", "241G")]),
    ] {
        assert_eq!(sized(fits.0, fits.1, annotations), Ok(()));
        for (cpu, memory) in too_much {
            let why = sized(cpu, memory, annotations).unwrap_err();
            assert!(why.contains("container group has at most"), "{why}");
        }
    }
}

#[test]
fn without_the_workspace_s_key_pods_wait_for_it() {
    let mut defaults = connector();
    defaults.log_analytics = Some(Workspace {
        id: "w".to_owned(),
        key: None,
    });
    let refused = translate(HELLO, &[], &defaults).unwrap_err();
    assert_eq!(refused.reason(), "LogAnalyticsKeyMissing");
    assert!(refused.is_retryable());
    let off = translate(HELLO, &[("log-analytics", "off")], &defaults);
    assert!(off.is_ok(), "a pod without logs needs no key");
}

#[test]
fn names_that_nobody_reads_are_told_once() {
    let told = translate(
        HELLO,
        &[
            ("prioritty", "Spot"),
            ("gpu-type", "k80"),
            ("microsoft.containerinstance.virtualnode.fips", "a"),
            ("billed-resources", "cpu=1"),
            ("fqdn", "a.b"),
            ("example.com/virtual-kubelet.io", "x"),
            ("cni.projectcalico.org/podIP", "10.0.0.1"),
        ],
        &connector(),
    );
    let notes = told.unwrap().notes;
    let message = "nothing is known by this name: microsoft.containerinstance.virtualnode.fips, \
                   virtual-kubelet.io/gpu-type, virtual-kubelet.io/prioritty; see docs/annotations.md";
    assert_eq!(
        notes,
        [Note {
            field: "metadata.annotations".to_owned(),
            reason: "UnknownAnnotation",
            message: message.to_owned(),
        }]
    );
}

#[test]
fn zones_are_an_order_of_preference() {
    let with = |full: &[&str], annotation: Option<&str>| {
        let defaults = GroupDefaults {
            full_zones: full.iter().map(|zone| (*zone).to_owned()).collect(),
            ..connector()
        };
        let annotations: Vec<_> = annotation.iter().map(|zones| ("zone", *zones)).collect();
        put(&annotations, &defaults)["zones"].clone()
    };
    // The connector prefers 2, then 1.
    for (full, annotation, expected) in [
        (&[][..], None, json!(["2"])),
        (&["2"], None, json!(["1"])),
        (&["1", "2"], None, json!(["2"])),
        (&["1"], Some("1,3"), json!(["3"])),
        (&["1", "3"], Some("1;3"), json!(["1"])),
        (&["1"], Some("1;none"), json!(null)),
        (&["2"], Some("2"), json!(["2"])),
    ] {
        assert_eq!(with(full, annotation), expected, "{full:?} {annotation:?}");
    }
}

#[test]
fn the_connector_s_tags_win_over_a_pod_s() {
    let mut defaults = connector();
    defaults.tags = (0..38)
        .map(|n| (format!("t{n:02}"), "own".to_owned()))
        .collect();
    let asked = "T00=mine;a=1;b=2";
    let tags = put(&[("tags", asked)], &defaults)["tags"].clone();
    assert_eq!((&tags["t00"], &tags["T00"]), (&json!("own"), &Value::Null));
    assert_eq!(
        (&tags["a"], &tags["b"]),
        (&json!("1"), &Value::Null),
        "there is room for one"
    );
    assert_eq!(tags.as_object().unwrap().len(), 38 + 1 + 7);
}

#[test]
fn two_names_of_one_annotation_must_agree() {
    let alias = "microsoft.containerinstance.virtualnode.zones";
    put(&[("zone", "1"), (alias, " 1\n")], &connector());
    let got = refusals(HELLO, &[("zone", "1"), (alias, "2")], &connector());
    assert_eq!(got, [(at("zone"), "InvalidAnnotation")]);
}

#[test]
fn the_workspace_s_key_does_not_show() {
    let translation = translate(HELLO, &[], &connector()).unwrap();
    let shown = format!("{translation:?} {:?}", connector());
    assert!(!shown.contains("hush"), "{shown}");
}

#[test]
fn azure_reads_secrets_of_a_key_vault_itself() {
    let value = "aci-helloworld/A=https://v.vault.azure.net/secrets/a, aci-helloworld/B=https://v.vault.azure.net/secrets/b/01, \
                 aci-helloworld/C=https://v.vault.azure.net/secrets/a";
    let body = put(&[("key-vault-env", value), ("identity", A)], &connector());
    let reference = |name: &str, secret: &str| json!({"name": name, "identity": A, "secretReferenceUri": format!("https://v.vault.azure.net/secrets/{secret}")});
    assert_eq!(
        body["properties"]["secretReferences"],
        json!([
            reference("key-vault-0", "a"),
            reference("key-vault-1", "b/01")
        ])
    );
    assert_eq!(
        body["properties"]["containers"][0]["properties"]["environmentVariables"],
        json!([
            {"name": "HOSTNAME", "value": "aci-helloworld-5d6f7c8b9d-x7k2p"},
            {"name": "A", "secureValueReference": "key-vault-0"},
            {"name": "B", "secureValueReference": "key-vault-1"},
            {"name": "C", "secureValueReference": "key-vault-0"},
        ])
    );
    let named = [
        ("key-vault-env", value),
        ("identity", &*format!("{A}, {B}")),
        ("key-vault-identity", A),
    ];
    let body = put(&named, &connector());
    assert_eq!(body["properties"]["secretReferences"][0]["identity"], A);
}
