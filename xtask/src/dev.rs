//! `cargo xtask dev`: the main job, for real, on this machine.
//!
//! Control plane, `aci-emulator` and `vkc run` under its own RBAC; `vkc install-connector` and the samples; then a look at
//! what came of it. With `--once` every claim is checked and the removal is walked, too.

mod checks;
mod gallery;
mod real;
mod session;
mod show;
pub(crate) mod stand_ins;
mod steps;
mod top;
mod view;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use xtask::control_plane::{Assets, stderr_progress};
use xtask::process::interrupted;
use xtask::workspace;

use session::Session;
use top::Top;

#[derive(clap::Args)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
pub(crate) struct Args {
    /// Check every row, walk the removal, and end: 0 if all was so, else the first thing that was not
    #[arg(long)]
    once: bool,
    /// Use this cluster in place of a control plane of our own
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Keep state and logs afterwards, and with --kubeconfig what was applied
    #[arg(long)]
    keep: bool,
    /// Apply config/samples/gallery too, and show what becomes of each of its pods
    #[arg(long)]
    gallery: bool,
    /// Run Linux pods for real, with runc, as root: their images are stand-ins of busybox
    #[arg(long)]
    run: bool,
    /// Leave out metrics-server, its build and the minute until `kubectl top` has figures
    #[arg(long)]
    no_top: bool,
    /// Run the release build
    #[arg(long)]
    release: bool,
    /// Run so many replicas of the operator: end one of them, and the others go on with its connectors
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=9))]
    replicas: u8,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let busybox = if args.run {
        Some(stand_ins::check()?)
    } else {
        None
    };
    // All builds come before the signals are watched: until then a Ctrl-C ends us and them as it ends any build.
    println!("Building vkc and aci-emulator.");
    let programs = workspace::build(if args.release { "release" } else { "dev" })?;
    let needed = args.kubeconfig.is_none() || workspace::on_path("kubectl").is_none();
    let assets = if needed {
        Some(Assets::resolve(stderr_progress)?)
    } else {
        None
    };
    let top = Top::resolve(&args, assets.as_ref());

    let stop = interrupted()?;
    tokio::pin!(stop);
    let mut session = Session::new(programs, args.keep)?;
    if let Some(busybox) = &busybox {
        let etcd = assets.as_ref().map(|assets| assets.program("etcd"));
        stand_ins::make(busybox, etcd.as_deref(), &session.images())?;
        stand_ins::make_shim(&session.images())?;
    }
    let outcome = tokio::select! {
        outcome = walk(&mut session, &args, assets.as_ref(), &top) => outcome,
        () = &mut stop => {
            println!("\nInterrupted.");
            if let Some(file) = &args.kubeconfig {
                println!("What was applied to the cluster of {} is still there.", file.display());
            }
            session.stop().await?;
            return Ok(ExitCode::from(130));
        }
    };
    match outcome {
        Ok(()) if args.once => {
            session.clean_up(&args).await;
            session.stop().await?;
            println!("All checks passed.");
            Ok(ExitCode::SUCCESS)
        }
        Ok(()) => {
            session.say_how_to_go_on();
            let ended = tokio::select! {
                () = &mut stop => Ok(()),
                ended = session.watch_processes() => ended,
            };
            println!("\nStopping.");
            session.clean_up(&args).await;
            session.stop().await?;
            ended.map(|()| ExitCode::SUCCESS)
        }
        Err(error) => {
            session.keep_logs();
            // The reason for the failure is of more use than one of the stop.
            let _ = session.stop().await;
            Err(error)
        }
    }
}

async fn walk(
    session: &mut Session,
    args: &Args,
    assets: Option<&Assets>,
    top: &Top,
) -> Result<()> {
    session
        .start_cluster(args.kubeconfig.as_deref(), assets)
        .await?;
    session.start_emulator(args.run).await?;
    session.install().await?;
    session.start_operators(args.replicas).await?;
    session.start_showing().await?;
    session.install_connector().await?;
    session.see_it_run().await?;
    if args.run {
        session.see_processes().await?;
    }
    // Not before the pods run: a first look that finds nothing costs another minute.
    session.start_top(top).await?;
    session.see_figures(top, args.once).await?;
    if args.gallery {
        session.see_the_gallery(args.once).await?;
    }
    if args.once {
        session.see_it_removed().await?;
        session.tables().await?;
    }
    Ok(())
}
