//! `cargo xtask control-plane`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use xtask::control_plane::{Assets, ControlPlane, Options, stderr_progress};
use xtask::process::interrupted;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Start a control plane and keep it until Ctrl-C
    #[arg(long)]
    start: bool,
    /// With --start: keep state and logs in this directory
    #[arg(long, requires = "start")]
    dir: Option<PathBuf>,
    /// With --start: write an audit log
    #[arg(long, requires = "start")]
    audit_log: bool,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let assets = Assets::resolve(stderr_progress)?;
    if !args.start {
        println!("{}", assets.dir().display());
        return Ok(ExitCode::SUCCESS);
    }
    let options = Options {
        dir: args.dir,
        audit_log: args.audit_log,
        ..Options::default()
    };
    let stop = interrupted()?;
    tokio::pin!(stop);
    let plane = tokio::select! {
        plane = ControlPlane::start(&assets, options) => plane?,
        () = &mut stop => return Ok(ExitCode::from(130)),
    };
    for (name, pid, log) in plane.processes() {
        println!("{name} pid {pid} log {}", log.display());
    }
    println!("kubectl {}", plane.kubectl().display());
    println!("export KUBECONFIG={}", plane.kubeconfig().display());
    println!("ready at {}; Ctrl-C ends it", plane.url());
    stop.await;
    plane.stop().await;
    Ok(ExitCode::SUCCESS)
}
