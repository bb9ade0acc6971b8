//! JSON schemas for kubeconform, of the API server that the tests run on: the ones that it would fetch are on the network.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use xtask::control_plane::ControlPlane;

const KIND: &str = "virtualkubeletconnector-virtual-kubelet-v1alpha1.json";

/// Writes a schema for each kind that `plane` serves with the CRDs of `crds`, and says how many there are.
pub(super) async fn write(plane: &ControlPlane, crds: &Path, to: &Path) -> Result<usize> {
    fs::create_dir_all(to)?;
    let crds = crds.display().to_string();
    plane.kubectl_run(&["apply", "-f", &crds]).await?.ok()?;
    // The API server publishes a new kind's schema a little later.
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let written = all(plane, to).await?;
        if to.join(KIND).is_file() {
            return Ok(written);
        }
        ensure!(
            Instant::now() < deadline,
            "the API server does not publish the connector's schema"
        );
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn all(plane: &ControlPlane, to: &Path) -> Result<usize> {
    let index = get(plane, "/openapi/v3").await?;
    let paths = index.get("paths").and_then(Value::as_object);
    let mut written = 0;
    for (name, path) in paths.context("no paths in /openapi/v3")? {
        // Of groups and versions: apis/apps/v1, api/v1.
        if !name
            .split('/')
            .next_back()
            .is_some_and(|last| last.starts_with('v'))
        {
            continue;
        }
        let url = path.get("serverRelativeURL").and_then(Value::as_str);
        let document = get(plane, url.context("a path without an address")?).await?;
        for (name, schema) in schemas(&document) {
            fs::write(to.join(name), schema.to_string())?;
            written += 1;
        }
    }
    Ok(written)
}

async fn get(plane: &ControlPlane, path: &str) -> Result<Value> {
    let text = plane.kubectl_run(&["get", "--raw", path]).await?.ok()?;
    serde_json::from_str(&text).with_context(|| format!("{path} is not JSON"))
}

/// File name and schema of each kind of one group and version.
fn schemas(document: &Value) -> Vec<(String, Value)> {
    let mut components = document.get("components").cloned().unwrap_or_default();
    close(&mut components);
    let mut found = Vec::new();
    let all = components
        .get("schemas")
        .and_then(Value::as_object)
        .cloned();
    for (name, schema) in all.unwrap_or_default() {
        let kinds = schema
            .get("x-kubernetes-group-version-kind")
            .and_then(Value::as_array);
        // Those with several, such as DeleteOptions, are no objects.
        let [kind] = kinds.map(Vec::as_slice).unwrap_or_default() else {
            continue;
        };
        let of = |key: &str| {
            kind.get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_lowercase()
        };
        // As kubeconform calls them: the first label of the group.
        let group = of("group");
        let group = group.split('.').next().filter(|first| !first.is_empty());
        let group = group.map(|first| format!("-{first}")).unwrap_or_default();
        found.push((
            format!("{}{group}-{}.json", of("kind"), of("version")),
            json!({"$ref": format!("#/components/schemas/{name}"), "components": components}),
        ));
    }
    found
}

/// Unknown fields are mistakes: an object with members has no others.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            let open = [
                "additionalProperties",
                "x-kubernetes-preserve-unknown-fields",
            ];
            let is_open = open.iter().any(|key| fields.contains_key(*key));
            if fields.get("properties").is_some_and(Value::is_object)
                && fields.get("type") == Some(&json!("object"))
                && !is_open
            {
                fields.insert("additionalProperties".to_owned(), json!(false));
            }
            fields.values_mut().for_each(close);
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::schemas;
    use serde_json::json;

    #[test]
    fn a_schema_for_each_kind_which_has_no_other_fields() {
        let kind =
            |group: &str, kind: &str| json!([{"group": group, "version": "v1", "kind": kind}]);
        let document = json!({"components": {"schemas": {
            "a.NetworkPolicy": {
                "type": "object", "properties": {"spec": {"$ref": "#/components/schemas/a.Spec"}},
                "x-kubernetes-group-version-kind": kind("networking.k8s.io", "NetworkPolicy"),
            },
            "a.Spec": {"type": "object", "properties": {"free": {"type": "object"}}},
            "a.Pod": {"type": "object", "x-kubernetes-group-version-kind": kind("", "Pod")},
        }}});
        let made = schemas(&document);
        let names: Vec<_> = made.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["networkpolicy-networking-v1.json", "pod-v1.json"]);
        let closed = "/components/schemas/a.Spec/additionalProperties";
        let (_, first) = made.first().unwrap();
        assert_eq!(first.pointer(closed), Some(&json!(false)));
        let free = "/components/schemas/a.Spec/properties/free/additionalProperties";
        assert_eq!(first.pointer(free), None);
    }
}
