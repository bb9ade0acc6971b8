//! Fixtures of the tests: pods as a real API server returns them, groups as ACI answered.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use super::{GroupDefaults, Image, Object, Ownership, PodKey, Reference, Resolved};
use crate::api::{Os, Shim, ShimMode};
use crate::azure::model::{ContainerGroup, SecretBytes};

pub(super) const HELLO: &str = include_str!("testdata/aci-helloworld.json");
pub(super) const IIS: &str = include_str!("testdata/nanoserver-iis.json");
pub(super) const PENDING: &str = include_str!("testdata/group-pending.json");
pub(super) const RUNNING: &str = include_str!("testdata/group-running.json");
pub(super) const MOUNT_FAILED: &str = include_str!("testdata/group-mount-failed.json");
pub(super) const TERMINATED: &str = include_str!("testdata/group-terminated-never.json");

/// `text` as JSON, with `changes` (JSON pointer, value) made; a pointer's parent must exist.
pub(super) fn changed(text: &str, changes: &[(&str, Value)]) -> Value {
    let mut value: Value = serde_json::from_str(text).unwrap();
    for (pointer, new) in changes {
        let (parent, member) = pointer.rsplit_once('/').unwrap();
        let parent = value
            .pointer_mut(parent)
            .unwrap_or_else(|| panic!("no {parent}"));
        match parent {
            Value::Array(items) if member == "-" => items.push(new.clone()),
            Value::Array(items) => items[member.parse::<usize>().unwrap()] = new.clone(),
            other => other[member] = new.clone(),
        }
    }
    value
}

pub(super) fn pod(text: &str, changes: &[(&str, Value)]) -> Pod {
    serde_json::from_value(changed(text, changes)).unwrap()
}

pub(super) fn group(text: &str, changes: &[(&str, Value)]) -> ContainerGroup {
    serde_json::from_value(changed(text, changes)).unwrap()
}

pub(crate) fn defaults(os: Os) -> GroupDefaults {
    GroupDefaults {
        public_ip: true,
        // What becomes of pods where the shim may be, its own tests say.
        shim: Shim {
            mode: ShimMode::Never,
            ..Shim::default()
        },
        ..GroupDefaults::new(os, "eastus".to_owned())
    }
}

pub(super) fn owner(pod: &Pod) -> Ownership {
    Ownership {
        cluster_uid: "c1".to_owned(),
        connector_uid: "k1".to_owned(),
        node: pod
            .spec
            .as_ref()
            .and_then(|spec| spec.node_name.clone())
            .unwrap_or_default(),
        key: PodKey::of(pod).unwrap(),
        restarts: 0,
        mark: None,
    }
}

fn entries(entries: &[(&str, &[u8])]) -> BTreeMap<String, SecretBytes> {
    let entry =
        |(key, content): &(&str, &[u8])| ((*key).to_owned(), SecretBytes::new(content.to_vec()));
    entries.iter().map(entry).collect()
}

/// What an image says about itself.
fn image(entry_point: &[&str], command: &[&str], user: &str, working_dir: &str) -> Arc<Image> {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    Arc::new(Image {
        entry_point: words(entry_point),
        command: words(command),
        user: user.to_owned(),
        working_dir: working_dir.to_owned(),
    })
}

/// A Secret, or a `ConfigMap` without binary data.
pub(super) fn object(data: &[(&str, &[u8])]) -> Arc<Object> {
    Arc::new(Object {
        data: entries(data),
        ..Object::default()
    })
}

/// What the service account's volume of the fixtures refers to, and what tests refer to: there are the Secret `s` and the
/// `ConfigMap`s `c` and `dotted`, and neither a Secret nor a `ConfigMap` `gone`.
pub(super) fn resolved() -> Resolved {
    let token = |audience: Option<&str>, expiration_seconds| Reference::ServiceAccountToken {
        audience: audience.map(str::to_owned),
        expiration_seconds,
    };
    let config_map = |name: &str| Reference::ConfigMap(name.to_owned());
    let secret = |name: &str| Reference::Secret(name.to_owned());
    let mixed = Object {
        data: entries(&[("A", b"1"), ("B", b"two"), ("0", b"zero")]),
        binary: entries(&[("logo", b"\xff\xfe")]),
        ..Object::default()
    };
    let some = |data: &[(&str, &[u8])]| Some(object(data));
    let objects = [
        (token(None, Some(3607)), some(&[("token", b"t0ken")])),
        (
            token(Some("vault"), Some(600)),
            some(&[("token", b"v4ult")]),
        ),
        (
            config_map("kube-root-ca.crt"),
            some(&[("ca.crt", b"-----BEGIN")]),
        ),
        (config_map("c"), Some(Arc::new(mixed))),
        (config_map("dotted"), some(&[("a.b", b"1")])),
        (config_map("gone"), None),
        (
            secret("s"),
            some(&[("USER", b"u"), ("PASS", b"hush"), ("EMPTY", b"")]),
        ),
        (secret("raw"), some(&[("key", b"\xff")])),
        (
            secret("storage"),
            some(&[
                ("azurestorageaccountname", b"a"),
                ("azurestorageaccountkey", b"aGk="),
            ]),
        ),
        (secret("gone"), None),
    ];
    Resolved {
        node_ip: Some("10.1.2.3".to_owned()),
        objects: objects.into_iter().collect(),
        services: Some(Arc::from([])),
        kubernetes: Some(None),
        images: [
            ("e", image(&["/entry", "$(HOME)"], &["cmd"], "", "/srv")),
            ("bare", image(&[], &[], "", "")),
            ("numeric", image(&["a"], &[], "1001", "")),
            ("both", image(&["a"], &[], "65532:65533", "/")),
            ("named", image(&["a"], &[], "app:app", "")),
            ("root", image(&["a"], &[], "0:0", "")),
        ]
        .map(|(name, image)| (name.to_owned(), image))
        .into(),
        ..Resolved::default()
    }
}

pub(super) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Fails when `docs/<name>`, which is made from the code, is not `page`; writes it first where `VKC_UPDATE` is set. `test` is
/// who asks.
pub(crate) fn is_written(name: &str, page: &str, test: &str) {
    let path = format!("{}/docs/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("VKC_UPDATE").is_some() {
        std::fs::write(&path, page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/{name} is stale: VKC_UPDATE=1 cargo test --lib {test}"
    );
}
