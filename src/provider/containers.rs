//! What the kubelet API reads of the containers of a pod.

use async_trait::async_trait;

use super::Aci;
use super::Provider as _;
use crate::azure::AzureError;
use crate::translate::PodKey;

/// The containers of a node's pods. Calls are bounded in time by the implementation.
#[async_trait]
pub trait Containers: Send + Sync {
    /// The end of the log of `container`: its last `tail` lines, or as much as Azure keeps; with a time before each
    /// line when `timestamps` is set.
    async fn logs(
        &self,
        pod: &PodKey,
        container: &str,
        tail: Option<u32>,
        timestamps: bool,
    ) -> Result<String, AzureError>;
}

#[async_trait]
impl Containers for Aci {
    async fn logs(
        &self,
        pod: &PodKey,
        container: &str,
        tail: Option<u32>,
        timestamps: bool,
    ) -> Result<String, AzureError> {
        let group = self.group_name(pod);
        self.arm
            .container_logs(
                &self.scope.resource_group,
                &group,
                container,
                tail,
                timestamps,
            )
            .await
    }
}
