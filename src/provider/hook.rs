//! What is done to the containers of a pod that ends: `preStop` hooks, and SIGTERM.
//!
//! ACI has neither. Both go by its exec: the shell in the container sends the signal to process 1, which is the container's
//! program. Hooks by HTTP are asked for from here, as a kubelet does.

use std::net::IpAddr;
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::{
    Container, ContainerPort, ExecAction, HTTPGetAction, Lifecycle, LifecycleHandler, Pod,
    SleepAction,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Aci;
use super::exec::{Command, ExecError, Exit, Streams};
use super::probe::NoAnswer;
use crate::api::Os;
use crate::net::can_be_a_pods;
use crate::translate::{PodKey, port_number, termination_grace};

/// Longest wait for an answer to a hook by HTTP (a kubelet waits as long as the hook may take).
const HTTP: Duration = Duration::from_secs(30);
/// Longest time for a hook after the start: while it runs nothing else is done for the pod (a kubelet waits for ever).
const POST_START: Duration = Duration::from_secs(300);
/// A signal has to be sent by then.
const SIGNAL: Duration = Duration::from_secs(20);
/// Output of a hook that is kept for its Event.
const KEPT: usize = 512;
/// Why a program is not killed.
const NO_KILL: &str =
    "nothing in a container can kill its first process, which is the program where the shim is not";
/// Why nothing is sent on Windows.
const NO_SIGNALS: &str = "Azure Container Instances sends no signals, and Windows has none";

/// Something that could not be done to a container, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreached {
    /// Name of the container.
    pub container: String,
    pub why: String,
}

impl Unreached {
    /// None of `containers` was reached.
    pub fn all(containers: &[String], why: &str) -> Vec<Self> {
        let one = |container: &String| Self {
            container: container.clone(),
            why: why.to_owned(),
        };
        containers.iter().map(one).collect()
    }
}

/// What a hook does.
#[derive(Debug, PartialEq, Eq)]
enum Hook {
    Exec(Vec<String>),
    Get {
        url: String,
        headers: Vec<(String, String)>,
    },
    Sleep(Duration),
}

impl Aci {
    /// Runs the `postStart` hooks of `containers`, all at once, each for a time. Those that failed.
    pub async fn run_post_start(
        &self,
        key: &PodKey,
        pod: &Pod,
        containers: &[String],
    ) -> Vec<Unreached> {
        let hooks = hooks(pod, containers, self.scope.node_ip, |hooks| {
            hooks.post_start.as_ref()
        });
        let late = format!("it had not ended after {} s", POST_START.as_secs());
        self.run_hooks(key, hooks, POST_START, &late).await
    }

    /// Runs the `preStop` hooks of those of `containers` that have one, all at once, and none for longer than the pod's grace
    /// period lasts, which begins now where the pod ends by itself. Those that failed.
    pub async fn run_pre_stop(
        &self,
        key: &PodKey,
        pod: &Pod,
        containers: &[String],
    ) -> Vec<Unreached> {
        let left = grace_left(pod, chrono::Utc::now());
        let hooks = hooks(pod, containers, self.scope.node_ip, |hooks| {
            hooks.pre_stop.as_ref()
        });
        let late = "it had not ended at the end of the pod's grace period";
        self.run_hooks(key, hooks, left, late).await
    }

    /// Runs these hooks at once, none for longer than `time`; `late` is said of those that are.
    async fn run_hooks(
        &self,
        key: &PodKey,
        hooks: Vec<(String, Result<Hook, String>)>,
        time: Duration,
        late: &str,
    ) -> Vec<Unreached> {
        let run = hooks.into_iter().map(|(container, hook)| async move {
            let done = match hook {
                Ok(hook) => tokio::time::timeout(time, self.run_hook(key, &container, hook))
                    .await
                    .unwrap_or_else(|_| Err(late.to_owned())),
                Err(why) => Err(why),
            };
            done.err().map(|why| Unreached { container, why })
        });
        join_all(run).await.into_iter().flatten().collect()
    }

