//! The `CustomResourceDefinition`, generated from the types.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt as _;
use serde_json::json;

use super::VirtualKubeletConnector;

/// First lines of the generated file.
const HEADER: &str = "\
# Generated from src/api by `cargo xtask crds`; do not edit.
# The API of the connector: https://kubernetes.io/docs/concepts/extend-kubernetes/api-extension/custom-resources/
";

/// The CRD as it is installed: what the derive makes of the types, without the traces of its making, and with the
/// status that a new object shows until the operator has seen it.
pub fn crd() -> CustomResourceDefinition {
    let mut crd = VirtualKubeletConnector::crd();
    for version in &mut crd.spec.versions {
        let Some(root) = version
            .schema
            .as_mut()
            .and_then(|schema| schema.open_api_v3_schema.as_mut())
        else {
            continue;
        };
        tidy(root);
        if let Some(status) = root
            .properties
            .as_mut()
            .and_then(|properties| properties.get_mut("status"))
        {
            status.default = Some(JSON(default_status()));
        }
    }
    crd
}

/// The CRD as YAML with a header comment, the same for every call.
pub fn crd_yaml() -> Result<String, serde_saphyr::ser::Error> {
    Ok(format!("{HEADER}{}", serde_saphyr::to_string(&crd())?))
}

/// What the object says before the operator has acted: kstatus reads it as "in progress", and
/// `kubectl wait --for=condition=Ready` waits (Flux' and Gateway API's convention).
pub(super) fn default_status() -> serde_json::Value {
    json!({
        "observedGeneration": -1,
        "conditions": [{
            "type": "Ready",
            "status": "Unknown",
            "reason": "Pending",
            "message": "Waiting for controller",
            "lastTransitionTime": "1970-01-01T00:00:00Z",
        }],
    })
}

/// Takes out what schemars says about Rust rather than about the API: titles, `nullable` for each `Option`, and the
/// line breaks of doc comments.
fn tidy(schema: &mut JSONSchemaProps) {
    schema.title = None;
    schema.nullable = None;
    if let Some(description) = &mut schema.description {
        *description = description.split_whitespace().collect::<Vec<_>>().join(" ");
    }
    for property in schema
        .properties
        .iter_mut()
        .flat_map(|properties| properties.values_mut())
    {
        tidy(property);
    }
    match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => tidy(items),
        Some(JSONSchemaPropsOrArray::Schemas(items)) => items.iter_mut().for_each(tidy),
        None => {}
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        tidy(values);
    }
}
