//! The chart and `config/` are two ways to say the same.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::helm::{NEW, OLD, get, kustomize, name, objects};

/// What only helm adds: who belongs to a release.
const OF_RELEASES: [&str; 4] = [
    "app.kubernetes.io/instance",
    "app.kubernetes.io/managed-by",
    "app.kubernetes.io/version",
    "helm.sh/chart",
];

fn without_release(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|key, _| !OF_RELEASES.contains(&key.as_str()));
            fields.values_mut().for_each(without_release);
        }
        Value::Array(items) => items.iter_mut().for_each(without_release),
        _ => {}
    }
}

/// By kind, namespace and name, without hooks and without what one of the two has for a reason.
fn comparable(objects: Vec<Value>) -> BTreeMap<String, Value> {
    let here = |object: &Value| {
        object["metadata"]["annotations"]["helm.sh/hook"].is_null()
            // helm has it in crds/, makes namespaces by a flag, and the samples have the connector.
            && !["CustomResourceDefinition", "Namespace", "VirtualKubeletConnector"]
                .contains(&object["kind"].as_str().unwrap())
    };
    let keyed = |mut object: Value| {
        without_release(&mut object);
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or("-");
        (format!("{namespace} {}", name(&object)), object)
    };
    objects.into_iter().filter(here).map(keyed).collect()
}

fn sample() -> Value {
    let text = std::fs::read_to_string(super::helm::path("config/samples/connector.yaml"));
    let connector: Value = serde_saphyr::from_str(&text.unwrap()).unwrap();
    json!({"connectors": {"virtual-kubelet": connector["spec"]}})
}

fn same(chart: Vec<Value>, folder: &str) {
    let (chart, config) = (comparable(chart), comparable(kustomize(folder)));
    let names = |of: &BTreeMap<String, Value>| of.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&chart), names(&config), "{folder}");
    assert!(chart.len() > 15, "{:?}", names(&chart));
    for (key, object) in &config {
        let text = |value: &Value| serde_saphyr::to_string(value).unwrap();
        assert!(
            chart[key] == *object,
            "{folder}: {key} differs\n--- config\n{}\n--- chart\n{}",
            text(object),
            text(&chart[key])
        );
    }
}

#[test]
fn the_defaults_are_config_default() {
    same(objects(&sample(), NEW), "config/default");
}

#[test]
fn any_node_is_config_any_node() {
    same(
        objects(&json!({"nodeIdentity": "any"}), NEW),
        "config/any-node",
    );
}

#[test]
fn older_clusters_have_the_rules_of_config_before_1_36_and_no_others() {
    let chart = objects(&sample(), OLD);
    let config = kustomize("config/before-1.36");
    let names = "ClusterRole/vkc-node-names";
    assert_eq!(get(&chart, names)["rules"], get(&config, names)["rules"]);
    let text = serde_json::to_string(&chart).unwrap();
    assert!(!text.contains("arbitrary-node"), "both ways at once");
    for objects in [&chart, &config] {
        let text = serde_json::to_string(objects).unwrap();
        assert!(!text.contains("MutatingAdmissionPolicy"), "not served");
    }
    let newer = serde_json::to_string(&objects(&sample(), NEW)).unwrap();
    assert!(!newer.contains("\"impersonate\""), "both ways at once");
}

#[test]
fn the_connector_is_the_sample() {
    let chart = objects(&sample(), NEW);
    let connector = get(&chart, "VirtualKubeletConnector/virtual-kubelet");
    assert_eq!(connector["spec"], sample()["connectors"]["virtual-kubelet"]);
}
