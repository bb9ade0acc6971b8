use super::*;
use serde_json::{Value, json};

fn usages(rows: &Value) -> Vec<Usage> {
    let usage = |row: &Value| {
        let json = json!({"name": {"value": row[0]}, "currentValue": row[1], "limit": row[2]});
        serde_json::from_value(json).unwrap()
    };
    rows.as_array().unwrap().iter().map(usage).collect()
}

/// A container group of one pod, with so many cores in two containers.
fn group(node: &str, pod: &str, cores: f64) -> ContainerGroup {
    let container = |name: &str| json!({"name": name, "properties": {"image": "i", "resources": {"requests": {"cpu": cores / 2.0, "memoryInGB": 1.0}}}});
    serde_json::from_value(json!({
        "location": "East US",
        "tags": {
            "vkc-cluster": "cluster", "vkc-connector": "connector", "vkc-node": node,
            "vkc-namespace": "default", "vkc-pod": pod, "vkc-uid": pod,
        },
        "properties": {"osType": "Linux", "containers": [container("a"), container("b")]},
    }))
    .unwrap()
}

fn look(
    quota: &Value,
    groups: &[ContainerGroup],
    live: &[(&str, i64)],
    spot: bool,
) -> Option<Room> {
    let nodes = BTreeMap::from([
        (Os::Linux, "linux".to_owned()),
        (Os::Windows, "windows".to_owned()),
    ]);
    let pods = live.iter().map(|(uid, asks)| ((*uid).to_owned(), *asks));
    let scope = Scope {
        cluster: "cluster",
        connector: "connector",
        nodes: &nodes,
        pods: &pods.collect(),
        region: "eastus",
        spot,
    };
    room(&usages(quota), groups, &scope)
}

fn amounts(millicores: impl Into<Option<i64>>, pods: impl Into<Option<i64>>) -> Amounts {
    Amounts {
        millicores: millicores.into(),
        pods: pods.into(),
    }
}

#[test]
fn what_others_leave_is_allocatable_and_what_we_use_is_ours() {
    let quota = |groups: u32, cores: f64| {
        json!([
            ["ContainerGroups", groups, 100],
            ["StandardCores", cores, 10],
            ["StandardSpotCores", 0, 4]
        ])
    };
    let ours = [
        group("linux", "a", 2.0),
        group("windows", "b", 1.5),
        group("linux", "ended", 1.0),
        group("else", "c", 1.0),
    ];
    let full: &[(&str, i64)] = &[("a", 2_000), ("b", 1_500)];
    let (none, all) = (&ours[..0], &ours[..]);
    for (quota, groups, live, spot, expected) in [
        // Nobody is there: cores bound the pods, because each has one at least.
        (quota(0, 0.0), none, &[][..], false, [(10_000, 10); 3]),
        // Others have four cores in three groups.
        (quota(3, 4.0), none, &[], false, [(6_000, 6); 3]),
        // The same, and our two: 2.5 cores are free.
        (
            quota(5, 7.5),
            &ours[..2],
            full,
            false,
            [(4_500, 3), (4_000, 3), (6_000, 4)],
        ),
        // A pod that asks for less than its group has costs the difference.
        (
            quota(5, 7.5),
            &ours[..2],
            &[("a", 250), ("b", 0)],
            false,
            [(2_750, 3), (2_500, 3), (6_000, 4)],
        ),
        // A pod that has ended and another connector's count as others; one without a group is the scheduler's alone.
        (
            quota(7, 8.0),
            all,
            full,
            false,
            [(4_000, 3), (3_500, 3), (5_500, 4)],
        ),
        (quota(3, 4.0), none, full, false, [(6_000, 6); 3]),
        // Groups can be scarcer than cores.
        (quota(99, 1.0), none, &[], false, [(9_000, 1); 3]),
        // Somebody has lowered the limit below what is used.
        (quota(9, 12.0), &ours[..1], full, false, [(0, 0); 3]),
        (
            quota(9, 11.0),
            &ours[..1],
            full,
            false,
            [(1_000, 0), (0, 0), (1_000, 0)],
        ),
        // Spot has cores of its own.
        (quota(3, 10.0), none, &[], true, [(4_000, 4); 3]),
    ] {
        let room = look(&quota, groups, live, spot).unwrap();
        let [linux, windows, all] = expected.map(|(millicores, pods)| amounts(millicores, pods));
        let expected = Room {
            nodes: BTreeMap::from([(Os::Linux, linux), (Os::Windows, windows)]),
            all,
        };
        assert_eq!(room, expected, "{quota} {live:?}");
    }
}

