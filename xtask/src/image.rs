//! `cargo xtask image`: builds the image of the Dockerfile with buildah, runs what is in it, and says what it is.
//!
//! Where no image registry can be reached, `--stand-in` makes the base that the Dockerfile starts from: a minimal Debian from
//! Debian's own packages, with this machine's Rust and the crates of Cargo.lock, so that the build needs no network.

mod stand_in;

use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use xtask::workspace;

/// Where releases are, without the tag.
const REPOSITORY: &str = "ghcr.io/virtual-kubelet-connector/vkc";
const SHIM_REPOSITORY: &str = "ghcr.io/virtual-kubelet-connector/vkc-shim";
/// The most that the shim may be: each group that has it pulls it.
const LARGEST_SHIM: u64 = 1_000_000;
const VERSION: &str = env!("CARGO_PKG_VERSION");

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Image with Rust and a C compiler to build in, instead of the Dockerfile's
    #[arg(long, value_name = "IMAGE")]
    rust_image: Option<String>,
    /// Make that image of this machine's Rust and Debian's packages, where no image registry can be reached
    #[arg(long, conflicts_with = "rust_image")]
    stand_in: bool,
    /// Platform of the image
    #[arg(long, default_value = "linux/amd64")]
    platform: String,
    /// Cargo's profile
    #[arg(long, default_value = "release")]
    profile: String,
    /// Name of the image
    #[arg(long, default_value_t = format!("{REPOSITORY}:{VERSION}"))]
    name: String,
    /// Name of the image of the shim
    #[arg(long, default_value_t = format!("{SHIM_REPOSITORY}:{VERSION}"))]
    shim_name: String,
    /// Write the image to this file as an OCI archive
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Build it twice, and fail when the two differ
    #[arg(long)]
    twice: bool,
    /// Where buildah and runc are not there, say so and succeed
    #[arg(long)]
    if_possible: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let mut needed = vec!["buildah", "runc"];
    if args.stand_in {
        needed.push("debootstrap");
    }
    let missing: Vec<_> = needed
        .into_iter()
        .filter(|name| workspace::on_path(name).is_none())
        .collect();
    if !missing.is_empty() {
        let advice = format!(
            "no image: {} missing (Debian: apt-get install {})",
            missing.join(" and "),
            missing.join(" ")
        );
        ensure!(args.if_possible, advice);
        println!("{advice}");
        return Ok(ExitCode::SUCCESS);
    }
    let base = if args.stand_in {
        Some(stand_in::image()?)
    } else {
        args.rust_image.clone()
    };
    let shim = build(args, base.as_deref(), &args.shim_name, Some("shim"))?;
    check_shim(args)?;
    println!("{} is {shim}", args.shim_name);
    let id = build(args, base.as_deref(), &args.name, None)?;
    if args.twice {
        let again = build(args, base.as_deref(), &args.name, None)?;
        ensure!(
            id == again,
            "two builds of the same source differ: {id} and {again}"
        );
        println!("built twice: the same image");
    }
    check(args)?;
    if let Some(file) = &args.output {
        let target = format!("oci-archive:{}:{}", file.display(), args.name);
        call(buildah().args(["push", "--quiet", &args.name, &target]))?;
        println!("wrote {}", file.display());
    }
    println!("{} is {id}", args.name);
    Ok(ExitCode::SUCCESS)
}

/// The image's ID: the digest of its configuration, and so of all that is in it.
fn build(args: &Args, base: Option<&str>, name: &str, target: Option<&str>) -> Result<String> {
    let epoch = git(&["log", "-1", "--format=%ct"]).unwrap_or_else(|| "0".to_owned());
    let revision = git(&["rev-parse", "HEAD"]).unwrap_or_default();
    let mut command = buildah();
    command
        .args([
            "build",
            "--format=oci",
            "--no-cache",
            "--layers=false",
            "--pull=ifmissing",
        ])
        .arg(format!("--platform={}", args.platform))
        .arg(format!("--timestamp={epoch}"))
        .arg(format!("--build-arg=SOURCE_DATE_EPOCH={epoch}"))
        .arg(format!("--build-arg=PROFILE={}", args.profile))
        .arg(format!("--build-arg=VERSION={VERSION}"))
        .arg(format!("--build-arg=REVISION={revision}"))
        .arg(format!("--tag={name}"));
    if let Some(target) = target {
        command.arg(format!("--target={target}"));
    }
    if let Some(base) = base {
        command.arg(format!("--build-arg=RUST_IMAGE={base}"));
    }
    command.arg(".");
    let status = command
        .stdin(Stdio::null())
        .status()
        .context("cannot run buildah")?;
    ensure!(status.success(), "buildah build ended with {status}");
    inspect(name, "{{.FromImageID}}")
}

