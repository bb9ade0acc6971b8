//! The suite's images without a registry: root file systems of busybox and of a small Debian, with the suite's own programs.
//!
//! What the suite's tests ask of an image is a shell, the programs of agnhost's Dockerfile, a user or a file; who it is from is
//! not asked. Each image is a folder NAME:TAG as `aci-emulator --run` takes it.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use xtask::control_plane::Suite;
use xtask::workspace::on_path;

use crate::dev::stand_ins;

/// The release of Debian that images are made of.
const DEBIAN: &str = "bookworm";
/// What the tests start in images that have more than a shell.
const PACKAGES: &str = "bash,bind9-dnsutils,curl,iperf,iproute2,iptables,netcat-openbsd,nginx-light,perl,procps,util-linux";
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What bash needs, on the platforms that there are.
const LIBRARIES: [&str; 6] = [
    "lib64/ld-linux-x86-64.so.2",
    "lib/x86_64-linux-gnu/libc.so.6",
    "lib/x86_64-linux-gnu/libtinfo.so.6",
    "lib/ld-linux-aarch64.so.1",
    "lib/aarch64-linux-gnu/libc.so.6",
    "lib/aarch64-linux-gnu/libtinfo.so.6",
];

/// An image: its path in the registry, and the `config` of its OCI image.
pub(super) struct Image {
    pub(super) name: &'static str,
    pub(super) config: Value,
}

/// What the images are made of.
#[derive(Clone, Copy, PartialEq)]
enum Base {
    Busybox,
    Debian,
    Nothing,
}

/// What lacks on this machine, as a sentence. Gives busybox.
pub(super) fn check() -> Result<PathBuf> {
    let busybox = stand_ins::check()?;
    ensure!(
        on_path("debootstrap").is_some(),
        "programs are missing: apt-get install debootstrap"
    );
    Ok(busybox)
}

/// The images by the names that the suite has for them, where they begin with `registry.k8s.io`.
pub(super) fn all() -> Vec<Image> {
    let image = |name, config: Value| {
        let mut config = config;
        if let Some(members) = config.as_object_mut() {
            members.insert("Env".to_owned(), json!([PATH]));
        }
        Image { name, config }
    };
    let agnhost = json!({"Entrypoint": ["/agnhost"], "Cmd": ["pause"]});
    let web = json!({"Entrypoint": ["/agnhost"], "Cmd": ["test-webserver"]});
    let nginx = json!({"Cmd": ["nginx", "-g", "daemon off;"]});
    vec![
        image("e2e-test-images/agnhost:2.63.0", agnhost.clone()),
        image("e2e-test-images/agnhost:2.55", agnhost),
        image("e2e-test-images/nautilus:1.8", web.clone()),
        image("e2e-test-images/kitten:1.8", web),
        image("e2e-test-images/nginx:1.15-4", nginx.clone()),
        image("e2e-test-images/nginx:1.27-0", nginx),
        image(
            "e2e-test-images/perl:5.26",
            json!({"Cmd": ["perl", "-de0"]}),
        ),
        image("e2e-test-images/ipc-utils:1.4", json!({"Cmd": ["/bin/sh"]})),
        image("e2e-test-images/busybox:1.37.0-1", json!({"Cmd": ["sh"]})),
        image(
            "e2e-test-images/nonroot:1.5",
            json!({"Cmd": ["sh"], "User": "1234"}),
        ),
        image("e2e-test-images/nonewprivs:1.4", json!({"Cmd": ["nnp"]})),
        image(
            "pause:3.10.2",
            json!({"Entrypoint": ["/pause"], "User": "65535:65535"}),
        ),
    ]
}

