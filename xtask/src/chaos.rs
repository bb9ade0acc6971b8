//! `cargo xtask chaos`: everything goes wrong at once, and at the end all must be well.
//!
//! A plan made from a seed ([`plan`]) is carried out ([`lanes`]) on a real control plane, the emulator and `vkc` processes
//! ([`rig`]). Then nothing happens any more, and the [`check`]s look at both sides. docs/chaos.md is its page.

mod azure;
mod canary;
mod check;
mod collect;
mod history;
mod lanes;
mod manifests;
mod operators;
mod plan;
mod processes;
mod random;
mod report;
mod rig;
mod users;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use xtask::control_plane::{Assets, stderr_progress};
use xtask::process::interrupted;
use xtask::workspace::{self, Programs};

use canary::Canaries;
use check::Violation;
use lanes::Acts;
use plan::Plan;
use rig::Rig;

/// Between two looks at what is not well yet.
const LOOK: Duration = Duration::from_secs(2);
const PROGRESS: Duration = Duration::from_secs(10);
/// All must be well this many times in a row.
const CALM_LOOKS: u32 = 2;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long things happen
    #[arg(long, default_value_t = 1.0)]
    minutes: f64,
    /// What happens; the same seed, length and number of replicas make the same plan. Without it: the time
    #[arg(long)]
    seed: Option<u64>,
    /// Processes of vkc. Only with more than one are some paused and doubled
    #[arg(long, default_value_t = 2)]
    replicas: u64,
    /// How long to wait at the end until all is well, in seconds: a group without a pod may live six minutes
    #[arg(long, default_value_t = 390)]
    settle: u64,
    /// Print the plan and end
    #[arg(long)]
    plan: bool,
    /// Keep state, logs and records here, also when all was well
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Run the release build
    #[arg(long)]
    release: bool,
    /// Run the programs vkc and aci-emulator of this directory, and build none
    #[arg(long, value_name = "DIR", conflicts_with = "release")]
    programs: Option<PathBuf>,
}

impl Args {
    fn repeat(&self, seed: u64) -> String {
        format!(
            "cargo xtask chaos --minutes {} --seed {seed} --replicas {}",
            self.minutes, self.replicas
        )
    }
}

fn canaries(rig: &Rig) -> MutexGuard<'_, Canaries> {
    rig.canaries.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let seed = args.seed.unwrap_or_else(|| {
        let now = chrono::Utc::now().timestamp();
        u64::try_from(now).unwrap_or_default()
    });
    let length = Duration::try_from_secs_f64(args.minutes * 60.0).context("--minutes")?;
    let plan = Plan::new(seed, u64::try_from(length.as_millis())?, args.replicas);
    let lines: Vec<String> = plan.acts.iter().map(ToString::to_string).collect();
    if args.plan {
        println!("{}", lines.join("\n"));
        return Ok(ExitCode::SUCCESS);
    }
    // Builds come before the signals are watched: until then a Ctrl-C ends us and them as it ends any build.
    let programs = if let Some(dir) = &args.programs {
        Programs {
            vkc: dir.join("vkc"),
            aci_emulator: dir.join("aci-emulator"),
        }
    } else {
        println!("Building vkc and aci-emulator.");
        workspace::build(if args.release { "release" } else { "dev" })?
    };
    let assets = Assets::resolve(stderr_progress)?;
    let stop = interrupted()?;
    println!(
        "{} acts of seed {seed}; to repeat: {}",
        plan.acts.len(),
        args.repeat(seed)
    );
    let rig = Rig::start(&assets, &programs, seed, args.replicas, args.dir.as_deref()).await?;
    println!(
        "Everything is up. State, logs and records: {}",
        rig.dir.display()
    );
    std::fs::write(rig.dir.join("plan.jsonl"), lines.join("\n"))?;
    let acts = Arc::new(Acts::new(&rig.dir)?);
    let outcome = tokio::select! {
        outcome = play(&rig, &plan, &acts, &args) => outcome,
        () = stop => {
            println!("\nInterrupted.");
            rig.stop_operators().await;
            return Ok(ExitCode::from(130));
        }
    };
    let mut violations = match outcome {
        Ok(violations) => violations,
        Err(error) => {
            rig.keep_dir();
            println!("State, logs and records are kept in {}", rig.dir.display());
            return Err(error);
        }
    };
    violations.extend(
        rig.stop_operators()
            .await
            .into_iter()
            .map(|evidence| Violation {
                invariant: "processes",
                evidence,
                settles: false,
            }),
    );
    println!("{}", report::table(&acts.counts(), &violations));
    if violations.is_empty() {
        println!("All was well after seed {seed}.");
        return Ok(ExitCode::SUCCESS);
    }
    rig.keep_dir();
    let all: Vec<String> = violations
        .iter()
        .map(|violation| format!("{}: {}", violation.invariant, violation.evidence))
        .collect();
    std::fs::write(rig.dir.join("violations.txt"), all.join("\n"))?;
    println!("{} violations after seed {seed}.", violations.len());
    println!("State, logs and records are kept in {}", rig.dir.display());
    println!("To repeat: {}", args.repeat(seed));
    Ok(ExitCode::FAILURE)
}

