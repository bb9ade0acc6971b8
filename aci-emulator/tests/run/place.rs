//! An emulator that runs groups, its images, and what is asked of its groups.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use aci_emulator::{Config, Run};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Test, group_path};

/// How long anything may take; machines are slow at times.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Programs that this machine has.
fn busybox() -> PathBuf {
    let busybox = Path::new("/bin/busybox");
    assert!(busybox.is_file(), "apt-get install busybox-static");
    busybox.to_owned()
}

/// The files of a small image, below `root`.
pub(crate) fn small_root(root: &Path) {
    for folder in ["bin", "etc", "home", "root", "tmp", "var/www"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    fs::copy(busybox(), root.join("bin/busybox")).unwrap();
    let names = std::process::Command::new(busybox())
        .arg("--list")
        .output()
        .unwrap();
    for name in String::from_utf8(names.stdout).unwrap().lines() {
        if name != "busybox" {
            symlink("busybox", root.join("bin").join(name)).unwrap();
        }
    }
    let users = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/home:/bin/sh\n";
    fs::write(root.join("etc/passwd"), users).unwrap();
    fs::write(
        root.join("etc/group"),
        "root:x:0:\napp:x:1001:\nmore:x:50:app\n",
    )
    .unwrap();
    fs::write(root.join("var/www/index.html"), "a real page\n").unwrap();
}

/// A folder with the image `busybox`.
pub(crate) fn images(folder: &Path) -> PathBuf {
    let images = folder.join("images");
    small_root(&images.join("busybox/rootfs"));
    let config = json!({"Cmd": ["sh"], "Env": ["PATH=/bin", "FROM=image"]});
    fs::write(images.join("busybox/config.json"), config.to_string()).unwrap();
    images
}

/// An emulator that runs groups, in a folder of its own.
pub(crate) struct Place {
    pub(crate) test: Test,
    pub(crate) folder: Folder,
}

/// The folder of an emulator, which leaves nothing when its test fails either.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let state = self.path().join("state");
        let Ok(state) = state.canonicalize() else {
            return;
        };
        let run = |program: &str, args: &[&str]| {
            std::process::Command::new(program).args(args).output().ok();
        };
        let tag = tag(state.to_str().unwrap_or_default());
        let groups = Path::new("/sys/fs/cgroup");
        for group in [groups.join("memory"), groups.to_owned()] {
            let inner = fs::read_dir(group.join(format!("aci{tag}")));
            for inner in inner.into_iter().flatten().flatten() {
                let processes = fs::read_to_string(inner.path().join("cgroup.procs"));
                for process in processes.unwrap_or_default().lines() {
                    run("kill", &["-9", process]);
                }
            }
        }
        for namespace in fs::read_dir("/run/netns").into_iter().flatten().flatten() {
            let name = namespace.file_name().to_string_lossy().into_owned();
            if name.contains(&tag) {
                run("ip", &["netns", "del", &name]);
            }
        }
        run("ip", &["link", "del", &format!("aci{tag}")]);
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        for path in mounts.lines().filter_map(|line| line.split(' ').nth(4)) {
            if Path::new(path).starts_with(&state) {
                run("umount", &["--lazy", path]);
            }
        }
    }
}

