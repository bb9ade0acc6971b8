//! Pods of the gallery, crossed and broken: translation never panics, and what it lets pass is a body that both our own
//! check and the emulator take.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use k8s_openapi::api::core::v1::Pod;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::body;
use crate::api::{Os, Shim};
use crate::azure::model::SecretBytes;
use crate::translate::testing::{defaults, object, owner};
use crate::translate::{
    GroupDefaults, Image, Object, Reference, Refusals, Resolved, Translation, container_group,
    group_name,
};

const UID: &str = "3f0c9a52-6a3e-4b8e-9d0e-5a1f1b0d7c11";

/// Everything in `config/samples/gallery`.
static OBJECTS: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/samples/gallery");
    let mut objects = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
        objects.extend(documents);
    }
    objects
});

const CLAIM_UID: &str = "b1d7c113-6a3e-4b8e-9d0e-3f0c9a525a1f";

/// Its pods, as the API server would name them.
static GALLERY: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let mut pods = OBJECTS.clone();
    pods.retain(|one| one["kind"] == "Pod");
    assert!(pods.len() > 10);
    for pod in &mut pods {
        pod["metadata"]["namespace"] = json!("default");
        pod["metadata"]["uid"] = json!(UID);
    }
    pods.sort_by_key(|pod| pod["metadata"]["name"].to_string());
    pods
});

/// Every part of the gallery's specs, to be put where it does not belong.
static PARTS: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let mut parts = Vec::new();
    for pod in GALLERY.iter() {
        for pointer in pointers(&pod["spec"], "") {
            parts.push(pod["spec"].pointer(&pointer).unwrap().clone());
        }
    }
    parts
});

fn pointers(value: &Value, at: &str) -> Vec<String> {
    let mut found = vec![at.to_owned()];
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let name = name.replace('~', "~0").replace('/', "~1");
                found.extend(pointers(member, &format!("{at}/{name}")));
            }
        }
        Value::Array(items) => {
            for (n, item) in items.iter().enumerate() {
                found.extend(pointers(item, &format!("{at}/{n}")));
            }
        }
        _ => {}
    }
    found
}

#[derive(Debug, Clone)]
enum Change {
    Remove,
    Double,
    Put(Value),
    Part(Index),
}

fn change() -> impl Strategy<Value = Change> {
    let odd = select(vec![
        json!(""),
        json!(" "),
        json!("\u{0}"),
        json!("ö\n\u{1F980}"),
        json!("$(GREETING)$$(X)$("),
        json!("a".repeat(300)),
        json!("../../etc"),
        json!(-1),
        json!(0),
        json!(i32::MAX),
        json!(i64::MIN),
        json!(1e300),
        json!(true),
        json!([]),
        json!({}),
        json!("9e18"),
        json!("-1"),
    ]);
    prop_oneof![
        1 => Just(Change::Remove),
        1 => Just(Change::Double),
        2 => odd.prop_map(Change::Put),
        4 => any::<Index>().prop_map(Change::Part),
    ]
}

/// Changes one place of `pod`, its spec or its annotations.
fn mutate(pod: &mut Value, place: Index, change: &Change) {
    let places: Vec<String> = pointers(pod, "")
        .into_iter()
        .filter(|at| at.starts_with("/spec/") || at.starts_with("/metadata/annotations/"))
        .collect();
    let at = place.get(&places);
    let (parent, member) = at.rsplit_once('/').unwrap();
    match change {
        Change::Remove | Change::Double => match pod.pointer_mut(parent).unwrap() {
            Value::Object(members) => {
                members.remove(&member.replace("~1", "/").replace("~0", "~"));
            }
            Value::Array(items) => {
                let item = items.remove(member.parse().unwrap());
                if matches!(change, Change::Double) {
                    items.extend([item.clone(), item]);
                }
            }
            _ => unreachable!(),
        },
        Change::Put(value) => *pod.pointer_mut(at).unwrap() = value.clone(),
        Change::Part(part) => *pod.pointer_mut(at).unwrap() = part.get(&PARTS).clone(),
    }
}

/// Something for whatever is asked for: translation as the provider does it, round by round.
fn settled(pod: &Pod, os: Os) -> Result<Translation, Refusals> {
    let mut resolved = Resolved {
        node_ip: Some("10.1.2.3".to_owned()),
        ..Resolved::default()
    };
    loop {
        // As a connector is that says nothing of it.
        let defaults = GroupDefaults {
            shim: Shim::default(),
            ..defaults(os)
        };
        let translation = container_group(pod, &defaults, &owner(pod), &resolved)?;
        let unknown: Vec<Reference> = translation
            .references
            .iter()
            .filter(|reference| !resolved.knows(reference))
            .cloned()
            .collect();
        if unknown.is_empty() {
            return Ok(translation);
        }
        for reference in unknown {
            answer(pod, &mut resolved, reference);
        }
    }
}

/// The claim of this name that the controller manager makes for an ephemeral volume of `pod`.
fn ephemeral_claim(pod: &Pod, name: &str) -> Option<Value> {
    let pod_name = pod.metadata.name.as_deref()?;
    let mut volumes = pod.spec.as_ref()?.volumes.iter().flatten();
    let volume = volumes.find(|volume| format!("{pod_name}-{}", volume.name) == name)?;
    let mut claim = serde_json::to_value(volume.ephemeral.as_ref()?).unwrap();
    let mut claim = claim["volumeClaimTemplate"].take();
    claim["metadata"]["ownerReferences"] = json!([
        {"apiVersion": "v1", "kind": "Pod", "name": pod_name, "uid": pod.metadata.uid, "controller": true},
    ]);
    Some(claim)
}

