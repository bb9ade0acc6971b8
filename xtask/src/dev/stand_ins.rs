//! Images for a walk-through that really runs, made of busybox: stand-ins for those that the samples name.
//!
//! No registry is asked. What is in them is a shell, a web server and a page that says what it is.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;
use xtask::workspace::{self, on_path};

/// What a web server's log begins with.
pub(super) const LISTENING: &str = "listening on port 80";
/// What its page holds.
pub(super) const PAGE: &str = "a stand-in, made of busybox";

/// The images, by the last part of their names, and whether they serve a page by themselves.
const IMAGES: [(&str, bool); 4] = [
    ("aci-helloworld", true),
    ("hello", true),
    ("web", true),
    ("busybox", false),
];

/// The programs that samples of the gallery start in the image of that page.
const PROGRAMS: [&str; 3] = ["bin/web", "bin/node", "hello"];

/// An image with one program and nothing else.
pub(super) const BARE: &str = "mcr.microsoft.com/walk-through/bare:1";

/// busybox by itself does not end on SIGTERM when it is process 1; a shell that is told so does.
const SERVE: &str = "#!/bin/sh
trap 'echo SIGTERM: the end; exit 0' TERM INT
httpd -p 80 -h /srv && echo listening on port 80
while :; do sleep 3600 & wait $!; done
";

/// What lacks on this machine for groups that really run, as a sentence.
///
/// # Errors
/// Something lacks.
pub(crate) fn check() -> Result<PathBuf> {
    let busybox = on_path("busybox").or_else(|| {
        let path = PathBuf::from("/bin/busybox");
        path.is_file().then_some(path)
    });
    let missing: Vec<&str> = [
        ("runc", on_path("runc").is_some()),
        ("iproute2", on_path("ip").is_some()),
        ("bsdutils", on_path("script").is_some()),
        ("busybox-static", busybox.is_some()),
    ]
    .iter()
    .filter(|(_, there)| !there)
    .map(|(package, _)| *package)
    .collect();
    ensure!(
        missing.is_empty(),
        "programs are missing: apt-get install {}",
        missing.join(" ")
    );
    let busybox = busybox.context("no busybox")?;
    let bytes = fs::read(&busybox).with_context(|| format!("reading {}", busybox.display()))?;
    let needs = |loader: &[u8]| bytes.windows(loader.len()).any(|part| part == loader);
    if needs(b"/ld-linux") || needs(b"/ld-musl") {
        bail!("it needs a busybox without libraries: apt-get install busybox-static");
    }
    Ok(busybox)
}

/// Builds the shim as it ships, and makes its image in the folder: of this one it is the real thing.
///
/// # Errors
/// It cannot be built or written.
pub(crate) fn make_shim(folder: &Path) -> Result<()> {
    let image = folder.join("vkc-shim");
    let program = image.join("rootfs/vkc-shim");
    let status = Command::new("sh")
        .arg(workspace::root()?.join("packaging/build.sh"))
        .args([workspace::platform(), "shim".to_owned()])
        .args([program.as_os_str(), "vkc-shim".as_ref()])
        .status()
        .context("cannot run packaging/build.sh")?;
    ensure!(status.success(), "the shim was not built: {status}");
    let config = json!({"Entrypoint": ["/vkc-shim"]});
    fs::write(image.join("config.json"), config.to_string())?;
    Ok(())
}

/// Makes the images in a folder, anew. `etcd` is the program of the control plane, when there is one: of it the image is real.
///
/// # Errors
/// It cannot be written, or busybox does not run.
pub(crate) fn make(busybox: &Path, etcd: Option<&Path>, folder: &Path) -> Result<()> {
    let names = Command::new(busybox)
        .arg("--list")
        .output()
        .context("cannot run busybox")?;
    let names = String::from_utf8(names.stdout).context("busybox --list")?;
    for (name, serves) in IMAGES {
        let image = folder.join(name);
        let root = image.join("rootfs");
        for part in ["bin", "etc", "home", "root", "srv", "tmp", "var/tmp"] {
            fs::create_dir_all(root.join(part))?;
        }
        for part in ["tmp", "var/tmp"] {
            fs::set_permissions(root.join(part), fs::Permissions::from_mode(0o1777))?;
        }
        fs::copy(busybox, root.join("bin/busybox"))?;
        for program in names.lines().filter(|program| *program != "busybox") {
            symlink("busybox", root.join("bin").join(program))?;
        }
        fs::write(
            root.join("etc/passwd"),
            "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n",
        )?;
        fs::write(root.join("etc/group"), "root:x:0:\nnobody:x:65534:\n")?;
        fs::write(
            root.join("srv/index.html"),
            format!(
                "<!DOCTYPE html>\n<title>{name}</title>\n<h1>{name}</h1>\n<p>This is {PAGE}, and no image of that name.</p>\n"
            ),
        )?;
        // The emulator's registry says `/hello` of its image.
        for serve in PROGRAMS.map(|program| root.join(program)) {
            fs::write(&serve, SERVE)?;
            fs::set_permissions(&serve, fs::Permissions::from_mode(0o755))?;
        }
        let config = json!({
            "Env": ["PATH=/bin"],
            "Cmd": [if serves { "/bin/web" } else { "/bin/sh" }],
        });
        fs::write(image.join("config.json"), config.to_string())?;
    }
    let bare = folder.join("bare");
    fs::create_dir_all(bare.join("rootfs"))?;
    fs::copy(busybox, bare.join("rootfs/busybox"))?;
    fs::write(bare.join("config.json"), json!({}).to_string())?;
    if let Some(etcd) = etcd {
        let image = folder.join("etcd");
        let programs = image.join("rootfs/usr/local/bin");
        fs::create_dir_all(&programs)?;
        fs::create_dir_all(image.join("rootfs/var/lib"))?;
        fs::copy(etcd, programs.join("etcd"))
            .with_context(|| format!("copying {}", etcd.display()))?;
        let config = json!({"Entrypoint": ["/usr/local/bin/etcd"]});
        fs::write(image.join("config.json"), config.to_string())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_says_what_is_waited_for() {
        assert!(SERVE.contains(&format!("echo {LISTENING}")));
    }
}
