//! How much fits into a group.

use serde_json::{Value, json};

use super::{c0, refused};
use crate::api::Os;
use crate::translate::testing::{HELLO, IIS, defaults, owner, pod, resolved};
use crate::translate::{GroupDefaults, Largest, container_group};

fn containers(count: usize) -> Value {
    (0..count).map(|n| json!({"name": format!("c{n}"), "image": "i", "resources": {"limits": {"cpu": "100m"}}})).collect()
}

#[test]
fn groups_have_limits() {
    let exceeds = |pointer: &str, value: Value, os: Os| {
        let text = if os == Os::Linux { HELLO } else { IIS };
        refused(text, &[(pointer, value)], os)
            .into_iter()
            .map(|(_, reason)| reason)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        exceeds("/spec/containers", containers(60), Os::Linux),
        ["ExceedsAciLimits"; 0]
    );
    assert_eq!(
        exceeds("/spec/containers", containers(61), Os::Linux),
        ["ExceedsAciLimits"]
    );
    assert_eq!(
        exceeds("/spec/containers", containers(2), Os::Windows),
        ["ExceedsAciLimits"]
    );
    assert_eq!(
        exceeds("/spec/containers", containers(0), Os::Linux),
        ["NotSupportedOnAci"]
    );
    assert_eq!(
        exceeds(
            &c0("resources"),
            json!({"limits": {"cpu": "32"}}),
            Os::Linux
        ),
        ["ExceedsAciLimits"]
    );
    assert_eq!(
        exceeds(
            &c0("resources"),
            json!({"limits": {"memory": "241G"}}),
            Os::Linux
        ),
        ["ExceedsAciLimits"]
    );
    let volumes: Vec<Value> = (0..21)
        .map(|n| json!({"name": format!("volume-{n}"), "emptyDir": {}}))
        .collect();
    let mounts: Vec<Value> = (0..21)
        .map(|n| json!({"name": format!("volume-{n}"), "mountPath": format!("/{n}")}))
        .collect();
    let changes = [
        ("/spec/volumes", json!(volumes)),
        (&*c0("volumeMounts"), json!(mounts)),
    ];
    assert_eq!(
        refused(HELLO, &changes, Os::Linux),
        [("spec.volumes".to_owned(), "ExceedsAciLimits")]
    );
}

#[test]
fn a_region_may_take_less() {
    let refusal = |cpu: &str, largest: (f64, f64)| {
        let limits = json!({"limits": {"cpu": cpu, "memory": "4G"}});
        let pod = pod(HELLO, &[(&c0("resources"), limits)]);
        let (cpu, memory_gb) = largest;
        let defaults = GroupDefaults {
            largest: Some(Largest { cpu, memory_gb }),
            ..defaults(Os::Linux)
        };
        let done = container_group(&pod, &defaults, &owner(&pod), &resolved());
        done.err().map(|it| it.to_string()).unwrap_or_default()
    };
    assert_eq!(refusal("4", (4.0, 16.0)), "");
    assert_eq!(
        refusal("4010m", (4.0, 16.0)),
        "spec.containers: the containers ask for 4.01 cores and 4 GB together; a container group of this region has at most 4 cores and 16 GB"
    );
    assert!(refusal("1", (4.0, 3.5)).contains("at most 4 cores and 3.5 GB"));
    // Where a region has more than ACI says in general, what ACI says holds.
    assert!(refusal("32", (64.0, 512.0)).contains("a container group has at most 31 cores"));
    assert!(refusal("32", (64.0, 16.0)).contains("this region has at most 31 cores and 16 GB"));
}
