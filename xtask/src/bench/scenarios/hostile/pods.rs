//! Pods that cost whoever looks at them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::StreamExt as _;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{
    Container, EmptyDirVolumeSource, EnvVar, KeyToPath, Pod, PodSpec, ProjectedVolumeSource,
    Secret, SecretProjection, Volume, VolumeMount, VolumeProjection,
};
use kube::Api;
use kube::api::PostParams;
use tokio::net::TcpListener;

use super::stage::{NAMESPACE, Running, Stage, remove};

const REGISTRY_PODS: usize = 150;

/// Four variables, each a hundred times the one before: 3 KB of YAML, 100 GB when they are expanded (S1).
pub(super) fn bombs(stage: &Stage<'_>) -> Result<Running> {
    let mut variables = vec![variable("A0", Some("x".repeat(1000)))];
    for n in 0..4 {
        let references = format!("$(A{n})").repeat(100);
        variables.push(variable(&format!("A{}", n + 1), Some(references)));
    }
    waves(stage, 1, Duration::from_secs(1), |pod| {
        container(pod)?.env = Some(variables.clone());
        Ok(())
    })
}

/// A pod of the largest kind, whose variables take an hour to compare with each other (S2).
pub(super) fn many_variables(stage: &Stage<'_>) -> Result<Running> {
    let variables: Vec<_> = (0..60_000)
        .map(|n| variable(&format!("A{n}"), None))
        .collect();
    waves(stage, 4, Duration::from_secs(5), |pod| {
        container(pod)?.env = Some(variables.clone());
        Ok(())
    })
}

/// A pod of the largest kind whose parts take most memory.
pub(super) fn many_volumes(stage: &Stage<'_>) -> Result<Running> {
    let volumes: Vec<_> = (0..60_000)
        .map(|n| Volume {
            name: format!("v{n}"),
            empty_dir: Some(EmptyDirVolumeSource::default()),
            ..Volume::default()
        })
        .collect();
    waves(stage, 4, Duration::from_secs(5), |pod| {
        spec(pod)?.volumes = Some(volumes.clone());
        Ok(())
    })
}

/// Pods that refer to sixty Secrets of a megabyte each.
pub(super) async fn large_references(stage: &Stage<'_>) -> Result<Running> {
    let secrets = Api::<Secret>::namespaced(stage.rig.client.clone(), NAMESPACE);
    let mut volumes = Vec::new();
    for n in 0..60 {
        let name = format!("large-{n}");
        let mut secret = Secret::default();
        secret.metadata.name = Some(name.clone());
        let content = ByteString(vec![b'x'; 1_000_000]);
        secret.data = Some([("content".to_owned(), content)].into());
        secrets.create(&PostParams::default(), &secret).await?;
        volumes.push(name);
    }
    waves(stage, 8, Duration::from_secs(2), |pod| {
        // Sources of one volume: a group has few volumes.
        let source = |name: &String| VolumeProjection {
            secret: Some(SecretProjection {
                name: name.clone(),
                items: Some(vec![KeyToPath {
                    key: "content".to_owned(),
                    path: name.clone(),
                    mode: None,
                }]),
                ..SecretProjection::default()
            }),
            ..VolumeProjection::default()
        };
        spec(pod)?.volumes = Some(vec![Volume {
            name: "all".to_owned(),
            projected: Some(ProjectedVolumeSource {
                sources: Some(volumes.iter().map(source).collect()),
                ..ProjectedVolumeSource::default()
            }),
            ..Volume::default()
        }]);
        container(pod)?.volume_mounts = Some(vec![VolumeMount {
            name: "all".to_owned(),
            mount_path: "/all".to_owned(),
            ..VolumeMount::default()
        }]);
        Ok(())
    })
}

fn variable(name: &str, value: Option<String>) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value,
        value_from: None,
    }
}

/// So many such pods at once; after a while others in their place.
fn waves(
    stage: &Stage<'_>,
    many: usize,
    pause: Duration,
    make: impl Fn(&mut Pod) -> Result<()>,
) -> Result<Running> {
    let mut running = Running::default();
    for n in 0..many {
        let mut pod = stage.rig.pod("", "Always");
        make(&mut pod)?;
        let (pod, pods) = (Arc::new(pod), stage.pods());
        let (round, count) = (Arc::new(AtomicUsize::new(0)), running.count.clone());
        running.again(pause, move || {
            let (pods, round, count) = (pods.clone(), round.clone(), count.clone());
            let pod = pod.clone();
            async move {
                let round = round.fetch_add(1, Ordering::Relaxed);
                if let Some(before) = round.checked_sub(1) {
                    remove(&pods, &format!("costly-{n}-{before}")).await;
                }
                let mut pod = Pod::clone(&pod);
                pod.metadata.name = Some(format!("costly-{n}-{round}"));
                pods.create(&PostParams::default(), &pod).await?;
                count.add(1);
                Ok(())
            }
        });
    }
    Ok(running)
}

/// Pods whose image is in a registry that takes connections and says nothing (S8).
pub(super) async fn silent_registry(stage: &Stage<'_>) -> Result<Running> {
    let mut running = Running::default();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let registry = listener.local_addr()?;
    let count = running.count.clone();
    running.beside(async move {
        let mut kept = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            count.add(1);
            kept.push(stream);
        }
    });
    let pods = stage.pods();
    let create = |n: usize| {
        let (pods, pod) = (
            pods.clone(),
            stage.rig.pod(&format!("imageless-{n:03}"), "Always"),
        );
        async move {
            let mut pod = pod;
            let container = container(&mut pod)?;
            container.image = Some(format!("{registry}/x{n}/y"));
            // Without a command the image has to be asked for its own.
            container.args = Some(vec!["serve".to_owned()]);
            pods.create(&PostParams::default(), &pod).await?;
            anyhow::Ok(())
        }
    };
    let creates = futures::stream::iter((0..REGISTRY_PODS).map(create));
    let done: Vec<Result<()>> = creates.buffer_unordered(20).collect().await;
    done.into_iter().collect::<Result<()>>()?;
    Ok(running)
}

fn spec(pod: &mut Pod) -> Result<&mut PodSpec> {
    pod.spec.as_mut().context("the pod has no spec")
}

fn container(pod: &mut Pod) -> Result<&mut Container> {
    spec(pod)?
        .containers
        .first_mut()
        .context("the pod has no container")
}
