//! Whether a container has a log to read, in a kubelet's words. PURE.

use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Pod};

use super::super::api_error::ApiError;
use super::super::pods;

/// The run of a container whose log is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    pub restarts: i32,
    /// It writes no more.
    pub ended: bool,
}

/// The run of `container` that has a log.
///
/// # Errors
/// 404 for a container that the pod does not have, 400 for one without a log (yet).
pub fn run(pod: &Pod, container: &str, previous: bool) -> Result<Run, ApiError> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    if pods::container(pod, container).is_none() {
        return Err(ApiError::not_found(format!(
            "container {container:?} not found in pod {name:?}"
        )));
    }
    let about = format!("container {container:?} in pod {name:?}");
    let Some(status) = status(pod, container) else {
        return Err(ApiError::bad_request(format!("{about} is not available")));
    };
    let before = status
        .last_state
        .as_ref()
        .and_then(|state| state.terminated.as_ref());
    if previous {
        return Err(ApiError::bad_request(if before.is_some() {
            format!(
                "previous terminated {about}: Azure Container Instances keeps the log of the current run only"
            )
        } else {
            format!("previous terminated {about} not found")
        }));
    }
    let state = status.state.clone().unwrap_or_default();
    let run = |ended| Run {
        restarts: status.restart_count,
        ended,
    };
    match state {
        ContainerState {
            running: Some(_), ..
        } => Ok(run(false)),
        ContainerState {
            terminated: Some(_),
            ..
        } => Ok(run(true)),
        // Between two runs: the log of the one that ended is there until the next begins.
        ContainerState {
            waiting: Some(_), ..
        } if before.is_some() => Ok(run(true)),
        ContainerState {
            waiting: Some(waiting),
            ..
        } => {
            let why = match waiting.reason.as_deref().unwrap_or_default() {
                "ErrImagePull" => "image can't be pulled".to_owned(),
                "ImagePullBackOff" => "trying and failing to pull image".to_owned(),
                "" => waiting.message.unwrap_or_else(|| "unknown".to_owned()),
                reason => reason.to_owned(),
            };
            Err(ApiError::bad_request(format!(
                "{about} is waiting to start: {why}"
            )))
        }
        ContainerState { .. } => Err(ApiError::bad_request(format!(
            "{about} is waiting to start - no logs yet"
        ))),
    }
}

/// The status of `container`, init containers included.
pub fn status<'a>(pod: &'a Pod, container: &str) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    let all = [&status.container_statuses, &status.init_container_statuses];
    let mut all = all.into_iter().flatten().flatten();
    all.find(|status| status.name == container)
}

/// What became of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    Goes,
    Ended,
    /// This one, after so many restarts, has begun since; or the followed run is it, and the status was late.
    Another(i32),
}

/// What became of the run that began after `restarts` restarts, as far as `pod` shows.
pub fn life(pod: &Pod, container: &str, restarts: i32) -> Life {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    match run(pod, container, false) {
        Ok(run) if run.ended => Life::Ended,
        Ok(run) if run.restarts > restarts => Life::Another(run.restarts),
        Err(_) if matches!(phase, Some("Succeeded" | "Failed")) => Life::Ended,
        Ok(_) | Err(_) => Life::Goes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(status: &Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p"},
            "spec": {"containers": [{"name": "c"}], "initContainers": [{"name": "i"}]},
            "status": {"containerStatuses": status},
        }))
        .unwrap()
    }

    fn with(state: &Value, last: &Value) -> Pod {
        pod(&json!([{
            "name": "c", "image": "x", "imageID": "", "ready": false, "restartCount": 2,
            "state": state, "lastState": last,
        }]))
    }

    #[test]
    fn words() {
        let ended = json!({"terminated": {"exitCode": 1}});
        let waiting = |reason: &str| json!({"waiting": {"reason": reason}});
        for (state, last, previous, expected) in [
            (
                json!({"running": {}}),
                json!({}),
                false,
                Ok(Run {
                    restarts: 2,
                    ended: false,
                }),
            ),
            (
                ended.clone(),
                json!({}),
                false,
                Ok(Run {
                    restarts: 2,
                    ended: true,
                }),
            ),
            (
                waiting("CrashLoopBackOff"),
                ended.clone(),
                false,
                Ok(Run {
                    restarts: 2,
                    ended: true,
                }),
            ),
            (
                waiting("ContainerCreating"),
                json!({}),
                false,
                Err("container \"c\" in pod \"p\" is waiting to start: ContainerCreating"),
            ),
            (
                waiting("ErrImagePull"),
                json!({}),
                false,
                Err("container \"c\" in pod \"p\" is waiting to start: image can't be pulled"),
            ),
            (
                waiting("ImagePullBackOff"),
                json!({}),
                false,
                Err(
                    "container \"c\" in pod \"p\" is waiting to start: trying and failing to pull image",
                ),
            ),
            (
                json!({}),
                json!({}),
                false,
                Err("container \"c\" in pod \"p\" is waiting to start - no logs yet"),
            ),
            (
                json!({"running": {}}),
                json!({}),
                true,
                Err("previous terminated container \"c\" in pod \"p\" not found"),
            ),
            (
                json!({"running": {}}),
                ended,
                true,
                Err(
                    "previous terminated container \"c\" in pod \"p\": Azure Container Instances keeps the log of the current run only",
                ),
            ),
        ] {
            let got = run(&with(&state, &last), "c", previous);
            let got = got
                .as_ref()
                .map_err(|refusal| (refusal.status.as_u16(), refusal.text.as_str()));
            assert_eq!(
                got.copied(),
                expected.map_err(|text| (400, text)),
                "{state}"
            );
        }
        let none = run(&pod(&json!([])), "i", false).unwrap_err();
        assert_eq!(none.text, "container \"i\" in pod \"p\" is not available");
        let unknown = run(&pod(&json!([])), "x", false).unwrap_err();
        assert_eq!(
            (unknown.status.as_u16(), unknown.text.as_str()),
            (404, "container \"x\" not found in pod \"p\"")
        );
    }

    #[test]
    fn lives() {
        for (state, restarts, expected) in [
            (json!({"running": {}}), 2, Life::Goes),
            (json!({"running": {}}), 1, Life::Another(2)),
            (json!({"terminated": {"exitCode": 0}}), 2, Life::Ended),
            (json!({"terminated": {"exitCode": 0}}), 1, Life::Ended),
            (json!({"waiting": {}}), 2, Life::Goes),
        ] {
            assert_eq!(
                life(&with(&state, &json!({})), "c", restarts),
                expected,
                "{state}"
            );
        }
    }
}