/// Makes the images below `cache`, where they are not there. Gives their folder.
pub(super) fn make(busybox: &Path, suite: &Suite, cache: &Path) -> Result<PathBuf> {
    let debian = cache.join(format!("debian-{:016x}", hash(PACKAGES)));
    once(&debian, debian_root)?;
    // Another text of this file may be another image.
    let made = cache.join(format!("{:016x}", hash(include_str!("images.rs"))));
    let (plain, folder) = (made.join("busybox"), made.join("images"));
    once(&plain, |to| busybox_root(busybox, &debian, to))?;
    for image in all() {
        let last = image.name.rsplit('/').next().unwrap_or_default();
        once(&folder.join(last), |to| {
            let root = to.join("rootfs");
            let name = last.split(':').next().unwrap_or_default();
            match base(name) {
                Base::Busybox => copy(&plain, &root)?,
                Base::Debian => copy(&debian, &root)?,
                Base::Nothing => fs::create_dir_all(root.join("etc"))?,
            }
            add(name, suite, &root)?;
            fs::write(to.join("config.json"), image.config.to_string())?;
            Ok(())
        })?;
    }
    Ok(folder)
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

fn base(name: &str) -> Base {
    match name {
        "busybox" | "nonroot" | "nonewprivs" => Base::Busybox,
        "pause" => Base::Nothing,
        _ => Base::Debian,
    }
}

/// What an image has besides.
fn add(name: &str, suite: &Suite, root: &Path) -> Result<()> {
    let program = |from: &Path, to: &str, mode| -> Result<()> {
        let to = root.join(to);
        fs::create_dir_all(to.parent().context("no folder")?)?;
        fs::copy(from, &to).with_context(|| format!("copying {}", from.display()))?;
        fs::set_permissions(&to, fs::Permissions::from_mode(mode))?;
        Ok(())
    };
    match name {
        "agnhost" | "nautilus" | "kitten" => {
            program(&suite.program("agnhost"), "agnhost", 0o755)?;
            symlink("agnhost", root.join("agnhost-2"))?;
            fs::create_dir_all(root.join("uploads"))?;
            let sources = suite.images().join("agnhost/porter");
            for file in ["localhost.crt", "localhost.key"] {
                program(&sources.join(file), file, 0o644)?;
            }
            if name == "agnhost" {
                users(root)?;
            } else {
                let pages = suite.images().join(name).join("html");
                for page in fs::read_dir(&pages)
                    .with_context(|| format!("cannot read {}", pages.display()))?
                {
                    let page = page?;
                    let file = page.file_name();
                    program(&page.path(), &file.to_string_lossy(), 0o644)?;
                }
            }
            Ok(())
        }
        "nonewprivs" => program(&suite.program("nonewprivs"), "usr/local/bin/nnp", 0o4755),
        "pause" => program(&suite.program("pause"), "pause", 0o755),
        _ => Ok(()),
    }
}

/// The users that agnhost's Dockerfile adds. The files are replaced, not written to: they are links to those of the base.
fn users(root: &Path) -> Result<()> {
    for (file, lines) in [
        (
            "etc/passwd",
            "user-defined-in-image:x:1000:1000:Linux User,,,:/home/user-defined-in-image:/bin/sh\n",
        ),
        (
            "etc/group",
            "user-defined-in-image:x:1000:\ngroup-defined-in-image:x:50000:user-defined-in-image\n",
        ),
    ] {
        let path = root.join(file);
        let text = fs::read_to_string(&path)?;
        fs::remove_file(&path)?;
        fs::write(&path, text + lines)?;
    }
    Ok(())
}

/// busybox with bash in the place of its shell, which as Debian builds it keeps variables from programs whose names are none for
/// a shell (`data-1`).
fn busybox_root(busybox: &Path, debian: &Path, root: &Path) -> Result<()> {
    for part in [
        "bin", "etc", "home", "root", "tmp", "usr/bin", "usr/sbin", "var/tmp", "var/www",
    ] {
        fs::create_dir_all(root.join(part))?;
    }
    for part in ["tmp", "var/tmp"] {
        fs::set_permissions(root.join(part), fs::Permissions::from_mode(0o1777))?;
    }
    fs::copy(busybox, root.join("bin/busybox"))?;
    let names = Command::new(busybox)
        .arg("--list")
        .output()
        .context("cannot run busybox")?;
    let names = String::from_utf8(names.stdout).context("busybox --list")?;
    for program in names.lines() {
        if !matches!(program, "busybox" | "sh") {
            symlink("busybox", root.join("bin").join(program))?;
        }
    }
    fs::copy(debian.join("bin/bash"), root.join("bin/sh"))?;
    for library in LIBRARIES {
        let from = debian.join(library);
        if from.exists() {
            let to = root.join(library);
            fs::create_dir_all(to.parent().context("no folder")?)?;
            fs::copy(from, to)?;
        }
    }
    fs::write(
        root.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\nnobody:x:65534:65534:nobody:/home:/bin/false\n",
    )?;
    fs::write(
        root.join("etc/group"),
        "root:x:0:\ndaemon:x:1:\ntty:x:5:\nnobody:x:65534:\n",
    )?;
    Ok(())
}

fn debian_root(root: &Path) -> Result<()> {
    println!("Making a small Debian for the suite's images.");
    run(Command::new("debootstrap")
        .args([
            "--variant=minbase",
            &format!("--include={PACKAGES}"),
            DEBIAN,
        ])
        .arg(root))?;
    for part in ["var/cache/apt", "var/lib/apt/lists"] {
        let path = root.join(part);
        if path.exists() {
            fs::remove_dir_all(path)?;
        }
    }
    Ok(())
}

/// The files of one folder in another, as hard links: nobody writes into an image, containers run on overlays.
fn copy(from: &Path, to: &Path) -> Result<()> {
    run(Command::new("cp").arg("-al").arg(from).arg(to))
}

fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().display().to_string();
    let output = command
        .output()
        .with_context(|| format!("cannot run {name}"))?;
    let tail = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        let from = text.len().saturating_sub(2000);
        text.get(from..).unwrap_or_default().to_owned()
    };
    ensure!(
        output.status.success(),
        "{name} ended with {}: {}{}",
        output.status,
        tail(&output.stdout),
        tail(&output.stderr)
    );
    Ok(())
}

/// Makes a folder that is complete when it is there.
fn once(folder: &Path, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let mut work = folder.as_os_str().to_owned();
    work.push(".making");
    let work = PathBuf::from(work);
    if work.exists() {
        fs::remove_dir_all(&work).with_context(|| format!("cannot clear {}", work.display()))?;
    }
    fs::create_dir_all(&work).with_context(|| format!("cannot make {}", work.display()))?;
    make(&work)?;
    fs::rename(&work, folder).with_context(|| format!("cannot make {}", folder.display()))
}
