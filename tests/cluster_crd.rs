//! The API and the manifests at a real API server: what it refuses and in which words, what it shows, and that the
//! whole of `config/default` installs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::OnceCell;
use xtask::control_plane::{ControlPlane, shared};

#[path = "cluster_crd/install.rs"]
mod install;
#[path = "cluster_crd/kubectl.rs"]
mod kubectl;
#[path = "cluster_crd/policy.rs"]
mod policy;
#[path = "cluster_crd/refusals.rs"]
mod refusals;

fn path(relative: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(relative)
        .display()
        .to_string()
}

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
            eventually("explain knows the kind", || async {
                let output = shared().kubectl_run(&explain).await.unwrap();
                output.status.success().then_some(())
            })
            .await;
        })
        .await;
    shared()
}

async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut look: impl FnMut() -> F,
) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
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

/// RFC 7386: objects merge, null removes, all else replaces.
fn merge(target: &mut Value, patch: &Value) {
    let (Some(fields), Some(changes)) = (target.as_object_mut(), patch.as_object()) else {
        *target = patch.clone();
        return;
    };
    for (key, change) in changes {
        if change.is_null() {
            fields.remove(key);
        } else {
            merge(fields.entry(key).or_insert_with(|| json!({})), change);
        }
    }
}