/// `claim`, bound to the gallery's volume of its class if there is one.
fn bound(mut claim: Value) -> Value {
    let class = &claim["spec"]["storageClassName"];
    let volume = OBJECTS.iter().find(|object| {
        object["kind"] == "PersistentVolume" && object["spec"]["storageClassName"] == *class
    });
    claim["metadata"]["uid"] = json!(CLAIM_UID);
    if let Some(volume) = volume {
        claim["spec"]["volumeName"] = volume["metadata"]["name"].clone();
        claim["status"] = json!({"phase": "Bound"});
    }
    claim
}

/// What the gallery has of this name, or nothing.
fn answer(pod: &Pod, resolved: &mut Resolved, reference: Reference) {
    fn parse<T: DeserializeOwned>(object: Option<&Value>) -> Option<Arc<T>> {
        object.map(|object| Arc::new(serde_json::from_value(object.clone()).unwrap()))
    }
    let named = |kind: &str, name: &str| {
        OBJECTS
            .iter()
            .find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
    };
    let files = |object: Option<&Value>| {
        let texts = ["data", "stringData"].map(|member| object?[member].as_object());
        let texts = texts.into_iter().flatten().flatten();
        let entry = |(key, text): (&String, &Value)| {
            let text = text.as_str().unwrap_or_default().as_bytes().to_vec();
            (key.clone(), SecretBytes::new(text))
        };
        object.map(|_| {
            Arc::new(Object {
                data: texts.map(entry).collect(),
                ..Object::default()
            })
        })
    };
    match &reference {
        Reference::Services => resolved.services = Some(Arc::from([])),
        Reference::Kubernetes => resolved.kubernetes = Some(None),
        Reference::Image(name) => {
            let image = Arc::new(Image {
                entry_point: vec!["/entry".to_owned()],
                user: "1000".to_owned(),
                ..Image::default()
            });
            resolved.images.insert(name.clone(), image);
        }
        Reference::Claim(name) => {
            let claim = named("PersistentVolumeClaim", name).cloned();
            let claim = claim.or_else(|| ephemeral_claim(pod, name)).map(bound);
            resolved.claims.insert(name.clone(), parse(claim.as_ref()));
        }
        Reference::Volume(name) => {
            let volume = named("PersistentVolume", name).cloned().map(|mut volume| {
                volume["spec"]["claimRef"] = json!({"uid": CLAIM_UID});
                volume
            });
            resolved
                .volumes
                .insert(name.clone(), parse(volume.as_ref()));
        }
        Reference::ServiceAccountToken { .. } => {
            let token = Some(object(&[("token", b"t0ken")]));
            resolved.objects.insert(reference, token);
        }
        Reference::ConfigMap(name) if name == "kube-root-ca.crt" => {
            let ca = Some(object(&[("ca.crt", b"-----BEGIN")]));
            resolved.objects.insert(reference, ca);
        }
        Reference::ConfigMap(name) => {
            let found = files(named("ConfigMap", name));
            resolved.objects.insert(reference, found);
        }
        Reference::Secret(name) | Reference::SecretIn { name, .. } => {
            let found = files(named("Secret", name));
            resolved.objects.insert(reference, found);
        }
    }
}

fn check(pod: &Pod, os: Os) -> Result<bool, TestCaseError> {
    match settled(pod, os) {
        Ok(translation) => {
            let body = serde_json::to_value(&translation.group).unwrap();
            let own = body::check(&body);
            prop_assert!(own.is_ok(), "{own:?}\n{body:#}");
            let name = group_name("c1", &owner(pod).key);
            let emulator = aci_emulator::check_group(&name, &body);
            prop_assert!(emulator.is_ok(), "{emulator:?}\n{body:#}");
            Ok(true)
        }
        Err(refusals) => {
            prop_assert!(!refusals.0.is_empty());
            for refusal in refusals.0 {
                let named = refusal.field.starts_with("spec.")
                    || refusal.field.starts_with("metadata.annotations");
                prop_assert!(named && !refusal.message.is_empty(), "{refusal:?}");
            }
            Ok(false)
        }
    }
}

#[test]
fn the_gallery_itself_is_translated_or_refused_as_it_says() {
    for value in GALLERY.iter() {
        let pod: Pod = serde_json::from_value(value.clone()).unwrap();
        let os = match value["spec"]["nodeSelector"]["kubernetes.io/os"].as_str() {
            Some("windows") => Os::Windows,
            _ => Os::Linux,
        };
        let expect = value["metadata"]["annotations"]["gallery/expect"].as_str();
        let runs = matches!(expect, Some("Running" | "Succeeded"));
        assert_eq!(check(&pod, os).unwrap(), runs, "{}", value["metadata"]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]
    #[test]
    fn a_mutant_is_a_legal_group_or_refused_by_name(
        which in any::<Index>(),
        changes in proptest::collection::vec((any::<Index>(), change()), 1..5),
        windows in prop_oneof![3 => Just(false), 1 => Just(true)],
    ) {
        let mut value = which.get(&GALLERY).clone();
        for (place, change) in &changes {
            mutate(&mut value, *place, change);
        }
        // What is no Pod at all, the API server never shows to us.
        if let Ok(pod) = serde_json::from_value::<Pod>(value) {
            check(&pod, if windows { Os::Windows } else { Os::Linux })?;
        }
    }
}
