//! The OCI runtime configuration (`config.json`, runtime-spec 1.0) of one run of a container. Pure.

use std::path::Path;

use serde_json::{Value, json};

use super::{
    image::ImageConfig,
    plan::{ContainerPlan, Security},
    user::User,
};

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Processes and threads of one container: enough for any, and a bound for one that forks without end.
const PROCESSES: u64 = 4096;
/// What containerd gives a container, whose platform ACI is.
const CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];
/// All others that Linux has.
const MORE_CAPABILITIES: [&str; 27] = [
    "CAP_AUDIT_CONTROL",
    "CAP_AUDIT_READ",
    "CAP_BLOCK_SUSPEND",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
    "CAP_DAC_READ_SEARCH",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_LEASE",
    "CAP_LINUX_IMMUTABLE",
    "CAP_MAC_ADMIN",
    "CAP_MAC_OVERRIDE",
    "CAP_NET_ADMIN",
    "CAP_NET_BROADCAST",
    "CAP_PERFMON",
    "CAP_SYSLOG",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_MODULE",
    "CAP_SYS_NICE",
    "CAP_SYS_PACCT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_WAKE_ALARM",
];

/// A file or folder of this machine at a path of the container.
#[derive(Debug, Clone)]
pub(super) struct Bind {
    pub(super) source: std::path::PathBuf,
    pub(super) path: String,
    pub(super) read_only: bool,
}

/// What a run has beside its plan and its image.
pub(super) struct Place<'a> {
    pub(super) root: &'a Path,
    pub(super) network: &'a Path,
    pub(super) cgroup: &'a str,
    /// Whether this machine has only the unified hierarchy of control groups.
    pub(super) cgroup2: bool,
    pub(super) hostname: &'a str,
    pub(super) user: &'a User,
    pub(super) binds: &'a [Bind],
}

pub(super) fn runtime_spec(plan: &ContainerPlan, image: &ImageConfig, place: &Place<'_>) -> Value {
    let security = &plan.security;
    let capabilities = capabilities(security);
    let mut linux = json!({
        "cgroupsPath": place.cgroup,
        "namespaces": namespaces(place),
        "resources": resources(plan),
    });
    if !security.privileged
        && let Some(linux) = linux.as_object_mut()
    {
        linux.insert(
            "maskedPaths".to_owned(),
            json!([
                "/proc/acpi",
                "/proc/asound",
                "/proc/kcore",
                "/proc/keys",
                "/proc/latency_stats",
                "/proc/timer_list",
                "/proc/timer_stats",
                "/proc/sched_debug",
                "/sys/firmware",
                "/proc/scsi"
            ]),
        );
        linux.insert(
            "readonlyPaths".to_owned(),
            json!([
                "/proc/bus",
                "/proc/fs",
                "/proc/irq",
                "/proc/sys",
                "/proc/sysrq-trigger"
            ]),
        );
    }
    json!({
        "ociVersion": "1.0.2",
        "hostname": place.hostname,
        "root": {"path": place.root, "readonly": false},
        "process": {
            "terminal": false,
            "user": {"uid": place.user.uid, "gid": place.user.gid, "additionalGids": place.user.groups},
            "args": arguments(plan, image),
            "env": environment(plan, image, place.hostname),
            "cwd": if image.working_dir.starts_with('/') { &image.working_dir } else { "/" },
            "noNewPrivileges": !security.allow_privilege_escalation,
            "capabilities": {
                "bounding": capabilities,
                "effective": capabilities,
                "permitted": capabilities,
            },
        },
        "mounts": mounts(place, security.privileged),
        "linux": linux,
    })
}

/// `command` replaces ENTRYPOINT and CMD.
pub(super) fn arguments(plan: &ContainerPlan, image: &ImageConfig) -> Vec<String> {
    if plan.command.is_empty() {
        [image.entrypoint.clone(), image.cmd.clone()].concat()
    } else {
        plan.command.clone()
    }
}

