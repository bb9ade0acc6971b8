//! Linux groups that really run, with runc (`--run`).
//!
//! One task owns them all. It compares what the subscription says should run with what runs, whenever something has changed
//! there; a group is told apart from the one before by the operation that started it. What becomes of the processes is written
//! into the group's life ([`crate::arm::lifecycle::Life`]), of which answers are made as they are without processes.

mod cgroups;
mod clean;
mod container;
mod group;
mod image;
mod layers;
mod mounts;
mod network;
mod plan;
mod probes;
mod spec;
mod states;
mod tools;
mod user;
mod volumes;

use std::{
    collections::HashMap,
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{arm::world::Key, clock::Time, due::Due, shared::Shared};
use group::Context;
use image::Store;
use network::{Lease, Network};
use tools::Tools;

pub use image::ImageError;
pub use layers::LayerError;
pub use network::NetworkError;
pub use tools::ToolError;

/// What `--run` is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The folder of images.
    pub images: PathBuf,
}

/// Why groups cannot be run on this machine.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Not Linux.
    #[error("container groups can be run on Linux only")]
    NotLinux,
    /// Not root.
    #[error(
        "to run container groups the emulator has to be root: runc, namespaces and mounts need it"
    )]
    NotRoot,
    /// Programs are missing.
    #[error("to run container groups programs are missing: apt-get install {}", .0.join(" "))]
    Missing(Vec<&'static str>),
    /// Without a folder nothing can be kept.
    #[error("to run container groups a state directory is needed")]
    NoStateDir,
    /// Another emulator has the folder.
    #[error("{0} is another emulator's, which is running")]
    Taken(PathBuf),
    /// A folder cannot be used.
    #[error("{path}: {source}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is no network for groups.
    #[error("no network for container groups: {0}")]
    Network(#[from] NetworkError),
}

/// What runs groups.
pub(crate) struct Runner {
    tools: Tools,
    store: Store,
    network: Network,
    folder: PathBuf,
    /// Tells this emulator's things from another's.
    tag: String,
    count: AtomicU64,
    pub(crate) due: Due,
    /// Held as long as this lives.
    _lock: fs::File,
}

impl Runner {
    /// Removes what an earlier emulator has left in the state directory, and makes the network.
    pub(crate) async fn start(run: &Run, state_dir: Option<&Path>) -> Result<Self, RunError> {
        if !cfg!(target_os = "linux") {
            return Err(RunError::NotLinux);
        }
        if !rustix::process::geteuid().is_root() {
            return Err(RunError::NotRoot);
        }
        let state_dir = state_dir.ok_or(RunError::NoStateDir)?;
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| RunError::Folder { path, source }
        };
        let folder = state_dir.join("run");
        fs::create_dir_all(&folder).map_err(failed(&folder))?;
        let folder = folder.canonicalize().map_err(failed(&folder))?;
        // Secrets of groups are below it.
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).map_err(failed(&folder))?;
        let images = run.images.canonicalize().map_err(failed(&run.images))?;
        fs::read_dir(&images).map_err(failed(&images))?;
        let tools = Tools::find(folder.join("runc")).map_err(RunError::Missing)?;
        let lock = fs::File::create(folder.join("lock")).map_err(failed(&folder))?;
        if lock.try_lock().is_err() {
            return Err(RunError::Taken(folder));
        }
        let tag = tag(&folder);
        clean::leftovers(&tools, &folder, &tag).await;
        let network = Network::start(&tools, &tag).await?;
        tracing::info!(
            images = %images.display(),
            bridge = network::bridge(&tag),
            address = %network.host(),
            "Linux container groups are run"
        );
        Ok(Self {
            store: Store::new(images, folder.join("cache")),
            tools,
            network,
            folder,
            tag,
            count: AtomicU64::new(0),
            due: Due::default(),
            _lock: lock,
        })
    }

    /// Whether the folder has this image.
    pub(crate) fn has_image(&self, name: &str, url: &str) -> bool {
        match self.store.find(&Self::image_name(name, url)) {
            Ok(found) => found.is_some(),
            Err(error) => {
                tracing::warn!(image = name, %error, "the image cannot be read");
                false
            }
        }
    }

    /// Where this machine is in the network of the groups.
    pub(crate) fn network(&self) -> Value {
        json!({"bridge": network::bridge(&self.tag), "address": self.network.host()})
    }

    /// Images of the emulator's own registry, whose port is not known before, are found under the host `localhost`.
    fn image_name(name: &str, url: &str) -> String {
        let own = url.strip_prefix("https://").unwrap_or(url);
        match name
            .strip_prefix(own)
            .and_then(|rest| rest.strip_prefix('/'))
        {
            Some(path) => format!("localhost/{path}"),
            None => name.to_owned(),
        }
    }

    /// The command line, for a shell, of a program in a running container on the terminal that it is started on.
    pub(crate) fn exec_line(&self, id: &str, program: &str) -> String {
        self.tools.exec_line(id, program)
    }
}

