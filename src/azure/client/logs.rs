//! The log of a container.

use std::sync::Arc;

use serde::Deserialize;
use tokio::task::spawn_blocking;

use super::call::Call;
use super::{ArmClient, parse};
use crate::azure::error::{AzureError, ErrorClass};
use crate::azure::model::null_as_default;
use crate::azure::throttle::LogPollScheduler;

/// A log of millions of lines is not taken apart on a thread that leases and probes wait for.
const LONG: usize = 256 << 10;

#[derive(Deserialize)]
struct Logs {
    /// Null and absent both mean that nothing was written.
    #[serde(default, deserialize_with = "null_as_default")]
    content: String,
}

impl ArmClient {
    /// The end of a container's log (ARM: Containers - List Logs): at most `tail` lines, each behind its time when
    /// `timestamps` is set. ACI keeps 4 MB of a running container, 16 KB or 1,000 lines of one that has ended.
    ///
    /// # Errors
    /// Code `ContainerLogNotAvailable` while there is none yet.
    ///
    /// `asked_by`: see [`PermitRequest`](crate::azure::throttle::PermitRequest).
    pub async fn container_logs(
        &self,
        (rg, group, container): (&str, &str, &str),
        tail: Option<u32>,
        timestamps: bool,
        asked_by: Option<u64>,
    ) -> Result<String, AzureError> {
        let mut url = self.group_url(rg, &[group, "containers", container, "logs"])?;
        if let Some(tail) = tail {
            // ARM's parameter is an int32.
            let tail = tail.min(i32::MAX.unsigned_abs());
            url.query_pairs_mut().append_pair("tail", &tail.to_string());
        }
        if timestamps {
            url.query_pairs_mut().append_pair("timestamps", "true");
        }
        let call = Call::get("container_logs", url).asked_by(asked_by);
        let answer = self.send(&call).await?;
        if answer.body().len() < LONG {
            return parse::<Logs>(&answer).map(|logs| logs.content);
        }
        let read = spawn_blocking(move || parse::<Logs>(&answer).map(|logs| logs.content));
        read.await.unwrap_or_else(|_| {
            let text = "the log could not be read: the operator ends";
            Err(AzureError::local(
                ErrorClass::Connection,
                "LogNotRead",
                text,
            ))
        })
    }

    /// When followed logs are polled, shared by all that use this subscription and principal.
    pub fn log_polls(&self) -> Arc<LogPollScheduler> {
        self.session().limiter.log_polls()
    }
}
