use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde_json::{Value, json};
use vkc_shim::spec::Spec;

use super::marks::{POD_IP, POD_IPS, has_mark, text};
use crate::api::{Os, Shim, ShimMode};
use crate::translate::group::tests::body;
use crate::translate::testing::{HELLO, defaults, owner, pod, resolved};
use crate::translate::{GroupDefaults, Refusals, Resolved, Translation, container_group};

mod sessions;
mod updates;

fn with(mode: ShimMode) -> GroupDefaults {
    GroupDefaults {
        shim: Shim {
            mode,
            ..Shim::default()
        },
        ..defaults(Os::Linux)
    }
}

fn translate_as(
    mode: ShimMode,
    spec: &Value,
    resolved: &Resolved,
) -> Result<Translation, Refusals> {
    let mut pod = pod(HELLO, &[("/spec", spec.clone())]);
    pod.spec.as_mut().unwrap().node_name = Some("n".to_owned());
    container_group(&pod, &with(mode), &owner(&pod), resolved)
}

fn translate(spec: &Value) -> Translation {
    let made = translate_as(ShimMode::WhenNeeded, spec, &resolved());
    made.unwrap_or_else(|why| panic!("{why}"))
}

fn properties(made: &Translation) -> Value {
    let body = serde_json::to_value(&made.group).unwrap();
    body::check(&body).unwrap();
    body["properties"].clone()
}

/// A pod with this one container of the image `e`, and these members of its spec.
fn one(container: &Value, mut spec: Value) -> Value {
    let mut container = container.clone();
    for (member, value) in [("name", "c"), ("image", "e")] {
        if container.get(member).is_none() {
            container[member] = json!(value);
        }
    }
    spec["containers"] = json!([container]);
    spec
}

/// The orders of the container that `at` points to, and what is beside them.
fn orders(properties: &Value, at: &str) -> (Spec, BTreeMap<String, Vec<u8>>) {
    let mounts = properties.pointer(at).unwrap()["properties"]["volumeMounts"]
        .as_array()
        .unwrap();
    let mount = mounts
        .iter()
        .find(|it| it["mountPath"] == "/.vkc/spec")
        .unwrap();
    assert_eq!(mount["readOnly"], true);
    let volumes = properties["volumes"].as_array().unwrap();
    let volume = volumes
        .iter()
        .find(|it| it["name"] == mount["name"])
        .unwrap();
    let files = volume["secret"].as_object().unwrap().iter();
    let mut files: BTreeMap<String, Vec<u8>> = files
        .map(|(name, text)| {
            (
                name.clone(),
                STANDARD.decode(text.as_str().unwrap()).unwrap(),
            )
        })
        .collect();
    let spec = files.remove("spec.json").unwrap();
    (Spec::parse(&spec).unwrap(), files)
}

fn json_of(spec: &Spec) -> Value {
    serde_json::from_slice(&spec.write().unwrap()).unwrap()
}

const FILE: &str = "spec.containers[0].volumeMounts[0].subPath";

fn single_file(user: Option<i64>) -> Value {
    single_file_with(user, &json!({"drop": ["ALL"]}))
}

fn single_file_with(user: Option<i64>, capabilities: &Value) -> Value {
    let container = json!({
        "command": ["serve"],
        "volumeMounts": [{"name": "v", "mountPath": "/etc/app/app.conf", "subPath": "PASS"}],
        "securityContext": {"runAsUser": user, "allowPrivilegeEscalation": false, "capabilities": capabilities},
    });
    one(
        &container,
        json!({
            "securityContext": {"fsGroup": 2000, "supplementalGroups": [3000]},
            "volumes": [{"name": "v", "secret": {"secretName": "s"}}],
        }),
    )
}

