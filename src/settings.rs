//! Settings of `vkc run`: every flag has an environment variable.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use crate::api::HostPort;
use crate::net::Network;
use crate::telemetry::LogFormat;
use crate::translate::ClusterDns;

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

    /// UID of this replica's pod: what the process before it in the same pod held is its own at once.
    #[arg(long, env = "POD_UID", default_value = "")]
    pub pod_uid: String,

    /// Act as nodes even where the API server does not limit what a node may do: without the authorization mode Node and the
    /// admission plugin `NodeRestriction`, or with rights for all nodes.
    #[arg(long, env = "VKC_ALLOW_UNSCOPED_NODES")]
    pub allow_unscoped_nodes: bool,

    /// Ports of the virtual nodes' kubelet API, first-last; one port for each node. 0 lets the system choose.
    #[arg(long, env = "VKC_KUBELET_PORT_RANGE", default_value = "10260-10359")]
    pub kubelet_port_range: PortRange,

    /// Addresses of the cluster's DNS service, separated by commas, as kubelets are told it: pods in a subnet with dnsPolicy
    /// `ClusterFirst` ask it. Without it they ask Azure's DNS.
    #[arg(long, env = "VKC_CLUSTER_DNS", value_delimiter = ',')]
    pub cluster_dns: Vec<IpAddr>,

    /// Domain of the cluster's services.
    #[arg(long, env = "VKC_CLUSTER_DOMAIN", default_value = "cluster.local", value_parser = domain)]
    pub cluster_domain: String,

    /// Host or host:port at which containers reach the API server, which they are told in their environment instead of
    /// the cluster IP of default/kubernetes.
    #[arg(long, env = "VKC_KUBERNETES_SERVICE_HOST")]
    pub kubernetes_service_host: Option<HostPort>,

    /// Hosts outside of Azure's own clouds that connectors of cloud Custom may show credentials of the operator to, separated
    /// by commas: host, host:port, or an audience that is no URL. A Secret may name its own hosts instead.
    #[arg(long, env = "VKC_ALLOWED_AUTHORITY", value_delimiter = ',')]
    pub allowed_authority: Vec<String>,

    /// Networks whose registries are asked what their images say although they are loopback, link-local or a cloud's own
    /// services, separated by commas.
    #[arg(long, env = "VKC_ALLOWED_REGISTRY_NETWORK", value_delimiter = ',')]
    pub allowed_registry_network: Vec<Network>,

    /// CA whose client certificates the kubelet API believes, a PEM file; without it the one that the API server
    /// publishes as kube-system/extension-apiserver-authentication.
    #[arg(long, env = "VKC_CLIENT_CA_FILE")]
    pub client_ca_file: Option<PathBuf>,

    /// Source of the kubelet API's serving certificate: `self-signed`, `csr` (the cluster's signer
    /// kubernetes.io/kubelet-serving; must be approved), or `files` (tls.crt and tls.key of --kubelet-cert-dir).
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

    /// Address of /livez and /readyz, for probes: 0.0.0.0:8080, or --metrics-addr where that is plain HTTP.
    #[arg(long, env = "VKC_PROBE_ADDR")]
    pub probe_addr: Option<SocketAddr>,

    /// Address of /metrics: HTTPS, for callers whom the API server knows and lets get the path /metrics; plain HTTP at a
    /// loopback address, which only programs of the same machine reach.
    #[arg(long, env = "VKC_METRICS_ADDR", default_value = "0.0.0.0:8443")]
    pub metrics_addr: SocketAddr,

    /// Serve /metrics over plain HTTP to everybody, and /livez and /readyz at the same address.
    #[arg(long, env = "VKC_METRICS_PLAIN_HTTP")]
    pub metrics_plain_http: bool,

    /// Log format.
    #[arg(long, env = "VKC_LOG_FORMAT", value_enum, default_value = "json")]
    pub log_format: LogFormat,

    /// Log filter, for example `info` or `vkc=debug`.
    #[arg(long, env = "VKC_LOG", default_value = "info")]
    pub log: String,
}

impl Settings {
    /// Whether /metrics is served over plain HTTP, together with /livez and /readyz.
    pub fn has_plain_metrics(&self) -> bool {
        self.metrics_plain_http || self.metrics_addr.ip().is_loopback()
    }

    /// Where /livez and /readyz are served besides.
    pub fn probes(&self) -> Option<SocketAddr> {
        let default = SocketAddr::from(([0, 0, 0, 0], 8080));
        self.probe_addr
            .or_else(|| (!self.has_plain_metrics()).then_some(default))
    }

    /// The nodes' address: as set, else the address that this machine uses towards the outside, else loopback.
    pub fn node_ip(&self) -> IpAddr {
        self.node_ip.unwrap_or_else(guess_ip)
    }

    /// The cluster's DNS.
    pub fn cluster_dns(&self) -> ClusterDns {
        ClusterDns {
            servers: self.cluster_dns.clone(),
            domain: self.cluster_domain.clone(),
        }
    }
}

/// A DNS subdomain (RFC 1123), without the dot at its end that some write.
fn domain(text: &str) -> Result<String, String> {
    let domain = text.trim_end_matches('.');
    let label = |label: &str| {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        (1..=63).contains(&label.len())
            && label.bytes().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if domain.len() <= 253 && domain.split('.').all(label) {
        Ok(domain.to_owned())
    } else {
        Err(format!("{text:?} is not a domain such as cluster.local"))
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
    /// Self-signed.
    SelfSigned,
    /// A `CertificateSigningRequest` of the node.
    Csr,
    /// `tls.crt` and `tls.key` of a directory.
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
    fn domains() {
        for (text, read) in [
            ("cluster.local", "cluster.local"),
            ("k8s.example.com.", "k8s.example.com"),
            ("a", "a"),
        ] {
            assert_eq!(domain(text).as_deref(), Ok(read));
        }
        for bad in ["", ".", "a..b", "-a", "A.b", "a b", "svc_x"] {
            assert!(domain(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn plain_metrics_are_for_this_machine_and_take_the_probes_along() {
        use clap::Parser as _;

        #[derive(clap::Parser)]
        struct Program {
            #[command(flatten)]
            settings: Settings,
        }
        let probes = SocketAddr::from(([0, 0, 0, 0], 8080));
        for (args, plain, probe_addr) in [
            (&[][..], false, Some(probes)),
            (&["--metrics-addr=10.0.0.1:9"], false, Some(probes)),
            (&["--metrics-addr=127.0.0.1:9"], true, None),
            (&["--metrics-addr=[::1]:9"], true, None),
            (&["--metrics-plain-http"], true, None),
            (
                &["--metrics-plain-http", "--probe-addr=0.0.0.0:8080"],
                true,
                Some(probes),
            ),
        ] {
            let args = std::iter::once(&"vkc").chain(args);
            let settings = Program::parse_from(args).settings;
            let found = (settings.has_plain_metrics(), settings.probes());
            assert_eq!(found, (plain, probe_addr), "{settings:?}");
        }
    }

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
