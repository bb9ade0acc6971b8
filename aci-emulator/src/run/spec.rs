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
/// Capabilities by their numbers (`linux/capability.h`).
const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];
/// What containerd gives a container, whose platform ACI is.
const GIVEN: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
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
    /// The capabilities that this process can give, by their numbers.
    pub(super) capabilities: u64,
    pub(super) hostname: &'a str,
    pub(super) user: &'a User,
    pub(super) binds: &'a [Bind],
}

pub(super) fn runtime_spec(plan: &ContainerPlan, image: &ImageConfig, place: &Place<'_>) -> Value {
    let security = &plan.security;
    let capabilities = capabilities(security, place.capabilities);
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

fn capabilities(security: &Security, available: u64) -> Vec<String> {
    let bare = |name: &String| name.to_uppercase().trim_start_matches("CAP_").to_owned();
    let added: Vec<String> = security.add.iter().map(bare).collect();
    let dropped: Vec<String> = security.drop.iter().map(bare).collect();
    let has = |names: &[String], name: &str| names.iter().any(|other| other == name);
    let wanted = |name: &str| {
        if security.privileged {
            true
        } else if has(&dropped, name) {
            false
        } else if has(&added, name) || has(&added, "ALL") {
            true
        } else {
            GIVEN.contains(&name) && !has(&dropped, "ALL")
        }
    };
    CAPABILITIES
        .iter()
        .enumerate()
        .filter(|(number, name)| available & (1 << number) != 0 && wanted(name))
        .map(|(_, name)| format!("CAP_{name}"))
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
