//! The cluster's network, as the containers of a connector are told it.

#![allow(
    clippy::doc_markdown,
    reason = "kubectl shows the doc comments as they are, backticks and all"
)]
#![allow(
    unreachable_pub,
    reason = "the KubeSchema derive copies each struct, `pub` included, into a function"
)]

use std::net::IpAddr;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// What containers are told of the cluster's network, where that is not what the operator was started with. A connector
/// in another network than the cluster's may need other addresses than the next one.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Network {
    /// Addresses of the cluster's DNS service for pods in a subnet with dnsPolicy ClusterFirst. Omitted, those of the operator's
    /// flag --cluster-dns.
    #[serde(rename = "clusterDNS", default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::cluster_dns")]
    pub cluster_dns: Vec<String>,

    /// Domain of the cluster's services. Omitted, that of the operator's flag --cluster-domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?([.][a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*$')").message("clusterDomain must be a DNS domain without a dot at its end, like cluster.local"))]
    pub cluster_domain: Option<String>,

    /// Host or host:port at which containers reach the API server. Omitted, that of the operator's flag
    /// --kubernetes-service-host, or else the cluster IP of default/kubernetes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 260))]
    #[x_kube(validation = Rule::new(r"self.matches('^(\\[[0-9a-fA-F:.]+\\]|[A-Za-z0-9.:-]+)(:[0-9]{1,5})?$')").message("kubernetesServiceHost must be a host, with a port where that is not 443, like api.example.com or 10.0.0.4:6443"))]
    pub kubernetes_service_host: Option<String>,
}

impl Network {
    /// The addresses of the DNS service; what is none, which admission prevents, is left out.
    pub fn dns_servers(&self) -> Vec<IpAddr> {
        let servers = self.cluster_dns.iter();
        servers.filter_map(|server| server.parse().ok()).collect()
    }

    /// Where containers reach the API server.
    pub fn api_server(&self) -> Option<HostPort> {
        self.kubernetes_service_host.as_ref()?.parse().ok()
    }
}

/// A host and a TCP port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// Name or IP address; an IPv6 address without brackets.
    pub host: String,
    /// Port; 443 when none was given.
    pub port: u16,
}

impl std::str::FromStr for HostPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad =
            || format!("{text:?} is not a host such as api.example.com or api.example.com:6443");
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (host, port) = rest.split_once(']').ok_or_else(bad)?;
            (host, port.strip_prefix(':'))
        } else if text.matches(':').count() > 1 {
            (text, None)
        } else {
            match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            }
        };
        let port = port.map_or(Ok(443), |port| port.parse().map_err(|_| bad()))?;
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':');
        if host.is_empty() || port == 0 || !host.chars().all(legal) {
            return Err(bad());
        }
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_with_and_without_a_port() {
        for (text, host, port) in [
            ("api.example.com", "api.example.com", 443),
            ("api.example.com:6443", "api.example.com", 6443),
            ("10.0.0.1", "10.0.0.1", 443),
            ("fd00::1", "fd00::1", 443),
            ("[fd00::1]", "fd00::1", 443),
            ("[fd00::1]:6443", "fd00::1", 6443),
        ] {
            let host = host.to_owned();
            assert_eq!(text.parse(), Ok(HostPort { host, port }), "{text}");
        }
        for bad in ["", ":1", "a:0", "a:b", "https://a", "a:70000", "[a", "a b"] {
            assert!(bad.parse::<HostPort>().is_err(), "{bad}");
        }
    }
}
