#![allow(clippy::unwrap_used)]
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use proptest::prelude::*;

use super::Root;

fn root(dir: &Path) -> Root {
    Root::open(dir.to_str().unwrap()).unwrap()
}

#[test]
fn a_file_is_placed_with_its_mode_and_the_directories_above_it() {
    let dir = tempfile::tempdir().unwrap();
    let root = root(dir.path());
    root.write("/etc/app/conf.d/a.conf", b"one", 0o440, None)
        .unwrap();
    let file = dir.path().join("etc/app/conf.d/a.conf");
    assert_eq!(fs::read(&file).unwrap(), b"one");
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o440);
    assert_eq!(
        fs::metadata(dir.path().join("etc")).unwrap().mode() & 0o7777,
        0o755
    );
    // Again, over one that cannot be written, and nothing is left beside it.
    root.write("/etc/app/conf.d/a.conf", b"two", 0o644, None)
        .unwrap();
    assert_eq!(fs::read(&file).unwrap(), b"two");
    assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
}

#[test]
fn what_is_beside_a_file_stays() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("opt/conf")).unwrap();
    fs::write(dir.path().join("opt/conf/other"), "kept").unwrap();
    root(dir.path())
        .write("/opt/conf/my.cnf", b"x", 0o644, None)
        .unwrap();
    assert_eq!(
        fs::read(dir.path().join("opt/conf/other")).unwrap(),
        b"kept"
    );
}

#[test]
fn no_link_leads_out_of_the_container() {
    let outside = tempfile::tempdir().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let out = outside.path().to_str().unwrap();
    symlink(out, dir.path().join("absolute")).unwrap();
    symlink("../../../../../../../../../..", dir.path().join("up")).unwrap();
    let root = root(dir.path());
    // In the container the link names a place in it.
    root.write("/absolute/x", b"x", 0o644, None).unwrap();
    root.write("/up/y", b"y", 0o644, None).unwrap();
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    let inside = dir.path().join(out.trim_start_matches('/'));
    assert_eq!(fs::read(inside.join("x")).unwrap(), b"x");
    assert_eq!(fs::read(dir.path().join("y")).unwrap(), b"y");
}

#[test]
fn a_link_in_the_file_s_place_is_replaced_and_not_followed() {
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().join("shadow");
    fs::write(&target, "precious").unwrap();
    let dir = tempfile::tempdir().unwrap();
    symlink(&target, dir.path().join("a.conf")).unwrap();
    root(dir.path())
        .write("/a.conf", b"x", 0o644, None)
        .unwrap();
    assert_eq!(fs::read(&target).unwrap(), b"precious");
    assert!(
        fs::symlink_metadata(dir.path().join("a.conf"))
            .unwrap()
            .is_file()
    );
}

#[test]
fn links_of_the_image_are_followed_in_it_and_not_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("run")).unwrap();
    fs::create_dir(dir.path().join("var")).unwrap();
    symlink("/run", dir.path().join("var/run")).unwrap();
    symlink("loop", dir.path().join("loop")).unwrap();
    let root = root(dir.path());
    root.write("/var/run/app/pid", b"1", 0o644, None).unwrap();
    assert_eq!(fs::read(dir.path().join("run/app/pid")).unwrap(), b"1");
    let said = root
        .write("/loop/x", b"1", 0o644, None)
        .unwrap_err()
        .to_string();
    assert!(said.contains("too many links"), "{said}");
    assert!(root.read("/loop", 10).is_err());
}

#[test]
fn a_link_of_the_image_into_a_volume_is_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    // A file system of its own is what a volume is.
    symlink("proc", dir.path().join("conf")).unwrap();
    let image = Root {
        device: u64::MAX,
        ..root(dir.path())
    };
    fs::create_dir(dir.path().join("proc")).unwrap();
    let said = image
        .write("/conf/x", b"1", 0o644, None)
        .unwrap_err()
        .to_string();
    assert!(said.contains("volume"), "{said}");
    let root = root(dir.path());
    root.write("/conf/x", b"1", 0o644, None).unwrap();
}

#[test]
fn what_cannot_be_placed_is_told_with_its_path() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("d")).unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    let root = root(dir.path());
    for (path, why) in [
        ("/d", "it is a directory"),
        ("/", "it is a directory"),
        ("/file/x", "no directory"),
        ("/d/..", "it has no name"),
    ] {
        let said = root.write(path, b"", 0o644, None).unwrap_err().to_string();
        assert!(said.starts_with(path) && said.contains(why), "{said}");
    }
}

#[test]
fn directories_have_the_modes_that_they_are_to_have() {
    let dir = tempfile::tempdir().unwrap();
    let root = root(dir.path());
    root.directory("/a/b", 0o2750).unwrap();
    root.directory("/a/b", 0o750).unwrap();
    let made = fs::metadata(dir.path().join("a/b")).unwrap();
    assert_eq!(made.permissions().mode() & 0o7777, 0o750);
    fs::write(dir.path().join("f"), "").unwrap();
    assert!(root.directory("/f", 0o755).is_err());
}

#[test]
fn hosts_are_appended_to_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let root = root(dir.path());
    let add = |known: &str| format!("[{known}]");
    root.append("/etc/hosts", 100, add).unwrap();
    root.append("/etc/hosts", 100, add).unwrap();
    root.append("/etc/hosts", 100, |_| String::new()).unwrap();
    assert_eq!(root.read("/etc/hosts", 100).unwrap().unwrap(), b"[][[]]");
    assert_eq!(root.read("/etc/none", 100).unwrap(), None);
    assert_eq!(root.read("/none/none", 100).unwrap(), None);
    assert_eq!(root.read("/etc/hosts", 2).unwrap().unwrap(), b"[]");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_links_there_are_nothing_is_written_outside(
        links in proptest::collection::vec(("[ab]", "(\\.\\./|/|[ab]/){0,4}[ab.]{1,2}"), 0..6),
        path in "(/[ab]|/\\.\\.){1,5}",
    ) {
        let above = tempfile::tempdir().unwrap();
        let dir = above.path().join("root");
        fs::create_dir(&dir).unwrap();
        for (name, target) in links {
            let _ = symlink(target, dir.join(name));
        }
        let _ = root(&dir).write(&path, b"x", 0o644, None);
        prop_assert_eq!(fs::read_dir(above.path()).unwrap().count(), 1);
    }
}
