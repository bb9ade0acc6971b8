//! One run of `dev`: its processes, and the steps that it takes with them.

use std::hash::{BuildHasher as _, RandomState};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use kube::Client;
use xtask::control_plane::{
    Assets, ControlPlane, Options, Output, cache_root, kubeconfig, run_kubectl,
};
use xtask::process::{Process, StateDir};
use xtask::stack::{Emulator, Operator, Principal};
use xtask::workspace::{self, Programs};

use super::show::Show;

/// Where the operator, its service account and the credentials are.
pub(super) const NAMESPACE: &str = "vkc-system";
/// The operator's service account: `config/rbac` binds its rights to it.
const ACCOUNT: &str = "vkc";
/// A command of vkc waits five minutes at most.
const COMMAND_DEADLINE: Duration = Duration::from_mins(6);
/// The connector of the walk-through.
pub(super) const CONNECTOR: &str = "virtual-kubelet";

pub(super) struct Session {
    // Fields drop in this order: what depends on others first.
    show: Option<Show>,
    pub(super) metrics_server: Option<Process>,
    operators: Vec<Operator>,
    emulator: Option<Emulator>,
    plane: Option<ControlPlane>,
    programs: Programs,
    kubectl: PathBuf,
    kubeconfig: PathBuf,
    root: PathBuf,
    started: Instant,
    dir: StateDir,
}

impl Session {
    pub(super) fn new(programs: Programs, keep: bool) -> Result<Self> {
        let mut dir = StateDir::temporary("vkc-dev")?;
        if keep {
            dir.keep();
        }
        println!("State and logs: {}", dir.path().display());
        Ok(Self {
            show: None,
            metrics_server: None,
            operators: Vec::new(),
            emulator: None,
            plane: None,
            programs,
            kubectl: PathBuf::new(),
            kubeconfig: PathBuf::new(),
            root: workspace::root()?,
            started: Instant::now(),
            dir,
        })
    }

    /// From here on, changes are printed as they happen.
    pub(super) async fn start_showing(&mut self) -> Result<()> {
        self.show = Some(Show::start(&self.client().await?, self.started));
        Ok(())
    }

    pub(super) fn say(&self, text: &str) {
        println!("{:6.1}s  {text}", self.started.elapsed().as_secs_f64());
    }

    /// Where state and logs are.
    pub(super) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The administrator's kubeconfig.
    pub(super) fn admin_kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    pub(super) async fn client(&self) -> Result<Client> {
        kubeconfig::client(&self.kubeconfig).await
    }

    pub(super) fn keep_logs(&mut self) {
        if self.dir.keep() {
            println!("Logs are kept in {}", self.dir().display());
        }
    }

    /// Either the cluster of a given kubeconfig, or a control plane of our own.
    pub(super) async fn start_cluster(
        &mut self,
        given: Option<&Path>,
        assets: Option<&Assets>,
    ) -> Result<()> {
        if let Some(given) = given {
            self.kubeconfig = given
                .canonicalize()
                .with_context(|| format!("cannot read {}", given.display()))?;
            self.kubectl = workspace::on_path("kubectl")
                .or_else(|| assets.map(|assets| assets.program("kubectl")))
                .context("no kubectl")?;
            let version = self
                .client()
                .await?
                .apiserver_version()
                .await
                .context("the cluster does not answer")?;
            self.say(&format!(
                "using the cluster of {} ({})",
                given.display(),
                version.git_version
            ));
            return Ok(());
        }
        let assets = assets.context("no control plane to start")?;
        let options = Options {
            dir: Some(self.dir().join("control-plane")),
            ..Options::default()
        };
        let plane = ControlPlane::start(assets, options).await?;
        plane.kubeconfig().clone_into(&mut self.kubeconfig);
        plane.kubectl().clone_into(&mut self.kubectl);
        self.say(&format!("control plane ready at {}", plane.url()));
        for (name, pid, log) in plane.processes() {
            println!("         {name} (pid {pid}): {}", log.display());
        }
        self.plane = Some(plane);
        Ok(())
    }

    /// Where the images of groups that really run are made.
    pub(super) fn images(&self) -> PathBuf {
        self.dir().join("images")
    }

    pub(super) async fn start_emulator(&mut self, run: bool) -> Result<()> {
        let principal = Principal {
            tenant_id: "72f988bf-0000-4000-8000-2d7cd011db47".into(),
            client_id: "11111111-1111-4111-8111-111111111111".into(),
            client_secret: generated(),
            subscription_id: "00000000-0000-4000-8000-000000000001".into(),
        };
        let images = self.images().display().to_string();
        // One place for all runs: what one that was killed has left, the next removes.
        let state = cache_root()?.join("dev-run").display().to_string();
        let args: &[&str] = if run {
            &["--run", "--images", &images, "--state-dir", &state]
        } else {
            &[]
        };
        let mut emulator =
            Emulator::start(&self.programs.aci_emulator, self.dir(), principal, args).await?;
        self.say(&format!("aci-emulator ready at {}", emulator.url()));
        let process = emulator.process();
        println!(
            "         aci-emulator (pid {}): {}",
            process.id(),
            process.log().display()
        );
        if run {
            println!(
                "         Linux pods run for real. Their images are stand-ins of busybox, in {images}: another is added by a folder there."
            );
        }
        self.emulator = Some(emulator);
        Ok(())
    }

    pub(super) fn emulator(&self) -> Result<&Emulator> {
        self.emulator
            .as_ref()
            .context("the emulator is not running")
    }

