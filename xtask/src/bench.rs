//! `cargo xtask bench`: the numbers of `docs/benchmarks.md`, measured on this machine.
//!
//! Every scenario starts a control plane, `aci-emulator` and `vkc run` of its own, each a process of its own, so that
//! no scenario finds the caches, budgets or leftovers of another.

mod audit;
mod charts;
mod kubelet;
mod machine;
mod pods;
mod report;
mod rig;
mod scenarios;
mod scraper;
mod sockets;
mod stats;

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};
use xtask::control_plane::{Assets, stderr_progress};
use xtask::process::interrupted;
use xtask::workspace::{self, Programs};

use scenarios::Scenario;

/// Release code without the long link: see the root `Cargo.toml`.
const PROFILE: &str = "bench-run";
/// The example that measures the translator.
const TRANSLATE: &str = "bench_translate";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only this scenario; repeat for more
    #[arg(long, value_enum, value_name = "NAME")]
    only: Vec<Scenario>,
    /// Write the result, with every sample, to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Run each scenario so many times and put the samples together
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    repeat: u32,
    /// Keep logs, metrics and the requests to ARM in this directory
    #[arg(long, value_name = "DIR")]
    logs: Option<PathBuf>,
    /// With `--only hostile`: only this attack; repeat for more
    #[arg(long, value_name = "NAME")]
    attack: Vec<String>,
    /// With `--only charts`: files of `helm template`, or a directory of them
    #[arg(value_name = "DIR|FILE")]
    manifests: Option<PathBuf>,
    /// Build nothing: take vkc and aci-emulator from this directory
    #[arg(long, value_name = "DIR")]
    bin_dir: Option<PathBuf>,
}

/// What all scenarios start from.
pub(crate) struct Bench {
    programs: Programs,
    assets: Assets,
    logs: Option<PathBuf>,
    /// Of `hostile`, all when there are none.
    attacks: Vec<String>,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    if args.only.contains(&Scenario::Charts) {
        let path = args.manifests.as_ref();
        return charts::run(path.context("name the manifests: --only charts DIR|FILE")?);
    }
    let Some(bin_dir) = &args.bin_dir else {
        return build_and_measure();
    };
    let bench = Bench {
        programs: Programs {
            vkc: bin_dir.join("vkc"),
            aci_emulator: bin_dir.join("aci-emulator"),
        },
        assets: Assets::resolve(stderr_progress)?,
        logs: args.logs.clone(),
        attacks: args.attack.clone(),
    };
    let wanted = if args.only.is_empty() {
        Scenario::ALL.to_vec()
    } else {
        args.only.clone()
    };
    let stop = interrupted()?;
    tokio::select! {
        outcome = measure(&bench, &wanted, &args) => outcome,
        () = stop => {
            println!("\nInterrupted.");
            Ok(ExitCode::from(130))
        }
    }
}

impl Bench {
    /// The example `bench_translate`, where cargo puts it beside the programs.
    fn translate_bench(&self) -> PathBuf {
        self.programs.vkc.with_file_name("examples").join(TRANSLATE)
    }
}

/// Builds the programs and this task under [`PROFILE`] and becomes the latter: what measures must not be slower than
/// what is measured.
fn build_and_measure() -> Result<ExitCode> {
    println!("Building vkc, aci-emulator and xtask (profile {PROFILE}).");
    let programs = workspace::build(PROFILE)?;
    let status = workspace::cargo()?
        .args(["build", "--profile", PROFILE, "--package=xtask"])
        .status()
        .context("cannot run cargo")?;
    if !status.success() {
        bail!("cargo build ended with {status}");
    }
    let status = workspace::cargo()?
        .args(["build", "--profile", PROFILE, "--example", TRANSLATE])
        .status()
        .context("cannot run cargo")?;
    if !status.success() {
        bail!("cargo build ended with {status}");
    }
    let dir = programs.vkc.parent().context("vkc is in no directory")?;
    let error = Command::new(dir.join("xtask"))
        .args(std::env::args_os().skip(1))
        .arg("--bin-dir")
        .arg(dir)
        .exec();
    Err(error).context("cannot run the xtask just built")
}

async fn measure(bench: &Bench, wanted: &[Scenario], args: &Args) -> Result<ExitCode> {
    let mut report = report::Report::begin(&bench.programs.vkc)?;
    for scenario in wanted {
        let mut rows = Vec::new();
        let mut failure = None;
        for round in 1..=args.repeat {
            println!("\n{} ({round} of {})", scenario.name(), args.repeat);
            match scenario.measure(bench).await {
                Ok(more) => stats::merge(&mut rows, more),
                Err(error) => {
                    println!("  NOT MEASURED: {error:#}");
                    failure = Some(format!("{error:#}"));
                    break;
                }
            }
        }
        report.add(*scenario, rows, failure);
        report.print_last();
        // After each scenario, so that an interrupted run has something to show.
        if let Some(file) = &args.json {
            report.write(file)?;
        }
    }
    println!("\n{}", report.markdown());
    if report.is_complete() {
        Ok(ExitCode::SUCCESS)
    } else {
        println!("At least one scenario could not be measured.");
        Ok(ExitCode::FAILURE)
    }
}
