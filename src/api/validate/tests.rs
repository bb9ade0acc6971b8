use serde_json::{Value, json};

use super::*;

const SUBSCRIPTION: &str = "11111111-2222-3333-4444-555555555555";

fn spec(patch: &Value) -> VirtualKubeletConnectorSpec {
    let mut spec = json!({"region": "eastus", "aciResourceGroup": "aci-rg"});
    for (key, value) in patch.as_object().unwrap() {
        spec[key] = value.clone();
    }
    serde_json::from_value(spec).unwrap()
}

fn bundle(pem: &str) -> Value {
    json!({"cloud": "Custom", "customCloud": {
        "resourceManagerEndpoint": "https://management.example.com",
        "authorityHost": "https://login.example.com",
        "caBundle": STANDARD.encode(pem),
    }})
}

#[test]
fn problems_name_the_field_and_the_remedy() {
    let subnet = |subscription: &str| {
        format!(
            "/subscriptions/{subscription}/resourceGroups/net/providers/Microsoft.Network/virtualNetworks/v/subnets/s"
        )
    };
    let other = "99999999-2222-3333-4444-555555555555";
    let cases: &[(Value, &[&str])] = &[
        (json!({}), &[]),
        (
            json!({"node": {"capacity": {"cpu": 200, "memory": "1.5Ti", "pods": "1k", "ephemeral-storage": "1e12"}}}),
            &[],
        ),
        (
            json!({"node": {"capacity": {"cpu": "many"}}}),
            &[
                r#"spec.node.capacity.cpu: "many" is not a quantity; write a non-negative number such as 2, 500m or 1.5Gi"#,
            ],
        ),
        (
            json!({"containerGroup": {"requests": {"memory": "-1Gi"}}}),
            &[
                r#"spec.containerGroup.requests.memory: "-1Gi" is not a quantity; write a non-negative number such as 2, 500m or 1.5Gi"#,
            ],
        ),
        (
            json!({"linux": {"node": {"capacity": {"pods": "1.5"}}}, "windows": {"containerGroup": {"requests": {"cpu": "-1"}}}}),
            &[
                r#"spec.windows.containerGroup.requests.cpu: "-1" is not a quantity; write a non-negative number such as 2, 500m or 1.5Gi"#,
                "spec.linux.node.capacity.pods: the number of pods must be a whole number",
            ],
        ),
        (
            json!({"network": {"clusterDNS": ["10.0.0.10", "10.0.0.999"], "kubernetesServiceHost": "api.example.com:0"}}),
            &[
                r#"spec.network.clusterDNS: "10.0.0.999" is not an IP address"#,
                r#"spec.network.kubernetesServiceHost: "api.example.com:0" is not a host such as api.example.com or api.example.com:6443"#,
            ],
        ),
        (
            json!({"node": {"capacity": {"pods": "2500m"}}}),
            &["spec.node.capacity.pods: the number of pods must be a whole number"],
        ),
        (json!({"subnetID": subnet(other)}), &[]),
        (
            json!({"subscriptionID": SUBSCRIPTION, "subnetID": subnet(&SUBSCRIPTION.to_uppercase())}),
            &[],
        ),
        (
            json!({"subscriptionID": SUBSCRIPTION, "subnetID": subnet(other)}),
            &[
                "spec.subnetID: the subnet is in subscription 99999999-2222-3333-4444-555555555555 and the container groups in \
               11111111-2222-3333-4444-555555555555; they must be in the same one",
            ],
        ),
        (
            json!({"tags": {"env": "a", "Env": "b", "team": "c"}}),
            &["spec.tags: tag env is there twice: Azure ignores the case of tag names"],
        ),
        (
            json!({"osType": "Linux", "containerGroup": {"sku": "Confidential"}}),
            &[],
        ),
        (
            json!({"osType": "Both", "containerGroup": {"sku": "Confidential"}}),
            &[
                "spec.containerGroup.sku: the SKU Confidential is for Linux, and the connector has a Windows node; set osType to \
               Linux, or let pods ask for the SKU by the annotation virtual-kubelet.io/sku",
            ],
        ),
        (
            bundle("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
            &[],
        ),
        (
            bundle("hello"),
            &["spec.customCloud.caBundle: the bundle holds no PEM certificate (BEGIN CERTIFICATE)"],
        ),
    ];
    for (patch, expected) in cases {
        let problems: Vec<_> = validate(&spec(patch))
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(problems, *expected, "{patch}");
    }
}

#[test]
fn bundles_that_are_not_base64_or_pem_are_told_apart() {
    assert!(
        certificates("###")
            .unwrap_err()
            .starts_with("the bundle is not base64")
    );
    let torn = STANDARD.encode("-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n");
    assert!(
        certificates(&torn)
            .unwrap_err()
            .starts_with("the bundle is not PEM")
    );
    let two = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".repeat(2);
    assert_eq!(certificates(&STANDARD.encode(two)).unwrap().len(), 2);
}

#[test]
fn guids() {
    assert!(is_guid("11111111-2222-3333-4444-55555555555a"));
    assert!(!is_guid("11111111-2222-3333-4444/../5555555"));
    assert!(!is_guid("sub"));
}