/// That the image of the shim has it, that it is small, and that it runs.
fn check_shim(args: &Args) -> Result<()> {
    let container = call(buildah().args(["from", "--pull-never", &args.shim_name]))?;
    let checked = (|| {
        let root = PathBuf::from(call(buildah().args(["mount", &container]))?);
        let size = root
            .join("vkc-shim")
            .metadata()
            .context("/vkc-shim is not in the image")?
            .len();
        ensure!(
            size <= LARGEST_SHIM,
            "/vkc-shim has {size} bytes, more than {LARGEST_SHIM}"
        );
        println!("/vkc-shim has {size} bytes");
        let machine = workspace::platform();
        if machine != args.platform {
            println!("not run: this machine is {machine}");
            return Ok(());
        }
        let said = call(buildah().args([
            "run",
            "--runtime=runc",
            "--network=none",
            &container,
            "--",
            "/vkc-shim",
            "--version",
        ]))?;
        ensure!(
            said == format!("vkc-shim {VERSION}"),
            "/vkc-shim --version said {said:?}"
        );
        Ok(())
    })();
    call(buildah().args(["rm", &container]))?;
    checked
}

/// Runs the program in the image as the image says, and looks at what else is promised of it.
fn check(args: &Args) -> Result<()> {
    for (template, expected) in [
        ("{{.OCIv1.Config.User}}", "65532:65532".to_owned()),
        ("{{.OCIv1.Config.Entrypoint}}", "[/vkc]".to_owned()),
        ("{{.OCIv1.Config.Cmd}}", "[run]".to_owned()),
        (
            "{{index .OCIv1.Config.Labels \"org.opencontainers.image.version\"}}",
            VERSION.to_owned(),
        ),
    ] {
        let found = inspect(&args.name, template)?;
        ensure!(
            found == expected,
            "the image's {template} is {found}, not {expected}"
        );
    }
    let container = call(buildah().args(["from", "--pull-never", &args.name]))?;
    let ran = in_container(args, &container);
    call(buildah().args(["rm", &container]))?;
    ran
}

fn in_container(args: &Args, container: &str) -> Result<()> {
    let root = PathBuf::from(call(buildah().args(["mount", container]))?);
    for (file, at_least) in [
        ("vkc", 1_000_000),
        ("etc/ssl/certs/ca-certificates.crt", 50_000),
        ("licenses/LICENSE", 5_000),
        ("licenses/THIRD-PARTY", 50_000),
    ] {
        let size = root
            .join(file)
            .metadata()
            .with_context(|| format!("/{file} is not in the image"))?
            .len();
        ensure!(size >= at_least, "/{file} has only {size} bytes");
    }
    let machine = workspace::platform();
    if machine != args.platform {
        println!("not run: this machine is {machine}");
        return Ok(());
    }
    for (arguments, expected) in [
        (&["--version"][..], format!("vkc {VERSION}")),
        (&["run", "--help"], "--kubelet-port-range".to_owned()),
    ] {
        let output = call(
            buildah()
                .args([
                    "run",
                    "--runtime=runc",
                    "--network=none",
                    container,
                    "--",
                    "/vkc",
                ])
                .args(arguments),
        )?;
        ensure!(
            output.contains(&expected),
            "/vkc {} said {output:?}",
            arguments.join(" ")
        );
    }
    println!("ran /vkc --version and /vkc run --help in the image, as its user");
    Ok(())
}

fn inspect(name: &str, template: &str) -> Result<String> {
    call(buildah().args(["inspect", "--type=image", "--format", template, name]))
}

fn buildah() -> Command {
    let mut command = Command::new("buildah");
    if let Ok(root) = workspace::root() {
        command.current_dir(root);
    }
    command
}

/// Standard output of a command that succeeds, without the line end.
fn call(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run {}", command.get_program().display()))?;
    if !output.status.success() {
        let arguments: Vec<_> = command
            .get_args()
            .map(|arg| arg.to_string_lossy())
            .collect();
        bail!(
            "{} {} ended with {}",
            command.get_program().display(),
            arguments.join(" "),
            output.status
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn git(args: &[&str]) -> Option<String> {
    let root = workspace::root().ok()?;
    let output = Command::new("git")
        .current_dir(root)
        .args(args)
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