#[test]
fn a_single_file_is_placed_by_the_shim_which_begins_as_root_for_it() {
    let made = translate(&single_file(Some(1001)));
    let properties = properties(&made);
    let container = &properties["containers"][0]["properties"];
    assert_eq!(
        container["command"],
        json!(["/.vkc/bin/vkc-shim", "run", "--", "serve"])
    );
    assert_eq!(
        container["securityContext"],
        json!({
            "allowPrivilegeEscalation": false,
            "capabilities": {
                "add": ["CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETPCAP", "SETUID"],
                "drop": ["ALL"],
            },
            "runAsUser": 0,
            "runAsGroup": 0,
        })
    );
    let (spec, beside) = orders(&properties, "/containers/0");
    assert_eq!(
        json_of(&spec),
        json!({
            "version": 1,
            "files": [{"path": "/etc/app/app.conf", "content": {"from": "f0"}, "mode": 0o644, "group": 2000}],
            "message": {"path": "/dev/termination-log"},
            "user": {
                "name": "1001",
                "groups": [3000, 2000],
                "drop": ["CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETPCAP", "SETUID"],
                "noNewPrivileges": true,
            },
        })
    );
    assert_eq!(beside["f0"], b"hush");
    let first = &properties["initContainers"][0];
    assert_eq!(first["name"], "vkc-shim");
    let image = first["properties"]["image"].as_str().unwrap();
    assert!(
        image.starts_with("ghcr.io/virtual-kubelet-connector/vkc-shim:"),
        "{image}"
    );
    assert_eq!(
        first["properties"]["command"],
        json!(["/vkc-shim", "install"])
    );
    // Who runs in the container cannot put another program in its place.
    let mounts = container["volumeMounts"].as_array().unwrap();
    assert!(mounts.iter().all(|it| it["readOnly"] == true), "{mounts:?}");
    let told: Vec<_> = made
        .notes
        .iter()
        .filter(|it| it.reason == "ShimAdded")
        .collect();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].field, FILE);
    // The secret is nowhere else.
    assert!(!properties.to_string().contains("hush"));
}

#[test]
fn nobody_is_made_root_who_need_not_be() {
    for (spec, user) in [
        // It is root already.
        (single_file_with(Some(0), &json!({})), Some(0)),
        (
            one(
                &json!({
                    "command": ["a"],
                    "securityContext": {"runAsUser": 1001},
                    "env": [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
                }),
                json!({}),
            ),
            Some(1001),
        ),
        (
            one(
                &json!({"image": "root", "command": ["a"], "terminationMessagePath": "/tmp/m"}),
                json!({}),
            ),
            None,
        ),
    ] {
        let properties = properties(&translate(&spec));
        let (spec, _) = orders(&properties, "/containers/0");
        assert_eq!(spec.user, None);
        let context = &properties["containers"][0]["properties"]["securityContext"];
        assert_eq!(context.get("runAsUser").and_then(Value::as_i64), user);
    }
}

#[test]
fn a_root_without_capabilities_gets_none_of_them() {
    for (capabilities, added, dropped, kept) in [
        (json!({"drop": ["ALL"]}), 6, 6, json!(["ALL"])),
        (
            json!({"drop": ["ALL"], "add": ["CAP_CHOWN"]}),
            6,
            5,
            json!(["ALL"]),
        ),
        (
            json!({"drop": ["cap_setuid", "NET_RAW"]}),
            1,
            1,
            json!(["NET_RAW"]),
        ),
        (
            json!({"drop": ["CHOWN"], "add": ["CHOWN"]}),
            1,
            1,
            Value::Null,
        ),
    ] {
        let properties = properties(&translate(&single_file_with(Some(0), &capabilities)));
        let (spec, _) = orders(&properties, "/containers/0");
        let user = spec.user.unwrap();
        assert_eq!(
            (user.name.as_str(), user.drop.len()),
            ("0", dropped),
            "{capabilities}"
        );
        let sent = &properties["containers"][0]["properties"]["securityContext"]["capabilities"];
        assert_eq!(
            sent["add"].as_array().unwrap().len(),
            added,
            "{capabilities}"
        );
        assert_eq!(
            sent.get("drop").cloned().unwrap_or_default(),
            kept,
            "{capabilities}"
        );
    }
}

#[test]
fn the_user_is_the_image_s_where_the_pod_says_none() {
    let container = |image: &str| {
        one(
            &json!({"image": image, "command": ["a"], "terminationMessagePath": "/tmp/m"}),
            json!({}),
        )
    };
    for (image, user) in [
        ("named", "app:app"),
        ("both", "65532:65533"),
        ("numeric", "1001"),
    ] {
        let properties = properties(&translate(&container(image)));
        let (spec, _) = orders(&properties, "/containers/0");
        assert_eq!(spec.user.unwrap().name, user);
        // Nothing was taken away, so nothing is added.
        let context = &properties["containers"][0]["properties"]["securityContext"];
        assert_eq!(*context, json!({"runAsUser": 0, "runAsGroup": 0}));
    }
    // While the image is not read it is asked for.
    let made = translate(&container("unread"));
    let image = crate::translate::Reference::Image("unread".to_owned());
    assert!(made.references.contains(&image));
}

#[test]
fn the_address_is_put_where_it_is_used() {
    let container = json!({
        "command": ["serve", "--advertise=$(URL)"],
        "env": [
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "IPS", "valueFrom": {"fieldRef": {"fieldPath": "status.podIPs"}}},
            {"name": "HOST", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}},
            {"name": "URL", "value": "http://$(IP):80"},
            {"name": "PLAIN", "value": "x"},
        ],
        "livenessProbe": {"exec": {"command": ["check", "me"]}},
    });
    let properties = properties(&translate(&one(&container, json!({}))));
    let (spec, _) = orders(&properties, "/containers/0");
    let ip = json!({"address": "podIp"});
    let spec = json_of(&spec);
    assert_eq!(
        spec["env"],
        json!([
            {"name": "IP", "value": [ip]},
            {"name": "IPS", "value": [{"address": "podIps"}]},
            {"name": "URL", "value": ["http://", ip, ":80"]},
        ])
    );
    assert_eq!(
        spec["command"],
        json!([["serve"], ["--advertise=http://", ip, ":80"]])
    );
    let container = &properties["containers"][0]["properties"];
    assert_eq!(container["command"], json!(["/.vkc/bin/vkc-shim", "run"]));
    let own = container["environmentVariables"].as_array().unwrap();
    let own: Vec<_> = own.iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(own, ["HOST", "PLAIN", "HOSTNAME"]);
    assert_eq!(
        container["livenessProbe"]["exec"]["command"],
        json!(["/.vkc/bin/vkc-shim", "exec", "--", "check", "me"])
    );
}

