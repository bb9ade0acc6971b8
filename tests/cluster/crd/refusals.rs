//! Every refusal, with its field and its sentence.

use serde_json::{Value, json};

use super::{connector, plane};

const GUID: &str = "11111111-2222-3333-4444-555555555555";
const PATH: &str = "/apis/virtual-kubelet.io/v1alpha1/virtualkubeletconnectors";
const QUERY: &str = "dryRun=All&fieldValidation=Strict";

/// Sends an object as a dry run; the causes of its refusal as `field: sentence`, sorted.
async fn causes(client: &kube::Client, method: &str, uri: &str, object: &Value) -> Vec<String> {
    let request = http::Request::builder()
        .method(method)
        .uri(uri)
        .header("content-type", "application/json");
    let status = match client
        .request::<Value>(request.body(object.to_string().into_bytes()).unwrap())
        .await
    {
        Ok(_) => return Vec::new(),
        Err(kube::Error::Api(status)) => status,
        Err(error) => panic!("{error}"),
    };
    let causes = status
        .details
        .as_ref()
        .map(|details| details.causes.clone())
        .unwrap_or_default();
    if causes.is_empty() {
        return vec![status.message];
    }
    let mut causes: Vec<_> = causes
        .iter()
        .map(|cause| format!("{}: {}", cause.field, sentence(&cause.message)))
        .collect();
    causes.sort();
    causes
}

/// The sentence alone, without the `Invalid value: ` before it, which has the value of a string and of null after it.
fn sentence(message: &str) -> &str {
    let Some(rest) = message.strip_prefix("Invalid value: ") else {
        return message;
    };
    let mut escaped = false;
    let end_of_string = rest.char_indices().skip(1).find(|(_, c)| {
        let closing = *c == '"' && !escaped;
        escaped = *c == '\\' && !escaped;
        closing
    });
    match end_of_string {
        Some((index, _)) if rest.starts_with('"') => rest[index + 1..].trim_start_matches(": "),
        _ => rest.trim_start_matches("null: "),
    }
}

