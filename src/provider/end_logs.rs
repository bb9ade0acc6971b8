//! The logs of containers that have ended.

use std::time::Duration;

use tokio::time::timeout;

use super::{Aci, Failure};
use crate::azure::model::ContainerGroup;
use crate::azure::throttle::CallPriority;
use crate::translate::{ContainerEnd, MESSAGE_LINES};

/// The last status of a pod may wait for it.
const READ: Duration = Duration::from_secs(4);

/// What was read for the termination messages of containers.
#[derive(Debug, Clone, PartialEq)]
pub struct EndLogs {
    /// The end of the logs that could be read.
    pub logs: Vec<(ContainerEnd, String)>,
    /// The group as it was after that; `None` when ARM says that it does not exist.
    pub group: Option<Box<ContainerGroup>>,
}

impl Aci {
    /// Reads the end of the logs of `ends` in the group `name`, and then the group: a log is of the run that the group shows
    /// before and after it. A log that cannot be read is left out.
    pub async fn read_logs(&self, name: &str, ends: &[ContainerEnd]) -> Result<EndLogs, Failure> {
        let read = async {
            let mut logs = Vec::new();
            for end in ends {
                let (rg, container) = (&self.scope.resource_group, &end.container);
                let of = (rg.as_str(), name, container.as_str());
                let log = self
                    .arm
                    .container_logs(of, Some(MESSAGE_LINES), false, None);
                match log.await {
                    Ok(log) => logs.push((end.clone(), log)),
                    Err(error) => {
                        tracing::debug!(group = name, container, %error, "the log of an ended container was not read");
                    }
                }
            }
            let group = self.observe(name, CallPriority::Interactive).await?;
            Ok(EndLogs { logs, group })
        };
        timeout(READ, read).await.unwrap_or_else(|_| {
            let message =
                format!("the logs of container group {name} were not read within {READ:?}");
            Err(Failure::transient("LogsNotRead", message))
        })
    }
}
