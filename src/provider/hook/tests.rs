use serde_json::{Value, json};

use super::*;

fn pod(hook: &Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "p"},
        "spec": {"containers": [
            {"name": "c", "ports": [{"name": "web", "containerPort": 8080}], "lifecycle": {"preStop": hook}},
            {"name": "none"},
            {"name": "ended", "lifecycle": {"preStop": {"sleep": {"seconds": 1}}}},
        ]},
        "status": {"podIP": "10.0.0.4"},
    }))
    .unwrap()
}

fn pre_stop(pod: &Pod, containers: &[String]) -> Vec<(String, Result<Hook, String>)> {
    let own = IpAddr::from([10, 9, 9, 9]);
    hooks(pod, containers, own, |hooks| hooks.pre_stop.as_ref())
}

#[test]
fn a_hook_is_read_as_a_kubelet_reads_it() {
    let get = |url: &str| {
        Ok(Hook::Get {
            url: url.to_owned(),
            headers: Vec::new(),
        })
    };
    for (given, wanted) in [
        (
            json!({"exec": {"command": ["sh", "-c", "sync"]}}),
            Ok(Hook::Exec(vec!["sh".into(), "-c".into(), "sync".into()])),
        ),
        (
            json!({"sleep": {"seconds": 5}}),
            Ok(Hook::Sleep(Duration::from_secs(5))),
        ),
        (
            json!({"sleep": {"seconds": -5}}),
            Ok(Hook::Sleep(Duration::ZERO)),
        ),
        (
            json!({"httpGet": {"path": "/bye", "port": "web"}}),
            get("http://10.0.0.4:8080/bye"),
        ),
        (
            json!({"httpGet": {"port": 9, "scheme": "HTTPS", "host": "10.0.0.4"}}),
            get("https://10.0.0.4:9/"),
        ),
        (
            json!({"httpGet": {"port": "99"}}),
            get("http://10.0.0.4:99/"),
        ),
        // Nobody else is asked from here.
        (
            json!({"httpGet": {"port": 80, "host": "169.254.169.254"}}),
            Err("its httpGet.host is not the pod's address".to_owned()),
        ),
        (
            json!({"httpGet": {"port": "nobody"}}),
            Err("its httpGet.port is no port of the container".to_owned()),
        ),
        (
            json!({"httpGet": {"port": 70000}}),
            Err("its httpGet.port is no port of the container".to_owned()),
        ),
        (
            json!({}),
            Err("it has none of exec, httpGet and sleep".to_owned()),
        ),
    ] {
        let running = ["c".to_owned(), "none".to_owned()];
        let hooks = pre_stop(&pod(&given), &running);
        assert_eq!(hooks, [("c".to_owned(), wanted)], "{given}");
    }
}

#[test]
fn a_hook_asks_no_service_of_the_operators_machine() {
    for address in ["169.254.169.254", "168.63.129.16", "::ffff:169.254.169.254"] {
        let mut pod =
            pod(&json!({"httpGet": {"port": 80, "path": "/metadata/identity/oauth2/token"}}));
        pod.status.as_mut().unwrap().pod_ip = Some(address.to_owned());
        let hooks = pre_stop(&pod, &["c".to_owned()]);
        let why = hooks[0].1.as_ref().unwrap_err();
        assert_eq!(why, &format!("{address} is no address of a pod"));
    }
}

#[test]
fn the_grace_period_ends_when_the_api_server_says() {
    let mut pod = pod(&json!({"sleep": {"seconds": 5}}));
    let now = chrono::DateTime::parse_from_rfc3339("2026-09-01T10:00:00Z").unwrap();
    assert_eq!(
        grace_left(&pod, now.into()),
        Duration::from_secs(30),
        "it ends by itself"
    );
    for (ends, left) in [("10:00:30", 30), ("09:59:30", 0)] {
        let ends = json!(format!("2026-09-01T{ends}Z"));
        pod.metadata.deletion_timestamp = Some(serde_json::from_value(ends).unwrap());
        assert_eq!(grace_left(&pod, now.into()), Duration::from_secs(left));
    }
}
