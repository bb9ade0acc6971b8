//! `cargo xtask image`: builds the image of the Dockerfile with buildah, runs what is in it, and says what it is.
//!
//! Where no image registry can be reached, `--stand-in` makes the base that the Dockerfile starts from: a minimal Debian from
//! Debian's own packages, with this machine's Rust and the crates of Cargo.lock, so that the build needs no network.

mod stand_in;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
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
    for image in [Image::shim(args), Image::operator(args)] {
        let id = build(args, base.as_deref(), &image)?;
        image.check(args)?;
        if args.twice {
            let again = build(args, base.as_deref(), &image)?;
            ensure!(
                id == again,
                "two builds of {} from the same source differ: {id} and {again}",
                image.name
            );
            println!("built {} twice: the same image", image.name);
        }
        println!("{} is {id}", image.name);
    }
    if let Some(file) = &args.output {
        let target = format!("oci-archive:{}:{}", file.display(), args.name);
        call(buildah().args(["push", "--quiet", &args.name, &target]))?;
        println!("wrote {}", file.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// The image's ID: the digest of its configuration, and so of all that is in it.
fn build(args: &Args, base: Option<&str>, image: &Image) -> Result<String> {
    let epoch = git(&["log", "-1", "--format=%ct"]).unwrap_or_else(|| "0".to_owned());
    let revision = git(&["rev-parse", "HEAD"]).unwrap_or_default();
    let mut command = buildah();
    command
        .args([
            "build",
            "--format=oci",
            "--runtime=runc",
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
        .arg(format!("--tag={}", image.name));
    if let Some(target) = image.target {
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
    inspect(image.name, "{{.FromImageID}}")
}

/// One of the two images of the Dockerfile, and what is promised of it.
struct Image<'a> {
    name: &'a str,
    /// Its stage; none is the last.
    target: Option<&'static str>,
    program: &'static str,
    /// As buildah prints them: user, entry point, command.
    config: [&'static str; 3],
    /// The least and the most that each file may have, in bytes; there is no other.
    files: &'static [(&'static str, u64, u64)],
    /// Arguments of the program, and what it says then.
    says: &'static [(&'static [&'static str], &'static str)],
}

impl<'a> Image<'a> {
    fn operator(args: &'a Args) -> Self {
        Self {
            name: &args.name,
            target: None,
            program: "/vkc",
            config: ["65532:65532", "[/vkc]", "[run]"],
            files: &[
                ("vkc", 1_000_000, u64::MAX),
                ("etc/ssl/certs/ca-certificates.crt", 50_000, u64::MAX),
                ("licenses/LICENSE", 5_000, u64::MAX),
                ("licenses/THIRD-PARTY", 50_000, u64::MAX),
            ],
            says: &[
                (&["--version"], concat!("vkc ", env!("CARGO_PKG_VERSION"))),
                (&["run", "--help"], "--kubelet-port-range"),
            ],
        }
    }

    fn shim(args: &'a Args) -> Self {
        Self {
            name: &args.shim_name,
            target: Some("shim"),
            program: "/vkc-shim",
            // It writes into a volume that is root's.
            config: ["", "[/vkc-shim]", "[install]"],
            files: &[
                ("vkc-shim", 100_000, LARGEST_SHIM),
                ("licenses/LICENSE", 5_000, u64::MAX),
                ("licenses/THIRD-PARTY", 5_000, u64::MAX),
            ],
            says: &[(
                &["--version"],
                concat!("vkc-shim ", env!("CARGO_PKG_VERSION")),
            )],
        }
    }

    /// Looks at what is in it, and runs the program as the image says.
    fn check(&self, args: &Args) -> Result<()> {
        let [user, entrypoint, command] = self.config;
        for (template, expected) in [
            ("{{.OCIv1.Config.User}}", user),
            ("{{.OCIv1.Config.Entrypoint}}", entrypoint),
            ("{{.OCIv1.Config.Cmd}}", command),
            (
                "{{index .OCIv1.Config.Labels \"org.opencontainers.image.version\"}}",
                VERSION,
            ),
        ] {
            let found = inspect(self.name, template)?;
            ensure!(
                found == expected,
                "{}: {template} is {found:?}, not {expected:?}",
                self.name
            );
        }
        let container = call(buildah().args(["from", "--pull-never", self.name]))?;
        let looked = self
            .look(args, &container)
            .with_context(|| self.name.to_owned());
        call(buildah().args(["rm", &container]))?;
        looked
    }

    fn look(&self, args: &Args, container: &str) -> Result<()> {
        let root = PathBuf::from(call(buildah().args(["mount", container]))?);
        let mut found = BTreeMap::new();
        files(&root, &root, &mut found)?;
        for &(file, least, most) in self.files {
            let size = found
                .remove(Path::new(file))
                .with_context(|| format!("/{file} is not in the image"))?;
            ensure!(
                (least..=most).contains(&size),
                "/{file} has {size} bytes, not {least} to {most}"
            );
            println!("/{file} has {size} bytes");
        }
        ensure!(
            found.is_empty(),
            "there is more in the image than was meant: {found:?}"
        );
        let machine = workspace::platform();
        if machine != args.platform {
            println!("not run: this machine is {machine}");
            return Ok(());
        }
        let run = [
            "run",
            "--runtime=runc",
            "--network=none",
            container,
            "--",
            self.program,
        ];
        for (arguments, expected) in self.says {
            let output = call(buildah().args(run).args(*arguments))?;
            let words = arguments.join(" ");
            ensure!(
                output.contains(expected),
                "{} {words} said {output:?}",
                self.program
            );
            println!("ran {} {words} in the image, as its user", self.program);
        }
        Ok(())
    }
}

/// The files below `dir` by their paths from `root`, with their sizes.
fn files(root: &Path, dir: &Path, found: &mut BTreeMap<PathBuf, u64>) -> Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let (path, metadata) = (entry.path(), entry.metadata()?);
        if metadata.is_dir() {
            files(root, &path, found)?;
        } else {
            found.insert(path.strip_prefix(root)?.to_owned(), metadata.len());
        }
    }
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
