//! A group that really runs: its address, its volumes, its init containers one after the other, then its containers together.

use std::{
    fs, io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures::future::join_all;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{
    Runner, cgroups,
    container::{Container, Which},
    image::ImageError,
    mounts,
    network::{Lease, NetworkError},
    plan::{ContainerPlan, GroupPlan, Source},
    spec::Bind,
    states,
    tools::Tools,
    volumes,
};
use crate::{
    arm::{
        driver::{Driver, Note, Progress},
        lifecycle::{ContainerLife, Life, Phase, Policy},
        world::Key,
    },
    clock::{Time, between},
    shared::Shared,
};

/// Longest `resolv.conf` of this machine that is taken over.
const RESOLVER: usize = 64 * 1024;

/// What the containers of a group share.
#[derive(Clone)]
pub(super) struct Context {
    pub(super) shared: Arc<Shared>,
    pub(super) runner: Arc<Runner>,
    pub(super) key: Key,
    /// The operation that has started this life of the group.
    pub(super) operation: String,
    pub(super) cancel: CancellationToken,
    pub(super) number: u64,
    pub(super) ip: Ipv4Addr,
    pub(super) hostname: String,
}

/// Why a group cannot be started.
#[derive(Debug, thiserror::Error)]
enum GroupError {
    #[error(transparent)]
    Network(#[from] NetworkError),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error("the image {0} is not in the folder of images")]
    NoImage(String),
    #[error("its preparation was interrupted")]
    Interrupted,
}

impl Context {
    pub(super) fn tools(&self) -> &Tools {
        &self.runner.tools
    }

    pub(super) async fn cancelled(&self) {
        self.cancel.cancelled().await;
    }

    pub(super) fn emulator_stops(&self) -> bool {
        self.shared.stop.is_cancelled()
    }

    pub(super) async fn emulator_stopped(&self) {
        self.shared.stop.cancelled().await;
    }

    fn namespace(&self) -> String {
        format!("aci{}-{}", self.runner.tag, self.number)
    }

    pub(super) fn namespace_file(&self) -> PathBuf {
        Path::new("/run/netns").join(self.namespace())
    }

    fn folder(&self) -> PathBuf {
        self.runner
            .folder
            .join("groups")
            .join(self.number.to_string())
    }

    /// Changes the group, unless it is another's by now, or stopped.
    fn with<T>(&self, change: impl FnOnce(&mut Life, Time) -> T) -> Option<T> {
        let now = self.shared.clock.now();
        let mut world = self.shared.world.lock();
        let group = world.group(&self.key, now)?;
        if group.operation != self.operation || group.life.stopped || self.cancel.is_cancelled() {
            return None;
        }
        Some(change(&mut group.life, now))
    }

    /// Changes one container, unless its group is another's by now.
    pub(super) fn update<T>(
        &self,
        which: Which,
        change: impl FnOnce(&mut ContainerLife, Time) -> T,
    ) -> Option<T> {
        self.with(|life, now| {
            let container = match which {
                Which::Init(number) => life.inits.get_mut(number),
                Which::Main(number) => life.containers.get_mut(number),
            };
            let changed = container.map(|container| change(container, now));
            let begun = |container: &ContainerLife| container.phase != Phase::Unstarted;
            if life.driver.is_starting() && life.containers.iter().all(begun) {
                life.driver = Driver::Processes(Progress::Started);
            }
            changed
        })
        .flatten()
    }

    fn progress(&self, progress: Progress) {
        self.with(|life, _| life.driver = Driver::Processes(progress));
    }

    /// Policy and first pause of restarts.
    fn policy(&self) -> (Policy, Duration) {
        self.with(|life, _| (life.policy, life.backoff))
            .unwrap_or((Policy::Never, Duration::ZERO))
    }
}

/// The life of a group, until it is cancelled. Leaves nothing behind but shares.
pub(super) async fn live(group: Context, body: Arc<Value>, lease: Lease) {
    match prepare(&group, &body).await {
        Ok((inits, containers)) => {
            run(&group, &inits, &containers).await;
        }
        Err(error) => {
            tracing::warn!(group = group.key.name, %error, "the group cannot be started");
            let now = group.shared.clock.now();
            let name = match error {
                GroupError::Io(_) => "FailedMount",
                _ => "Failed",
            };
            let note = Note::new(name, error.to_string(), now);
            group.progress(Progress::Failed(note));
        }
    }
    clear(&group).await;
    // The address stays the group's as long as that shows it.
    group.cancelled().await;
    drop(lease);
}

async fn clear(group: &Context) {
    if let Err(error) = group
        .runner
        .network
        .leave(&group.namespace(), group.ip)
        .await
    {
        tracing::debug!(group = group.key.name, %error, "no network namespace to remove");
    }
    let folder = group.folder();
    let cleared = tokio::task::spawn_blocking(move || {
        mounts::unmount_below(&folder)?;
        fs::remove_dir_all(&folder)
    });
    if let Ok(Err(error)) = cleared.await {
        tracing::warn!(group = group.key.name, %error, "its files stay");
    }
}

type Prepared = (Vec<Arc<Container>>, Vec<Arc<Container>>);

async fn prepare(group: &Context, body: &Value) -> Result<Prepared, GroupError> {
    let plan = GroupPlan::of(body);
    group
        .runner
        .network
        .join(&group.namespace(), group.ip)
        .await?;
    group.with(|life, _| life.ip = group.ip);
    let own = group.clone();
    // Layers are unpacked here: that may take its time.
    let work = tokio::task::spawn_blocking(move || on_disk(&own, plan));
    work.await.map_err(|_| GroupError::Interrupted)?
}

fn on_disk(group: &Context, plan: GroupPlan) -> Result<Prepared, GroupError> {
    let folder = group.folder();
    fs::create_dir_all(&folder)?;
    if plan
        .volumes
        .iter()
        .any(|volume| matches!(volume.source, Source::Git))
    {
        tracing::warn!(
            group = group.key.name,
            "a volume of a git repository stays empty: nothing is cloned here"
        );
    }
    let shares = group.runner.folder.join("shares");
    let ready = volumes::make(&plan.volumes, &folder, &shares)?;
    let files = network_files(group, &folder, plan.resolver.as_deref())?;
    let make = |which: Which, plan: ContainerPlan| -> Result<Arc<Container>, GroupError> {
        let number = match which {
            Which::Init(number) => format!("i{number}"),
            Which::Main(number) => format!("c{number}"),
        };
        let (image, root) = pull(group, which, &plan.image)?;
        let mut binds = files.clone();
        binds.extend(volumes::binds(&plan, &ready));
        Ok(Arc::new(Container {
            which,
            image,
            files: root,
            folder: folder.join(&number),
            id: format!("{}-{}-{number}", group.runner.tag, group.number),
            cgroup: format!(
                "{}/{}-{number}",
                cgroups::parent(&group.runner.tag),
                group.number
            ),
            binds,
            plan,
        }))
    };
    let inits = plan.inits.into_iter().enumerate();
    let inits = inits
        .map(|(number, plan)| make(Which::Init(number), plan))
        .collect::<Result<_, _>>()?;
    let containers = plan.containers.into_iter().enumerate();
    let containers = containers
        .map(|(number, plan)| make(Which::Main(number), plan))
        .collect::<Result<_, _>>()?;
    Ok((inits, containers))
}

fn pull(
    group: &Context,
    which: Which,
    name: &str,
) -> Result<(super::image::ImageConfig, PathBuf), GroupError> {
    let note = |event, message: String| {
        group.update(which, |life, now| life.real.note(event, message, now));
    };
    note("Pulling", format!("pulling image \"{name}\""));
    let store = &group.runner.store;
    let image = store
        .find(&Runner::image_name(name, &group.shared.url))?
        .ok_or_else(|| GroupError::NoImage(name.to_owned()))?;
    let files = store.files(&image)?;
    note("Pulled", format!("Successfully pulled image \"{name}\""));
    Ok((image.config, files))
}

/// `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf`, which all containers of a group share.
fn network_files(group: &Context, folder: &Path, resolver: Option<&str>) -> io::Result<Vec<Bind>> {
    let resolver = match resolver {
        Some(resolver) => resolver.to_owned(),
        None => this_machines_resolver(),
    };
    let hosts = format!(
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n{}\t{}\n",
        group.ip, group.hostname
    );
    let files = [
        ("hosts", hosts),
        ("hostname", format!("{}\n", group.hostname)),
        ("resolv.conf", resolver),
    ];
    let mut binds = Vec::new();
    for (name, text) in files {
        let source = folder.join(name);
        fs::write(&source, text)?;
        binds.push(Bind {
            source,
            path: format!("/etc/{name}"),
            read_only: false,
        });
    }
    Ok(binds)
}

/// Without name servers at loopback, which a group cannot reach.
fn this_machines_resolver() -> String {
    let text = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let lines = text.lines().filter(|line| {
        let server = line.strip_prefix("nameserver").map(str::trim);
        server.is_none_or(|server| !server.starts_with("127.") && server != "::1")
    });
    let text: String = lines.flat_map(|line| [line, "\n"]).collect();
    text.chars().take(RESOLVER).collect()
}

async fn run(group: &Context, inits: &[Arc<Container>], containers: &[Arc<Container>]) {
    let (policy, backoff) = group.policy();
    for init in inits {
        if keep(group, init, policy.of_init(), backoff).await != Some(0) {
            group.progress(Progress::Started);
            return;
        }
    }
    let lives = containers
        .iter()
        .map(|container| keep(group, container, policy, backoff));
    join_all(lives).await;
}

/// Runs a container as often as the policy wants it; its last exit code, `None` when the group was cancelled.
async fn keep(
    group: &Context,
    container: &Arc<Container>,
    policy: Policy,
    backoff: Duration,
) -> Option<i32> {
    loop {
        let end = container.run(group).await;
        let next = group.update(container.which, |life, now| {
            let until = states::ends(life, &end, policy, backoff, now);
            until.map(|until| between(now, until))
        })?;
        let Some(pause) = next else {
            return Some(end.code);
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = group.cancelled() => return None,
        }
    }
}
