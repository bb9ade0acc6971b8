//! The registry, as a client that pulls sees it.

use aci_emulator::{Access, Image, ImagePlatform};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Reply, Test};

impl Test {
    async fn fetch(&self, target: &str, authorization: Option<&str>) -> Reply {
        let url = if target.starts_with("https://") {
            target.to_owned()
        } else {
            format!("{}{target}", self.emulator.url())
        };
        let mut request = self.http.request(Method::GET, url);
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        Reply::of(request.send().await.unwrap()).await
    }
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap()
}

#[tokio::test]
async fn the_image_of_the_start_is_for_two_platforms() {
    let test = Test::start().await;
    assert_eq!(test.fetch("/v2/", None).await.status, 200);
    let index = test.fetch("/v2/hello/manifests/1", None).await;
    assert_eq!(
        index.header("content-type"),
        "application/vnd.oci.image.index.v1+json"
    );
    for (n, os, entry) in [
        (0, "linux", json!(["/hello", "--say"])),
        (1, "windows", json!(["C:\\hello.exe"])),
    ] {
        let place = format!("/manifests/{n}");
        assert_eq!(text(&index.body, &format!("{place}/platform/os")), os);
        let digest = text(&index.body, &format!("{place}/digest"));
        let manifest = test
            .fetch(&format!("/v2/hello/manifests/{digest}"), None)
            .await;
        assert_eq!(manifest.header("docker-content-digest"), digest);
        let config = text(&manifest.body, "/config/digest");
        // The client follows to the store by itself.
        let config = test.fetch(&format!("/v2/hello/blobs/{config}"), None).await;
        assert_eq!(config.body["config"]["Entrypoint"], entry);
    }
    for path in ["/v2/hello/manifests/2", "/v2/hello/blobs/sha256:0"] {
        assert_eq!(test.fetch(path, None).await.status, 404, "{path}");
    }
    assert_eq!(test.control.counts().by_class["registry"], 10);
}

#[tokio::test]
async fn a_hidden_repository_wants_its_own_token() {
    let test = Test::start().await;
    let image = |name: &str, access| Image {
        name: name.to_owned(),
        access,
        platforms: vec![ImagePlatform::new("linux", &[])],
    };
    let (username, password) = ("u".to_owned(), "p".to_owned());
    let bearer = Access::Bearer {
        username: username.clone(),
        password: password.clone(),
    };
    test.control.push_image(&image("team/app:1", bearer));
    test.control.push_image(&image("other:1", Access::Token));
    let basic = Access::Basic { username, password };
    test.control.push_image(&image("basic:1", basic));

    let refused = test.fetch("/v2/team/app/manifests/1", None).await;
    assert_eq!(refused.status, 401);
    assert_eq!(text(&refused.body, "/errors/0/code"), "UNAUTHORIZED");
    let url = test.emulator.url();
    let challenge = format!(
        "Bearer realm=\"{url}/registry/token\",service=\"emulator-registry\",scope=\"repository:team/app:pull\""
    );
    assert_eq!(refused.header("www-authenticate"), challenge);
    let ask = |repository: &str| {
        format!("/registry/token?service=emulator-registry&scope=repository%3A{repository}%3Apull")
    };
    let right = "Basic dTpw";
    for (target, authorization, status) in [
        (ask("team%2Fapp"), None, 401),
        (ask("team%2Fapp"), Some("Basic dTpx"), 401),
        (ask("other"), None, 200),
        (
            "/registry/token?scope=repository%3Aother%3Apull".to_owned(),
            None,
            400,
        ),
    ] {
        assert_eq!(
            test.fetch(&target, authorization).await.status,
            status,
            "{target}"
        );
    }
    let token = test.fetch(&ask("team%2Fapp"), Some(right)).await;
    let token = format!("Bearer {}", text(&token.body, "/token"));
    let other = test.fetch(&ask("other"), None).await;
    let other = format!("Bearer {}", text(&other.body, "/token"));
    for (path, authorization, status) in [
        ("/v2/team/app/manifests/1", token.as_str(), 200),
        ("/v2/team/app/manifests/1", other.as_str(), 401),
        ("/v2/team/app/manifests/1", right, 401),
        ("/v2/other/manifests/1", other.as_str(), 200),
        ("/v2/nowhere/manifests/1", other.as_str(), 401),
        ("/v2/basic/manifests/1", right, 200),
        ("/v2/basic/manifests/1", token.as_str(), 401),
    ] {
        let reply = test.fetch(path, Some(authorization)).await;
        assert_eq!(reply.status, status, "{path} {authorization}");
    }
}

#[tokio::test]
async fn the_store_takes_no_credentials_and_the_admin_adds_images() {
    let test = Test::start().await;
    let image = json!({"name": "new:1", "platforms": [{"os": "linux", "entrypoint": ["/new"]}]});
    let request = test
        .http
        .post(format!("{}/_emulator/images", test.emulator.url()));
    let pushed = Reply::of(request.json(&image).send().await.unwrap()).await;
    let manifest = test.fetch("/v2/new/manifests/1", None).await;
    assert_eq!(
        manifest.header("docker-content-digest"),
        text(&pushed.body, "/digest")
    );
    let blob = text(&manifest.body, "/config/digest");
    let place = format!("{}/registry/store/new@{blob}", test.emulator.url());
    assert_eq!(test.fetch(&place, None).await.status, 200);
    assert_eq!(test.fetch(&place, Some("Basic dTpw")).await.status, 400);
    let names = test.fetch("/_emulator/images", None).await;
    assert_eq!(names.body, json!(["hello:1", "new:1"]));
}