/// Eight digits by a folder's name.
fn tag(folder: &Path) -> String {
    let hash = Sha256::digest(folder.as_os_str().as_encoded_bytes());
    hex(hash.get(..4).unwrap_or_default())
}

/// Two digits for each byte.
fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // A string takes everything.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A group that runs.
struct Live {
    operation: String,
    cancel: CancellationToken,
    done: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

/// What a group is to be.
struct Wanted {
    operation: String,
    body: Arc<Value>,
}

/// Runs until the emulator stops, and until everything that it has started has ended.
pub(crate) async fn supervise(shared: Arc<Shared>, runner: Arc<Runner>) {
    let mut lives: HashMap<Key, Live> = HashMap::new();
    loop {
        let now = shared.clock.now();
        for key in runner.due.take(now, lives.keys()) {
            let (wanted, again) = look(&shared, &key, now);
            if let Some(at) = again {
                runner.due.check(key.clone(), at);
            }
            settle(&shared, &runner, &mut lives, key, wanted);
        }
        tokio::select! {
            () = runner.due.wait(&shared.clock) => {}
            () = shared.stop.cancelled() => break,
        }
    }
    for live in lives.values() {
        live.cancel.cancel();
    }
    for live in lives.into_values() {
        if live.task.await.is_err() {
            tracing::warn!(operation = live.operation, "a group's task has failed");
        }
    }
    if let Err(error) = runner.network.stop().await {
        tracing::warn!(%error, "the bridge stays");
    }
    clean::at_the_end(&runner.folder, &runner.tag);
}

/// Brings one group nearer to what is wanted: one step, and the end of a step has it looked at again.
fn settle(
    shared: &Arc<Shared>,
    runner: &Arc<Runner>,
    lives: &mut HashMap<Key, Live>,
    key: Key,
    wanted: Option<Wanted>,
) {
    if let Some(live) = lives.get(&key) {
        let same = wanted
            .as_ref()
            .is_some_and(|wanted| wanted.operation == live.operation);
        if same && !live.cancel.is_cancelled() {
            return;
        }
        live.cancel.cancel();
        if !live.done.load(Ordering::Acquire) {
            return;
        }
        lives.remove(&key);
    }
    let Some(wanted) = wanted else { return };
    match runner.network.lease() {
        Ok(lease) => {
            let live = start(shared, runner, &key, wanted, lease);
            lives.insert(key, live);
        }
        Err(error) => tracing::warn!(group = key.name, %error, "the group waits for an address"),
    }
}

fn start(
    shared: &Arc<Shared>,
    runner: &Arc<Runner>,
    key: &Key,
    wanted: Wanted,
    lease: Lease,
) -> Live {
    let number = runner.count.fetch_add(1, Ordering::Relaxed) + 1;
    let cancel = CancellationToken::new();
    let context = Context {
        shared: Arc::clone(shared),
        runner: Arc::clone(runner),
        key: key.clone(),
        operation: wanted.operation.clone(),
        cancel: cancel.clone(),
        number,
        ip: lease.ip,
        hostname: format!("SandboxHost-{number:018}"),
    };
    let done = Arc::new(AtomicBool::new(false));
    let (runner, key, over) = (Arc::clone(runner), key.clone(), Arc::clone(&done));
    let clock = shared.clock;
    let task = shared.tasks.spawn(async move {
        group::live(context, wanted.body, lease).await;
        over.store(true, Ordering::Release);
        runner.due.check(key, clock.now());
    });
    Live {
        operation: wanted.operation,
        cancel,
        done,
        task,
    }
}

/// What a group is to be now, and when to look again.
fn look(shared: &Shared, key: &Key, now: Time) -> (Option<Wanted>, Option<Time>) {
    let mut world = shared.world.lock();
    let Some(group) = world.group(key, now) else {
        return (None, None);
    };
    let life = &group.life;
    if !life.driver.is_real() || life.stopped || life.gone_at.is_some() {
        return (None, None);
    }
    match life.begin() {
        Some(begin) if begin <= now => (
            Some(Wanted {
                operation: group.operation.clone(),
                body: Arc::clone(&group.body),
            }),
            None,
        ),
        begin => (None, begin),
    }
}
