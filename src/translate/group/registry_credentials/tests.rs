use serde_json::{Value, json};

use super::{host, matches, registry_server};
use crate::api::Os;
use crate::translate::testing::{HELLO, defaults, object, owner, pod, resolved};
use crate::translate::{Note, Reference, Translation, container_group};

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
    let secrets = made.references.iter();
    let secrets = secrets.filter(|reference| matches!(reference, Reference::Secret(_)));
    assert_eq!(secrets.count(), 3);
}

#[test]
fn the_most_special_credential_of_a_registry_is_for_all_its_images() {
    let user = |name: &str| json!({"username": name, "password": "p"});
    let a = json!({"auths": {
        "r.io": user("all"),
        "r.io/team": user("team"),
        "r.io/other": user("other"),
        "*.io": user("anybody"),
        "https://s.io:5000/v2/": user("version"),
        "https://t.io/v2/one": user("one"),
    }});
    let b = json!({"auths": {"r.io/team": user("late"), "r.io/team/app": user("app")}});
    let chosen = |images: &[&str]| {
        let made = translate(images, ".dockerconfigjson", &a, &b);
        let sent = sent(&made);
        let users = sent.as_array().into_iter().flatten();
        let users: Vec<_> = users
            .map(|it| it["username"].as_str().unwrap().to_owned())
            .collect();
        let shared = made
            .notes
            .iter()
            .filter(|note| note.reason == "ImagePullSecretShared");
        (users.join(" "), shared.count())
    };
    for (images, users, shared) in [
        (&["r.io/a"][..], "all", 0),
        (&["r.io/team/a"], "team", 0),
        (&["r.io/team/app:1"], "app", 0),
        (&["q.io/a"], "anybody", 0),
        (&["r.io/a", "r.io/team/a"], "team", 1),
        (&["r.io/other/a", "r.io/team/app"], "app", 1),
        (&["s.io:5000/a"], "version", 0),
        (&["t.io/one/a"], "one", 0),
        (&["t.io/two/a"], "anybody", 0),
        (&["t.io/v2/one/a"], "anybody", 0),
        (&["nginx"], "", 0),
    ] {
        assert_eq!(chosen(images), (users.to_owned(), shared), "{images:?}");
    }
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
        let unusable = |note: &Note| note.reason == "ImagePullSecretUnusable";
        assert!(made.notes.iter().any(unusable), "{a}");
        assert!(!format!("{made:?}").contains("hush"), "{a}");
    }
}

#[test]
fn the_identity_is_for_azure_registries_that_no_secret_is_for() {
    let a = json!({"auths": {"own.azurecr.io": {"username": "u", "password": "p"}}});
    let containers: Vec<Value> = [
        "own.azurecr.io/a",
        "team.azurecr.io/a",
        "team.azurecr.io/b",
        "team.azurecr.cn/a",
        "TEAM.azurecr.us/a",
        "azurecr.io/a",
        "team.azurecr.io.example.com/a",
        "team.azurecr.example.com/a",
        "nginx",
    ]
    .iter()
    .enumerate()
    .map(|(n, image)| json!({"name": format!("c{n}"), "image": image}))
    .collect();
    let pod = pod(
        HELLO,
        &[
            ("/spec/containers", json!(containers)),
            ("/spec/imagePullSecrets", json!([{"name": "a"}])),
        ],
    );
    let mut resolved = resolved();
    let secret = object(&[(".dockerconfigjson", a.to_string().as_bytes())]);
    let reference = Reference::Secret("a".to_owned());
    resolved.objects.insert(reference, Some(secret));
    let identity = "/subscriptions/s/resourceGroups/r/providers/Microsoft.ManagedIdentity/userAssignedIdentities/pull";
    let defaults = crate::translate::GroupDefaults {
        registry_identity_id: Some(identity.to_owned()),
        identity_ids: vec![identity.to_owned()],
        ..defaults(Os::Linux)
    };
    let made = container_group(&pod, &defaults, &owner(&pod), &resolved).unwrap();
    let expected = json!([
        {"server": "own.azurecr.io", "username": "u", "password": "p"},
        {"server": "team.azurecr.cn", "identity": identity},
        {"server": "team.azurecr.io", "identity": identity},
        {"server": "team.azurecr.us", "identity": identity},
    ]);
    assert_eq!(sent(&made), expected);
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
        assert_eq!(registry_server(image), expected);
    }
    assert!(matches("*.azurecr.io", "one.azurecr.io"));
    assert!(!matches("*.azurecr.io", "one.two.azurecr.io"));
    assert!(!matches("azurecr.io", "one.azurecr.io"));
}