    async fn run_hook(&self, key: &PodKey, container: &str, hook: Hook) -> Result<(), String> {
        match hook {
            Hook::Sleep(time) => {
                tokio::time::sleep(time).await;
                Ok(())
            }
            Hook::Exec(argv) => match self.run_in(key, container, argv, false).await {
                Ok((Exit::Code(0) | Exit::Unknown, _)) => Ok(()),
                Ok((Exit::Code(code), said)) if said.is_empty() => {
                    Err(format!("it exited with {code}"))
                }
                Ok((Exit::Code(code), said)) => Err(format!("it exited with {code}: {said}")),
                Err(error) => Err(error.to_string()),
            },
            Hook::Get { url, headers } => self.get(&url, &headers).await,
        }
    }

    /// A GET as a kubelet sends it; the answer is not read.
    async fn get(&self, url: &str, headers: &[(String, String)]) -> Result<(), String> {
        let headers = headers.iter().map(|(name, value)| (&**name, &**value));
        match self.client.get(url, headers, HTTP).await {
            Ok(answer) if answer.status.is_success() || answer.status.is_redirection() => Ok(()),
            Ok(answer) => Err(format!("the container answered {}", answer.status)),
            Err(NoAnswer::Late) => Err(format!("no answer within {} s", HTTP.as_secs())),
            Err(NoAnswer::NoConnection { why, .. } | NoAnswer::Broken(why)) => Err(why),
        }
    }

    /// Runs a command to its end. How it ended, and the beginning of what it wrote. `asked`: as in [`Aci::run_command`].
    pub(super) async fn run_in(
        &self,
        key: &PodKey,
        container: &str,
        argv: Vec<String>,
        asked: bool,
    ) -> Result<(Exit, String), ExecError> {
        let command = Command { argv, tty: false };
        let (output, mut written) = mpsc::channel(16);
        let gone = CancellationToken::new();
        // Dropped before its end, by a time-out: what runs is interrupted.
        let _guard = gone.clone().drop_guard();
        let streams = Streams {
            stdin: None,
            output,
            resize: None,
            gone,
        };
        let run = self.run_command(key, container, &command, streams, asked);
        let keep = async {
            let mut kept = Vec::new();
            while let Some((_, bytes)) = written.recv().await {
                let room = KEPT.saturating_sub(kept.len());
                kept.extend(bytes.iter().take(room));
            }
            kept
        };
        let (ended, kept) = tokio::join!(run, keep);
        let said = String::from_utf8_lossy(&kept).trim().to_owned();
        Ok((ended?, said))
    }

    /// Kills the programs of `containers` that have the shim as their first process: it ends with its program, and Azure starts the
    /// container again as the pod says. Those that cannot be killed.
    pub async fn kill(&self, key: &PodKey, containers: &[String]) -> Vec<Unreached> {
        to_each(containers, |container| async move {
            match in_time(self.sigkill(key, container)).await {
                Err(ExecError::NoShim(_)) => Err(NO_KILL.to_owned()),
                killed => killed.map_err(|error| error.to_string()),
            }
        })
        .await
    }

    /// Sends SIGTERM to the programs of `containers`, all at once. Those that it did not reach.
    pub async fn send_sigterm(&self, key: &PodKey, containers: &[String]) -> Vec<Unreached> {
        to_each(containers, |container| async move {
            if self.os() == Os::Windows {
                return Err(NO_SIGNALS.to_owned());
            }
            match in_time(self.sigterm(key, container)).await {
                Ok(Exit::Code(0)) => Ok(()),
                Ok(_) => Err("its shell cannot signal process 1 of the container".to_owned()),
                Err(error) => Err(error.to_string()),
            }
        })
        .await
    }
}

