//! The API and the manifests at a real API server: what it refuses and in which words, what it shows, and that the
//! whole of `config/default` installs.

use serde_json::{Value, json};
use tokio::sync::OnceCell;
use xtask::control_plane::{ControlPlane, shared};

use crate::support::site::path;
use crate::support::wait::{eventually, merge};

mod daemon_sets;
mod install;
mod kubectl;
mod policy;
mod refusals;
mod unsupported;

/// kubectl as the administrator; its standard output.
async fn run(args: &[&str]) -> String {
    shared().kubectl_run(args).await.unwrap().ok().unwrap()
}

/// kubectl as the administrator with `input`; its standard output.
async fn feed(args: &[&str], input: &Value) -> String {
    let plane = shared();
    plane
        .kubectl_as(plane.kubeconfig(), args, &input.to_string())
        .await
        .unwrap()
        .ok()
        .unwrap()
}

/// The control plane with the CRD installed.
async fn plane() -> &'static ControlPlane {
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    INSTALLED
        .get_or_init(|| async {
            run(&["apply", "--server-side", "-k", &path("config/crd")]).await;
            run(&[
                "wait",
                "--for=condition=Established",
                "--timeout=30s",
                "crd/virtualkubeletconnectors.virtual-kubelet.io",
            ])
            .await;
            // The schema is served a moment after the CRD is established.
            let explain = ["explain", "virtualkubeletconnector"];
            eventually("explain knows the kind", 30, || async {
                let output = shared().kubectl_run(&explain).await.unwrap();
                output.status.success().then_some(())
            })
            .await;
        })
        .await;
    shared()
}

/// A connector with the least spec, and `patch` merged into it.
fn connector(name: &str, patch: &Value) -> Value {
    let mut object = json!({
        "apiVersion": "virtual-kubelet.io/v1alpha1",
        "kind": "VirtualKubeletConnector",
        "metadata": {"name": name},
        "spec": {"region": "eastus", "aciResourceGroup": "aci-rg"},
    });
    merge(&mut object, patch);
    object
}
