//! Users: pods come and go.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Namespace, Pod, Secret};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::manifests::{self, APP, home};
use super::plan::{Act, Policy};
use super::rig::Rig;
use super::world::TOUCH;

/// The API server may be away for ten seconds, and needs some to come back.
const PATIENCE: Duration = Duration::from_secs(45);
/// One call.
const CALL: Duration = Duration::from_secs(10);

/// Tries until it works or can never work. An object that is there already was made by a call whose answer got lost.
async fn persist<T, F>(mut call: impl FnMut() -> F) -> Result<Option<T>>
where
    F: Future<Output = kube::Result<T>>,
{
    let deadline = Instant::now() + PATIENCE;
    loop {
        let error = match tokio::time::timeout(CALL, call()).await {
            Ok(Ok(done)) => return Ok(Some(done)),
            Ok(Err(kube::Error::Api(status))) if [404, 409].contains(&status.code) => {
                return Ok(None);
            }
            Ok(Err(kube::Error::Api(status))) if status.code == 422 => bail!("{status}"),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer in {} s", CALL.as_secs()),
        };
        if Instant::now() > deadline {
            bail!("{error}");
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

async fn create<K>(api: &Api<K>, manifest: Value) -> Result<Option<K>>
where
    K: Clone + std::fmt::Debug + Serialize + DeserializeOwned,
{
    let object: K = serde_json::from_value(manifest)?;
    persist(|| api.create_with(&object)).await
}

/// `Api::create` with its parameters at hand, for [`persist`].
trait CreateWith<K> {
    fn create_with(&self, object: &K) -> impl Future<Output = kube::Result<K>>;
}

impl<K> CreateWith<K> for Api<K>
where
    K: Clone + std::fmt::Debug + Serialize + DeserializeOwned,
{
    async fn create_with(&self, object: &K) -> kube::Result<K> {
        self.create(&PostParams::default(), object).await
    }
}

fn api<K>(rig: &Rig, namespace: &str) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope>,
    K::DynamicType: Default,
{
    Api::namespaced(rig.client.clone(), namespace)
}

fn made(was: bool, what: &str) -> String {
    let how = if was { "done" } else { "was so already" };
    format!("{what}: {how}")
}

pub(super) async fn act(rig: &Rig, act: &Act) -> Result<String> {
    match *act {
        Act::Scale {
            deployment,
            replicas,
        } => scale(rig, deployment, replicas).await,
        Act::DeleteDeployment { deployment } => {
            let name = format!("web-{deployment}");
            let deployments = api::<Deployment>(rig, home(deployment));
            let parameters = DeleteParams::background();
            let done = persist(|| deployments.delete(&name, &parameters)).await?;
            Ok(made(done.is_some(), &format!("delete {name}")))
        }
        Act::Job {
            number,
            completions,
            on_failure,
        } => {
            let jobs = api::<Job>(rig, home(number));
            let job = create(&jobs, manifests::job(number, completions, on_failure)).await?;
            Ok(made(job.is_some(), &format!("job-{number}")))
        }
        Act::RecreateStatefulSet { set, replicas } => recreate(rig, set, replicas).await,
        Act::BarePod {
            number,
            windows,
            policy,
            code,
        } => {
            let name = format!("pod-{number}");
            let pods = api::<Pod>(rig, home(number));
            let pod = create(&pods, manifests::pod(&name, windows, policy, code)).await?;
            Ok(made(pod.is_some(), &name))
        }
        Act::DeletePod { pick } => delete_some(rig, pick, &DeleteParams::default()).await,
        Act::ForceDeletePod { pick } => {
            delete_some(rig, pick, &DeleteParams::default().grace_period(0)).await
        }
        Act::DeleteWhileCreating {
            number,
            after,
            force,
        } => {
            let name = format!("young-{number}");
            let pods = api::<Pod>(rig, home(number));
            create(&pods, manifests::pod(&name, false, Policy::Always, None)).await?;
            tokio::time::sleep(Duration::from_millis(after)).await;
            let parameters = if force {
                DeleteParams::default().grace_period(0)
            } else {
                DeleteParams::default()
            };
            let done = persist(|| pods.delete(&name, &parameters)).await?;
            Ok(made(done.is_some(), &format!("delete {name}")))
        }
        Act::Namespace {
            number,
            pods,
            after,
        } => namespace(rig, number, pods, after).await,
        _ => bail!("not an act of users"),
    }
}

async fn scale(rig: &Rig, deployment: u64, replicas: u64) -> Result<String> {
    let deployments = api::<Deployment>(rig, home(deployment));
    let name = format!("web-{deployment}");
    let manifest = manifests::deployment(deployment, replicas);
    if create(&deployments, manifest).await?.is_some() {
        return Ok(format!("{name} made with {replicas}"));
    }
    let patch = json!({"spec": {"replicas": replicas}});
    let patch = Patch::Merge(&patch);
    let parameters = PatchParams::default();
    let done = persist(|| deployments.patch(&name, &parameters, &patch)).await?;
    Ok(made(done.is_some(), &format!("{name} to {replicas}")))
}

/// The new one comes as soon as the old one is not there any more, while its pods still end: theirs are the same names.
async fn recreate(rig: &Rig, set: u64, replicas: u64) -> Result<String> {
    let sets = api::<StatefulSet>(rig, home(set));
    let name = format!("db-{set}");
    let parameters = DeleteParams::background();
    persist(|| sets.delete(&name, &parameters)).await?;
    // After an API server was away the garbage collector may take minutes, and names are what this is about.
    let pods = api::<Pod>(rig, home(set));
    let of_it = ListParams::default().labels(&format!("{APP}={name}"));
    let gently = DeleteParams::default();
    persist(|| pods.delete_collection(&gently, &of_it)).await?;
    let deadline = Instant::now() + PATIENCE;
    while create(&sets, manifests::stateful_set(set, replicas))
        .await?
        .is_none()
    {
        if Instant::now() > deadline {
            bail!("the old {name} stays");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(format!("{name} made anew with {replicas}"))
}

/// Deletes what the garbage collector has overlooked: pods of a `StatefulSet` that is not there any more, in the way of the
/// one that was made under its name. Its watches were cut by the API server's end, and it may take hours to notice.
pub(super) async fn tidy(rig: &Rig) -> Result<()> {
    let all = ListParams::default();
    let sets = Api::<StatefulSet>::all(rig.client.clone())
        .list(&all)
        .await?;
    let sets: Vec<String> = sets.iter().filter_map(ResourceExt::uid).collect();
    for pod in Api::<Pod>::all(rig.client.clone()).list(&all).await? {
        let mut owners = pod.owner_references().iter();
        if owners.any(|owner| owner.kind == "StatefulSet" && !sets.contains(&owner.uid)) {
            let pods = api::<Pod>(rig, &pod.namespace().unwrap_or_default());
            let (name, gently) = (pod.name_any(), DeleteParams::default());
            persist(|| pods.delete(&name, &gently)).await?;
        }
    }
    Ok(())
}

/// Deletes one of the pods that may be touched.
async fn delete_some(rig: &Rig, pick: u64, parameters: &DeleteParams) -> Result<String> {
    let all = Api::<Pod>::all(rig.client.clone());
    let selector = ListParams::default().labels(&format!("{APP},{TOUCH}!=no"));
    let list = persist(|| all.list(&selector)).await?;
    let mut pods = list.map(|list| list.items).unwrap_or_default();
    pods.retain(|pod| pod.metadata.deletion_timestamp.is_none());
    pods.sort_by_key(|pod| (pod.namespace(), pod.name_any()));
    let count = u64::try_from(pods.len())?.max(1);
    let pod = pods.get(usize::try_from(pick % count)?);
    let pod = pod.context("no pod to delete")?;
    let namespace = pod.namespace().unwrap_or_default();
    let (name, uid) = (pod.name_any(), pod.uid().unwrap_or_default());
    let pods = api::<Pod>(rig, &namespace);
    let mut parameters = parameters.clone();
    parameters.preconditions = Some(Preconditions {
        uid: Some(uid.clone()),
        resource_version: None,
    });
    let done = persist(|| pods.delete(&name, &parameters)).await?;
    Ok(made(
        done.is_some(),
        &format!("delete {namespace}/{name} {uid}"),
    ))
}

/// Pods, a Deployment and a Job in a namespace of their own, which goes with all of them.
async fn namespace(rig: &Rig, number: u64, pods: u64, after: u64) -> Result<String> {
    let name = format!("gone-{number}");
    let namespaces = Api::<Namespace>::all(rig.client.clone());
    create(&namespaces, manifests::namespace(&name)).await?;
    let word = super::canaries(rig).word();
    create(&api::<Secret>(rig, &name), manifests::words(&name, &word)).await?;
    let deployment = manifests::deployment(number % 3, pods);
    create(&api::<Deployment>(rig, &name), deployment).await?;
    let bare = api::<Pod>(rig, &name);
    for n in 0..pods {
        let pod = format!("bare-{n}");
        // Its service account may take a moment: without it pods are refused.
        create(&bare, manifests::pod(&pod, false, Policy::Never, None)).await?;
    }
    tokio::time::sleep(Duration::from_millis(after)).await;
    let parameters = DeleteParams::background();
    let done = persist(|| namespaces.delete(&name, &parameters)).await?;
    Ok(made(done.is_some(), &format!("delete namespace {name}")))
}