/// Does `act` to all of `containers` at once. Those to which it could not be done.
async fn to_each<'c, F>(containers: &'c [String], act: impl Fn(&'c String) -> F) -> Vec<Unreached>
where
    F: Future<Output = Result<(), String>>,
{
    let done = join_all(containers.iter().map(act)).await;
    let failed = containers.iter().zip(done).filter_map(|(container, done)| {
        let container = container.clone();
        done.err().map(|why| Unreached { container, why })
    });
    failed.collect()
}

/// What comes of a signal, which is sent within [`SIGNAL`] or not at all.
async fn in_time<T>(signal: impl Future<Output = Result<T, ExecError>>) -> Result<T, ExecError> {
    let late = Err(ExecError::Silent(SIGNAL.as_secs()));
    tokio::time::timeout(SIGNAL, signal).await.unwrap_or(late)
}

/// What is left of the pod's grace period; all of it where the pod ends by itself.
fn grace_left(pod: &Pod, now: chrono::DateTime<chrono::Utc>) -> Duration {
    let Some(ends) = &pod.metadata.deletion_timestamp else {
        return termination_grace(pod);
    };
    let left = ends.0.as_millisecond() - now.timestamp_millis();
    Duration::from_millis(u64::try_from(left).unwrap_or(0))
}

/// The hooks of `containers`, or why one cannot be run. PURE.
fn hooks(
    pod: &Pod,
    containers: &[String],
    own: IpAddr,
    which: impl Fn(&Lifecycle) -> Option<&LifecycleHandler>,
) -> Vec<(String, Result<Hook, String>)> {
    let ip = pod
        .status
        .as_ref()
        .and_then(|status| status.pod_ip.as_deref());
    let ip = ip.and_then(|ip| ip.parse::<IpAddr>().ok());
    // Sidecars are among the init containers.
    let all = pod.spec.iter().flat_map(|spec| {
        let inits = spec.init_containers.iter().flatten();
        spec.containers.iter().chain(inits)
    });
    let ours = all.filter(|container| containers.contains(&container.name));
    ours.filter_map(|container| {
        let handler = which(container.lifecycle.as_ref()?)?;
        Some((container.name.clone(), hook(handler, container, (ip, own))))
    })
    .collect()
}

/// What a handler asks for. PURE.
fn hook(
    handler: &LifecycleHandler,
    container: &Container,
    addresses: (Option<IpAddr>, IpAddr),
) -> Result<Hook, String> {
    match handler {
        LifecycleHandler {
            exec: Some(ExecAction { command }),
            ..
        } => Ok(Hook::Exec(command.clone().unwrap_or_default())),
        LifecycleHandler {
            http_get: Some(action),
            ..
        } => request(
            action,
            container.ports.as_deref().unwrap_or_default(),
            addresses,
        ),
        LifecycleHandler {
            sleep: Some(SleepAction { seconds }),
            ..
        } => Ok(Hook::Sleep(Duration::from_secs(
            u64::try_from(*seconds).unwrap_or(0),
        ))),
        _ => Err("it has none of exec, httpGet and sleep".to_owned()),
    }
}

/// The request of a hook by HTTP, to the pod and to nobody else; `own` is the node's address. PURE.
fn request(
    action: &HTTPGetAction,
    ports: &[ContainerPort],
    (ip, own): (Option<IpAddr>, IpAddr),
) -> Result<Hook, String> {
    let ip = ip.ok_or("the pod has no address")?;
    if !can_be_a_pods(ip, own) {
        return Err(format!("{ip} is no address of a pod"));
    }
    let host = action.host.as_deref().filter(|host| !host.is_empty());
    if host.is_some_and(|host| host.parse::<IpAddr>() != Ok(ip)) {
        return Err("its httpGet.host is not the pod's address".to_owned());
    }
    let port =
        port_number(&action.port, ports).ok_or("its httpGet.port is no port of the container")?;
    let scheme = match action.scheme.as_deref() {
        Some("HTTPS") => "https",
        _ => "http",
    };
    let path = action.path.as_deref().unwrap_or_default();
    let address = std::net::SocketAddr::new(ip, port);
    let headers = action.http_headers.iter().flatten();
    Ok(Hook::Get {
        url: format!("{scheme}://{address}/{}", path.trim_start_matches('/')),
        headers: headers
            .map(|header| (header.name.clone(), header.value.clone()))
            .collect(),
    })
}

#[cfg(test)]
mod tests;