/// Everything happens, then nothing does until all is well or the time is over; what is not well then.
async fn play(
    rig: &Arc<Rig>,
    plan: &Plan,
    acts: &Arc<Acts>,
    args: &Args,
) -> Result<Vec<Violation>> {
    let started = Instant::now();
    let say = |text: &str| println!("{:6.1}s  {text}", started.elapsed().as_secs_f64());
    let happening = lanes::run(rig, plan, acts);
    tokio::pin!(happening);
    loop {
        tokio::select! {
            () = &mut happening => break,
            () = tokio::time::sleep(PROGRESS) => {
                revive(rig, &say)?;
                let done = acts.counts().values().map(|count| count.done + count.missed).sum();
                // In the middle of it the API server may be away.
                match tokio::time::timeout(LOOK, collect::world(rig)).await {
                    Ok(Ok(world)) => say(&report::progress(&world, done)),
                    _ => say(&format!("{done} acts; the API server does not answer")),
                }
            }
        }
    }
    azure::heal(rig).await?;
    // After an outage kube-controller-manager sometimes never scales a ReplicaSet that it has missed an update of. That is
    // not what is judged here.
    rig.plane.restart_controllers()?;
    say("Nothing happens any more; waiting until all is well.");
    let quiet = Instant::now();
    let (mut calm, mut said, mut agreed) = (0, Instant::now(), String::new());
    loop {
        revive(rig, &say)?;
        users::tidy(rig).await?;
        let world = collect::world(rig).await?;
        if let Some(tokens) = collect::agreement(&world.connector).filter(|it| *it != agreed) {
            say("Many groups without a pod are held back; a person agrees to their deletion.");
            collect::agree(&rig.client, &tokens).await?;
            agreed = tokens;
        }
        let violations = check::check(&world);
        let open = violations.iter().filter(|violation| violation.settles);
        let mut names: Vec<&str> = open.map(|violation| violation.invariant).collect();
        let open = names.len();
        names.dedup();
        calm = if open == 0 { calm + 1 } else { 0 };
        if said.elapsed() > PROGRESS {
            said = Instant::now();
            let counts = acts.counts();
            let done = counts.values().map(|count| count.done + count.missed).sum();
            say(&format!(
                "{}; {open} things are not well yet: {}",
                report::progress(&world, done),
                names.join(", ")
            ));
        }
        if calm >= CALM_LOOKS {
            say(&format!(
                "All is well after {:.0} s.",
                quiet.elapsed().as_secs_f64()
            ));
            break;
        }
        if quiet.elapsed() > Duration::from_secs(args.settle) {
            say(&format!(
                "{open} things are not well after {} s.",
                args.settle
            ));
            break;
        }
        tokio::time::sleep(LOOK).await;
    }
    let world = collect::last_world(rig).await?;
    std::fs::write(
        rig.dir.join("world.json"),
        serde_json::to_string_pretty(&world)?,
    )?;
    Ok(check::check(&world))
}

/// Components of Kubernetes that ended by themselves start again, as they do in a cluster.
fn revive(rig: &Rig, say: &impl Fn(&str)) -> Result<()> {
    for name in rig.plane.revive()? {
        say(&format!("{name} had ended and is started again"));
    }
    Ok(())
}
