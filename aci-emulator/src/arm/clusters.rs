//! Managed clusters of AKS: GET. They are whatever was told; nothing runs.

use std::collections::BTreeMap;

use axum::{Json, response::IntoResponse};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Answer, Call, errors::ApiError};

/// `api-version`s of the type.
const VERSIONS: [&str; 3] = ["2024-09-01", "2024-05-01", "2023-10-01"];

/// A managed cluster of the emulated subscription.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ManagedCluster {
    /// Its resource group.
    pub resource_group: String,
    /// Its name.
    pub name: String,
    /// Its region.
    pub location: String,
    /// What ARM would answer as `properties`.
    #[serde(default)]
    pub properties: Value,
}

/// Clusters by resource group and name, lower-cased.
pub(crate) type ManagedClusters = BTreeMap<(String, String), ManagedCluster>;

impl ManagedCluster {
    pub(crate) fn key(&self) -> (String, String) {
        (self.resource_group.to_lowercase(), self.name.to_lowercase())
    }
}

/// `…/managedClusters/{name}`.
pub(crate) fn get(call: &Call<'_>, group: &str, name: &str) -> Answer {
    call.version(&VERSIONS)?;
    let world = call.shared.world.lock();
    world.resource_group(group)?;
    let key = (group.to_lowercase(), name.to_lowercase());
    let Some(cluster) = world.managed_clusters.get(&key) else {
        return Err(ApiError::new(
            404,
            "ResourceNotFound",
            format!(
                "The Resource 'Microsoft.ContainerService/managedClusters/{name}' under resource group '{group}' was not found. For more details please go to https://aka.ms/ARMResourceNotFoundFix"
            ),
        ));
    };
    let subscription = &call.shared.config.subscription_id;
    Ok(Json(json!({
        "id": format!(
            "/subscriptions/{subscription}/resourcegroups/{}/providers/Microsoft.ContainerService/managedClusters/{}",
            cluster.resource_group, cluster.name
        ),
        "name": cluster.name, "type": "Microsoft.ContainerService/ManagedClusters", "location": cluster.location,
        "properties": cluster.properties,
    }))
    .into_response())
}
