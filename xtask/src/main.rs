//! `cargo xtask`: the one door for the project's tasks. `cargo xtask --help` lists them.

mod bench;
mod chaos;
mod conformance;
mod crds;
mod dev;
mod image;
mod lint;
mod plane;
mod test;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Tasks of the project", version)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Measure the numbers of docs/benchmarks.md on this machine
    Bench(bench::Args),
    /// Let everything go wrong at once, from a seed, and check that all is well in the end
    Chaos(chaos::Args),
    /// Run Kubernetes' conformance suite against a virtual node whose pods really run
    Conformance(conformance::Args),
    /// Build (once, cached) the control plane's programs and print their directory
    ControlPlane(plane::Args),
    /// Write the generated CRD files, or check them
    Crds(crds::Args),
    /// Run the whole thing on this machine: control plane, emulator, operator, samples
    Dev(dev::Args),
    /// Build the image with buildah, run what is in it, and check it
    Image(image::Args),
    /// Look at the manifests, the chart, the Dockerfile and the workflows with linters that others have written
    Lint(lint::Args),
    /// Run all tests; more arguments go to `cargo test`
    Test(test::Args),
}

#[tokio::main]
async fn main() -> ExitCode {
    xtask::control_plane::install_tls_provider();
    match run(Cli::parse()).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> Result<ExitCode> {
    match cli.task {
        Task::Bench(args) => bench::run(args).await,
        Task::Chaos(args) => chaos::run(args).await,
        Task::Conformance(args) => conformance::run(args).await,
        Task::ControlPlane(args) => plane::run(args).await,
        Task::Crds(args) => crds::run(&args),
        Task::Dev(args) => dev::run(args).await,
        Task::Image(args) => image::run(&args),
        Task::Lint(args) => lint::run(&args).await,
        Task::Test(args) => test::run(&args),
    }
}