    /// The operator under the rights of its own service account, as it runs in a cluster.
    pub(super) async fn start_operators(&mut self, replicas: u8) -> Result<()> {
        let config = self.dir().join("vkc.kubeconfig");
        kubeconfig::for_service_account(&self.kubeconfig, &config, NAMESPACE, ACCOUNT).await?;
        for number in 1..=replicas {
            let (name, dir) = if replicas == 1 {
                ("vkc".to_owned(), self.dir().to_owned())
            } else {
                let name = format!("vkc-{number}");
                let dir = self.dir().join(&name);
                std::fs::create_dir_all(&dir)
                    .with_context(|| format!("cannot make {}", dir.display()))?;
                (name, dir)
            };
            let mut operator = Operator::start_in(
                &self.programs.vkc,
                &dir,
                &config,
                NAMESPACE,
                &["--log-format", "plain"],
                &[("POD_NAME", name.clone())],
            )
            .await?;
            self.say(&format!(
                "{name} ready, as service account {NAMESPACE}/{ACCOUNT}; metrics at {}",
                operator.metrics_url()
            ));
            let process = operator.process();
            println!(
                "         {name} (pid {}): {}",
                process.id(),
                process.log().display()
            );
            self.operators.push(operator);
        }
        Ok(())
    }

    pub(super) fn say_how_to_go_on(&mut self) {
        println!("\nIt stays up until Ctrl-C. In another terminal:");
        println!("  export KUBECONFIG={}", self.kubeconfig.display());
        println!("  alias kubectl={}", self.kubectl.display());
        println!("  alias vkc={}", self.programs.vkc.display());
        if self.operators.len() > 1 {
            println!("\nWho runs which connector, and how to make it change:");
            println!(
                "  kubectl -n {NAMESPACE} get leases -l virtual-kubelet.io/lease=connector -w"
            );
            for operator in &mut self.operators {
                let pid = operator.process().id();
                println!(
                    "  kill {pid}    (hands over; -KILL: is replaced; -STOP, -CONT: stands still, goes on)"
                );
            }
        }
    }

    /// Ends, with a failure, when one of the processes does.
    pub(super) async fn watch_processes(&mut self) -> Result<()> {
        loop {
            self.check_processes()?;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    pub(super) fn check_processes(&mut self) -> Result<()> {
        if let Some(plane) = &self.plane {
            plane.check()?;
        }
        if let Some(emulator) = &mut self.emulator {
            emulator.process().check()?;
        }
        // One of several may be ended to see what follows.
        let several = self.operators.len() > 1;
        let mut ended = Vec::new();
        self.operators.retain_mut(|operator| {
            let over = several && operator.process().exited().is_some();
            if over {
                ended.push(operator.process().id());
            }
            !over
        });
        for pid in ended {
            self.say(&format!("the replica with pid {pid} has ended"));
        }
        for operator in &mut self.operators {
            operator.process().check()?;
        }
        if let Some(metrics_server) = &mut self.metrics_server {
            metrics_server.check()?;
        }
        Ok(())
    }

    /// Ends everything, the operator first and by its own shutdown. Fails when that did not work.
    pub(super) async fn stop(&mut self) -> Result<()> {
        self.show = None;
        let mut outcome = Ok(());
        // It has nothing to say goodbye to: dropping it kills it.
        self.metrics_server = None;
        for mut operator in std::mem::take(&mut self.operators) {
            outcome = outcome.and(operator.stop().await);
        }
        if let Some(mut emulator) = self.emulator.take() {
            outcome = outcome.and(emulator.stop().await);
        }
        if let Some(plane) = self.plane.take() {
            plane.stop().await;
        }
        if outcome.is_err() {
            self.keep_logs();
        }
        outcome
    }

    /// A file of the repository.
    pub(super) fn path(&self, file: &str) -> String {
        self.root.join(file).to_string_lossy().into_owned()
    }

    /// Runs kubectl and gives its standard output; that it fails is an error.
    pub(super) async fn kubectl(&self, args: &[&str]) -> Result<String> {
        let output = self.run(args, "").await?;
        output
            .ok()
            .with_context(|| format!("kubectl {}", args.join(" ")))
    }

    /// Runs a command of vkc as a person would, in view.
    pub(super) async fn vkc(&self, args: &[&str], env: &[(&str, &str)]) -> Result<()> {
        let word = |arg: &&str| {
            if arg.contains(' ') {
                format!("\"{arg}\"")
            } else {
                (*arg).to_owned()
            }
        };
        let words: Vec<String> = args.iter().map(word).collect();
        println!("\n$ vkc {}", words.join(" "));
        let mut command = tokio::process::Command::new(&self.programs.vkc);
        command
            .args(args)
            .env("KUBECONFIG", &self.kubeconfig)
            .envs(env.iter().copied())
            .kill_on_drop(true);
        let status = tokio::time::timeout(COMMAND_DEADLINE, command.status()).await;
        let status = status.context("vkc does not end")??;
        ensure!(status.success(), "vkc {} has failed", args.join(" "));
        Ok(())
    }

    /// Server-side, which leaves no copy of the manifest (it may be a Secret) in an annotation.
    pub(super) async fn apply(&self, manifest: &str) -> Result<String> {
        let args = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
        let output = self.run(&args, manifest).await?;
        output.ok()
    }

    /// kubectl, for what goes on until it is ended.
    pub(super) fn kubectl_command(&self) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(&self.kubectl);
        command
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HOME", self.dir())
            .env_remove("KUBECTL_KUBERC");
        command
    }

    /// Runs kubectl with `input` as its standard input.
    pub(super) async fn run(&self, args: &[&str], input: &str) -> Result<Output> {
        run_kubectl(&self.kubectl, &self.kubeconfig, self.dir(), args, input).await
    }
}

/// A secret that nobody can guess: the standard library seeds each of these hashers from the system's randomness.
fn generated() -> String {
    let part = || RandomState::new().hash_one(0_u8);
    format!("{:016x}{:016x}", part(), part())
}
