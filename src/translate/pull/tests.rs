use serde_json::{Value, json};

use super::{host, matches, registry};
use crate::api::Os;
use crate::translate::testing::{HELLO, defaults, object, owner, pod, resolved};
use crate::translate::{Reference, Translation, container_group};

/// The Linux fixture with these images and the pull secrets `a`, `b` and `gone`.
fn translate(images: &[&str], key: &str, a: &Value, b: &Value) -> Translation {
    let containers: Vec<Value> = images
        .iter()
        .enumerate()
        .map(|(n, image)| json!({"name": format!("c{n}"), "image": image}))
        .collect();
    let secrets = json!([{"name": "a"}, {"name": "b"}, {"name": "gone"}]);
    let changes = [
        ("/spec/containers", json!(containers)),
        ("/spec/imagePullSecrets", secrets),
    ];
    let mut resolved = resolved();
    for (name, content) in [("a", a), ("b", b)] {
        let content = content.to_string();
        let secret = object(&[(key, content.as_bytes())]);
        let reference = Reference::Secret(name.to_owned());
        resolved.objects.insert(reference, Some(secret));
    }
    let pod = pod(HELLO, &changes);
    container_group(&pod, &defaults(Os::Linux), &owner(&pod), &resolved).unwrap()
}

/// What `docker login` writes as the server of Docker Hub.
const HUB_KEY: &str = concat!("https://", "index.docker.io", "/v1/");

fn sent(translation: &Translation) -> Value {
    let body = serde_json::to_value(&translation.group).unwrap();
    body["properties"]["imageRegistryCredentials"].clone()
}

#[test]
fn only_the_registries_that_are_used_each_once() {
    let a = json!({"auths": {
        (HUB_KEY): {"auth": "dTpwOnE6cg=="},
        "unused.example.com": {"username": "x", "password": "y"},
        "*.azurecr.io": {"username": "u", "password": "p:w"},
    }});
    let b = json!({"auths": {"docker.io": {"username": "late", "password": "late"}}});
    let images = [
        "nginx",
        "library/nginx:1",
        "one.azurecr.io/a",
        "two.azurecr.io/b@sha256:0",
    ];
    let made = translate(&images, ".dockerconfigjson", &a, &b);
    let expected = json!([
        {"server": "index.docker.io", "username": "u", "password": "p:q:r"},
        {"server": "one.azurecr.io", "username": "u", "password": "p:w"},
        {"server": "two.azurecr.io", "username": "u", "password": "p:w"},
    ]);
    assert_eq!(sent(&made), expected);
    let told: Vec<_> = made
        .notes
        .iter()
        .map(|note| (note.field.as_str(), note.reason))
        .collect();
    let gone = (
        "spec.imagePullSecrets[2]",
        "FailedToRetrieveImagePullSecret",
    );
    assert_eq!(told, [gone]);
    // And what every pod is told of services.
    assert_eq!(made.references.len(), 5);
}

#[test]
fn the_old_form_has_no_wrapper() {
    let a =
        json!({"http://r.example.com:5000/v2/": {"username": "u", "password": "p", "email": "e"}});
    let made = translate(&["r.example.com:5000/a"], ".dockercfg", &a, &json!({}));
    let expected = json!([{"server": "r.example.com:5000", "username": "u", "password": "p"}]);
    assert_eq!(sent(&made), expected);
}

#[test]
fn what_is_of_no_use_is_told_without_its_content() {
    let table = [
        json!({"auths": {"r.io": {"identitytoken": "hush"}}}),
        json!({"auths": {"r.io": {"auth": "hush"}}}),
        json!({"auths": {"r.io": {"auth": "aHVzaA=="}}}),
        json!({"auths": {"r.io": {"username": "hush"}}}),
        json!({"auths": {"r.io": {}}}),
        json!("hush"),
    ];
    for a in table {
        let made = translate(&["r.io/a"], ".dockerconfigjson", &a, &json!({"auths": {}}));
        assert_eq!(sent(&made), json!(null), "{a}");
        assert_eq!(made.notes[0].reason, "ImagePullSecretUnusable", "{a}");
        assert!(!format!("{made:?}").contains("hush"), "{a}");
    }
}

#[test]
fn hosts_and_registries() {
    for (server, expected) in [
        (HUB_KEY, "index.docker.io"),
        ("docker.io", "index.docker.io"),
        ("registry-1.docker.io", "index.docker.io"),
        ("R.example.com:5000/team", "r.example.com:5000"),
    ] {
        assert_eq!(host(server), expected);
    }
    for (image, expected) in [
        ("nginx", "index.docker.io"),
        ("team/nginx:1", "index.docker.io"),
        ("docker.io/library/nginx", "index.docker.io"),
        ("localhost/a", "localhost"),
        ("r:5000/a", "r:5000"),
        ("one.azurecr.io/a/b", "one.azurecr.io"),
    ] {
        assert_eq!(registry(image), expected);
    }
    assert!(matches("*.azurecr.io", "one.azurecr.io"));
    assert!(!matches("*.azurecr.io", "one.two.azurecr.io"));
    assert!(!matches("azurecr.io", "one.azurecr.io"));
}
