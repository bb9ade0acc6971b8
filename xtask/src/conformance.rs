//! `cargo xtask conformance`: Kubernetes' own suite against a virtual node whose pods really run.

mod cluster;
mod expected;
mod images;
mod report;
mod run;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use xtask::control_plane::{Assets, Suite, cache_root, stderr_progress};
use xtask::process::{StateDir, interrupted};
use xtask::workspace;

use crate::dev::stand_ins;
use cluster::Cluster;
use expected::Expected;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run the tests of the set whose names match this regular expression
    #[arg(long, value_name = "RE")]
    focus: Option<String>,
    /// Leave out those whose names match this one
    #[arg(long, value_name = "RE")]
    skip: Option<String>,
    /// Tests at once
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..))]
    nodes: u8,
    /// Which tests: those that a node has to pass, or those that a cluster has to pass
    #[arg(long, value_enum, default_value_t = Set::Node)]
    set: Set,
    /// Which pods get the shim (`spec.shim.mode`)
    #[arg(long, value_enum, default_value_t = ShimMode::Always)]
    shim: ShimMode,
    /// Keep reports, state and logs here
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Set {
    /// `[NodeConformance]`
    Node,
    /// `[Conformance]`
    Conformance,
}

#[derive(Clone, Copy, clap::ValueEnum)]
#[value(rename_all = "PascalCase")]
enum ShimMode {
    Always,
    WhenNeeded,
    Never,
}

impl ShimMode {
    fn as_str(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::WhenNeeded => "WhenNeeded",
            Self::Never => "Never",
        }
    }
}

impl Set {
    /// The label that ginkgo knows its tests by.
    fn label(self) -> &'static str {
        match self {
            Self::Node => "NodeConformance",
            Self::Conformance => "Conformance",
        }
    }
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let busybox = images::check()?;
    let expected = Expected::read()?;
    println!("Building vkc and aci-emulator.");
    let programs = workspace::build("dev")?;
    let assets = Assets::resolve(stderr_progress)?;
    let suite = Suite::resolve(stderr_progress)?;
    let folder = images::make(&busybox, &suite, &cache_root()?.join("conformance-images"))?;
    stand_ins::make_shim(&folder)?;

    let stop = interrupted()?;
    tokio::pin!(stop);
    let mut dir = match &args.dir {
        Some(dir) => StateDir::kept(dir)?,
        None => StateDir::temporary("vkc-conformance")?,
    };
    println!("State and logs: {}", dir.path().display());
    let mut cluster = Cluster::start(&assets, &programs, &folder, (dir.path(), args.shim)).await?;
    let outcome = tokio::select! {
        outcome = run::both(&args, &suite, &mut cluster, dir.path()) => outcome,
        () = &mut stop => {
            println!("\nInterrupted.");
            cluster.stop().await?;
            return Ok(ExitCode::from(130));
        }
    };
    let checked = cluster.check();
    let stopped = cluster.stop().await;
    if outcome.is_err() || checked.is_err() {
        dir.keep();
    }
    let tests = outcome?;
    checked?;
    stopped?;

    let verdict = expected.compare(&tests);
    print!("{verdict}");
    std::fs::write(dir.path().join("conformance.json"), verdict.json())?;
    if verdict.failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    dir.keep();
    println!("Reports and logs are kept in {}", dir.path().display());
    Ok(ExitCode::FAILURE)
}
