//! What the kubelet API does with the containers of a pod.

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;

use super::Aci;
use super::exec::{Attached, Command, ExecError, Exit, Streams};
use super::refresh::{contradicts_status, end_contradicts_status};
use crate::azure::AzureError;
use crate::azure::monitor::{Metric, Series};
use crate::azure::throttle::{LogPollScheduler, asked_by};
use crate::translate::PodKey;

/// How much of a log is wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogPart {
    /// So many lines of its end; without, as much as Azure keeps.
    pub tail: Option<u32>,
    /// With a time before each line.
    pub timestamps: bool,
    /// It has had a turn of [`Containers::log_polls`]. Others wait for the turn of the pod's namespace.
    pub planned: bool,
}

/// The containers of a node's pods. Calls are bounded in time by the implementation.
#[async_trait]
pub trait Containers: Send + Sync {
    /// The end of the log of `container`.
    async fn logs(
        &self,
        pod: &PodKey,
        container: &str,
        part: LogPart,
    ) -> Result<String, AzureError>;

    /// The address that the pod has now; `None` when it has none, or no group. It waits for the turn of the pod's namespace.
    async fn address(&self, pod: &PodKey) -> Result<Option<IpAddr>, AzureError>;

    /// The turns for looking again at a log that is followed: those of the ARM budget that [`Containers::logs`] uses.
    fn log_polls(&self) -> Arc<LogPollScheduler>;

    /// Says how many reads a second would keep the figures of the node fresh; they are planned together with all other
    /// reads of that ARM budget.
    fn plan_metrics(&self, reads_per_second: f64);

    /// Averages of the minutes from `from` until `until` (seconds of the epoch): CPU and memory of each container, and
    /// with `network` those of the group's network.
    async fn usage(
        &self,
        pod: &PodKey,
        from: i64,
        until: i64,
        network: bool,
    ) -> Result<Vec<Series>, AzureError>;

    /// Runs `command` in `container` until it ends; when the client has gone, interrupts it. Its steps are bounded in
    /// time, the command itself is not.
    async fn exec(
        &self,
        pod: &PodKey,
        container: &str,
        command: &Command,
        streams: Streams,
    ) -> Result<Exit, ExecError>;

    /// Shows what `container` writes from now on, until it ends. Standard input goes nowhere unless the container has its own.
    async fn attach(
        &self,
        pod: &PodKey,
        container: &Attached<'_>,
        streams: Streams,
    ) -> Result<Exit, ExecError>;

    /// A connection to `port` inside of the pod, by the shim in one of its `running` containers; [`ExecError::NoShim`] where none
    /// has it.
    async fn connect(
        &self,
        _pod: &PodKey,
        _running: &[String],
        _port: u16,
        _streams: Streams,
    ) -> Result<Exit, ExecError> {
        Err(ExecError::NoShim(String::new()))
    }
}

#[async_trait]
impl Containers for Aci {
    async fn logs(
        &self,
        pod: &PodKey,
        container: &str,
        part: LogPart,
    ) -> Result<String, AzureError> {
        let group = self.group_name(pod);
        let of = (self.scope.resource_group.as_str(), &*group, container);
        let asked = (!part.planned).then(|| asked_by(&pod.namespace));
        self.arm
            .container_logs(of, part.tail, part.timestamps, asked)
            .await
            .inspect_err(|error| {
                if contradicts_status(error) {
                    self.refreshes.add(pod);
                }
            })
    }

    async fn address(&self, pod: &PodKey) -> Result<Option<IpAddr>, AzureError> {
        let (rg, group) = (&self.scope.resource_group, self.group_name(pod));
        let asked = asked_by(&pod.namespace);
        let group = self.arm.group_asked_for(rg, &group, asked).await?;
        let address = group.and_then(|group| group.properties.ip_address?.ip);
        Ok(address.and_then(|ip| ip.parse().ok()))
    }

    fn log_polls(&self) -> Arc<LogPollScheduler> {
        self.arm.log_polls()
    }

    fn plan_metrics(&self, reads_per_second: f64) {
        self.arm.plan_metrics(&self.scope.node, reads_per_second);
    }

    async fn usage(
        &self,
        pod: &PodKey,
        from: i64,
        until: i64,
        network: bool,
    ) -> Result<Vec<Series>, AzureError> {
        let (rg, group) = (&self.scope.resource_group, self.group_name(pod));
        let containers = [Metric::CpuUsage, Metric::MemoryUsage];
        let mut series = self
            .arm
            .metrics(rg, &group, &containers, true, from, until)
            .await?;
        if network {
            // Without that dimension, and so a call of its own.
            let network = [Metric::NetworkReceived, Metric::NetworkTransmitted];
            let network = self.arm.metrics(rg, &group, &network, false, from, until);
            series.extend(network.await?);
        }
        Ok(series)
    }

    async fn exec(
        &self,
        pod: &PodKey,
        container: &str,
        command: &Command,
        streams: Streams,
    ) -> Result<Exit, ExecError> {
        let session = self.run_command(pod, container, command, streams, true);
        session.await.inspect_err(|error| self.noticed(pod, error))
    }

    async fn attach(
        &self,
        pod: &PodKey,
        container: &Attached<'_>,
        streams: Streams,
    ) -> Result<Exit, ExecError> {
        let session = self.attach_to(pod, container, streams);
        session.await.inspect_err(|error| self.noticed(pod, error))
    }

    async fn connect(
        &self,
        pod: &PodKey,
        running: &[String],
        port: u16,
        streams: Streams,
    ) -> Result<Exit, ExecError> {
        let session = self.be_connection(pod, running, port, streams);
        session.await.inspect_err(|error| self.noticed(pod, error))
    }
}

impl Aci {
    /// Has the group of `pod` read again when the end of a session contradicts its status.
    fn noticed(&self, pod: &PodKey, error: &ExecError) {
        if end_contradicts_status(error) {
            self.refreshes.add(pod);
        }
    }
}
