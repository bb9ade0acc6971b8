use kube::core::{ObjectList, WatchEvent};
use serde_json::{Value, json};

use super::list::Items;
use super::*;

const MOST: usize = 1 << 20;

fn with(change: impl FnOnce(&mut Value)) -> Value {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "p", "namespace": "ns", "uid": "u", "resourceVersion": "7", "generation": 2,
            "creationTimestamp": "2026-09-01T10:00:00Z", "deletionTimestamp": "2026-09-01T10:00:30Z",
            "deletionGracePeriodSeconds": 30, "generateName": "p-",
            "labels": {"a": "b"}, "annotations": {"c": "d"}, "finalizers": ["f/g"],
            "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "o"}],
        },
        "spec": {
            "nodeName": "node",
            "initContainers": [{"name": "i", "image": "im", "restartPolicy": "Always"}],
            "containers": [{
                "name": "c", "image": "im", "tty": true, "command": ["sh"], "env": [{"name": "A", "value": "x"}],
                "ports": [{"name": "http", "containerPort": 80}],
                "readinessProbe": {"httpGet": {"port": "http"}},
            }],
            "volumes": [{"name": "v", "emptyDir": {}}],
        },
        "status": {"phase": "Running", "podIP": "10.0.0.4"},
    });
    change(&mut pod);
    pod
}

fn read(pod: &Value) -> SentPod<MOST> {
    serde_json::from_str(&pod.to_string()).unwrap()
}

#[test]
fn an_ordinary_pod_is_read_whole() {
    let pod = with(|pod| pod["metadata"]["annotations"]["long"] = json!("x".repeat(8 << 10)));
    let sent = read(&pod);
    assert_eq!(sent.excess, None);
    assert_eq!(sent.pod, serde_json::from_value(pod.clone()).unwrap());
    assert!((8 << 10..32 << 10).contains(&sent.bytes), "{}", sent.bytes);
    let managed = with(|pod| {
        pod["metadata"]["managedFields"] = json!([{"manager": "m", "fieldsV1": {"f:spec": {}}}]);
    });
    assert_eq!(read(&managed).pod.metadata.managed_fields, None);
}

/// A pod of a megabyte and a half, of whatever it is.
#[test]
fn what_is_short_and_takes_much_is_left_out() {
    let many = |n: usize, one: fn(usize) -> Value| (0..n).map(one).collect::<Value>();
    let cases: [(&str, &str, Value); 6] = [
        (
            "/spec/volumes",
            "spec.volumes",
            many(60_000, |n| json!({"name": format!("v{n}")})),
        ),
        (
            "/spec/containers/0/env",
            "spec.containers[].env",
            many(60_000, |n| json!({"name": format!("A{n}")})),
        ),
        (
            "/spec/initContainers/0/env",
            "spec.containers[].env",
            many(60_000, |n| json!({"name": format!("A{n}")})),
        ),
        (
            "/spec/volumes",
            "spec.volumes[].projected.sources",
            json!([{"name": "v", "projected": {"sources": many(50_000, |_| json!({"secret": {"name": "s"}}))}}]),
        ),
        (
            "/spec/containers",
            "spec.containers",
            many(20_000, |n| json!({"name": format!("c{n}"), "image": "i"})),
        ),
        (
            "/spec/imagePullSecrets",
            "spec.imagePullSecrets",
            many(300_000, |_| json!({})),
        ),
    ];
    for (at, field, value) in cases {
        let pod = with(|pod| {
            let (parent, name) = at.rsplit_once('/').unwrap();
            pod.pointer_mut(parent).unwrap()[name] = value.clone();
        });
        let sent = read(&pod);
        let excess = sent.excess.unwrap();
        assert_eq!(excess.field, field);
        assert!(excess.bytes > MOST && sent.bytes == excess.bytes, "{at}");
        // What statuses are made of is there.
        let spec = sent.pod.spec.as_ref().unwrap();
        assert!(
            spec.volumes.is_none() && spec.image_pull_secrets.is_none(),
            "{at}"
        );
        assert!(spec.containers.len() <= CONTAINERS);
        assert!(
            spec.containers
                .iter()
                .all(|container| container.env.is_none())
        );
        let meta = &sent.pod.metadata;
        assert_eq!(
            (meta.uid.as_deref(), &meta.labels),
            (Some("u"), &None),
            "{at}"
        );
        assert_eq!(spec.node_name.as_deref(), Some("node"));
        assert_eq!(
            sent.pod.status.as_ref().unwrap().phase.as_deref(),
            Some("Running")
        );
        if field != "spec.containers" {
            let container = &spec.containers[0];
            assert!(container.readiness_probe.is_some() && container.ports.is_some());
            assert_eq!(container.tty, Some(true));
        }
    }
}

