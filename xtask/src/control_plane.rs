//! A real control plane on loopback: etcd, kube-apiserver, kube-controller-manager, kube-scheduler and kubectl.
//!
//! [`Assets`] finds the binaries or builds them from pinned Go modules; [`ControlPlane`] runs them with TLS,
//! `Node,RBAC` authorization and `NodeRestriction`; [`shared`] is one plane for a whole test binary.

mod assets;
mod cache;
mod flags;
mod go;
mod health;
pub mod kubeconfig;
mod kubectl;
mod pki;
mod plane;
mod suite;

use std::path::PathBuf;
use std::sync::OnceLock;

use anyhow::{Context as _, Result, anyhow};

pub use assets::{Assets, Flux, KUBERNETES_VERSION, Linters, cache_root, stderr_progress};
pub use kubectl::{Output, run as run_kubectl};
pub use pki::API_SERVICE_IP;
pub use plane::ControlPlane;
pub use suite::Suite;

/// What may differ from one control plane to another.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// State, certificates and logs go here and are kept. `None`: a temporary directory, removed at the end.
    pub dir: Option<PathBuf>,
    /// Write every request's metadata to `<dir>/audit.log` (one JSON `audit.k8s.io/v1` Event a line).
    pub audit_log: bool,
    /// The API server verifies kubelet serving certificates against the cluster's CA, as managed clusters do.
    /// Off by default, as in a cluster set up by hand: then any certificate is taken.
    pub verify_kubelet_certificates: bool,
    /// etcd begins with the data that [`ControlPlane::save_etcd`] has saved there: another control plane that believes to be
    /// the first one, as after a restore or a copy of a cluster.
    pub restore_from: Option<PathBuf>,
    /// The API server lets every node change every other.
    pub without_node_restriction: bool,
    /// More flags for kube-apiserver, after the harness's own.
    pub api_server_args: Vec<String>,
}

/// Makes ring the process's TLS provider. Safe to call again; a provider set before stays.
pub fn install_tls_provider() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// The one control plane of this test binary, started at the first call and gone when the process ends.
///
/// Callable from inside or outside a runtime. Tests keep apart by namespaces and names of their own.
///
/// # Panics
/// When there is no control plane to be had: a test that needs one fails, it does not skip.
pub fn shared() -> &'static ControlPlane {
    static PLANE: OnceLock<Result<ControlPlane, String>> = OnceLock::new();
    let plane = PLANE.get_or_init(|| {
        // A thread and a runtime of its own: the caller may sit inside a runtime that ends with its test.
        let start = || -> Result<ControlPlane> {
            let assets = Assets::resolve(stderr_progress)?;
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .context("cannot make a runtime")?;
            runtime.block_on(ControlPlane::start(&assets, Options::default()))
        };
        std::thread::spawn(start)
            .join()
            .unwrap_or_else(|_| Err(anyhow!("the thread that starts it panicked")))
            .map_err(|error| format!("{error:#}"))
    });
    #[expect(
        clippy::panic,
        reason = "a fixture of tests: failing loudly is its contract"
    )]
    match plane {
        Ok(plane) => plane,
        Err(error) => panic!("no control plane: {error}"),
    }
}