impl Place {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        images(folder.path());
        Self::of(folder).await
    }

    /// With the images that the folder has.
    pub(crate) async fn of(folder: tempfile::TempDir) -> Self {
        let config = Config {
            start_delay: Duration::ZERO,
            throttle: false,
            run: Some(Run {
                images: folder.path().join("images"),
            }),
            state_dir: Some(folder.path().join("state")),
            ..Config::default()
        };
        let test = Test::with(config).await;
        test.control
            .change_settings(|settings| settings.crash_backoff = Duration::from_millis(100));
        Self {
            test,
            folder: Folder(folder),
        }
    }

    /// Asks until a group is as wanted.
    pub(crate) async fn until(&self, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let begin = Instant::now();
        loop {
            let group = self.test.control.group(name).unwrap();
            if wanted(&group) {
                return group;
            }
            assert!(begin.elapsed() < PATIENCE, "{group:#}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The page at the port 80 of an address. What runs may not listen yet.
    pub(crate) async fn page(&self, ip: &str) -> reqwest::Response {
        let begin = Instant::now();
        loop {
            match self.test.http.get(format!("http://{ip}/")).send().await {
                Ok(page) => return page,
                Err(error) => assert!(begin.elapsed() < PATIENCE, "{error:?}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn put(&self, name: &str, body: &Value) {
        let reply = self.test.put(name, body).await;
        assert!(reply.status.is_success(), "{}", reply.body);
    }

    /// Puts a group and waits until it runs or has ended.
    pub(crate) async fn running(&self, name: &str, body: &Value) -> Value {
        self.put(name, body).await;
        self.until(name, |group| {
            group["properties"]["provisioningState"] == "Succeeded"
        })
        .await
    }

    /// Puts a group and waits until it has ended.
    pub(crate) async fn ended(&self, name: &str, body: &Value) -> Value {
        self.put(name, body).await;
        self.until(name, |group| {
            let state = &group["properties"]["instanceView"]["state"];
            state == "Succeeded" || state == "Failed"
        })
        .await
    }

    pub(crate) async fn log(&self, group: &str, container: &str) -> String {
        let path = group_path(group, &format!("/containers/{container}/logs"));
        let reply = self.test.send(Method::GET, &path, None).await;
        reply.body["content"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// Waits until a container has written this.
    pub(crate) async fn says(&self, group: &str, container: &str, text: &str) -> String {
        let begin = Instant::now();
        loop {
            let log = self.log(group, container).await;
            if log.contains(text) {
                return log;
            }
            assert!(begin.elapsed() < PATIENCE, "{log}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends the emulator, and nothing is left of it.
    pub(crate) async fn stop(self) {
        let state = self.folder.path().join("state");
        self.test.emulator.stop().await;
        assert_eq!(left(&state), Vec::<String>::new());
    }
}

/// Processes, mounts, namespaces, links and control groups of an emulator.
pub(crate) fn left(state: &Path) -> Vec<String> {
    let state = state.canonicalize().unwrap();
    let state = state.to_str().unwrap();
    let mut left = Vec::new();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    left.extend(
        mounts
            .lines()
            .filter(|line| line.contains(state))
            .map(str::to_owned),
    );
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(state) && line.contains("runc") {
            left.push(line);
        }
    }
    let tag = tag(state);
    for folder in ["/run/netns", "/sys/class/net", "/sys/fs/cgroup"] {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let mut names = vec![entry.path()];
            if folder == "/sys/fs/cgroup" {
                names.push(entry.path().join(format!("aci{tag}")));
            }
            left.extend(
                names
                    .iter()
                    .filter(|path| path.exists() && path.to_string_lossy().contains(&tag))
                    .map(|path| path.display().to_string()),
            );
        }
    }
    left
}

/// What an emulator's things are named by.
fn tag(state: &str) -> String {
    use sha2::{Digest as _, Sha256};
    let hash = Sha256::digest(format!("{state}/run").as_bytes());
    hex(&hash[..4])
}

/// Two digits for each byte.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// A group of one container, `c`, of busybox.
pub(crate) fn one(script: &str, policy: &str) -> Value {
    with(script, policy, json!({}))
}

/// The same with more properties of the container.
pub(crate) fn with(script: &str, policy: &str, more: Value) -> Value {
    let mut properties = json!({
        "image": "busybox:1", "command": ["sh", "-c", script],
        "resources": {"requests": {"cpu": 1, "memoryInGB": 1}},
    });
    let Value::Object(more) = more else { panic!() };
    properties.as_object_mut().unwrap().extend(more);
    json!({"location": "eastus", "properties": {
        "osType": "Linux", "restartPolicy": policy,
        "containers": [{"name": "c", "properties": properties}],
    }})
}

/// The instance view of a group's first container.
pub(crate) fn view(group: &Value) -> &Value {
    &group["properties"]["containers"][0]["properties"]["instanceView"]
}

/// Names and messages of its events.
pub(crate) fn events(group: &Value) -> Vec<(String, String)> {
    let events = view(group)["events"].as_array();
    let word = |event: &Value, member: &str| event[member].as_str().unwrap().to_owned();
    events
        .into_iter()
        .flatten()
        .map(|event| (word(event, "name"), word(event, "message")))
        .collect()
}
