//! Asks a container by one of its probes, as a kubelet does: over the network, or by a command through ACI's exec.

mod grpc;
mod http;
mod tcp;
mod tls;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::Aci;
use super::exec::Exit;
use crate::net::can_be_a_pods;
use crate::translate::{ContainerProbes, Handler, PodKey, ProbeKind};

pub(super) use self::http::{Client, NoAnswer};

/// What a kubelet calls itself towards containers; some tell probes from users by it.
const USER_AGENT: &str = "kube-probe/1.36";
/// Longest wait for an answer, whatever the pod says: probes of a node take turns.
const LONGEST: Duration = Duration::from_secs(60);
/// What an exec takes besides the command: ACI's session, and the shell.
const SESSION: Duration = Duration::from_secs(15);

/// One probe to run.
#[derive(Debug, Clone)]
pub struct ProbeCall {
    pub key: Arc<PodKey>,
    pub container: Box<str>,
    pub ip: Option<IpAddr>,
    pub probes: Arc<ContainerProbes>,
    pub kind: ProbeKind,
}

/// What came of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeAnswer {
    Success,
    /// It succeeded, and is perhaps not what was meant.
    Warning(String),
    Failure(String),
    /// No sign of the pod: it may be that there is no way to it.
    Silence(String),
    /// It could not be run, which says nothing about the container.
    Unknown(String),
}

impl Aci {
    /// Runs a probe. It ends soon after the time that the probe allows, and a minute at the latest.
    pub async fn probe(&self, call: ProbeCall) -> ProbeAnswer {
        let Some(spec) = call.probes.get(call.kind) else {
            return ProbeAnswer::Unknown("the container has no such probe".to_owned());
        };
        let time = spec.timeout.min(LONGEST);
        let port = match (&spec.handler, spec.handler.port()) {
            (Handler::Exec(argv), _) => return self.probe_by_exec(&call, argv, time).await,
            (_, Some(port)) => port,
            (_, None) => return ProbeAnswer::Unknown("the probe has no port".to_owned()),
        };
        let address = match call.ip {
            Some(ip) if can_be_a_pods(ip, self.scope.node_ip) => {
                SocketAddr::new(ip.to_canonical(), port)
            }
            Some(ip) => return ProbeAnswer::Silence(format!("{ip} is no address of a pod")),
            None => return ProbeAnswer::Silence("the pod has no address".to_owned()),
        };
        match &spec.handler {
            Handler::Http {
                https,
                path,
                headers,
                ..
            } => {
                self.client
                    .probe(address, *https, path, headers, time)
                    .await
            }
            Handler::Grpc { service, .. } => grpc::probe(address, service, time).await,
            Handler::Tcp { .. } | Handler::Exec(_) => tcp::probe(address, time).await,
        }
    }

    async fn probe_by_exec(
        &self,
        call: &ProbeCall,
        argv: &[String],
        time: Duration,
    ) -> ProbeAnswer {
        let run = self.run_in(&call.key, &call.container, argv.to_vec(), true);
        match timeout(time + SESSION, run).await {
            Ok(Ok((Exit::Code(0) | Exit::Unknown, _))) => ProbeAnswer::Success,
            Ok(Ok((Exit::Code(_), said))) => ProbeAnswer::Failure(said),
            Ok(Err(error)) => ProbeAnswer::Unknown(error.to_string()),
            Err(_) => ProbeAnswer::Failure(format!(
                "command {:?} timed out",
                argv.first().map(String::as_str).unwrap_or_default()
            )),
        }
    }
}

#[cfg(test)]
mod tests;
