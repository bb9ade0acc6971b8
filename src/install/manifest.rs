//! The objects as one file of YAML. PURE.

use k8s_openapi::api::core::v1::Secret;
use serde_json::{Map, Value, json};

use super::plan::{Change, Plan};

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
pub(super) enum ManifestError {
    #[error("the objects cannot be written as YAML: {0}")]
    Yaml(#[from] serde_saphyr::ser::Error),
    #[error("the objects cannot be written: {0}")]
    Json(#[from] serde_json::Error),
}

/// Secret, rights and connector, in the order in which they are applied.
pub(super) fn yaml(plan: &Plan, constrained: bool) -> Result<String, ManifestError> {
    let mut objects = Vec::new();
    if let Some(secret) = &plan.secret {
        objects.push(readable(secret)?);
    }
    objects.push(serde_json::to_value(plan.role(constrained))?);
    let (Change::Create(connector) | Change::Patch(connector)) = &plan.connector;
    objects.push(connector.clone());
    let mut text = String::new();
    for object in &objects {
        if !text.is_empty() {
            text.push_str("---\n");
        }
        text.push_str(&serde_saphyr::to_string(object)?);
        if !text.ends_with('\n') {
            text.push('\n');
        }
    }
    Ok(text)
}

/// With its values as text, as people and tools that encrypt them want it.
fn readable(secret: &Secret) -> Result<Value, ManifestError> {
    let mut object = serde_json::to_value(secret)?;
    let text = |bytes: &k8s_openapi::ByteString| String::from_utf8_lossy(&bytes.0).into_owned();
    let data = secret.data.iter().flatten();
    let data: Map<String, Value> = data
        .map(|(key, value)| (key.clone(), json!(text(value))))
        .collect();
    if let Some(fields) = object.as_object_mut() {
        fields.remove("data");
        fields.insert("stringData".to_owned(), Value::Object(data));
    }
    Ok(object)
}
