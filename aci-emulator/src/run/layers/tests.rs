//! Layers made here, unpacked, and what is there then.

use std::{io::Write as _, os::unix::fs::symlink};

use sha2::{Digest as _, Sha256};

use super::*;

enum Item<'a> {
    Dir(&'a str),
    File(&'a str, &'a str),
    Link(&'a str, &'a str),
    Hard(&'a str, &'a str),
}

fn layer(folder: &Path, items: &[Item<'_>], gzip: bool) -> Blob {
    let mut builder = tar::Builder::new(Vec::new());
    for item in items {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o755);
        // Tests need not be root: files belong to who runs them.
        let me = fs::metadata(folder).unwrap();
        header.set_uid(std::os::unix::fs::MetadataExt::uid(&me).into());
        header.set_gid(std::os::unix::fs::MetadataExt::gid(&me).into());
        header.set_size(0);
        let mut put = |name: &str, header: &mut tar::Header, data: &str| {
            // set_path refuses "..", which somebody else's archive may have.
            let field = &mut header.as_old_mut().name;
            field.fill(0);
            field[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            builder.append(header, data.as_bytes()).unwrap();
        };
        match item {
            Item::Dir(name) => {
                header.set_entry_type(EntryType::Directory);
                put(name, &mut header, "");
            }
            Item::File(name, text) => {
                header.set_entry_type(EntryType::Regular);
                header.set_size(text.len() as u64);
                put(name, &mut header, text);
            }
            Item::Link(name, target) | Item::Hard(name, target) => {
                header.set_entry_type(match item {
                    Item::Link(..) => EntryType::Symlink,
                    _ => EntryType::Link,
                });
                header.set_link_name_literal(target).unwrap();
                put(name, &mut header, "");
            }
        }
    }
    let mut bytes = builder.into_inner().unwrap();
    if gzip {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&bytes).unwrap();
        bytes = encoder.finish().unwrap();
    }
    let hash = super::super::hex(&Sha256::digest(&bytes));
    let path = folder.join(&hash);
    fs::write(&path, bytes).unwrap();
    Blob {
        path,
        digest: format!("sha256:{hash}"),
    }
}

fn text(path: PathBuf) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| error.kind().to_string())
}

#[test]
fn layers_add_replace_and_hide() {
    let blobs = tempfile::tempdir().unwrap();
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let first = layer(
        blobs.path(),
        &[
            Item::Dir("etc/"),
            Item::File("etc/a", "1"),
            Item::File("etc/b", "1"),
            Item::Dir("data/"),
            Item::File("data/old", "1"),
            Item::Link("lib", "usr/lib"),
            Item::Link("run", "/var/run"),
            Item::Hard("etc/hard", "etc/a"),
        ],
        true,
    );
    let second = layer(
        blobs.path(),
        &[
            Item::File("etc/.wh.a", ""),
            Item::File("etc/b", "2"),
            Item::File("data/.wh..wh..opq", ""),
            Item::File("data/new", "2"),
            Item::File("lib/x", "2"),
            Item::File("run/y", "2"),
        ],
        false,
    );
    apply(&first, root).unwrap();
    apply(&second, root).unwrap();
    for (path, want) in [
        ("etc/a", "entity not found"),
        ("etc/hard", "1"),
        ("etc/b", "2"),
        ("data/old", "entity not found"),
        ("data/new", "2"),
        ("usr/lib/x", "2"),
        ("var/run/y", "2"),
        ("etc/.wh.a", "entity not found"),
    ] {
        assert_eq!(text(root.join(path)), want, "{path}");
    }
}

#[test]
fn nothing_leaves_the_folder() {
    let blobs = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    let victim = outside.path().join("victim");
    fs::write(&victim, "safe").unwrap();
    let out = outside.path().to_str().unwrap();
    let root = outside.path().join("root");
    fs::create_dir(&root).unwrap();
    let evil = layer(
        blobs.path(),
        &[
            Item::Link("away", out),
            Item::File("away/victim", "evil"),
            Item::File("../victim", "evil"),
            Item::Link("up", "../../.."),
            Item::File("up/.wh.victim", ""),
            Item::File("away/.wh.victim", ""),
        ],
        false,
    );
    apply(&evil, &root).unwrap();
    assert_eq!(text(victim.clone()), "safe");
    let hard = layer(
        blobs.path(),
        &[Item::Hard("copy", victim.to_str().unwrap())],
        false,
    );
    // Taken as a path inside.
    apply(&hard, &root).ok();
    let links = std::os::unix::fs::MetadataExt::nlink(&fs::metadata(&victim).unwrap());
    assert_eq!(links, 1);
}

#[test]
fn a_blob_is_what_its_digest_says() {
    let blobs = tempfile::tempdir().unwrap();
    let root = tempfile::tempdir().unwrap();
    let mut blob = layer(blobs.path(), &[Item::File("a", "1")], true);
    blob.digest = format!("sha256:{}", "0".repeat(64));
    assert!(matches!(
        apply(&blob, root.path()),
        Err(LayerError::Digest { .. })
    ));
    fs::write(&blob.path, [0x28, 0xb5, 0x2f, 0xfd, 0]).unwrap();
    assert!(matches!(
        apply(&blob, root.path()),
        Err(LayerError::Zstd(_))
    ));
}

#[test]
fn links_without_an_end_are_no_path() {
    let root = tempfile::tempdir().unwrap();
    symlink("b", root.path().join("a")).unwrap();
    symlink("a", root.path().join("b")).unwrap();
    assert_eq!(resolve(root.path(), Path::new("a/x")).unwrap(), None);
    assert_eq!(
        resolve(root.path(), Path::new("../../etc/x")).unwrap(),
        Some(root.path().join("etc/x"))
    );
}
