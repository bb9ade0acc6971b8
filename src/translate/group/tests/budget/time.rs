//! Time in proportion to the pod. What counts is the time that the processor had for it: other tests run beside these.

use std::time::Duration;

use serde_json::{Value, json};

use super::c0;
use crate::api::Os;
use crate::translate::testing::{HELLO, defaults, owner, pod, resolved};
use crate::translate::{GroupDefaults, container_group};

/// Processor time of this thread until now; `None` where the system does not tell (Linux does).
fn used() -> Option<Duration> {
    // Brings the count up to date.
    std::thread::yield_now();
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanoseconds = text.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(nanoseconds))
}

/// Only other systems may leave the time untold.
fn untold() {
    assert_ne!(std::env::consts::OS, "linux", "no processor time is told");
}

/// What it takes to translate the Linux fixture with these changes.
fn time(changes: &[(String, Value)]) -> Option<Duration> {
    let changes: Vec<(&str, Value)> = changes
        .iter()
        .map(|(at, value)| (at.as_str(), value.clone()))
        .collect();
    let pod = pod(HELLO, &changes);
    // In a subnet, where name servers count.
    let defaults = GroupDefaults {
        subnet_id: Some("s".to_owned()),
        ..defaults(Os::Linux)
    };
    let (owner, resolved) = (owner(&pod), resolved());
    let began = used()?;
    let _ = container_group(&pod, &defaults, &owner, &resolved);
    Some(used()?.saturating_sub(began))
}

/// How much longer four times as many take: about 4 when each costs the same, 16 when each costs what came before it.
fn growth(make: impl Fn(usize) -> Vec<(String, Value)>, n: usize) -> Option<f64> {
    let (short, long) = (make(n), make(4 * n));
    let mut least: Option<(Duration, Duration)> = None;
    for _ in 0..3 {
        let (short, long) = (time(&short)?, time(&long)?);
        least = Some(least.map_or((short, long), |(s, l)| (s.min(short), l.min(long))));
    }
    let (short, long) = least?;
    Some(long.as_secs_f64() / short.as_secs_f64().max(1e-3))
}

#[test]
fn time_grows_with_the_pod_and_not_with_its_square() {
    type Case = (&'static str, usize, fn(usize) -> Vec<(String, Value)>);
    let cases: [Case; 9] = [
        ("variables", 3_000, |n| {
            let one = |n| json!({"name": format!("A{n}"), "value": "x"});
            vec![(c0("env"), (0..n).map(one).collect())]
        }),
        ("names that ACI does not take", 3_000, |n| {
            let one = |n| json!({"name": format!("A{n}_"), "value": "x"});
            vec![(c0("env"), (0..n).map(one).collect())]
        }),
        ("references", 3_000, |n| {
            let one = |n| json!({"name": format!("A{n}"), "value": "$(A1)"});
            vec![(c0("env"), (0..n).map(one).collect())]
        }),
        ("parentheses that nobody closes", 30_000, |n| {
            vec![(c0("command"), json!(["$(".repeat(n)]))]
        }),
        ("ports", 4_000, |n| {
            let one = |n| json!({"containerPort": n + 1, "protocol": "UDP"});
            vec![(c0("ports"), (0..n).map(one).collect())]
        }),
        ("mounts by expression", 500, |n| {
            let one = |n| json!({"name": "d", "mountPath": format!("/{n}"), "subPathExpr": "a"});
            let secret = |n| json!({"name": format!("A{n}"), "valueFrom": {"secretKeyRef": {"name": "gone", "key": format!("{n}"), "optional": true}}});
            vec![
                (c0("env"), (0..n).map(secret).collect()),
                (
                    "/spec/volumes/-".to_owned(),
                    json!({"name": "d", "emptyDir": {}}),
                ),
                (c0("volumeMounts"), (0..n).map(one).collect()),
            ]
        }),
        ("pull secrets", 10_000, |n| {
            let all = json!(vec![json!({"name": "s"}); n]);
            vec![("/spec/imagePullSecrets".to_owned(), all)]
        }),
        ("options of DNS", 4_000, |n| {
            let one = |n| json!({"name": format!("o{n}")});
            let options: Value = (0..n).map(one).collect();
            vec![("/spec/dnsConfig".to_owned(), json!({"options": options}))]
        }),
        ("containers", 2_000, |n| {
            let one = |n| json!({"name": format!("c{n}"), "image": format!("r{n}.io/i")});
            vec![("/spec/containers".to_owned(), (0..n).map(one).collect())]
        }),
    ];
    for (what, n, make) in cases {
        let Some(growth) = growth(make, n) else {
            return untold();
        };
        println!("{what}: {growth:.1}");
        assert!(growth < 9.0, "{what}: {growth}");
    }
}

/// 15 seconds once, when each variable looked through those before it.
#[test]
fn sixty_thousand_variables_take_no_time() {
    let one = |n| json!({"name": format!("A{n}")});
    let changes = [(c0("env"), (0..60_000).map(one).collect())];
    let Some(took) = time(&changes) else {
        return untold();
    };
    println!("{took:?}");
    // 50 ms when it is optimised; a debug build takes ten times as long.
    assert!(took < Duration::from_secs(3), "{took:?}");
}
