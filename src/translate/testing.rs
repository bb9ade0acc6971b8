//! Fixtures of the tests: pods as a real API server returns them, groups as ACI answered.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use super::{GroupDefaults, Ownership, PodKey, Resolved};
use crate::api::Os;
use crate::azure::model::{ContainerGroup, SecretText};

pub(super) const HELLO: &str = include_str!("testdata/aci-helloworld.json");
pub(super) const IIS: &str = include_str!("testdata/nanoserver-iis.json");
pub(super) const PENDING: &str = include_str!("testdata/group-pending.json");
pub(super) const RUNNING: &str = include_str!("testdata/group-running.json");
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

pub(super) fn defaults(os: Os) -> GroupDefaults {
    GroupDefaults {
        os,
        region: "eastus".to_owned(),
        subnet_id: None,
        public_ip: true,
        zones: Vec::new(),
        tags: BTreeMap::new(),
        default_cpu: 1.0,
        default_memory_gb: 1.5,
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
    }
}

/// What the service account's volume of the fixtures refers to.
pub(super) fn resolved() -> Resolved {
    let file = |path: &str, text: &str| (path.to_owned(), SecretText::new(text.to_owned()));
    let files = BTreeMap::from([file("token", "t0ken"), file("ca.crt", "-----BEGIN")]);
    Resolved {
        files: BTreeMap::from([("kube-api-access-q9wzc".to_owned(), files)]),
    }
}

pub(super) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}