#[test]
fn what_the_image_says_is_run_where_the_pod_says_nothing() {
    let ip = json!([{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]);
    for (container, words) in [
        (json!({"env": ip}), json!(["/entry", "$(HOME)", "cmd"])),
        (
            json!({"env": ip, "args": ["a"]}),
            json!(["/entry", "$(HOME)", "a"]),
        ),
        (
            json!({"env": ip, "command": ["b"], "args": ["a"]}),
            json!(["b", "a"]),
        ),
    ] {
        let properties = properties(&translate(&one(&container, json!({}))));
        let mut expected = vec![json!("/.vkc/bin/vkc-shim"), json!("run"), json!("--")];
        expected.extend(words.as_array().unwrap().clone());
        assert_eq!(
            properties["containers"][0]["properties"]["command"],
            json!(expected)
        );
    }
    let silent = one(&json!({"image": "bare", "env": ip}), json!({}));
    let refused = translate_as(ShimMode::WhenNeeded, &silent, &resolved()).unwrap_err();
    assert_eq!(refused.0[0].field, "spec.containers[0].command");
}

#[test]
fn secrets_in_a_command_and_names_that_aci_refuses_go_by_the_orders() {
    let container = json!({
        "command": ["serve", "--password=$(HUSH)"],
        "workingDir": "/work",
        "env": [
            {"name": "HUSH", "valueFrom": {"secretKeyRef": {"name": "s", "key": "PASS"}}},
            {"name": "a.b", "value": "1"},
        ],
        "envFrom": [{"configMapRef": {"name": "dotted"}, "prefix": "x-"}],
    });
    let made = translate(&one(&container, json!({})));
    let properties = properties(&made);
    let (spec, _) = orders(&properties, "/containers/0");
    let spec = json_of(&spec);
    assert_eq!(spec["command"], json!([["serve"], ["--password=hush"]]));
    assert_eq!(spec["workingDir"], "/work");
    let value = |text: &str| json!([text]);
    assert_eq!(
        spec["env"],
        json!([{"name": "x-a.b", "value": value("1")}, {"name": "a.b", "value": value("1")}])
    );
    let told = made
        .notes
        .iter()
        .find(|it| it.reason == "ShimAdded")
        .unwrap();
    for field in ["env[1].name", "envFrom[0]", "spec.containers[0].command"] {
        let all = format!("{} {}", told.field, told.message);
        assert!(all.contains(field), "{field}: {all}");
    }
    assert!(
        !made
            .notes
            .iter()
            .any(|it| it.reason == "InvalidEnvironmentVariableNames")
    );
}

#[test]
fn files_have_their_modes_in_a_volume_that_the_first_container_fills() {
    let container = json!({
        "command": ["a"],
        "securityContext": {"runAsUser": 1001},
        "volumeMounts": [{"name": "v", "mountPath": "/keys"}, {"name": "v", "mountPath": "/one", "subPath": "ssh"}],
    });
    let items =
        json!([{"key": "PASS", "path": "ssh/id", "mode": 0o400}, {"key": "USER", "path": "user"}]);
    let spec = json!({
        "securityContext": {"fsGroup": 2000},
        "volumes": [{"name": "v", "secret": {"secretName": "s", "defaultMode": 0o750, "items": items}}],
    });
    let made = translate(&one(&container, spec));
    let properties = properties(&made);
    let container = &properties["containers"][0]["properties"];
    // Nothing of the container itself changes.
    assert_eq!(container["command"], json!(["a"]));
    assert_eq!(container["securityContext"], json!({"runAsUser": 1001}));
    let mounts = container["volumeMounts"].as_array().unwrap();
    let mounted: Vec<_> = mounts
        .iter()
        .map(|it| (it["mountPath"].as_str().unwrap(), it["readOnly"] == true))
        .collect();
    let (spec, beside) = orders(&properties, "/initContainers/0");
    let volumes: Vec<_> = mounts
        .iter()
        .map(|it| it["name"].as_str().unwrap())
        .collect();
    let path = |volume: usize| format!("/.vkc/volumes/{}", volumes[volume]);
    // The whole volume also where the shim brings it up to date, and the shim for that. A part of it stays as it is.
    assert_eq!(
        mounted,
        [
            (&*path(0), false),
            ("/keys", true),
            ("/one", true),
            ("/.vkc/bin", true)
        ]
    );
    assert_eq!(volumes[0], volumes[1]);
    let spec = json_of(&spec);
    let file = |path: &str, from: &str, mode: u32| json!({"path": path, "content": {"from": from}, "mode": mode, "group": 2000});
    assert_eq!(
        spec["volumes"],
        json!([
            {"name": volumes[0], "mode": 0o2755, "owner": 1001, "group": 2000, "linked": true,
             "files": [file("ssh/id", "f0", 0o440), file("user", "f1", 0o750)]},
            {"name": volumes[2], "mode": 0o2755, "group": 2000, "files": [file("id", "f2", 0o440)]},
        ])
    );
    assert_eq!((&*beside["f0"], &*beside["f1"]), (&b"hush"[..], &b"u"[..]));
    let own = properties["initContainers"][0]["properties"]["volumeMounts"]
        .as_array()
        .unwrap();
    let at: Vec<_> = own
        .iter()
        .map(|it| it["mountPath"].as_str().unwrap())
        .collect();
    assert_eq!(at, ["/.vkc/bin", &path(0), &path(2), "/.vkc/spec"]);
}

#[test]
fn a_pod_that_needs_nothing_gets_nothing_unless_it_is_always() {
    let plain = one(&json!({"command": ["a"]}), json!({}));
    let made = translate(&plain);
    assert_eq!(properties(&made).get("initContainers"), None);
    assert!(!made.notes.iter().any(|it| it.reason == "ShimAdded"));
    let always = translate_as(ShimMode::Always, &plain, &resolved()).unwrap();
    let always_has = properties(&always);
    assert_eq!(always_has["initContainers"][0]["name"], "vkc-shim");
    let (spec, _) = orders(&always_has, "/containers/0");
    assert_eq!(
        json_of(&spec),
        json!({"version": 1, "message": {"path": "/dev/termination-log"}})
    );
    assert!(!always.notes.iter().any(|it| it.reason == "ShimAdded"));
}

fn needs() -> Vec<(&'static str, Value)> {
    let ip = json!([{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]);
    let hosts = json!([{"ip": "10.0.0.5", "hostnames": ["db"]}]);
    vec![
        (
            "spec.containers[0].volumeMounts[0].subPath",
            single_file(Some(1001)),
        ),
        (
            "spec.containers[0].env[0].valueFrom.fieldRef",
            one(&json!({"command": ["a"], "env": ip}), json!({})),
        ),
        (
            "spec.hostAliases",
            one(&json!({"command": ["a"]}), json!({"hostAliases": hosts})),
        ),
        (
            "spec.containers[0].env[0].name",
            one(
                &json!({"command": ["a"], "env": [{"name": "a-b"}]}),
                json!({}),
            ),
        ),
    ]
}

#[test]
fn without_the_shim_a_pod_is_refused_and_told_how_it_would_not_be() {
    for (field, spec) in needs() {
        let refused = translate_as(ShimMode::Never, &spec, &resolved()).unwrap_err();
        assert_eq!(refused.0[0].field, field);
        let message = &refused.0[0].message;
        assert!(message.contains("spec.shim.mode: Never"), "{message}");
        assert!(
            translate_as(ShimMode::WhenNeeded, &spec, &resolved()).is_ok(),
            "{field}"
        );
    }
}

#[test]
fn a_confidential_group_with_a_policy_has_no_shim() {
    for key in [
        "virtual-kubelet.io/cce-policy",
        "microsoft.containerinstance.virtualnode.ccepolicy",
    ] {
        for (field, spec) in needs() {
            let mut pod = pod(HELLO, &[("/spec", spec)]);
            pod.spec.as_mut().unwrap().node_name = Some("n".to_owned());
            let annotations = pod.metadata.annotations.get_or_insert_default();
            annotations.insert(key.to_owned(), "cG9saWN5".to_owned());
            let made = container_group(&pod, &with(ShimMode::Always), &owner(&pod), &resolved());
            let refused = made.unwrap_err();
            let refusal = refused.0.iter().find(|it| it.field == field).unwrap();
            assert!(refusal.message.contains("policy"), "{}", refusal.message);
        }
    }
}

#[test]
fn init_containers_and_sidecars_have_orders_of_their_own() {
    let ip = json!([{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]);
    let hush =
        json!([{"name": "a.b", "valueFrom": {"secretKeyRef": {"name": "s", "key": "PASS"}}}]);
    let spec = json!({
        "containers": [{"name": "c", "image": "e", "command": ["a"], "env": ip}],
        "initContainers": [
            {"name": "i", "image": "e", "command": ["b"], "env": hush},
            {"name": "s", "image": "e", "command": ["d"], "restartPolicy": "Always"},
        ],
    });
    let properties = properties(&translate(&spec));
    let names: Vec<_> = properties["initContainers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["vkc-shim", "i"]);
    let (init, _) = orders(&properties, "/initContainers/1");
    assert_eq!(json_of(&init)["env"][0]["value"], json!(["hush"]));
    let (main, _) = orders(&properties, "/containers/0");
    assert!(!json_of(&main).to_string().contains("hush"));
    // The sidecar asks for nothing.
    assert_eq!(
        properties["containers"][1]["properties"]["command"],
        json!(["d"])
    );
}

#[test]
fn what_a_group_cannot_have_more_of_is_refused() {
    let ip = json!([{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]);
    let containers = |count: usize| {
        let all = (0..count)
            .map(|n| json!({"name": format!("c{n}"), "image": "e", "command": ["a"], "env": ip}));
        json!({"containers": all.collect::<Vec<_>>()})
    };
    // The shim's own, and one for each container.
    assert!(translate_as(ShimMode::WhenNeeded, &containers(19), &resolved()).is_ok());
    let refused = translate_as(ShimMode::WhenNeeded, &containers(20), &resolved()).unwrap_err();
    assert_eq!(refused.0[0].field, "spec.volumes");
    assert!(
        refused.to_string().contains("the shim needs 21"),
        "{refused}"
    );
    let refused = translate_as(ShimMode::WhenNeeded, &containers(60), &resolved()).unwrap_err();
    assert_eq!(refused.reason(), "ExceedsAciLimits");
    let mut named = containers(1);
    named["containers"][0]["name"] = json!("vkc-shim");
    assert!(translate_as(ShimMode::WhenNeeded, &named, &resolved()).is_err());
    let inits = (0..59).map(|n| json!({"name": format!("i{n}"), "image": "e", "command": ["a"]}));
    let mut many = containers(1);
    many["initContainers"] = json!(inits.collect::<Vec<_>>());
    let refused = translate_as(ShimMode::WhenNeeded, &many, &resolved()).unwrap_err();
    assert_eq!(refused.0[0].field, "spec.initContainers");
}

#[test]
fn nothing_is_mounted_in_the_place_of_the_shim() {
    let volumes = json!({"volumes": [{"name": "v", "emptyDir": {}}]});
    for (path, taken) in [("/.vkc", true), ("/.vkc/bin", true), ("/.vkc-other", false)] {
        let container =
            json!({"command": ["a"], "volumeMounts": [{"name": "v", "mountPath": path}]});
        let made = translate_as(
            ShimMode::WhenNeeded,
            &one(&container, volumes.clone()),
            &resolved(),
        );
        assert_eq!(made.is_err(), taken, "{path}");
    }
}

#[test]
fn a_file_that_is_not_in_its_volume_is_waited_for() {
    let container = |key: &str| json!({"command": ["a"], "volumeMounts": [{"name": "v", "mountPath": "/etc/x", "subPath": key}]});
    let volumes = json!({"volumes": [{"name": "v", "configMap": {"name": "c"}}]});
    let spec = one(&container("none"), volumes.clone());
    let refused = translate_as(ShimMode::WhenNeeded, &spec, &resolved()).unwrap_err();
    assert!(refused.is_retryable());
    assert_eq!(refused.0[0].reason, "CreateContainerConfigError");
    // Before anything is fetched nobody knows.
    assert!(translate_as(ShimMode::WhenNeeded, &spec, &Resolved::default()).is_ok());
    let binary = translate(&one(&container("logo"), volumes));
    let (_, beside) = orders(&properties(&binary), "/containers/0");
    assert_eq!(beside["f0"], b"\xff\xfe");
}

#[test]
fn the_image_of_the_shim_is_pulled_with_a_login_that_pods_cannot_use() {
    let login = (
        "robot".to_owned(),
        crate::azure::model::SecretText::new("pw".to_owned()),
    );
    let defaults = GroupDefaults {
        shim: Shim {
            image: Some("r.io/vkc-shim:1".to_owned()),
            ..Shim::default()
        },
        shim_login: Some(login),
        ..defaults(Os::Linux)
    };
    let with = |image: &str| {
        let ip = json!([{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]);
        let spec = one(
            &json!({"image": image, "command": ["a"], "env": ip}),
            json!({}),
        );
        let mut pod = pod(HELLO, &[("/spec", spec)]);
        pod.spec.as_mut().unwrap().node_name = Some("n".to_owned());
        let made = container_group(&pod, &defaults, &owner(&pod), &resolved()).unwrap();
        properties(&made)["imageRegistryCredentials"].clone()
    };
    assert_eq!(
        with("e"),
        json!([{"server": "r.io", "username": "robot", "password": "pw"}])
    );
    // One of the pod's is there too, perhaps one that its author could not pull.
    assert_eq!(with("r.io/private"), Value::Null);
}

#[test]
fn a_windows_pod_has_none() {
    let defaults = GroupDefaults {
        shim: Shim {
            mode: ShimMode::Always,
            ..Shim::default()
        },
        ..defaults(Os::Windows)
    };
    let pod = pod(crate::translate::testing::IIS, &[]);
    let made = container_group(&pod, &defaults, &owner(&pod), &resolved()).unwrap();
    assert!(made.group.properties.init_containers.is_empty());
}

#[test]
fn marks_become_addresses_and_nothing_else_does() {
    let all = |said: &str| serde_json::to_value(text(said)).unwrap();
    assert_eq!(all(""), json!([]));
    assert_eq!(all("a"), json!(["a"]));
    let said = format!("a{POD_IP}b{POD_IPS}{POD_IP}");
    let (ip, ips) = (json!({"address": "podIp"}), json!({"address": "podIps"}));
    assert_eq!(all(&said), json!(["a", ip, "b", ips, ip]));
    assert_eq!(all("a\0b\0podI"), json!(["abpodI"]));
}

proptest! {
    #[test]
    fn any_text_is_taken(said in "(\\PC|\0|podIP|podIPs){0,12}") {
        let made = text(&said);
        prop_assert_eq!(made.has_address(), has_mark(&said));
        for part in made.0 {
            if let vkc_shim::spec::Part::Text(part) = part {
                prop_assert!(!part.contains('\0'));
            }
        }
    }
}