#[test]
fn a_pod_asks_for_what_the_scheduler_counts() {
    let container = |cpu: Option<&str>, policy: Option<&str>| json!({"name": "c", "image": "i", "restartPolicy": policy, "resources": {"requests": cpu.map(|cpu| json!({"cpu": cpu}))}});
    let plain = |cpu| container(Some(cpu), None);
    for (containers, inits, overhead, asked) in [
        (vec![container(None, None)], vec![], Value::Null, 0),
        (vec![plain("250m"), plain("1")], vec![], Value::Null, 1_250),
        (
            vec![plain("100m")],
            vec![plain("2"), plain("1")],
            Value::Null,
            2_000,
        ),
        (
            vec![plain("1")],
            vec![container(Some("500m"), Some("Always"))],
            Value::Null,
            1_500,
        ),
        (
            vec![plain("1")],
            vec![plain("500m")],
            json!({"cpu": "250m"}),
            1_250,
        ),
        (vec![plain("100u")], vec![], Value::Null, 1),
    ] {
        let spec = json!({"containers": containers, "initContainers": inits, "overhead": overhead});
        let pod = serde_json::from_value(json!({"spec": spec})).unwrap();
        assert_eq!(request(&pod), asked, "{spec}");
    }
    assert_eq!(request(&Pod::default()), 0);
}

#[test]
fn a_quota_that_azure_does_not_name_bounds_nothing() {
    assert_eq!(look(&json!([["K80Cores", 0, 0]]), &[], &[], false), None);
    assert_eq!(
        look(&json!([["StandardCores", null, 10]]), &[], &[], false),
        None
    );
    let groups = look(&json!([["ContainerGroups", 1, 5]]), &[], &[], false).unwrap();
    assert_eq!(groups.all, amounts(None, 4));
    let cores = look(&json!([["StandardCores", 1, 5]]), &[], &[], false).unwrap();
    assert_eq!(cores.all, amounts(4_000, 4));
}

#[test]
fn of_two_looks_the_lower_counts() {
    let at = |cores: u32| look(&json!([["StandardCores", cores, 10]]), &[], &[], false).unwrap();
    for (before, now, lower) in [(0, 3, 3), (3, 0, 3), (3, 3, 3)] {
        assert_eq!(at(before).lower(&at(now)), at(lower), "{before} {now}");
    }
}

#[test]
fn the_spec_is_the_upper_bound() {
    let capacity = |cpu: &str| {
        let pairs = [("cpu", cpu), ("memory", "400Gi"), ("pods", "20")];
        BTreeMap::from(pairs.map(|(name, amount)| (name.to_owned(), amount.to_owned())))
    };
    for (cpu, left, shown_cpu, shown_pods) in [
        ("100", amounts(6_000, 6), "6", "6"),
        ("100", amounts(6_500, 30), "6500m", "20"),
        ("6500m", amounts(6_500, 20), "6500m", "20"),
        ("4", amounts(6_000, None), "4", "20"),
        ("100", amounts(None, None), "100", "20"),
        ("100", amounts(0, 0), "0", "0"),
    ] {
        let shown = left.bound(capacity(cpu));
        assert_eq!(
            (shown["cpu"].as_str(), shown["pods"].as_str()),
            (shown_cpu, shown_pods),
            "{cpu} {left:?}"
        );
        assert_eq!(shown["memory"], "400Gi", "memory has no quota");
    }
    let region = |quota| Region {
        quota,
        ..Region::default()
    };
    let shown = |quota| region(quota).allocatable(Os::Linux, capacity("8"));
    assert_eq!(shown(Quota::NotAsked), None, "the Node stays as it is");
    assert_eq!(shown(Quota::Untold), Some(capacity("8")));
    let room = look(&json!([["StandardCores", 7, 10]]), &[], &[], false).unwrap();
    assert_eq!(shown(Quota::Left(room)).unwrap()["cpu"], "3");
}

#[test]
fn the_largest_group_of_the_region() {
    let row = |os: &str, address: &str, gpu: &str, cpu: Value, memory: Value| {
        let json = json!({"osType": os, "ipAddressType": address, "gpu": gpu, "capabilities": {"maxCpu": cpu, "maxMemoryInGB": memory, "maxGpuCount": 0}});
        serde_json::from_value::<Capability>(json).unwrap()
    };
    let rows = [
        row("Linux", "Public", "None", json!(4.0), json!(16.0)),
        row("linux", "Private", "none", json!(31), json!(240)),
        row("Linux", "Public", "V100", json!(24), json!(448)),
        row("Windows", "None", "None", json!(2), json!(8)),
    ];
    let of = |rows: &[Capability], subnet| {
        let largest = largest(rows, subnet);
        let shown = |os| largest.get(&os).map(|it: &Largest| (it.cpu, it.memory_gb));
        (shown(Os::Linux), shown(Os::Windows))
    };
    assert_eq!(of(&rows, false), (Some((4.0, 16.0)), Some((2.0, 8.0))));
    assert_eq!(of(&rows, true), (Some((31.0, 240.0)), Some((2.0, 8.0))));
    // What is recorded: Linux with GPUs alone says nothing of groups without.
    assert_eq!(of(&rows[2..3], false), (None, None));
    let silent = [row("Linux", "Public", "None", Value::Null, json!(16))];
    assert_eq!(of(&silent, false), (None, None));
}
