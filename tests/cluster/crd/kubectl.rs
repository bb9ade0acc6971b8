//! What people see: defaults, `explain`, `diff`, columns, selectors.

use serde_json::{Value, json};

use super::{connector, eventually, feed, path, plane, run};

async fn get(name: &str) -> Value {
    serde_json::from_str(&run(&["get", "vkc", name, "-o", "json"]).await).unwrap()
}

#[tokio::test]
async fn a_new_connector_says_that_it_waits_for_its_controller() {
    plane().await;
    feed(&["apply", "-f", "-"], &connector("fresh", &json!({}))).await;
    let stored = get("fresh").await;
    assert_eq!(
        stored["status"],
        json!({
            "observedGeneration": -1,
            "conditions": [{
                "type": "Ready", "status": "Unknown", "reason": "Pending", "message": "Waiting for controller",
                "lastTransitionTime": "1970-01-01T00:00:00Z",
            }],
        })
    );
    assert_eq!(
        stored["spec"],
        json!({
            "region": "eastus", "aciResourceGroup": "aci-rg", "osType": "Linux", "cloud": "AzurePublicCloud",
            "containerInstanceAPIVersion": "2023-05-01", "registerProvider": false, "publicIP": false, "suspend": false,
            "daemonSets": "Refuse", "deletionPolicy": "Drain", "drainTimeout": "5m", "orphanPolicy": "Delete",
        })
    );
    let wait = ["wait", "--for=condition=Ready", "--timeout=0", "vkc/fresh"];
    let output = plane().await.kubectl_run(&wait).await.unwrap();
    assert!(
        !output.status.success() && output.stderr.contains("condition not met"),
        "{output:?}"
    );
}

#[tokio::test]
async fn the_stored_object_is_the_rust_type() {
    plane().await;
    let full = path("config/samples/full.yaml");
    let text = run(&["create", "--dry-run=server", "-o", "json", "-f", &full]).await;
    let connector: vkc::api::VirtualKubeletConnector = serde_json::from_str(&text).unwrap();
    assert_eq!(vkc::api::validate(&connector.spec), []);
    let stored: Value = serde_json::from_str(&text).unwrap();
    let mut ours = serde_json::to_value(&connector.spec).unwrap();
    // Integers among quantities become text in the types, and stay numbers in the store.
    ours["node"]["capacity"] = stored["spec"]["node"]["capacity"].clone();
    assert_eq!(
        ours, stored["spec"],
        "a field is lost or renamed between the schema and the types"
    );
}

