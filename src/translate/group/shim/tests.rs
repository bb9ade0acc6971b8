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

/// A pod of one container that mounts one volume at `/v`.
fn with_volume(volume: &Value) -> Value {
    let mut volume = volume.clone();
    volume["name"] = json!("v");
    let container = json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]});
    one(&container, json!({"volumes": [volume]}))
}

fn is_updated(made: &Translation) -> bool {
    let tagged = made.group.tags.contains_key("vkc-volumes");
    assert_eq!(
        tagged,
        crate::translate::volume_updates(&made.group).is_some()
    );
    tagged
}

#[test]
fn volumes_are_brought_up_to_date_where_programs_wait_for_it() {
    let labels =
        json!({"items": [{"path": "l", "fieldRef": {"fieldPath": "metadata.labels['a']"}}]});
    let name = json!({"items": [{"path": "n", "fieldRef": {"fieldPath": "metadata.name"}}]});
    let token = |seconds: i64, audience: Option<&str>| {
        let mut token = json!({"path": "t", "expirationSeconds": seconds});
        if let Some(audience) = audience {
            token["audience"] = json!(audience);
        }
        json!({"sources": [{"serviceAccountToken": token}]})
    };
    let map = json!({"name": "c"});
    for (volume, needed, always) in [
        (json!({"downwardAPI": labels}), true, true),
        (json!({"downwardAPI": name}), false, true),
        (json!({"projected": token(600, Some("vault"))}), true, true),
        (json!({"projected": token(3607, None)}), false, false),
        (json!({"configMap": map}), false, true),
        (
            json!({"configMap": {"name": "c", "defaultMode": 0o400}}),
            true,
            true,
        ),
        (json!({"secret": {"secretName": "s"}}), false, true),
        (json!({"emptyDir": {}}), false, false),
    ] {
        let spec = with_volume(&volume);
        assert_eq!(is_updated(&translate(&spec)), needed, "{volume}");
        let mut defaults = with(ShimMode::WhenNeeded);
        defaults.shim.volume_updates = crate::api::VolumeUpdates::Always;
        let mut pod = pod(HELLO, &[("/spec", spec.clone())]);
        pod.spec.as_mut().unwrap().node_name = Some("n".to_owned());
        let made = container_group(&pod, &defaults, &owner(&pod), &resolved()).unwrap();
        assert_eq!(is_updated(&made), always, "{volume}");
        let never = translate_as(ShimMode::Never, &spec, &resolved()).unwrap();
        assert!(!is_updated(&never), "{volume}");
    }
}

#[test]
fn another_version_of_an_object_is_another_version_of_the_volumes() {
    let spec = with_volume(&json!({"configMap": {"name": "c", "defaultMode": 0o400}}));
    let version = |of: &str| {
        let mut resolved = resolved();
        let reference = crate::translate::Reference::ConfigMap("c".to_owned());
        let object = resolved.objects.get_mut(&reference).unwrap();
        let object = std::sync::Arc::make_mut(object.as_mut().unwrap());
        object.version = of.into();
        let made = translate_as(ShimMode::WhenNeeded, &spec, &resolved).unwrap();
        made.group.tags["vkc-volumes"].clone()
    };
    assert_eq!(version("7"), version("7"));
    assert_ne!(version("7"), version("8"));
}

#[test]
fn an_update_has_what_the_first_container_writes() {
    let container = json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}], "securityContext": {"runAsUser": 1001}});
    let other = json!({"name": "other", "image": "e"});
    let volume = json!({"name": "v", "configMap": {"name": "c", "defaultMode": 0o400}});
    let mut spec = one(&container, json!({"volumes": [volume]}));
    spec["containers"].as_array_mut().unwrap().push(other);
    let made = translate(&spec);
    let updates = crate::translate::volume_updates(&made.group).unwrap();
    let names = updates.names();
    assert_eq!(updates.by.len(), 1);
    assert_eq!(
        (&*updates.by[0].container, &updates.by[0].volumes),
        ("c", &names)
    );
    let (filled, beside) = orders(&properties(&made), "/initContainers/0");
    let update = Spec::parse(&updates.orders(&names).unwrap()).unwrap();
    assert_eq!(update.volumes.len(), 1);
    assert_eq!(update.volumes[0].owner, Some(1001));
    let (update, filled) = (json_of(&update), json_of(&filled));
    let files = filled["volumes"][0]["files"].as_array().unwrap();
    assert!(files.len() > 1);
    for (n, file) in files.iter().enumerate() {
        let written = &update["volumes"][0]["files"][n];
        assert_eq!(written["path"], file["path"]);
        let base64 = written["content"]["base64"][0].as_str().unwrap();
        let from = file["content"]["from"].as_str().unwrap();
        assert_eq!(STANDARD.decode(base64).unwrap(), beside[from]);
    }
}

