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
fn paths_of_an_empty_dir_that_see_each_other_are_refused() {
    let volumes = json!([{"name": "d", "emptyDir": {}}, {"name": "e", "emptyDir": {}}]);
    let mount = |volume: &str, at: &str, sub: &str| json!({"name": volume, "mountPath": at, "subPath": sub});
    let field = |n: usize| vec![(format!("spec.volumes[{n}].emptyDir"), "NotSupportedOnAci")];
    let table = [
        (vec![mount("d", "/a", "a"), mount("d", "/b", "")], field(0)),
        (
            vec![mount("e", "/a", "a"), mount("e", "/b", "a/b")],
            field(1),
        ),
    ];
    for (mounts, expected) in table {
        let (one, two) = (json!([mounts[0]]), json!([mounts[1]]));
        assert_eq!(refused(&volumes, &[one, two]), expected);
    }
    let apart = json!([
        mount("d", "/a", "a"),
        mount("d", "/b", "ab"),
        mount("e", "/c", "a/b"),
        mount("e", "/d", "a/c")
    ]);
    assert_eq!(made(&volumes, &[apart]).0.len(), 4);
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
    // What lies deeper than the mount still has no place in ACI's flat volumes.
    let got = refused(&volumes, &[sub("config", "top")]);
    let item = "spec.volumes[0].configMap.items[2]".to_owned();
    assert_eq!(got, [(item, "NotSupportedOnAci")]);
}

#[test]
fn a_sub_path_by_expression_is_told_only_of_what_everybody_may_see() {
    let volumes = json!([{"name": "work", "emptyDir": {}}]);
    for text in ["$(NOBODY)", "$(HUSH)", "a/$(UP)", "/a"] {
        let mount = json!([{"name": "work", "mountPath": "/a", "subPathExpr": text}]);
        let got = refused(&volumes, &[mount]);
        let field = "spec.containers[0].volumeMounts[0].subPathExpr".to_owned();
        assert_eq!(got, [(field, "NotSupportedOnAci")], "{text}");
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
        let got = refused(&json!([{"name": "v", kind: {}}]), &[json!([])]);
        let field = format!("spec.volumes[0].{kind}");
        assert_eq!(got, [(field, "NotSupportedOnAci")]);
        seen += 1;
    }
    assert!(seen > 15, "{seen}");
}
