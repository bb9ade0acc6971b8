//! The flags of each component, in one place. Defaults of Kubernetes stand wherever a test does not need otherwise.

use std::path::{Path, PathBuf};

use super::Options;
use super::pki::Pki;

/// What the flags refer to.
pub(super) struct Layout<'a> {
    pub(super) dir: &'a Path,
    pub(super) pki: &'a Pki,
    pub(super) ports: &'a Ports,
}

/// Loopback ports of one plane.
#[derive(Debug, Clone)]
pub(super) struct Ports {
    pub(super) etcd: u16,
    pub(super) etcd_peer: u16,
    pub(super) api: u16,
    pub(super) controller_manager: u16,
    pub(super) scheduler: u16,
}

const SERVICE_RANGE: &str = "10.96.0.0/16";

fn flag(name: &str, path: &Path) -> String {
    format!("--{name}={}", path.display())
}

/// etcd: plain HTTP on loopback, and no fsync, since the data goes with the plane.
pub(super) fn etcd(at: &Layout<'_>) -> Vec<String> {
    let client = format!("http://127.0.0.1:{}", at.ports.etcd);
    let peer = format!("http://127.0.0.1:{}", at.ports.etcd_peer);
    vec![
        "--name=dev".into(),
        flag("data-dir", &at.dir.join("etcd")),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=dev={peer}"),
        "--unsafe-no-fsync=true".into(),
        "--log-level=warn".into(),
    ]
}

/// etcd with data of another one, whose addresses are forgotten.
pub(super) fn etcd_restored(at: &Layout<'_>) -> Vec<String> {
    let mut flags = etcd(at);
    flags.push("--force-new-cluster=true".into());
    flags
}

pub(super) fn api_server(at: &Layout<'_>, options: &Options) -> Vec<String> {
    let pki = at.pki;
    let mut flags = vec![
        format!("--etcd-servers=http://127.0.0.1:{}", at.ports.etcd),
        "--bind-address=127.0.0.1".into(),
        "--advertise-address=127.0.0.1".into(),
        // The reconciler would publish the advertised address in an EndpointSlice, where loopback is not allowed.
        "--endpoint-reconciler-type=none".into(),
        format!("--secure-port={}", at.ports.api),
        flag("tls-cert-file", &pki.serving.cert),
        flag("tls-private-key-file", &pki.serving.key),
        flag("client-ca-file", &pki.ca_pair.cert),
        "--authorization-mode=Node,RBAC".into(),
        "--allow-privileged=true".into(),
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local".into(),
        flag("service-account-key-file", &pki.service_account_pub),
        flag("service-account-signing-key-file", &pki.service_account_key),
        format!("--service-cluster-ip-range={SERVICE_RANGE}"),
        flag("requestheader-client-ca-file", &pki.front_proxy_ca),
        "--requestheader-allowed-names=front-proxy-client".into(),
        "--requestheader-username-headers=X-Remote-User".into(),
        "--requestheader-group-headers=X-Remote-Group".into(),
        "--requestheader-extra-headers-prefix=X-Remote-Extra-".into(),
        flag("proxy-client-cert-file", &pki.front_proxy_client.cert),
        flag("proxy-client-key-file", &pki.front_proxy_client.key),
        flag("kubelet-client-certificate", &pki.kubelet_client.cert),
        flag("kubelet-client-key", &pki.kubelet_client.key),
        "--kubelet-preferred-address-types=InternalIP,Hostname,ExternalIP".into(),
    ];
    if !options.without_node_restriction {
        flags.push("--enable-admission-plugins=NodeRestriction".into());
    }
    if options.verify_kubelet_certificates {
        flags.push(flag("kubelet-certificate-authority", &pki.ca_pair.cert));
    }
    if options.audit_log {
        flags.push(flag("audit-policy-file", &audit_policy(at.dir)));
        flags.push(flag("audit-log-path", &at.dir.join("audit.log")));
    }
    flags.extend(options.api_server_args.iter().cloned());
    flags
}

/// Where the audit policy file is; [`AUDIT_POLICY`] is its text.
pub(super) fn audit_policy(dir: &Path) -> PathBuf {
    dir.join("audit-policy.yaml")
}

/// One record a request, when it is answered (a watch: when it ends), without bodies.
pub(super) const AUDIT_POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: Metadata
";

pub(super) fn controller_manager(at: &Layout<'_>, kubeconfig: &Path) -> Vec<String> {
    let pki = at.pki;
    let mut flags = delegated(at, kubeconfig, at.ports.controller_manager);
    flags.extend([
        flag("root-ca-file", &pki.ca_pair.cert),
        flag("service-account-private-key-file", &pki.service_account_key),
        flag("cluster-signing-cert-file", &pki.ca_pair.cert),
        flag("cluster-signing-key-file", &pki.ca_pair.key),
        "--use-service-account-credentials=true".into(),
        "--controllers=*".into(),
        // Each controller asks for its account and a token at the start: the default of 20 a second is seconds of it.
        "--kube-api-qps=200".into(),
        "--kube-api-burst=400".into(),
    ]);
    flags
}

pub(super) fn scheduler(at: &Layout<'_>, kubeconfig: &Path) -> Vec<String> {
    delegated(at, kubeconfig, at.ports.scheduler)
}

/// What kube-controller-manager and kube-scheduler share: one instance, on loopback, asking the API server who calls.
fn delegated(at: &Layout<'_>, kubeconfig: &Path, port: u16) -> Vec<String> {
    let pki = at.pki;
    vec![
        flag("kubeconfig", kubeconfig),
        flag("authentication-kubeconfig", kubeconfig),
        flag("authorization-kubeconfig", kubeconfig),
        flag("client-ca-file", &pki.ca_pair.cert),
        flag("requestheader-client-ca-file", &pki.front_proxy_ca),
        "--bind-address=127.0.0.1".into(),
        format!("--secure-port={port}"),
        flag("tls-cert-file", &pki.serving.cert),
        flag("tls-private-key-file", &pki.serving.key),
        "--leader-elect=false".into(),
    ]
}
