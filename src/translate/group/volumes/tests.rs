use serde_json::{Value, json};

use crate::api::Os;
use crate::translate::support::{Verdict, rows};
use crate::translate::testing::{HELLO, defaults, owner, pod, resolved};
use crate::translate::{Refusals, Translation, container_group};

/// The Linux fixture with these volumes; `mounts` has those of each container.
fn translate(volumes: &Value, mounts: &[Value]) -> Result<Translation, Refusals> {
    let containers: Vec<Value> = mounts
        .iter()
        .enumerate()
        .map(|(n, mounts)| {
            let env = json!([
                {"name": "DIR", "value": "sub"},
                {"name": "UP", "value": "../up"},
                {"name": "HUSH", "valueFrom": {"secretKeyRef": {"name": "s", "key": "PASS"}}},
            ]);
            json!({"name": format!("c{n}"), "image": "i", "env": env, "volumeMounts": mounts})
        })
        .collect();
    let changes = [
        ("/spec/volumes", volumes.clone()),
        ("/spec/containers", json!(containers)),
    ];
    let pod = pod(HELLO, &changes);
    container_group(&pod, &defaults(Os::Linux), &owner(&pod), &resolved())
}

/// The group's volumes, and the mounts of each container as `path = volume`, where a volume is called by its place.
fn made(volumes: &Value, mounts: &[Value]) -> (Vec<Value>, Vec<Vec<String>>) {
    let group = translate(volumes, mounts).unwrap_or_else(|why| panic!("{why}"));
    let body = serde_json::to_value(&group.group).unwrap();
    let properties = &body["properties"];
    let mut volumes = properties["volumes"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let names: Vec<Value> = volumes
        .iter_mut()
        .map(|volume| volume.as_object_mut().unwrap().remove("name").unwrap())
        .collect();
    let place = |name: &Value| names.iter().position(|it| it == name).unwrap();
    let containers = properties["containers"].as_array().unwrap().iter();
    let mounts = containers.map(|container| {
        let mounts = container["properties"]["volumeMounts"].as_array();
        let mounts = mounts.into_iter().flatten();
        mounts
            .map(|mount| {
                let path = mount["mountPath"].as_str().unwrap();
                format!("{path} = {}", place(&mount["name"]))
            })
            .collect()
    });
    let mounts = mounts.collect();
    (volumes, mounts)
}

fn refused(volumes: &Value, mounts: &[Value]) -> Vec<(String, &'static str)> {
    let refusals = translate(volumes, mounts).unwrap_err().0.into_iter();
    refusals.map(|it| (it.field, it.reason)).collect()
}

fn empty() -> Value {
    json!({"emptyDir": {}})
}

#[test]
fn directories_of_an_empty_dir_are_volumes_that_containers_share() {
    let volumes = json!([{"name": "work", "emptyDir": {}}]);
    let first = json!([
        {"name": "work", "mountPath": "/tmp", "subPath": "tmp"},
        {"name": "work", "mountPath": "/conf", "subPath": "./app//conf/"},
        {"name": "work", "mountPath": "/expr", "subPathExpr": "$(DIR)/x"},
    ]);
    let second = json!([{"name": "work", "mountPath": "/elsewhere/", "subPath": "tmp"}]);
    let (volumes, mounts) = made(&volumes, &[first, second]);
    assert_eq!(volumes, [empty(), empty(), empty()]);
    let expected = [
        vec!["/tmp = 2", "/conf = 0", "/expr = 1"],
        vec!["/elsewhere = 2"],
    ];
    assert_eq!(mounts, expected);
}

#[test]
fn a_directory_of_an_empty_dir_is_mounted_in_what_is_above_it_too() {
    let volumes = json!([{"name": "d", "emptyDir": {}}]);
    let mount = |at: &str, sub: &str| json!({"name": "d", "mountPath": at, "subPath": sub});
    let (first, second) = (
        json!([mount("/all", "")]),
        json!([mount("/x", "a/b"), mount("/y", "c"), mount("/z/", "a")]),
    );
    let (volumes_made, mounts) = made(&volumes, &[first.clone(), second]);
    // The whole, a, a/b and c.
    assert_eq!(volumes_made, [empty(), empty(), empty(), empty()]);
    let expected = [
        vec!["/all = 0", "/all/a = 1", "/all/a/b = 2", "/all/c = 3"],
        vec!["/x = 2", "/y = 3", "/z = 1", "/z/b = 2"],
    ];
    assert_eq!(mounts, expected);
    let made = translate(&volumes, &[first.clone(), json!([mount("/x", "a")])]).unwrap();
    let notes: Vec<_> = made
        .notes
        .iter()
        .map(|it| (it.field.as_str(), it.reason))
        .collect();
    assert_eq!(notes, [("spec.volumes[0].emptyDir", "ApproximatedOnAci")]);
    // What the pod mounts there hides the directory, as in Kubernetes.
    let two = json!([{"name": "d", "emptyDir": {}}, {"name": "e", "emptyDir": {}}]);
    let hidden = json!([mount("/all", ""), {"name": "e", "mountPath": "/all/a"}]);
    let (_, mounts) = self::made(&two, &[hidden, json!([mount("/x", "a")])]);
    assert_eq!(mounts, [vec!["/all = 0", "/all/a = 2"], vec!["/x = 1"]]);
    // In a read-only mount there is no place for another.
    let read_only = json!([{"name": "d", "mountPath": "/all", "readOnly": true}]);
    let got = refused(&volumes, &[read_only, json!([mount("/x", "a")])]);
    assert_eq!(
        got,
        [("spec.volumes[0].emptyDir".to_owned(), "NotSupportedOnAci")]
    );
    let apart = json!([
        mount("/a", "a"),
        mount("/b", "ab"),
        mount("/c", "c/b"),
        mount("/d", "c/d")
    ]);
    assert_eq!(self::made(&volumes, &[apart]).0.len(), 4);
}

#[test]
fn a_directory_of_files_is_a_volume_and_a_single_file_is_none() {
    let items = json!([
        {"key": "A", "path": "top/one"},
        {"key": "B", "path": "top/two"},
        {"key": "A", "path": "top/low/three"},
        {"key": "B", "path": "four"},
    ]);
    let volumes = json!([
        {"name": "config", "configMap": {"name": "c", "items": items}},
        {"name": "login", "secret": {"secretName": "s", "items": [{"key": "USER", "path": "user"}]}},
        {"name": "maybe", "secret": {"secretName": "gone", "optional": true, "items": [{"key": "K", "path": "dir/k"}]}},
    ]);
    let mounts = json!([
        {"name": "config", "mountPath": "/low", "subPath": "top/low"},
        {"name": "login", "mountPath": "/login"},
        {"name": "maybe", "mountPath": "/maybe", "subPath": "dir"},
    ]);
    let (made, places) = made(&volumes, &[mounts]);
    let expected = [
        json!({"secret": {"three": "MQ=="}}),
        json!({"secret": {"user": "dQ=="}}),
        empty(),
    ];
    assert_eq!(made, expected);
    assert_eq!(places, [["/low = 0", "/login = 1", "/maybe = 2"]]);
    let sub = |name: &str, path: &str| json!([{"name": name, "mountPath": "/etc/app.conf", "subPath": path}]);
    let field = "spec.containers[0].volumeMounts[0].subPath";
    for (name, path) in [
        ("config", "four"),
        ("config", "top/one"),
        ("config", "to"),
        ("login", "user"),
        ("login", "nothing"),
    ] {
        let got = refused(&volumes, &[sub(name, path)]);
        assert_eq!(
            got,
            [(field.to_owned(), "NotSupportedOnAci")],
            "{name} {path}"
        );
    }
    // What lies deeper than the mount is mounted there.
    let (made, places) = self::made(&volumes, &[sub("config", "top")]);
    let expected = [
        json!({"secret": {"one": "MQ==", "two": "dHdv"}}),
        json!({"secret": {"three": "MQ=="}}),
    ];
    assert_eq!(made, expected);
    assert_eq!(places, [["/etc/app.conf = 0", "/etc/app.conf/low = 1"]]);
}

#[test]
fn each_directory_of_a_volume_of_files_is_a_volume() {
    let items = |paths: &[&str]| -> Value {
        paths
            .iter()
            .map(|path| json!({"key": "USER", "path": path}))
            .collect()
    };
    let volume = |paths: &[&str]| json!([{"name": "v", "secret": {"secretName": "s", "items": items(paths)}}]);
    let mounts = json!([{"name": "v", "mountPath": "/etc/v/", "readOnly": true}]);
    let user = |name: &str| json!({"secret": {name: "dQ=="}});
    // As the webhook of workload identity writes it: nothing is mounted but the directory.
    let (volumes, places) = made(
        &volume(&["token/azure-identity-token"]),
        std::slice::from_ref(&mounts),
    );
    assert_eq!(volumes, [user("azure-identity-token")]);
    assert_eq!(places, [["/etc/v/token = 0"]]);
    let all = volume(&["a", "d//b", "./d/e/c"]);
    let (volumes, places) = made(&all, std::slice::from_ref(&mounts));
    assert_eq!(volumes, [user("a"), user("b"), user("c")]);
    assert_eq!(places, [["/etc/v = 0", "/etc/v/d = 1", "/etc/v/d/e = 2"]]);
    let translation = translate(&all, std::slice::from_ref(&mounts)).unwrap();
    let read_only: Vec<_> = translation.group.properties.containers[0]
        .properties
        .volume_mounts
        .iter()
        .map(|mount| mount.read_only)
        .collect();
    assert_eq!(
        read_only,
        [None, Some(true), Some(true)],
        "the others have their place in the first"
    );
    let notes: Vec<_> = translation
        .notes
        .iter()
        .map(|it| it.field.as_str())
        .collect();
    assert_eq!(notes, ["spec.volumes[0]"]);
    for (paths, field) in [
        (&["a", "a/b"][..], "spec.volumes[0]"),
        (&["a/b/c", "a/b", "a-b"], "spec.volumes[0]"),
        (&["../a"], "spec.volumes[0].secret.items[0]"),
        (&["."], "spec.volumes[0].secret.items[0]"),
        (&["a/b", "a//b"], "spec.volumes[0].secret.items[1]"),
        (&["x:y/b"], "spec.containers[0].volumeMounts[0].mountPath"),
    ] {
        let got = refused(&volume(paths), std::slice::from_ref(&mounts));
        assert_eq!(got, [(field.to_owned(), "NotSupportedOnAci")], "{paths:?}");
    }
    let many: Vec<String> = (0..30).map(|n| format!("{n}/f")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let got = refused(&volume(&many), std::slice::from_ref(&mounts));
    assert_eq!(got, [("spec.volumes".to_owned(), "ExceedsAciLimits")]);
    // Another mount is where a directory would be.
    let both = json!([{"name": "v", "mountPath": "/v"}, {"name": "w", "mountPath": "/v/d"}]);
    let mut two = volume(&["d/a"]);
    two.as_array_mut()
        .unwrap()
        .push(json!({"name": "w", "emptyDir": {}}));
    let got = refused(&two, &[both]);
    assert_eq!(
        got,
        [(
            "spec.containers[0].volumeMounts[1].mountPath".to_owned(),
            "NotSupportedOnAci"
        )]
    );
}

const CONFIG: &str = "CreateContainerConfigError";

#[test]
fn a_sub_path_by_expression_is_told_only_of_what_everybody_may_see() {
    let volumes = json!([{"name": "work", "emptyDir": {}}]);
    for (text, reason, why) in [
        ("$(HUSH)", "NotSupportedOnAci", "would see the secret"),
        (
            "$(NOBODY)/$(ELSE)",
            CONFIG,
            "missing value for ELSE, NOBODY",
        ),
        (
            "a/$(UP)",
            CONFIG,
            "unable to provision SubPath `a/../up`: must not contain '..'",
        ),
        (
            "/a",
            CONFIG,
            "error SubPath `/a` must not be an absolute path",
        ),
    ] {
        let mount = json!([{"name": "work", "mountPath": "/a", "subPathExpr": text}]);
        let got = refused(&volumes, std::slice::from_ref(&mount));
        let field = "spec.containers[0].volumeMounts[0].subPathExpr".to_owned();
        assert_eq!(got, [(field, reason)], "{text}");
        let refusals = translate(&volumes, &[mount]).unwrap_err();
        assert!(refusals.0[0].message.contains(why), "{refusals}");
    }
}

#[test]
fn two_mounts_of_one_path_are_refused_and_paths_start_at_the_root() {
    let volumes = json!([{"name": "one", "emptyDir": {}}, {"name": "two", "emptyDir": {}}]);
    let both =
        |at: &str| json!([{"name": "one", "mountPath": "/a"}, {"name": "two", "mountPath": at}]);
    for at in ["/a/", "a", "/a"] {
        let field = "spec.containers[0].volumeMounts[1].mountPath".to_owned();
        assert_eq!(
            refused(&volumes, &[both(at)]),
            [(field, "NotSupportedOnAci")]
        );
    }
    let (_, mounts) = made(&volumes, &[both("a/b/"), both("/b")]);
    assert_eq!(mounts, [["/a = 0", "/a/b = 1"], ["/a = 0", "/b = 1"]]);
}

#[test]
fn a_directory_with_a_colon_is_mounted_in_no_other() {
    let volumes = json!([{"name": "work", "emptyDir": {}}]);
    let mount = |at: &str, sub: &str| json!([{"name": "work", "mountPath": at, "subPath": sub}]);
    made(&volumes, &[mount("/a", "b:c")]);
    let got = refused(&volumes, &[mount("/a", ""), mount("/b", "b:c")]);
    let field = "spec.volumes[0].emptyDir".to_owned();
    assert_eq!(got, [(field, "NotSupportedOnAci")]);
}

#[test]
fn a_git_repository_goes_along_without_credentials() {
    let git = |repository: &str| json!([{"name": "source", "gitRepo": {"repository": repository, "revision": "", "directory": "."}}]);
    let mount = |sub: &str| json!([{"name": "source", "mountPath": "/src", "subPath": sub}]);
    for repository in [
        "https://example.com/a.git",
        "HTTP://example.com:8080/a?b=c@d",
    ] {
        let (volumes, _) = made(&git(repository), &[mount("")]);
        assert_eq!(
            volumes,
            [json!({"gitRepo": {"repository": repository, "directory": "."}})]
        );
    }
    for repository in [
        "https://robot:hush@example.com/a.git",
        "https://robot@example.com/a.git",
        "git@example.com:a.git",
        "ssh://example.com/a.git",
        "https://",
        "",
    ] {
        let refusals = translate(&git(repository), &[mount("")]).unwrap_err();
        assert_eq!(refusals.0[0].field, "spec.volumes[0].gitRepo.repository");
        assert!(!refusals.to_string().contains("hush"));
    }
    let got = refused(&git("https://example.com/a.git"), &[mount("docs")]);
    let field = "spec.containers[0].volumeMounts[0].subPath".to_owned();
    assert_eq!(got, [(field, "NotSupportedOnAci")]);
}

#[test]
fn each_part_of_a_volume_counts_against_the_limit() {
    let volumes = json!([{"name": "work", "emptyDir": {}}]);
    let mounts = |count: usize| -> Value {
        let mount = |n: usize| json!({"name": "work", "mountPath": format!("/{n}"), "subPath": format!("{n}")});
        (0..count).map(mount).collect()
    };
    assert_eq!(made(&volumes, &[mounts(20)]).0.len(), 20);
    let got = refused(&volumes, &[mounts(21)]);
    assert_eq!(got, [("spec.volumes".to_owned(), "ExceedsAciLimits")]);
}

#[test]
fn each_kind_that_aci_does_not_have_is_refused_by_its_row() {
    let mut seen = 0;
    for row in rows().filter(|row| matches!(row.linux, Verdict::Refused(_))) {
        let kind = row.field.strip_prefix("spec.volumes[].");
        let Some(kind) = kind.filter(|kind| !kind.contains(['.', ':'])) else {
            continue;
        };
        let mount = json!([{"name": "v", "mountPath": "/v"}]);
        let got = refused(&json!([{"name": "v", kind: {}}]), &[mount]);
        let field = format!("spec.volumes[0].{kind}");
        assert_eq!(got, [(field, "NotSupportedOnAci")]);
        seen += 1;
    }
    assert!(seen > 15, "{seen}");
}
