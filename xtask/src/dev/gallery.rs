//! `config/samples/gallery`: each pod becomes what its annotation `gallery/expect` says.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};

use super::session::Session;

/// What becomes of the pod: `Running`, `Succeeded`, or reason and field of its refusal.
const EXPECT: &str = "gallery/expect";
const FOLDER: &str = "config/samples/gallery";
/// The image that must be there to be read: the emulator's registry has it.
const HELLO: &str = "registry.example.com/hello:";
const DEADLINE: Duration = Duration::from_mins(2);

impl Session {
    /// Applies the gallery, waits until every pod has become what it says, shows that, and deletes it when `remove`.
    pub(super) async fn see_the_gallery(&mut self, remove: bool) -> Result<()> {
        let folder = self.path(FOLDER);
        let registry = self.emulator()?.registry().to_owned();
        let gallery = self.kubectl(&["kustomize", &folder]).await?;
        let gallery = gallery.replace(HELLO, &format!("{registry}/hello:"));
        let args = ["apply", "--namespace=default", "-f", "-"];
        self.run(&args, &gallery).await?.ok()?;
        self.say(&format!(
            "applied {FOLDER}, with {HELLO}1 at the emulator's registry {registry}"
        ));
        let api: Api<Pod> = Api::namespaced(self.client().await?, "default");
        let deadline = Instant::now() + DEADLINE;
        let pods = loop {
            self.check_processes()?;
            let mut pods = api.list(&ListParams::default()).await?.items;
            pods.retain(|pod| pod.annotations().contains_key(EXPECT));
            let Some(odd) = pods.iter().find(|pod| outcome(pod) != expect(pod)) else {
                break pods;
            };
            ensure!(
                Instant::now() < deadline,
                "pod {} of the gallery is {:?}, not {:?}",
                odd.name_any(),
                outcome(odd),
                expect(odd)
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        };
        self.say("every pod of the gallery has become what it says:");
        for pod in &pods {
            println!("         {:<24} {}", pod.name_any(), outcome(pod));
        }
        if remove {
            let args = [
                "delete",
                "--namespace=default",
                "--timeout=60s",
                "-k",
                &folder,
            ];
            self.kubectl(&args).await?;
            self.say("deleted the gallery");
        }
        Ok(())
    }
}

fn expect(pod: &Pod) -> String {
    pod.annotations().get(EXPECT).cloned().unwrap_or_default()
}

/// The phase of a pod that was started; of one that was refused the reason and, as far as its message names it, the
/// field that it expects.
fn outcome(pod: &Pod) -> String {
    let status = pod.status.clone().unwrap_or_default();
    let phase = status.phase.unwrap_or_default();
    let waiting = status
        .container_statuses
        .and_then(|containers| containers.into_iter().next()?.state?.waiting);
    match waiting {
        Some(waiting) if phase == "Pending" => {
            let field = expect(pod)
                .split_once(' ')
                .map(|(_, field)| field.to_owned())
                .filter(|field| waiting.message.unwrap_or_default().contains(field.as_str()))
                .unwrap_or_default();
            format!("{} {field}", waiting.reason.unwrap_or_default())
        }
        _ => phase,
    }
}
