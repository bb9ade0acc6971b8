//! Pods that cost whoever looks at them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{Container, EnvVar, Pod};
use kube::api::PostParams;
use tokio::net::TcpListener;

use super::stage::{Running, Stage, remove};

const REGISTRY_PODS: usize = 150;

/// Four variables, each a hundred times the one before: 3 KB of YAML, 100 GB when they are expanded (S1).
pub(super) fn bombs(stage: &Stage<'_>) -> Result<Running> {
    let mut variables = vec![variable("A0", Some("x".repeat(1000)))];
    for n in 0..4 {
        let references = format!("$(A{n})").repeat(100);
        variables.push(variable(&format!("A{}", n + 1), Some(references)));
    }
    waves(stage, 1, Duration::from_secs(1), &variables)
}

/// A pod of the largest kind, whose variables take an hour to compare with each other (S2).
pub(super) fn many_variables(stage: &Stage<'_>) -> Result<Running> {
    let variables: Vec<_> = (0..60_000)
        .map(|n| variable(&format!("A{n}"), None))
        .collect();
    waves(stage, 4, Duration::from_secs(5), &variables)
}

fn variable(name: &str, value: Option<String>) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value,
        value_from: None,
    }
}

/// So many pods with these variables at once; after a while others in their place.
fn waves(stage: &Stage<'_>, many: usize, pause: Duration, variables: &[EnvVar]) -> Result<Running> {
    let mut running = Running::default();
    for n in 0..many {
        let mut pod = stage.rig.pod("", "Always");
        container(&mut pod)?.env = Some(variables.to_vec());
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

fn container(pod: &mut Pod) -> Result<&mut Container> {
    let spec = pod.spec.as_mut().context("the pod has no spec")?;
    spec.containers
        .first_mut()
        .context("the pod has no container")
}
