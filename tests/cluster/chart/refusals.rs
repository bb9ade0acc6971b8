//! What is no value of the chart is refused before anything is rendered, with its path.

use serde_json::{Value, json};

use super::helm::{NEW, OLD, chart, helm, text};

/// A connector with the least spec, and one field more.
fn connector(field: &str, value: Value) -> Value {
    let mut spec = json!({"region": "eastus", "aciResourceGroup": "aci-rg"});
    spec[field] = value;
    json!({"connectors": {"mine": spec}})
}

#[test]
fn unknown_keys_and_wrong_types_are_refused_with_their_path() {
    let cases = [
        (json!({"replica": 3}), "'replica'"),
        (json!({"image": {"tga": "1"}}), "/image"),
        (json!({"replicas": "two"}), "/replicas"),
        (json!({"nodeIdentity": "all"}), "/nodeIdentity"),
        (
            json!({"policies": {"daemonSets": "Deny"}}),
            "/policies/daemonSets",
        ),
        (json!({"image": {"digest": "latest"}}), "/image/digest"),
        (
            json!({"metrics": {"podMonitor": {"enable": true}}}),
            "/metrics/podMonitor",
        ),
        (
            json!({"networkPolicy": {"egress": {"apiServerPorts": ["443"]}}}),
            "/networkPolicy/egress/apiServerPorts/0",
        ),
        (
            json!({"uninstall": {"connectors": "Drain"}}),
            "/uninstall/connectors",
        ),
        (json!({"kubeletServingCert": "files"}), "/kubeletCertSecret"),
        (json!({"credentials": {"secret": "x"}}), "/credentials"),
        (
            json!({"credentials": {"workloadIdentity": {"enabled": true}}}),
            "/credentials/workloadIdentity/clientID",
        ),
        (
            json!({"connectors": {"mine": {"region": "eastus"}}}),
            "/connectors/mine",
        ),
        (
            json!({"connectors": {"No_Name": {"region": "eastus", "aciResourceGroup": "a"}}}),
            "/connectors",
        ),
        (
            connector("osType", json!("linux")),
            "/connectors/mine/osType",
        ),
        (
            connector("region", json!("East US")),
            "/connectors/mine/region",
        ),
        (connector("publicIp", json!(true)), "/connectors/mine"),
        (
            connector("publicIP", json!("yes")),
            "/connectors/mine/publicIP",
        ),
        (
            connector("node", json!({"capacity": {"cpu": true}})),
            "/connectors/mine/node/capacity/cpu",
        ),
        (
            connector(
                "credentials",
                json!({"type": "ManagedIdentity", "clientID": "me"}),
            ),
            "/connectors/mine/credentials/clientID",
        ),
        (
            connector("containerGroup", json!({"identityIDs": "one"})),
            "/connectors/mine/containerGroup/identityIDs",
        ),
    ];
    for (values, expected) in cases {
        let error = text(&values, NEW, &[]).expect_err(&values.to_string());
        assert!(error.contains(expected), "{values}: {error}");
    }
}

#[test]
fn what_cannot_be_granted_is_refused_in_words() {
    let error = text(&json!({"nodeIdentity": "any"}), OLD, &[]).unwrap_err();
    assert!(
        error.contains("nodeIdentity: any needs Kubernetes 1.36"),
        "{error}"
    );
    let values = json!({"credentials": {"externalSecret": {"enabled": true}}});
    let error = text(&values, NEW, &[]).unwrap_err();
    assert!(error.contains("credentials.existingSecret"), "{error}");
    let error = text(&json!({}), "1.29.0", &[]).unwrap_err();
    assert!(error.contains("1.29.0"), "{error}");
}

#[test]
fn the_linter_has_nothing_to_say() {
    let answer = helm(None, &["lint", "--strict", &chart()]).unwrap();
    assert!(
        !answer.contains("[WARNING]") && !answer.contains("[ERROR]"),
        "{answer}"
    );
}
