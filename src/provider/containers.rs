//! What the kubelet API does with the containers of a pod.

use async_trait::async_trait;

use super::Aci;
use super::Provider as _;
use super::exec::{Command, ExecError, Exit, Streams};
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

    /// Runs `command` in `container` until it ends. Dropping the call interrupts the command. Its steps are bounded in
    /// time, the command itself is not.
    async fn exec(
        &self,
        pod: &PodKey,
        container: &str,
        command: &Command,
        streams: Streams,
    ) -> Result<Exit, ExecError>;

    /// Shows what `container` writes from now on, until it ends; standard input goes nowhere.
    async fn attach(
        &self,
        pod: &PodKey,
        container: &str,
        tty: bool,
        streams: Streams,
    ) -> Result<Exit, ExecError>;
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

    async fn exec(
        &self,
        pod: &PodKey,
        container: &str,
        command: &Command,
        streams: Streams,
    ) -> Result<Exit, ExecError> {
        self.run_command(pod, container, command, streams).await
    }

    async fn attach(
        &self,
        pod: &PodKey,
        container: &str,
        tty: bool,
        streams: Streams,
    ) -> Result<Exit, ExecError> {
        self.show_output(pod, container, tty, streams).await
    }
}
