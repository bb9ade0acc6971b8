//! Who a program runs as and what it may.

use serde_json::{Value, json};

use crate::place::{Place, with};

/// A line of `/proc/self/status`.
fn status<'a>(log: &'a str, name: &str) -> &'a str {
    let line = log.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name} in {log}"))
        .trim_start_matches(':')
        .trim()
}

#[tokio::test]
async fn a_security_context_is_kept() {
    let place = Place::start().await;
    for (name, context, check) in [
        (
            "plain",
            json!({}),
            (|log: &str, caps: u64| {
                assert!(log.contains("uid=0(root) gid=0(root)"), "{log}");
                assert_eq!(status(log, "NoNewPrivs"), "0");
                assert_eq!(caps & 1, 1);
            }) as fn(&str, u64),
        ),
        (
            "user",
            json!({"runAsUser": 1000, "runAsGroup": 7, "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}),
            |log, caps| {
                assert!(log.contains("uid=1000(app) gid=7"), "{log}");
                assert_eq!(status(log, "NoNewPrivs"), "1");
                assert_eq!(caps, 0);
            },
        ),
        (
            "more",
            json!({"capabilities": {"add": ["NET_ADMIN"], "drop": ["CHOWN"]}}),
            // CAP_NET_ADMIN is 12, CAP_CHOWN is 0.
            |_, caps| assert_eq!(caps & ((1 << 12) | 1), 1 << 12),
        ),
        ("privileged", json!({"privileged": true}), |_, caps| {
            assert_ne!(caps & (1 << 21), 0, "CAP_SYS_ADMIN");
        }),
    ] {
        let body = with(
            "id; cat /proc/self/status",
            "Never",
            json!({"securityContext": context}),
        );
        let group = place.ended(name, &body).await;
        assert_eq!(
            group["properties"]["instanceView"]["state"],
            Value::from("Succeeded"),
            "{name}: {group:#}"
        );
        let log = place.log(name, "c").await;
        let caps = u64::from_str_radix(status(&log, "CapBnd"), 16).unwrap();
        check(&log, caps);
    }
    place.stop().await;
}