async fn create(cases: &[(&str, Value, &[&str])]) {
    let client = plane().await.client().await.unwrap();
    let mut wrong = Vec::new();
    for (name, patch, expected) in cases {
        let refused = causes(
            &client,
            "POST",
            &format!("{PATH}?{QUERY}"),
            &connector(name, patch),
        )
        .await;
        if refused != *expected {
            wrong.push(format!(
                "{name} {patch}\n  expected {expected:#?}\n  got {refused:#?}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn spec(patch: &Value) -> Value {
    json!({"spec": patch})
}

fn custom(patch: &Value) -> Value {
    let mut cloud = json!({
        "resourceManagerEndpoint": "https://management.example.com", "authorityHost": "https://login.example.com/adfs"
    });
    super::merge(&mut cloud, patch);
    spec(&json!({"cloud": "Custom", "customCloud": cloud}))
}

fn subnet(name: &str) -> String {
    format!(
        "/subscriptions/{GUID}/resourceGroups/net/providers/Microsoft.Network/virtualNetworks/v/subnets/{name}"
    )
}

fn identity(name: &str) -> String {
    format!(
        "/subscriptions/{GUID}/resourceGroups/id/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{name}"
    )
}

#[tokio::test]
async fn good_specs_are_taken() {
    create(&[
        ("minimal", json!({}), &[]),
        // 18 + 20 = 38 characters: the longest node name is 63 long.
        ("c23456789012345678", spec(&json!({"region": "r2345678901234567890"})), &[]),
        ("windows-in-subnet", spec(&json!({"osType": "Windows", "subnetID": subnet("s")})), &[]),
        ("case-of-arm", spec(&json!({"subnetID": subnet("s").to_uppercase()})), &[]),
        ("public", spec(&json!({"osType": "Both", "publicIP": true})), &[]),
        ("spot", spec(&json!({"containerGroup": {"priority": "Spot"}})), &[]),
        ("custom", custom(&json!({"caBundle": "QUJD", "audience": "https://management.example.com/1"})), &[]),
        ("stack-port", custom(&json!({"resourceManagerEndpoint": "https://127.0.0.1:8443/"})), &[]),
        ("no-taints", spec(&json!({"node": {"taints": []}})), &[]),
        (
            "same-key-two-effects",
            spec(&json!({"node": {"taints": [
                {"key": "azure.com/aci", "effect": "NoSchedule"}, {"key": "azure.com/aci", "effect": "NoExecute", "value": "x"}
            ]}})),
            &[],
        ),
        ("capacity", spec(&json!({"node": {"capacity": {"cpu": 200, "memory": "1.5Ti", "pods": "1k"}}})), &[]),
        ("managed", spec(&json!({"credentials": {"type": "ManagedIdentity"}})), &[]),
        ("managed-user", spec(&json!({"credentials": {"type": "ManagedIdentity", "clientID": GUID}})), &[]),
        (
            "principal",
            spec(&json!({"credentials": {"type": "ServicePrincipal", "tenantID": GUID, "secretRef": {"name": "s.1"}}})),
            &[],
        ),
        ("drain", spec(&json!({"drainTimeout": "1h30m0.5s"})), &[]),
        ("drain-not", spec(&json!({"drainTimeout": "0s"})), &[]),
        (
            "tags",
            spec(&json!({"tags": {"cost centre: 4711 (a)": "x", "@#$*": "", "ü": "ü"}, "zones": ["2", "1"]})),
            &[],
        ),
        (
            "registry",
            spec(&json!({"containerGroup": {"identityIDs": [identity("a"), identity("b")], "registryIdentityID": identity("b")}})),
            &[],
        ),
        (
            "registry-alone",
            spec(&json!({"containerGroup": {"registryIdentityID": identity("b")}})),
            &[],
        ),
        ("gate", spec(&json!({"allowedNamespaces": {"matchLabels": {"example.com/aci": "yes", "empty": ""}}})), &[]),
        (
            "of-one-node",
            spec(&json!({
                "osType": "Both",
                "linux": {"zones": ["1"], "node": {"capacity": {"cpu": 5}, "taints": []}, "containerGroup": {"priority": "Spot"}},
                "windows": {"containerGroup": {"sku": "Dedicated", "requests": {"cpu": "2"}}},
            })),
            &[],
        ),
        (
            "network",
            spec(&json!({"network": {
                "clusterDNS": ["10.0.0.10", "fd00::10"], "clusterDomain": "k8s.example.com", "kubernetesServiceHost": "10.0.0.1:6443",
            }})),
            &[],
        ),
        ("network-v6", spec(&json!({"network": {"kubernetesServiceHost": "[fd00::1]:6443"}})), &[]),
        ("gate-any", spec(&json!({"allowedNamespaces": {}})), &[]),
        (
            "gate-how",
            spec(&json!({"allowedNamespaces": {"matchExpressions": [
                {"key": "example.com/env", "operator": "In", "values": ["prod", ""]},
                {"key": "env", "operator": "NotIn", "values": ["dev"]},
                {"key": "team", "operator": "Exists"},
                {"key": "old", "operator": "DoesNotExist", "values": []},
            ]}})),
            &[],
        ),
    ])
    .await;
}

#[tokio::test]
async fn fields_of_the_wrong_form_are_refused() {
    let guid = "must be a GUID, like 11111111-2222-3333-4444-555555555555";
    let region =
        "spec.region: region must be the short name of an Azure region, like eastus or westeurope";
    let group = "spec.aciResourceGroup: aciResourceGroup must be the name of a resource group: letters, digits, underscores, \
                 hyphens, parentheses and dots, not ending in a dot";
    let subnet_id = "spec.subnetID: subnetID must be the ARM ID of a subnet: /subscriptions/ID/resourceGroups/NAME/providers/\
                     Microsoft.Network/virtualNetworks/NAME/subnets/NAME";
    let drain =
        "spec.drainTimeout: drainTimeout must be a duration of at most 24h, like 90s, 5m or 1h30m";
    create(&[
        ("region", spec(&json!({"region": "East US"})), &[region]),
        ("no-region-text", spec(&json!({"region": ""})), &[region]),
        ("group", spec(&json!({"aciResourceGroup": "rg."})), &[group]),
        ("group-path", spec(&json!({"aciResourceGroup": "a/b"})), &[group]),
        ("subscription", spec(&json!({"subscriptionID": "mine"})), &[&format!("spec.subscriptionID: subscriptionID {guid}")]),
        ("subnet", spec(&json!({"subnetID": "aci"})), &[subnet_id]),
        ("subnet-tail", spec(&json!({"subnetID": subnet("a/b")})), &[subnet_id]),
        (
            "network",
            spec(&json!({"network": {"clusterDNS": ["kube-dns"], "clusterDomain": "a..b", "kubernetesServiceHost": "https://a"}})),
            &[
                "spec.network.clusterDNS: clusterDNS must be IP addresses, like 10.0.0.10",
                "spec.network.clusterDomain: clusterDomain must be a DNS domain without a dot at its end, like cluster.local",
                "spec.network.kubernetesServiceHost: kubernetesServiceHost must be a host, with a port where that is not 443, like \
                 api.example.com or 10.0.0.4:6443",
            ],
        ),
        ("drain", spec(&json!({"drainTimeout": "5 minutes"})), &[drain]),
        ("drain-bare", spec(&json!({"drainTimeout": "300"})), &[drain]),
        ("drain-long", spec(&json!({"drainTimeout": "24h1s"})), &[drain]),
        ("drain-huge", spec(&json!({"drainTimeout": "99999h99999h99999h99999h"})), &[drain]),
        (
            "workspace",
            spec(&json!({"containerGroup": {"logAnalytics": {"workspaceID": "w", "secretRef": {"name": "Law"}}}})),
            &[
                "spec.containerGroup.logAnalytics.secretRef.name: secretRef.name must be the name of a Secret: lower-case \
                 letters, digits, hyphens and dots",
                &format!("spec.containerGroup.logAnalytics.workspaceID: workspaceID {guid}"),
            ],
        ),
        (
            "identities",
            spec(&json!({"containerGroup": {"identityIDs": ["acrpull"]}})),
            &["spec.containerGroup.identityIDs: identityIDs must be ARM IDs of user-assigned identities: /subscriptions/ID/\
               resourceGroups/NAME/providers/Microsoft.ManagedIdentity/userAssignedIdentities/NAME"],
        ),
        (
            "plain-http",
            custom(&json!({"resourceManagerEndpoint": "http://arm.example.com", "authorityHost": "https://u@h/?q"})),
            &[
                "spec.customCloud.authorityHost: authorityHost must be an https URL without query, like https://login.example.com",
                "spec.customCloud.resourceManagerEndpoint: resourceManagerEndpoint must be an https URL without query, like \
                 https://management.example.com",
            ],
        ),
        (
            "raw-pem",
            custom(&json!({"caBundle": "-----BEGIN CERTIFICATE-----"})),
            &["spec.customCloud.caBundle: caBundle must be PEM certificates encoded as one line of base64"],
        ),
        (
            "tenant",
            spec(&json!({"credentials": {"type": "WorkloadIdentity", "clientID": "c", "tenantID": "t"}})),
            &[
                &format!("spec.credentials.clientID: clientID {guid}"),
                &format!("spec.credentials.tenantID: tenantID {guid}"),
            ],
        ),
        (
            "secret-namespace",
            spec(&json!({"credentials": {"type": "ServicePrincipal", "secretRef": {"name": "s", "namespace": "A"}}})),
            &["spec.credentials.secretRef.namespace: secretRef.namespace must be the name of a namespace: lower-case letters, \
               digits and hyphens"],
        ),
    ])
    .await;
}

#[tokio::test]
async fn node_templates_that_no_node_could_have_are_refused() {
    let key = "a key must be a name of at most 63 characters with an optional DNS prefix, like example.com/team";
    let value = "a label value must consist of letters, digits, hyphens, underscores and dots, and begin and end with a letter or digit";
    let values = "values are required for the operators In and NotIn and forbidden for Exists and DoesNotExist";
    let ours = "spec.node.labels: type, kubernetes.io/os, kubernetes.io/arch, kubernetes.io/hostname, kubernetes.io/role, \
                topology.kubernetes.io/region, kubernetes.azure.com/managed, \
                node.kubernetes.io/exclude-from-external-load-balancers and labels under virtual-kubelet.io/ are set by the operator";
    let trusted = "spec.node.labels: labels under node-restriction.kubernetes.io/ say which nodes the administrators of the cluster trust; they set them themselves";
    let theirs = "spec.node.taints: taints under node.kubernetes.io/ and node.cloudprovider.kubernetes.io/ belong to Kubernetes";
    let capacity =
        "spec.node.capacity: capacity keys must be among cpu, memory, pods and ephemeral-storage";
    let quantity =
        "a quantity must be a non-negative number with an optional suffix, like 2, 500m or 1.5Gi";
    let taint =
        |key: &str| spec(&json!({"node": {"taints": [{"key": key, "effect": "NoSchedule"}]}}));
    create(&[
        ("label-type", spec(&json!({"node": {"labels": {"type": "mine"}}})), &[ours]),
        ("label-region", spec(&json!({"node": {"labels": {"topology.kubernetes.io/region": "eastus"}}})), &[ours]),
        ("label-own", spec(&json!({"node": {"labels": {"virtual-kubelet.io/connector": "x"}}})), &[ours]),
        ("label-trusted", spec(&json!({"node": {"labels": {"node-restriction.kubernetes.io/pci": "true"}}})), &[trusted]),
        ("label-trusted-by-a-team", spec(&json!({"node": {"labels": {"a.node-restriction.kubernetes.io/pci": "true"}}})), &[trusted]),
        ("label-key", spec(&json!({"node": {"labels": {"-a": "x"}}})), &[&format!("spec.node.labels: {key}")]),
        ("label-long", spec(&json!({"node": {"labels": {"k".repeat(64): "x"}}})), &[&format!("spec.node.labels: {key}")]),
        ("label-value", spec(&json!({"node": {"labels": {"a": "b c"}}})), &[&format!("spec.node.labels: {value}")]),
        ("annotation-key", spec(&json!({"node": {"annotations": {"a b": "x"}}})), &[&format!("spec.node.annotations: {key}")]),
        (
            "annotation-own",
            spec(&json!({"node": {"annotations": {"virtual-kubelet.io/x": "y"}}})),
            &["spec.node.annotations: annotations under virtual-kubelet.io/ are set by the operator"],
        ),
        ("taint-reserved", taint("node.kubernetes.io/not-ready"), &[theirs]),
        ("taint-cloud", taint("node.cloudprovider.kubernetes.io/uninitialized"), &[theirs]),
        (
            "taint-key",
            taint("a b"),
            &["spec.node.taints[0].key: a taint key must be a name with an optional DNS prefix, like example.com/dedicated"],
        ),
        (
            "taint-value",
            spec(&json!({"node": {"taints": [{"key": "a", "value": "-", "effect": "NoSchedule"}]}})),
            &["spec.node.taints[0].value: a taint value must consist of letters, digits, hyphens, underscores and dots, and \
               begin and end with a letter or digit"],
        ),
        ("capacity-gpu", spec(&json!({"node": {"capacity": {"nvidia.com/gpu": 1}}})), &[capacity]),
        ("capacity-text", spec(&json!({"node": {"capacity": {"cpu": "many"}}})), &[&format!("spec.node.capacity: {quantity}")]),
        ("capacity-negative", spec(&json!({"node": {"capacity": {"cpu": -1}}})), &[&format!("spec.node.capacity: {quantity}")]),
        (
            "requests",
            spec(&json!({"containerGroup": {"requests": {"pods": 1}}})),
            &["spec.containerGroup.requests: requests keys must be among cpu and memory"],
        ),
        (
            "gate-key",
            spec(&json!({"allowedNamespaces": {"matchLabels": {"a//b": "x", "b": "c/d"}}})),
            &[
                &format!("spec.allowedNamespaces.matchLabels: {key}"),
                &format!("spec.allowedNamespaces.matchLabels: {value}"),
            ],
        ),
        (
            "gate-values",
            spec(&json!({"allowedNamespaces": {"matchExpressions": [{"key": "env", "operator": "In"}]}})),
            &[&format!("spec.allowedNamespaces.matchExpressions[0].values: {values}")],
        ),
        (
            "gate-no-values",
            spec(&json!({"allowedNamespaces": {"matchExpressions": [{"key": "env", "operator": "Exists", "values": ["x"]}]}})),
            &[&format!("spec.allowedNamespaces.matchExpressions[0].values: {values}")],
        ),
        (
            "gate-odd",
            spec(&json!({"allowedNamespaces": {"matchExpressions": [{"key": "a//b", "operator": "In", "values": ["c/d"]}]}})),
            &[
                &format!("spec.allowedNamespaces.matchExpressions[0].key: {key}"),
                &format!("spec.allowedNamespaces.matchExpressions[0].values: {value}"),
            ],
        ),
        (
            "tag-own",
            spec(&json!({"tags": {"VKC-uid": "x"}})),
            &["spec.tags: tags that begin with vkc- are set by the operator"],
        ),
    ])
    .await;
    let tag = r"spec.tags: tag names must be at most 512 characters, without < > % & \ ? / and line breaks";
    let too_long = "t".repeat(513);
    for name in [
        "a<",
        "a>",
        "a%",
        "a&",
        "a\\",
        "a?",
        "a/b",
        "a\nb",
        too_long.as_str(),
    ] {
        create(&[("tag", spec(&json!({"tags": {name: "x"}})), &[tag])]).await;
    }
}

#[tokio::test]
async fn contradictions_are_refused() {
    let cloud = "spec.customCloud: customCloud is required for cloud Custom and forbidden for the other clouds";
    let spot = "spec.containerGroup.priority: priority Spot allows neither subnetID nor publicIP: Spot container groups have no \
                IP address";
    let union = |patch: Value| spec(&json!({"credentials": patch}));
    create(&[
        (
            "c234567890123456789",
            spec(&json!({"region": "r2345678901234567890"})),
            &["<nil>: name and region together must be at most 38 characters: node names are virtual-kubelet-NAME-OS-REGION and \
               limited to 63"],
        ),
        (
            "dotted.name",
            json!({}),
            &["<nil>: name must consist of lower-case letters, digits and hyphens: it becomes a part of node names"],
        ),
        ("custom-without", spec(&json!({"cloud": "Custom"})), &[cloud]),
        ("public-with", {
            let mut patch = custom(&json!({}));
            super::merge(&mut patch, &spec(&json!({"cloud": "AzureChinaCloud"})));
            patch
        }, &[cloud]),
        (
            "subnet-and-public",
            spec(&json!({"subnetID": subnet("s"), "publicIP": true})),
            &["spec.publicIP: publicIP cannot be combined with subnetID: container groups in a subnet have private addresses only"],
        ),
        (
            "spot-windows",
            spec(&json!({"osType": "Both", "containerGroup": {"priority": "Spot"}})),
            &["spec.containerGroup.priority: priority Spot is for osType Linux only"],
        ),
        ("spot-subnet", spec(&json!({"subnetID": subnet("s"), "containerGroup": {"priority": "Spot"}})), &[spot]),
        (
            "spot-of-one-node-public",
            spec(&json!({"osType": "Both", "publicIP": true, "linux": {"containerGroup": {"priority": "Spot"}}})),
            &["spec.linux.containerGroup.priority: priority Spot of the Linux node allows neither subnetID nor publicIP: Spot container \
               groups have no IP address"],
        ),
        (
            "spot-of-one-node-quota",
            spec(&json!({
                "osType": "Both", "linux": {"containerGroup": {"priority": "Spot"}}, "node": {"capacitySource": "Quota"},
            })),
            &["spec.node.capacitySource: capacitySource Quota cannot follow two quotas: Spot container groups have one of their own; make \
               a connector for each operating system"],
        ),
        (
            "linux-only",
            spec(&json!({"osType": "Both", "windows": {"containerGroup": {"priority": "Spot", "sku": "Confidential"}}})),
            &[
                "spec.windows.containerGroup.priority: priority Spot is for Linux only",
                "spec.windows.containerGroup.sku: the SKU Confidential is for Linux only",
            ],
        ),
        ("spot-public", spec(&json!({"publicIP": true, "containerGroup": {"priority": "Spot"}})), &[spot]),
        (
            "registry",
            spec(&json!({"containerGroup": {"registryIdentityID": "acrpull"}})),
            &["spec.containerGroup.registryIdentityID: registryIdentityID must be the ARM ID of a user-assigned identity: \
               /subscriptions/ID/resourceGroups/NAME/providers/Microsoft.ManagedIdentity/userAssignedIdentities/NAME"],
        ),
        (
            "principal",
            union(json!({"type": "ServicePrincipal"})),
            &["spec.credentials.secretRef: secretRef is required for type ServicePrincipal"],
        ),
        (
            "managed-secret",
            union(json!({"type": "ManagedIdentity", "secretRef": {"name": "s"}})),
            &["spec.credentials.secretRef: secretRef is for type ServicePrincipal only"],
        ),
        (
            "managed-tenant",
            union(json!({"type": "ManagedIdentity", "tenantID": GUID})),
            &["spec.credentials.tenantID: tenantID is not for type ManagedIdentity: a managed identity knows its tenant"],
        ),
        (
            "workload",
            union(json!({"type": "WorkloadIdentity", "clientID": GUID})),
            &["spec.credentials: clientID and tenantID are required for type WorkloadIdentity"],
        ),
    ])
    .await;
}

#[tokio::test]
async fn unknown_words_and_missing_fields_are_refused() {
    // The server checks no CEL rule of an object that its schema refuses, and says so.
    let unchecked = "<nil>: some validation rules were not checked because the object was invalid; correct the existing \
                     errors to complete validation";
    create(&[
        (
            "os",
            spec(&json!({"osType": "linux"})),
            &[unchecked, r#"spec.osType: Unsupported value: "linux": supported values: "Linux", "Windows", "Both""#],
        ),
        (
            "old-cloud-name",
            spec(&json!({"cloud": "AzureUSGovernment"})),
            &[
                unchecked,
                r#"spec.cloud: Unsupported value: "AzureUSGovernment": supported values: "AzurePublicCloud", "AzureUSGovernmentCloud", "AzureChinaCloud", "Custom""#,
            ],
        ),
        (
            "effect",
            spec(&json!({"node": {"taints": [{"key": "a", "effect": "Never"}]}})),
            &[
                unchecked,
                r#"spec.node.taints[0].effect: Unsupported value: "Never": supported values: "NoSchedule", "PreferNoSchedule", "NoExecute""#,
            ],
        ),
        (
            "twice",
            spec(&json!({"node": {"taints": [
                {"key": "a", "effect": "NoSchedule"}, {"key": "a", "value": "b", "effect": "NoSchedule"}
            ]}})),
            &[r#"spec.node.taints[1]: Duplicate value: {"effect":"NoSchedule","key":"a"}"#],
        ),
        ("no-group", spec(&json!({"aciResourceGroup": null})), &[unchecked, "spec.aciResourceGroup: Required value"]),
        ("zones", spec(&json!({"zones": ["4"]})), &[
            unchecked,
            r#"spec.zones[0]: Unsupported value: "4": supported values: "1", "2", "3""#,
        ]),
        ("zone-twice", spec(&json!({"zones": ["1", "1"]})), &[r#"spec.zones[1]: Duplicate value: "1""#]),
    ])
    .await;
    let client = plane().await.client().await.unwrap();
    let unknown = causes(
        &client,
        "POST",
        &format!("{PATH}?{QUERY}"),
        &connector("unknown", &spec(&json!({"location": "eastus"}))),
    )
    .await;
    assert_eq!(unknown.len(), 1);
    assert!(
        unknown[0].contains(r#"strict decoding error: unknown field "spec.location""#),
        "{unknown:?}"
    );
}

#[tokio::test]
async fn edits_keep_the_identity_of_a_connector() {
    let client = plane().await.client().await.unwrap();
    let before = connector(
        "edits",
        &spec(&json!({"osType": "Linux", "subscriptionID": GUID})),
    );
    let request = http::Request::post(PATH).header("content-type", "application/json");
    let stored: Value = client
        .request(request.body(before.to_string().into_bytes()).unwrap())
        .await
        .unwrap();
    let other = "immutable; create another connector and drain this one";
    let (region, group) = (
        format!("spec.region: region is {other}"),
        format!("spec.aciResourceGroup: aciResourceGroup is {other}"),
    );
    let subscription = format!("spec.subscriptionID: subscriptionID is {other}");
    let cases: &[(Value, &[&str])] = &[
        (json!({"region": "westus"}), &[&region]),
        (json!({"aciResourceGroup": "other"}), &[&group]),
        (
            json!({"subscriptionID": GUID.replace('1', "2")}),
            &[&subscription],
        ),
        (json!({"subscriptionID": null}), &[&subscription]),
        (
            json!({"region": "westus", "aciResourceGroup": "other"}),
            &[&group, &region],
        ),
        (json!({"osType": "Both"}), &[]),
        (json!({"osType": "Windows"}), &[]),
        (
            json!({"suspend": true, "publicIP": true, "drainTimeout": "1m"}),
            &[],
        ),
        (
            json!({"credentials": {"type": "ManagedIdentity"}, "tags": {"a": "b"}}),
            &[],
        ),
    ];
    for (patch, expected) in cases {
        let mut object = stored.clone();
        super::merge(&mut object, &spec(patch));
        let refused = causes(&client, "PUT", &format!("{PATH}/edits?{QUERY}"), &object).await;
        assert_eq!(refused, *expected, "{patch}");
    }
}
