//! One operation beside the loop, and what stands for one that died.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use super::Done;
use crate::azure::throttle::CallPriority;
use crate::kube::call::KubeError;
use crate::pods::backend::{Backend, Create};
use crate::pods::engine::{Begun, Input, Operation, PodEvent, Presence};
use crate::pods::queue::Priority;
use crate::pods::slots::OperationSlot;
use crate::provider::{Failure, FailureKind, Slot, Unreached};
use crate::translate::PodKey;

/// Carries out one operation; it always ends, in the input that belongs to it.
pub(super) async fn operate<B: Backend>(
    backend: Arc<B>,
    key: PodKey,
    begun: Begun,
    (pod, large): (Option<Arc<Pod>>, bool),
    slot: Arc<OperationSlot>,
) -> Done {
    let group = begun.group;
    if begun.operation.is_hook() {
        slot.leave();
    }
    let input = match begun.operation {
        Operation::CreateGroup {
            look_first,
            restarts,
        } => {
            let create = Create {
                group,
                key: key.clone(),
                pod,
                large,
                look_first,
                restarts,
                slot: slot.clone(),
            };
            let result = backend.create(create).await;
            if let Err(failure) = &result
                && failure.kind != FailureKind::Queued
            {
                tracing::info!(
                    ns = key.namespace, pod = key.name, reason = failure.reason, error = %failure,
                    "the container group was not created"
                );
            }
            Input::Created(key, result)
        }
        Operation::GetGroup => {
            let priority = match begun.priority {
                Priority::Poll => CallPriority::Status,
                Priority::Mutate | Priority::Transition | Priority::Retry => {
                    CallPriority::Interactive
                }
            };
            let result = backend.get(&group, priority).await;
            Input::Observed(key, result)
        }
        Operation::DeleteGroup => {
            let result = backend.delete(&group).await;
            Input::Deleted(key, result)
        }
        Operation::StopGroup => {
            let result = backend.stop(&group).await;
            Input::Stopped(key, result)
        }
        Operation::RestartGroup => {
            let result = backend.restart(&group).await;
            Input::Restarted(key, result)
        }
        Operation::ExchangeImage => {
            let slot: Arc<dyn Slot> = slot.clone();
            let result = backend.exchange_image(&key, &group, slot).await;
            Input::ImageExchanged(key, result)
        }
        Operation::ReadLogs(ends) => {
            let result = backend.read_logs(&group, &ends).await;
            Input::LogsRead(key, result)
        }
        Operation::RunPostStart(containers) => {
            let failed = backend.run_post_start(&key, &containers).await;
            Input::PostStartEnded(key, failed)
        }
        Operation::RunPreStop(containers) => {
            let failed = backend.run_pre_stop(&key, &containers).await;
            Input::PreStopEnded(key, failed)
        }
        Operation::SendSignal(containers) => {
            let unreached = backend.send_signal(&key, &containers).await;
            Input::Signalled(key, unreached)
        }
        Operation::Kill(containers) => {
            let unreached = backend.kill(&key, &containers).await;
            Input::Killed(key, unreached)
        }
        Operation::GetPod => {
            let presence = backend.pod_presence(&key).await;
            Input::PodRead(key, presence)
        }
        Operation::DeletePod => {
            let done = backend.delete_pod(&key).await;
            Input::PodDeleted(key, done)
        }
        Operation::Timer => Input::Timer(key),
    };
    Done::Operation(input)
}

/// The input that stands for a task that died.
pub(super) fn died(key: PodKey, operation: &Operation) -> Option<Input> {
    Some(match operation {
        // It may have taken effect.
        Operation::CreateGroup { .. } => Input::Created(
            key,
            Err(Failure {
                kind: FailureKind::Uncertain,
                ..internal()
            }),
        ),
        Operation::ExchangeImage => Input::ImageExchanged(key, Err(internal())),
        Operation::GetGroup => Input::Observed(key, Err(internal())),
        Operation::DeleteGroup => Input::Deleted(key, Err(internal())),
        Operation::StopGroup => Input::Stopped(key, Err(internal())),
        Operation::RestartGroup => Input::Restarted(key, Err(internal())),
        Operation::ReadLogs(_) => Input::LogsRead(key, Err(internal())),
        Operation::RunPostStart(_) => Input::PostStartEnded(key, Vec::new()),
        Operation::RunPreStop(_) => Input::PreStopEnded(key, Vec::new()),
        Operation::SendSignal(containers) => {
            Input::Signalled(key, Unreached::all(containers, &internal().message))
        }
        Operation::Kill(containers) => {
            Input::Killed(key, Unreached::all(containers, &internal().message))
        }
        Operation::GetPod => Input::PodRead(key, Presence::Unknown),
        Operation::DeletePod => Input::PodDeleted(key, false),
        Operation::Timer => return None,
    })
}

pub(super) fn internal() -> Failure {
    Failure::transient(
        "Internal",
        "an internal error; see the operator's log".to_string(),
    )
}

pub(super) fn not_written(key: &PodKey, error: &KubeError) -> PodEvent {
    PodEvent {
        key: key.clone(),
        warning: true,
        reason: "StatusNotWritten".to_owned(),
        message: format!("The API server does not take the status of this pod: {error}"),
        origin: None,
    }
}
