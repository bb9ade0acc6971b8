//! Any pod, and any Secrets and ConfigMaps that it refers to: translated or refused, in bounded memory and time, and never to
//! more than ARM takes as a request.
//!
//! README.md says how to run it.
#![no_main]

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use vkc::api::Os;
use vkc::azure::model::SecretBytes;
use vkc::translate::{
    GroupDefaults, MAX_REQUEST, Object, Ownership, PodKey, Reference, Resolved, container_group,
    small_group,
};

/// The objects under `member`: `{"name": {"key": "text"}}`.
fn objects(case: &mut Value, member: &str) -> BTreeMap<String, BTreeMap<String, String>> {
    serde_json::from_value(case[member].take()).unwrap_or_default()
}

fuzz_target!(|input: &[u8]| {
    let Ok(mut case @ Value::Object(_)) = serde_json::from_slice(input) else {
        return;
    };
    let Ok(pod) = serde_json::from_value::<Pod>(case["pod"].take()) else {
        return;
    };
    let mut resolved = Resolved {
        services: Some(Arc::from([])),
        kubernetes: Some(None),
        ..Resolved::default()
    };
    let kinds: [(&str, fn(String) -> Reference); 2] = [
        ("secrets", Reference::Secret),
        ("configMaps", Reference::ConfigMap),
    ];
    for (member, reference) in kinds {
        for (name, entries) in objects(&mut case, member) {
            let entries = entries.into_iter();
            let data = entries.map(|(key, text)| (key, SecretBytes::new(text.into_bytes())));
            let object = Object {
                data: data.collect(),
                ..Object::default()
            };
            resolved
                .objects
                .insert(reference(name), Some(Arc::new(object)));
        }
    }
    let owner = Ownership {
        cluster_uid: "c".to_owned(),
        connector_uid: "k".to_owned(),
        node: "n".to_owned(),
        key: PodKey {
            namespace: "d".to_owned(),
            name: "p".to_owned(),
            uid: "u".to_owned(),
        },
        restarts: 0,
        mark: None,
    };
    for os in [Os::Linux, Os::Windows] {
        let defaults = GroupDefaults::new(os, "eastus".to_owned());
        let done = container_group(&pod, &defaults, &owner, &resolved);
        if let Ok(made) = &done {
            let body = serde_json::to_vec(&made.group).expect("a body");
            assert!(body.len() <= MAX_REQUEST, "{}", body.len());
        }
        if let Some(small) = small_group(&pod, &defaults, &owner, &resolved) {
            assert_eq!(small, done);
        }
    }
});
