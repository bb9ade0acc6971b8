//! Images as OCI layouts and archives.

use std::{fs, path::Path};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::place::{Place, events, hex, images, small_root, view, with};

fn blob(layout: &Path, bytes: &[u8]) -> (String, usize) {
    let hash = hex(&Sha256::digest(bytes));
    let folder = layout.join("blobs/sha256");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(&hash), bytes).unwrap();
    (format!("sha256:{hash}"), bytes.len())
}

fn descriptor((digest, size): (String, usize), kind: &str) -> Value {
    json!({"mediaType": format!("application/vnd.oci.image.{kind}"), "digest": digest, "size": size})
}

/// A layout with the image `example.test/team/app:1` of two layers, the second of which hides a file of the first.
fn layout(folder: &Path, scratch: &Path) {
    let root = scratch.join("root");
    small_root(&root);
    fs::write(root.join("etc/hidden"), "1").unwrap();
    let mut first = tar::Builder::new(Vec::new());
    first.follow_symlinks(false);
    first.append_dir_all(".", &root).unwrap();
    let mut second = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    second
        .append_data(&mut header.clone(), "etc/.wh.hidden", &b""[..])
        .unwrap();
    header.set_size(4);
    second
        .append_data(&mut header, "srv/shown", &b"yes\n"[..])
        .unwrap();
    let layers: Vec<Value> = [first, second]
        .into_iter()
        .map(|layer| descriptor(blob(folder, &layer.into_inner().unwrap()), "layer.v1.tar"))
        .collect();
    let config = json!({"architecture": "amd64", "os": "linux", "config": {
        "Entrypoint": ["/bin/sh", "-c"], "Cmd": ["id; pwd; cat shown; ls /etc/hidden; echo $FROM"],
        "Env": ["PATH=/bin", "FROM=layout"], "User": "app", "WorkingDir": "/srv"}});
    let config = descriptor(
        blob(folder, config.to_string().as_bytes()),
        "config.v1+json",
    );
    let manifest = json!({"schemaVersion": 2, "config": config, "layers": layers});
    let mut manifest = descriptor(
        blob(folder, manifest.to_string().as_bytes()),
        "manifest.v1+json",
    );
    manifest["annotations"] =
        json!({"org.opencontainers.image.ref.name": "example.test/team/app:1"});
    let index = json!({"schemaVersion": 2, "manifests": [manifest]});
    fs::write(folder.join("index.json"), index.to_string()).unwrap();
    fs::write(
        folder.join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
    .unwrap();
}

/// What the image says when nothing is asked of it.
async fn says_it(place: &Place) {
    let mut body = with("", "Never", json!({"image": "example.test/team/app:1"}));
    body["properties"]["containers"][0]["properties"]
        .as_object_mut()
        .unwrap()
        .remove("command");
    place.ended("g", &body).await;
    let log = place.log("g", "c").await;
    for line in [
        "uid=1000(app) gid=1001(app) groups=50(more),1001(app)\n",
        "/srv\n",
        "yes\n",
        "No such file",
        "layout\n",
    ] {
        assert!(log.contains(line), "{line:?} is not in {log}");
    }
}

#[tokio::test]
async fn a_layout_says_what_to_run() {
    let folder = tempfile::tempdir().unwrap();
    layout(&folder.path().join("images/some"), folder.path());
    let place = Place::of(folder).await;
    says_it(&place).await;
    let missing = with("", "Never", json!({"image": "example.test/team/app:2"}));
    let reply = place.test.put("missing", &missing).await;
    assert_eq!(reply.code(), (400, "InaccessibleImage"));
    place.stop().await;
}

#[tokio::test]
async fn an_archive_is_a_layout() {
    let folder = tempfile::tempdir().unwrap();
    let scratch = folder.path().join("layout");
    layout(&scratch, folder.path());
    fs::create_dir(folder.path().join("images")).unwrap();
    let file = fs::File::create(folder.path().join("images/app.tar")).unwrap();
    let mut archive = tar::Builder::new(file);
    archive.append_dir_all(".", &scratch).unwrap();
    archive.finish().unwrap();
    let place = Place::of(folder).await;
    says_it(&place).await;
    place.stop().await;
}

#[tokio::test]
async fn an_image_that_is_not_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let some = folder.path().join("images/some");
    layout(&some, folder.path());
    for entry in fs::read_dir(some.join("blobs/sha256")).unwrap().flatten() {
        let bytes = fs::read(entry.path()).unwrap();
        if bytes.first() != Some(&b'{') {
            fs::write(entry.path(), [&bytes[..], &[0]].concat()).unwrap();
        }
    }
    let place = Place::of(folder).await;
    let body = with("", "Never", json!({"image": "example.test/team/app:1"}));
    place.put("g", &body).await;
    let group = place
        .until("g", |group| {
            group["properties"]["provisioningState"] == "Failed"
        })
        .await;
    let event = &group["properties"]["instanceView"]["events"][0];
    assert!(
        event["message"]
            .as_str()
            .unwrap()
            .contains("its digest is not"),
        "{event}"
    );
    assert_eq!(place.test.delete("g").await.status, 200);
    place.stop().await;
}

#[tokio::test]
async fn a_folder_may_have_the_tag_in_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let images = images(folder.path());
    fs::rename(images.join("busybox"), images.join("busybox:1,2")).unwrap();
    let place = Place::of(folder).await;
    let body = with(
        "echo it runs",
        "Never",
        json!({"image": "example.test/busybox:1,2"}),
    );
    place.ended("g", &body).await;
    assert_eq!(place.log("g", "c").await, "it runs\n");
    place.stop().await;
}

#[tokio::test]
async fn a_program_that_is_not_there() {
    let folder = tempfile::tempdir().unwrap();
    images(folder.path());
    let place = Place::of(folder).await;
    let mut body = with("", "OnFailure", json!({}));
    body["properties"]["containers"][0]["properties"]["command"] = json!(["/no/such"]);
    place.put("g", &body).await;
    let group = place
        .until("g", |group| view(group)["previousState"]["exitCode"] == 128)
        .await;
    let events = events(&group);
    assert!(
        events
            .iter()
            .any(|(name, message)| name == "Failed" && message.contains("/no/such")),
        "{events:?}"
    );
    place.stop().await;
}
