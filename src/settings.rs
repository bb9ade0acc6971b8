//! Settings of `vkc run`: every flag has an environment variable.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use crate::telemetry::LogFormat;

/// How the operator runs.
#[derive(Debug, Clone, clap::Args)]
pub struct Settings {
    /// Kubeconfig of the operator's identity; without it the cluster that the pod runs in, else the default kubeconfig.
    #[arg(long, env = "VKC_KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,

    /// Namespace of the operator: its Secrets hold the Azure credentials.
    #[arg(long, env = "POD_NAMESPACE", default_value = "vkc-system")]
    pub namespace: String,

    /// Address at which the API server reaches this process; goes into the nodes' status.
    #[arg(long, env = "POD_IP")]
    pub node_ip: Option<IpAddr>,

    /// Name of this replica, in Events.
    #[arg(long, env = "POD_NAME", default_value = "vkc")]
    pub instance: String,

    /// Ports of the virtual nodes' kubelet API, first-last; one port for each node. 0 lets the system choose.
    #[arg(long, env = "VKC_KUBELET_PORT_RANGE", default_value = "10260-10359")]
    pub kubelet_port_range: PortRange,

    /// CA whose client certificates the kubelet API believes, a PEM file; without it the one that the API server
    /// publishes as kube-system/extension-apiserver-authentication.
    #[arg(long, env = "VKC_CLIENT_CA_FILE")]
    pub client_ca_file: Option<PathBuf>,

    /// Where the certificates come from that the kubelet API shows: signed by itself, asked for from the cluster's
    /// signer kubernetes.io/kubelet-serving (somebody has to approve), or tls.crt and tls.key of --kubelet-cert-dir.
    #[arg(
        long,
        env = "VKC_KUBELET_SERVING_CERT",
        value_enum,
        default_value = "self-signed"
    )]
    pub kubelet_serving_cert: ServingCert,

    /// Directory with tls.crt and tls.key, followed while they change.
    #[arg(
        long,
        env = "VKC_KUBELET_CERT_DIR",
        required_if_eq("kubelet_serving_cert", "files")
    )]
    pub kubelet_cert_dir: Option<PathBuf>,

    /// Address of /livez, /readyz and /metrics.
    #[arg(long, env = "VKC_METRICS_ADDR", default_value = "0.0.0.0:8080")]
    pub metrics_addr: SocketAddr,

    /// Shape of log lines.
    #[arg(long, env = "VKC_LOG_FORMAT", value_enum, default_value = "json")]
    pub log_format: LogFormat,

    /// What is logged: a tracing filter.
    #[arg(long, env = "VKC_LOG", default_value = "info")]
    pub log: String,
}

impl Settings {
    /// The nodes' address: as set, else the address that this machine uses towards the outside, else loopback.
    pub fn node_ip(&self) -> IpAddr {
        self.node_ip.unwrap_or_else(guess_ip)
    }
}

/// Asks the system which address it would send from. Nothing is sent: a UDP socket is only given a destination.
fn guess_ip() -> IpAddr {
    let loopback = IpAddr::from([127, 0, 0, 1]);
    // 192.0.2.0/24 is set aside for documentation (RFC 5737) and is routed like any foreign address.
    std::net::UdpSocket::bind(("0.0.0.0", 0))
        .and_then(|socket| {
            socket
                .connect(("192.0.2.1", 9))
                .and_then(|()| socket.local_addr())
        })
        .map_or(loopback, |address| address.ip())
}

/// Where the serving certificates of the kubelet API come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ServingCert {
    /// Signed by itself.
    SelfSigned,
    /// A `CertificateSigningRequest` of the node.
    Csr,
    /// Files.
    Files,
}

/// A range of TCP ports, both ends included; 0 to 0 is any port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRange {
    /// First port.
    pub first: u16,
    /// Last port.
    pub last: u16,
}

impl std::str::FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || format!("{text:?} is not a range of ports such as 10260-10359");
        if text == "0" {
            return Ok(Self { first: 0, last: 0 });
        }
        let (first, last) = text.split_once('-').ok_or_else(bad)?;
        let range = Self {
            first: first.parse().map_err(|_| bad())?,
            last: last.parse().map_err(|_| bad())?,
        };
        if range.first == 0 || range.last < range.first {
            Err(bad())
        } else {
            Ok(range)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_ranges() {
        assert_eq!(
            "10260-10359".parse(),
            Ok(PortRange {
                first: 10260,
                last: 10359
            })
        );
        assert_eq!("0".parse(), Ok(PortRange { first: 0, last: 0 }));
        for bad in ["", "1", "0-5", "9-8", "a-b", "1-70000", "1-2-3"] {
            assert!(bad.parse::<PortRange>().is_err(), "{bad}");
        }
    }
}