/// The image's, then the group's; of two values of a name the last.
fn environment(plan: &ContainerPlan, image: &ImageConfig, hostname: &str) -> Vec<String> {
    let mut variables: Vec<String> = vec![PATH.to_owned(), format!("HOSTNAME={hostname}")];
    let own = plan
        .environment
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    for variable in image.env.iter().cloned().chain(own) {
        let name = variable.split('=').next().unwrap_or_default().to_owned();
        let same = |other: &String| other.split('=').next() == Some(name.as_str());
        match variables.iter_mut().find(|other| same(other)) {
            Some(old) => *old = variable,
            None => variables.push(variable),
        }
    }
    variables
}

fn capabilities(security: &Security) -> Vec<String> {
    let all = || CAPABILITIES.into_iter().chain(MORE_CAPABILITIES);
    if security.privileged {
        return all().map(str::to_owned).collect();
    }
    let named = |name: &str| {
        let name = name.to_uppercase();
        match name.strip_prefix("CAP_") {
            Some(_) => name,
            None => format!("CAP_{name}"),
        }
    };
    let every = |names: &[String]| names.iter().any(|name| name.eq_ignore_ascii_case("ALL"));
    let added: Vec<String> = security.add.iter().map(|name| named(name)).collect();
    let dropped: Vec<String> = security.drop.iter().map(|name| named(name)).collect();
    all()
        .filter(|name| {
            let is = |names: &[String]| names.iter().any(|other| other == name);
            if is(&dropped) {
                false
            } else if is(&added) || every(&security.add) {
                true
            } else {
                CAPABILITIES.contains(name) && !every(&security.drop)
            }
        })
        .map(str::to_owned)
        .collect()
}

fn namespaces(place: &Place<'_>) -> Vec<Value> {
    let mut namespaces = vec![
        json!({"type": "pid"}),
        json!({"type": "ipc"}),
        json!({"type": "uts"}),
        json!({"type": "mount"}),
        json!({"type": "network", "path": place.network}),
    ];
    if place.cgroup2 {
        namespaces.push(json!({"type": "cgroup"}));
    }
    namespaces
}

#[allow(clippy::cast_possible_truncation)]
fn resources(plan: &ContainerPlan) -> Value {
    let devices = json!([{"allow": plan.security.privileged, "access": "rwm"}]);
    let mut resources = json!({"devices": devices, "pids": {"limit": PROCESSES}});
    let Some(map) = resources.as_object_mut() else {
        return resources;
    };
    if let Some(memory) = plan.memory {
        // Without swap, so that the limit is one.
        map.insert(
            "memory".to_owned(),
            json!({"limit": memory, "swap": memory}),
        );
    }
    if let Some(cpu) = plan.cpu {
        let quota = (cpu * 100_000.0).max(1000.0) as i64;
        map.insert("cpu".to_owned(), json!({"quota": quota, "period": 100_000}));
    }
    resources
}

fn mounts(place: &Place<'_>, privileged: bool) -> Vec<Value> {
    let special = |path: &str, kind: &str, options: &[&str]| json!({"destination": path, "type": kind, "source": kind, "options": options});
    let access = if privileged { "rw" } else { "ro" };
    let sys = ["nosuid", "noexec", "nodev", access];
    let mut mounts = vec![
        special("/proc", "proc", &[]),
        special(
            "/dev",
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", "size=65536k"],
        ),
        special(
            "/dev/pts",
            "devpts",
            &[
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
                "gid=5",
            ],
        ),
        special(
            "/dev/shm",
            "tmpfs",
            &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
        ),
        special("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        special("/sys", "sysfs", &sys),
        special("/sys/fs/cgroup", "cgroup", &sys),
    ];
    let mut binds: Vec<&Bind> = place.binds.iter().collect();
    // What is mounted into another volume comes after that.
    binds.sort_by_key(|bind| bind.path.trim_matches('/').split('/').count());
    mounts.extend(binds.into_iter().map(|bind| {
        let access = if bind.read_only { "ro" } else { "rw" };
        json!({"destination": bind.path, "type": "bind", "source": bind.source, "options": ["rbind", "rprivate", access]})
    }));
    mounts
}

#[cfg(test)]
mod tests;