#[tokio::test]
async fn explain_describes_every_field() {
    plane().await;
    let text = run(&["explain", "virtualkubeletconnector", "--recursive"]).await;
    assert!(
        text.contains("resourceManagerEndpoint\t<string> -required-"),
        "{text}"
    );
    assert!(text.contains("enum: Linux, Windows, Both"), "{text}");
    let schema = serde_json::to_value(vkc::api::crd()).unwrap();
    let spec = &schema["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"];
    for (field, property) in spec.as_object().unwrap() {
        let text = run(&["explain", &format!("vkc.spec.{field}")]).await;
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            words(&text).contains(&words(property["description"].as_str().unwrap())),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_second_apply_is_no_difference() {
    plane().await;
    for (name, server_side) in [("again-client", false), ("again-server", true)] {
        let full = std::fs::read_to_string(path("config/samples/full.yaml")).unwrap();
        let mut object: Value = serde_saphyr::from_str(&full).unwrap();
        object["metadata"]["name"] = name.into();
        let flag = format!("--server-side={server_side}");
        feed(&["apply", &flag, "-f", "-"], &object).await;
        // diff ends with 1, so `ok` fails, when there is one.
        assert_eq!(feed(&["diff", &flag, "-f", "-"], &object).await, "");
        let generation = get(name).await["metadata"]["generation"].clone();
        feed(&["apply", &flag, "-f", "-"], &object).await;
        assert_eq!(get(name).await["metadata"]["generation"], generation);
    }
}

#[tokio::test]
async fn two_owners_share_the_list_of_taints() {
    plane().await;
    let taint = |key: &str| {
        connector(
            "shared-taints",
            &json!({"spec": {"node": {"taints": [{"key": key, "effect": "NoSchedule"}]}}}),
        )
    };
    feed(
        &["apply", "--server-side", "--field-manager=one", "-f", "-"],
        &taint("one"),
    )
    .await;
    feed(
        &["apply", "--server-side", "--field-manager=two", "-f", "-"],
        &taint("two"),
    )
    .await;
    let stored = get("shared-taints").await;
    let keys: Vec<_> = stored["spec"]["node"]["taints"]
        .as_array()
        .unwrap()
        .iter()
        .map(|taint| taint["key"].clone())
        .collect();
    assert_eq!(keys, ["one", "two"]);
}

#[tokio::test]
async fn columns_fit_a_terminal_and_selectors_select() {
    plane().await;
    feed(
        &["apply", "-f", "-"],
        &connector(
            "columns",
            &json!({"spec": {"region": "norwayeast", "osType": "Windows"}}),
        ),
    )
    .await;
    let status = json!({"status": {
        "observedGeneration": 1, "nodeSummary": "1/1", "pods": 12,
        "conditions": [{
            "type": "Ready", "status": "True", "reason": "NodesReady", "message": "1/1 nodes are ready in norwayeast",
            "observedGeneration": 1, "lastTransitionTime": "2026-11-23T05:00:00Z",
        }],
    }});
    run(&[
        "patch",
        "vkc",
        "columns",
        "--subresource=status",
        "--type=merge",
        "-p",
        &status.to_string(),
    ])
    .await;
    run(&[
        "wait",
        "--for=condition=Ready",
        "--timeout=0",
        "vkc/columns",
    ])
    .await;

    let table = run(&["get", "vkc", "columns"]).await;
    let lines: Vec<&str> = table.lines().collect();
    let cells = |line: &str| {
        line.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        cells(lines[0]),
        [
            "NAME", "OS", "REGION", "NODES", "PODS", "READY", "REASON", "AGE"
        ]
    );
    assert_eq!(
        cells(lines[1])[..7],
        [
            "columns",
            "Windows",
            "norwayeast",
            "1/1",
            "12",
            "True",
            "NodesReady"
        ]
    );
    assert!(lines.iter().all(|line| line.len() <= 80), "{table}");
    let wide = run(&["get", "virtual-kubelet", "-o", "wide"]).await;
    assert!(
        wide.lines()
            .next()
            .unwrap()
            .contains("RESOURCE GROUP   SUSPENDED   MESSAGE"),
        "{wide}"
    );
    assert!(wide.contains("1/1 nodes are ready in norwayeast"), "{wide}");

    for selector in [
        "spec.region=norwayeast",
        "spec.osType=Windows,spec.region=norwayeast",
    ] {
        let names = run(&["get", "vkc", "--field-selector", selector, "-o", "name"]).await;
        assert_eq!(
            names.trim(),
            "virtualkubeletconnector.virtual-kubelet.io/columns",
            "{selector}"
        );
    }
}

#[tokio::test]
async fn the_crd_is_structural_and_without_complaints() {
    plane().await;
    let conditions = eventually("the CRD has its conditions", 30, || async {
        let text = run(&[
            "get",
            "crd",
            "virtualkubeletconnectors.virtual-kubelet.io",
            "-o",
            "json",
        ])
        .await;
        let crd: Value = serde_json::from_str(&text).unwrap();
        crd["status"]["conditions"].as_array().cloned()
    })
    .await;
    for condition in conditions {
        let bad = [
            "NonStructuralSchema",
            "KubernetesAPIApprovalPolicyConformant",
        ]
        .contains(&condition["type"].as_str().unwrap());
        assert_eq!(condition["status"] == "True", !bad, "{condition}");
    }
    let diff = plane()
        .await
        .kubectl_run(&["diff", "--server-side", "-k", &path("config/crd")])
        .await
        .unwrap();
    assert!(diff.status.success(), "{}{}", diff.stdout, diff.stderr);
    let warnings = plane()
        .await
        .kubectl_run(&[
            "apply",
            "--server-side",
            "--dry-run=server",
            "-k",
            &path("config/crd"),
        ])
        .await
        .unwrap();
    assert_eq!(warnings.stderr, "", "the API server warns about the CRD");
}
