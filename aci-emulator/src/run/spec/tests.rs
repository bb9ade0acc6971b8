//! An image, a plan and a place give this configuration.

use super::super::plan::GroupPlan;
use super::*;

fn image() -> ImageConfig {
    ImageConfig {
        entrypoint: vec!["/entry".to_owned()],
        cmd: vec!["serve".to_owned()],
        env: vec!["A=image".to_owned(), "PATH=/bin".to_owned()],
        working_dir: "/srv".to_owned(),
        user: String::new(),
        stop_signal: String::new(),
    }
}

fn spec_of(properties: &Value, image: &ImageConfig, binds: &[Bind]) -> Value {
    let body =
        json!({"properties": {"containers": [{"name": "c", "properties": properties.clone()}]}});
    let plan = GroupPlan::of(&body);
    let place = Place {
        root: Path::new("/b/rootfs"),
        network: Path::new("/run/netns/n"),
        cgroup: "/g/c",
        cgroup2: false,
        capabilities: !(1 << 16),
        hostname: "host",
        user: &User {
            uid: 5,
            gid: 6,
            groups: vec![7],
        },
        binds,
    };
    runtime_spec(&plan.containers[0], image, &place)
}

fn at<'a>(spec: &'a Value, path: &str) -> &'a Value {
    spec.pointer(path).unwrap_or(&Value::Null)
}

fn has(spec: &Value, capability: &str) -> bool {
    at(spec, "/process/capabilities/bounding")
        .as_array()
        .unwrap()
        .iter()
        .any(|one| one == capability)
}

#[test]
fn the_image_says_what_the_group_does_not() {
    let spec = spec_of(&json!({}), &image(), &[]);
    assert_eq!(at(&spec, "/process/args"), &json!(["/entry", "serve"]));
    assert_eq!(at(&spec, "/process/cwd"), "/srv");
    assert_eq!(
        at(&spec, "/process/env"),
        &json!(["PATH=/bin", "HOSTNAME=host", "A=image"])
    );
    assert_eq!(
        at(&spec, "/process/user"),
        &json!({"uid": 5, "gid": 6, "additionalGids": [7]})
    );
    assert_eq!(at(&spec, "/process/noNewPrivileges"), false);
    assert_eq!(
        at(&spec, "/linux/namespaces/4"),
        &json!({"type": "network", "path": "/run/netns/n"})
    );
}

#[test]
fn a_command_replaces_entry_point_and_cmd() {
    let spec = spec_of(
        &json!({"command": ["sh"], "environmentVariables": [{"name": "A", "secureValue": "own"}]}),
        &image(),
        &[],
    );
    assert_eq!(at(&spec, "/process/args"), &json!(["sh"]));
    assert_eq!(
        at(&spec, "/process/env"),
        &json!(["PATH=/bin", "HOSTNAME=host", "A=own"])
    );
}

#[test]
fn limits_are_limits() {
    let resources = json!({"resources": {"requests": {"cpu": 0.5, "memoryInGB": 0.1}}});
    let spec = spec_of(&resources, &image(), &[]);
    assert_eq!(
        at(&spec, "/linux/resources/memory"),
        &json!({"limit": 100_000_000, "swap": 100_000_000})
    );
    assert_eq!(
        at(&spec, "/linux/resources/cpu"),
        &json!({"quota": 50_000, "period": 100_000})
    );
    assert_eq!(at(&spec, "/linux/resources/pids/limit"), PROCESSES);
    assert_eq!(at(&spec, "/linux/resources/devices/0/allow"), false);
}

#[test]
fn a_security_context_takes_and_gives() {
    for (context, has_chown, has_net_admin, no_new_privileges) in [
        (json!({}), true, false, false),
        (
            json!({"allowPrivilegeEscalation": false}),
            true,
            false,
            true,
        ),
        (
            json!({"capabilities": {"drop": ["ALL"]}}),
            false,
            false,
            false,
        ),
        (
            json!({"capabilities": {"drop": ["all"], "add": ["CHOWN"]}}),
            true,
            false,
            false,
        ),
        (
            json!({"capabilities": {"add": ["CAP_NET_ADMIN"], "drop": ["chown"]}}),
            false,
            true,
            false,
        ),
        (json!({"privileged": true}), true, true, false),
    ] {
        let spec = spec_of(&json!({"securityContext": context}), &image(), &[]);
        assert_eq!(has(&spec, "CAP_CHOWN"), has_chown, "{context}");
        assert_eq!(has(&spec, "CAP_NET_ADMIN"), has_net_admin, "{context}");
        assert_eq!(
            at(&spec, "/process/noNewPrivileges"),
            no_new_privileges,
            "{context}"
        );
    }
    let spec = spec_of(
        &json!({"securityContext": {"privileged": true}}),
        &image(),
        &[],
    );
    assert!(has(&spec, "CAP_SYS_ADMIN"));
    assert!(
        !has(&spec, "CAP_SYS_MODULE"),
        "nobody gives what he has not"
    );
    assert_eq!(at(&spec, "/linux/maskedPaths"), &Value::Null);
    assert_eq!(at(&spec, "/linux/resources/devices/0/allow"), true);
}

#[test]
fn what_is_mounted_deeper_comes_later() {
    let bind = |path: &str, read_only| Bind {
        source: "/s".into(),
        path: path.to_owned(),
        read_only,
    };
    let spec = spec_of(
        &json!({}),
        &image(),
        &[bind("/a/b/c", true), bind("/a", false)],
    );
    let mounts = at(&spec, "/mounts").as_array().unwrap();
    let last: Vec<(&Value, &Value)> = mounts
        .iter()
        .filter(|mount| mount["type"] == "bind")
        .map(|mount| (&mount["destination"], &mount["options"][2]))
        .collect();
    assert_eq!(
        last,
        [
            (&json!("/a"), &json!("rw")),
            (&json!("/a/b/c"), &json!("ro"))
        ]
    );
}