#[test]
fn a_group_without_room_runs_without_updates_and_says_so() {
    let items = json!([{"path": "l", "fieldRef": {"fieldPath": "metadata.labels"}}]);
    let pod_with = |others: usize| {
        let mut mounts = vec![json!({"name": "v", "mountPath": "/v"})];
        let mut volumes = vec![json!({"name": "v", "downwardAPI": {"items": items}})];
        for n in 0..others {
            let name = format!("e{n}");
            mounts.push(json!({"name": name, "mountPath": format!("/{name}")}));
            volumes.push(json!({"name": name, "emptyDir": {}}));
        }
        one(
            &json!({"volumeMounts": mounts}),
            json!({"volumes": volumes}),
        )
    };
    assert!(is_updated(&translate(&pod_with(16))));
    let made = translate(&pod_with(17));
    assert!(!is_updated(&made));
    let notes: Vec<_> = made.notes.iter().map(|it| &*it.message).collect();
    assert!(notes.iter().any(|it| it.contains("no room")), "{notes:?}");
}

#[test]
fn people_attach_to_a_program_with_an_input_or_a_terminal() {
    for (container, expected) in [
        (
            json!({"command": ["cat"], "stdin": true, "stdinOnce": true}),
            json!({"input": true, "once": true}),
        ),
        (
            json!({"command": ["sh"], "stdin": true, "tty": true}),
            json!({"input": true, "terminal": true}),
        ),
        (
            json!({"command": ["top"], "tty": true, "stdinOnce": true}),
            json!({"terminal": true}),
        ),
    ] {
        let spec = one(&container, json!({"securityContext": {"runAsUser": 1000}}));
        let made = translate(&spec);
        let properties = properties(&made);
        let (orders, _) = orders(&properties, "/containers/0");
        assert_eq!(json_of(&orders)["attach"], expected);
        // The place where people attach is made by root.
        assert_eq!(orders.user.unwrap().name, "1000");
        assert!(made.notes.iter().any(|note| note.reason == super::SHIM));
        let refused = translate_as(ShimMode::Never, &spec, &resolved()).unwrap_err();
        let refused = refused.to_string();
        assert!(refused.contains("spec.shim.mode: Never"), "{refused}");
    }
    let plain = json!({"command": ["cat"], "stdin": false, "tty": false, "stdinOnce": true});
    let made = translate(&one(&plain, json!({})));
    assert_eq!(made.group.properties.init_containers.len(), 0);
}

#[test]
fn what_comes_after_a_sidecar_waits_until_it_has_started() {
    let probe = |handler: Value| {
        let mut probe = json!({"initialDelaySeconds": 2, "timeoutSeconds": 3});
        probe
            .as_object_mut()
            .unwrap()
            .extend(handler.as_object().unwrap().clone());
        probe
    };
    let http = probe(
        json!({"httpGet": {"port": "health", "path": "ready", "httpHeaders": [
            {"name": "X-A", "value": "b"}, {"name": "X-Bad", "value": "a\r\nb"},
        ]}}),
    );
    let sidecar = |name: &str, probe: Value| {
        json!({"name": name, "image": "e", "command": [name], "restartPolicy": "Always",
            "ports": [{"name": "health", "containerPort": 15021}], "startupProbe": probe})
    };
    let spec = json!({
        "initContainers": [
            {"name": "first", "image": "e", "command": ["true"]},
            sidecar("proxy", http),
            sidecar("by-command", probe(json!({"exec": {"command": ["true"]}}))),
            sidecar("secure", probe(json!({"grpc": {"port": 9000}}))),
        ],
        "containers": [{"name": "c", "image": "e", "command": ["app"]}],
    });
    let made = translate(&spec);
    let properties = properties(&made);
    let proxy = json!({"port": 15021, "path": "/ready", "headers": [["X-A", "b"]], "delay": 2, "timeout": 3});
    let secure = json!({"port": 9000, "delay": 2, "timeout": 3});
    let after = |name: &str| {
        let containers = properties["containers"].as_array().unwrap();
        let at = containers.iter().position(|it| it["name"] == name).unwrap();
        let command = &containers[at]["properties"]["command"];
        if command[0] != "/.vkc/bin/vkc-shim" {
            return Value::Null;
        }
        json_of(&orders(&properties, &format!("/containers/{at}")).0)["after"].clone()
    };
    assert_eq!(after("c"), json!([proxy, secure]));
    assert_eq!(after("proxy"), Value::Null);
    assert_eq!(after("by-command"), json!([proxy]));
    assert_eq!(after("secure"), json!([proxy]));
    // Init containers that end run before all sidecars on ACI.
    let inits = properties["initContainers"].as_array().unwrap();
    let first = inits.iter().find(|it| it["name"] == "first").unwrap();
    assert_eq!(first["properties"]["command"], json!(["true"]));
    // Whom nobody waits for needs nothing, and without the shim it is said.
    let field = "spec.initContainers[1].startupProbe";
    let told = |made: &Translation| {
        made.notes
            .iter()
            .any(|note| note.message.contains("nobody waits") && note.field == field)
    };
    assert!(!told(&made));
    let never = translate_as(ShimMode::Never, &spec, &resolved()).unwrap();
    assert!(told(&never));
    assert_eq!(never.group.properties.init_containers.len(), 1);
}