#[test]
fn it_is_read_from_lists_and_watches_and_is_a_pod() {
    type Sent = SentPod<MOST>;
    let pod = with(|_| {});
    let list = json!({"kind": "PodList", "apiVersion": "v1", "metadata": {"continue": "c"}, "items": [pod, pod]});
    let list: ObjectList<Sent> = serde_json::from_str(&list.to_string()).unwrap();
    assert_eq!(list.items.len(), 2);
    assert_eq!(list.metadata.continue_.as_deref(), Some("c"));
    // The API server writes the type first.
    let event = format!(r#"{{"type":"ADDED","object":{pod}}}"#);
    let event: WatchEvent<Sent> = serde_json::from_str(&event).unwrap();
    assert!(
        matches!(event, WatchEvent::Added(it) if it.meta().resource_version.as_deref() == Some("7"))
    );
    assert_eq!(
        Sent::url_path(&(), Some("ns")),
        Pod::url_path(&(), Some("ns"))
    );
    let unread: Unread<Pod> = serde_json::from_str(&with(|_| {}).to_string()).unwrap();
    assert_eq!(unread.meta().name, None);
}

#[test]
fn a_list_is_read_item_by_item_in_whatever_parts_it_comes() {
    let odd = json!({"name": "\"}{][\\", "list": [{"a": {}}, []], "n": null});
    let list = json!({
        "kind": "List", "metadata": {"continue": "[{", "x": {"y": [1, {"z": 2}]}}, "items": [odd, {}, {"a": 1}], "z": 1,
    });
    let text = list.to_string();
    for length in [1, 2, 3, 7, 1_000] {
        let (mut items, mut found) = (Items::default(), Vec::<Value>::new());
        for part in text.as_bytes().chunks(length) {
            let mut take = |text: &[u8]| {
                found.push(serde_json::from_slice(text)?);
                Ok(())
            };
            items.read(part, &mut take).unwrap();
        }
        items.end().unwrap();
        assert_eq!(Value::from(found), list["items"]);
    }
    for (broken, at) in [("{}", ""), ("{\"items\":[{}", ""), ("{\"items\":[{]}", "x")] {
        let mut items = Items::default();
        let read = items.read(broken.as_bytes(), &mut |text| {
            serde_json::from_slice::<Value>(text).map(drop)
        });
        assert_eq!(read.is_err(), !at.is_empty(), "{broken}");
        assert!(read.is_err() || items.end().is_err(), "{broken}");
    }
    let empty = r#"{"kind":"PodList","items":[]}"#;
    let mut items = Items::default();
    items.read(empty.as_bytes(), &mut |_| Ok(())).unwrap();
    items.end().unwrap();
}

#[test]
fn null_is_nothing() {
    let nothing = r#"{"metadata":null,"spec":null,"status":null}"#;
    let sent: SentPod<MOST> = serde_json::from_str(nothing).unwrap();
    assert_eq!((sent.pod, sent.excess), (Pod::default(), None));
    let pod = with(|pod| {
        pod["metadata"]["annotations"] = json!({"long": "x".repeat(2 << 20)});
        pod["spec"]["volumes"] = Value::Null;
        pod["spec"]["initContainers"] = Value::Null;
    });
    let sent = read(&pod);
    assert!(sent.excess.is_some());
    assert_eq!(sent.pod.spec.unwrap().init_containers, Some(Vec::new()));
}
