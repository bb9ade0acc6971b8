#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::thread;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

mod hostile;

type File = (&'static str, &'static str, u32);

const ONE: &[File] = &[
    ("a", "old", 0o644),
    ("ssh/id", "key", 0o400),
    ("gone", "x", 0o644),
];
const TWO: &[File] = &[
    ("a", "new", 0o644),
    ("ssh/id", "key", 0o440),
    ("ssh/deep/er", "y", 0o600),
    ("b", "", 0o640),
];

/// A container with a volume, and what is outside that.
struct Container {
    root: TempDir,
}

impl Container {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let container = Self { root };
        fs::create_dir_all(container.volume()).unwrap();
        fs::create_dir_all(container.outside().join("dir")).unwrap();
        for file in ["secret", "dir/secret"] {
            let file = container.outside().join(file);
            fs::write(&file, "precious").unwrap();
            fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
        }
        container
    }

    fn volume(&self) -> PathBuf {
        self.root.path().join(".vkc/volumes/v")
    }

    fn outside(&self) -> PathBuf {
        self.root.path().join("outside")
    }

    fn at(&self, name: &str) -> PathBuf {
        self.volume().join(name)
    }

    fn data(&self) -> String {
        let target = fs::read_link(self.at("..data")).unwrap();
        target.to_str().unwrap().to_owned()
    }

    fn fill(&self, linked: bool, files: &[File]) -> Result<(), String> {
        self.fill_as(&volume(linked), files)
    }

    fn fill_as(&self, volume: &Volume, files: &[File]) -> Result<(), String> {
        let root = Root::open(self.root.path().to_str().unwrap()).unwrap();
        let files: Vec<_> = files.iter().map(|it| ready(*it)).collect();
        fill(&root, volume, &files).map_err(|error| error.to_string())
    }

    /// What is seen is what is wanted, and nothing is left.
    fn assert_holds(&self, files: &[File], because: &str) {
        for (path, content, mode) in files {
            let path = self.at(path);
            let read = fs::read_to_string(&path);
            assert_eq!(read.unwrap(), *content, "{path:?}: {because}");
            let is = fs::metadata(&path).unwrap().mode() & 0o7777;
            assert_eq!(is, *mode, "{path:?}: {because}");
        }
        let tops: Vec<&str> = files
            .iter()
            .map(|it| it.0.split('/').next().unwrap())
            .collect();
        let mut dated = 0;
        for name in names(&self.volume()) {
            let link = fs::read_link(self.at(&name)).ok();
            let is_ours = link.is_some_and(|it| it == Path::new("..data").join(&name));
            assert_eq!(is_ours, tops.contains(&name.as_str()), "{name}: {because}");
            dated += usize::from(is_dated(&name));
            assert_ne!(name, TEMPORARY, "{because}");
        }
        assert_eq!(dated, 1, "{because}");
        let wanted: Vec<&str> = files.iter().map(|it| it.0).collect();
        let all = tree(&self.at(&self.data()));
        let mut seen = all.iter().filter(|it| it.1.0 & 0o170_000 == 0o100_000);
        assert_eq!(seen.clone().count(), files.len(), "{all:?}: {because}");
        assert!(seen.all(|it| wanted.contains(&it.0.as_str())), "{because}");
    }
}

fn volume(linked: bool) -> Volume {
    Volume {
        name: "v".to_owned(),
        mode: 0o755,
        owner: None,
        group: None,
        linked,
        files: Vec::new(),
    }
}

fn ready((path, content, mode): File) -> Ready<'static> {
    Placed {
        path,
        bytes: Zeroizing::new(content.into()),
        mode,
        group: None,
    }
}

fn names(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|it| it.unwrap().file_name());
    names.map(|it| it.into_string().unwrap()).collect()
}

/// Everything in `dir` but when it was read: mode, owner, group, inode, changes, and what is in it.
type All = BTreeMap<String, (u32, u32, u32, u64, (i64, i64), Vec<u8>)>;

fn tree(dir: &Path) -> All {
    let mut all = All::new();
    let mut left = vec![PathBuf::new()];
    while let Some(path) = left.pop() {
        let full = dir.join(&path);
        let is = fs::symlink_metadata(&full).unwrap();
        let content = if is.is_dir() {
            left.extend(names(&full).iter().map(|name| path.join(name)));
            Vec::new()
        } else if is.is_symlink() {
            fs::read_link(&full)
                .unwrap()
                .into_os_string()
                .into_encoded_bytes()
        } else if is.is_file() {
            fs::read(&full).unwrap()
        } else {
            Vec::new()
        };
        let changed = (is.ctime(), is.ctime_nsec());
        let about = (is.mode(), is.uid(), is.gid(), is.ino(), changed, content);
        all.insert(path.to_str().unwrap().to_owned(), about);
    }
    all
}

#[test]
fn a_linked_volume_is_laid_out_as_a_kubelet_does() {
    let container = Container::new();
    let volume = Volume {
        mode: 0o2750,
        ..volume(true)
    };
    container.fill_as(&volume, ONE).unwrap();
    container.assert_holds(ONE, "at first");
    let data = container.data();
    let mut found = names(&container.volume());
    found.sort();
    assert_eq!(found, [data.as_str(), "..data", "a", "gone", "ssh"]);
    let all = tree(&container.volume());
    for directory in ["", &data, &format!("{data}/ssh")] {
        assert_eq!(all[directory].0 & 0o7777, 0o2750, "{directory}");
    }
    assert_eq!(all["ssh"].5, b"..data/ssh");
}

#[test]
fn what_is_as_it_should_be_is_not_touched() {
    for linked in [true, false] {
        let container = Container::new();
        container.fill(linked, TWO).unwrap();
        let before = tree(&container.volume());
        container.fill(linked, TWO).unwrap();
        assert_eq!(tree(&container.volume()), before);
        // One with no files is one.
        container.fill(linked, &[]).unwrap();
        let before = tree(&container.volume());
        container.fill(linked, &[]).unwrap();
        assert_eq!(tree(&container.volume()), before);
    }
}

#[test]
fn an_update_leaves_what_is_new_and_nothing_else() {
    let container = Container::new();
    let mut known = String::new();
    for files in [
        ONE,
        TWO,
        &[("a", "new", 0o644)],
        &[("a", "neu", 0o644)],
        &[("a", "neu", 0o600)],
        &[("a/b", "neu", 0o600)],
        &[("a/b", "neu", 0o600), ("a/c", "", 0o600)],
        &[],
        ONE,
    ] {
        container.fill(true, files).unwrap();
        container.assert_holds(files, "after an update");
        assert_ne!(container.data(), known);
        known = container.data();
    }
    container
        .fill_as(
            &Volume {
                mode: 0o711,
                ..volume(true)
            },
            ONE,
        )
        .unwrap();
    assert_ne!(container.data(), known, "directories have another mode");
}

#[test]
fn what_an_interrupted_update_has_left_is_set_right() {
    type Interrupt = fn(&Container);
    let (left, tmp) = ("..2026_01_01_00_00_00.1", "..data_tmp");
    let interrupted: [(&str, Interrupt); 5] = [
        ("written in part", |it| {
            fs::create_dir_all(it.at("..2026_01_01_00_00_00.1/ssh")).unwrap();
            fs::write(it.at("..2026_01_01_00_00_00.1/a"), "x").unwrap();
        }),
        ("before the switch", |it| {
            symlink("..2026_01_01_00_00_00.1", it.at("..data_tmp")).unwrap();
        }),
        ("before a link", |it| fs::remove_file(it.at("a")).unwrap()),
        ("before the link is renamed", |it| {
            symlink("..data/a", it.at("..data_tmp")).unwrap();
        }),
        ("before links are removed", |it| {
            symlink("..data/old", it.at("old")).unwrap();
        }),
    ];
    for (when, interrupt) in interrupted {
        let container = Container::new();
        container.fill(true, ONE).unwrap();
        let before = tree(&container.at(&container.data()));
        interrupt(&container);
        container.fill(true, ONE).unwrap();
        container.assert_holds(ONE, when);
        assert_eq!(tree(&container.at(&container.data())), before, "{when}");
        interrupt(&container);
        container.fill(true, TWO).unwrap();
        container.assert_holds(TWO, when);
        assert!(!container.at(left).exists() && !container.at(tmp).exists());
    }
}

#[test]
fn what_a_tenant_has_in_a_volume_stays() {
    let container = Container::new();
    container.fill(true, ONE).unwrap();
    fs::create_dir(container.at("mine")).unwrap();
    fs::write(container.at("mine/x"), "x").unwrap();
    fs::write(container.at("..2026_not_dated"), "x").unwrap();
    symlink("..data/a", container.at("other")).unwrap();
    container.fill(true, TWO).unwrap();
    assert_eq!(fs::read(container.at("mine/x")).unwrap(), b"x");
    assert_eq!(fs::read(container.at("..2026_not_dated")).unwrap(), b"x");
    assert_eq!(fs::read(container.at("other")).unwrap(), b"new");
}

#[test]
fn plain_files_are_written_and_others_stay() {
    let container = Container::new();
    fs::write(container.at("other"), "x").unwrap();
    fs::create_dir(container.at("ssh")).unwrap();
    fs::write(container.at("ssh/known"), "x").unwrap();
    container.fill(false, ONE).unwrap();
    container.fill(false, TWO).unwrap();
    let all = tree(&container.volume());
    let found: Vec<&str> = all.keys().map(String::as_str).collect();
    assert_eq!(
        found,
        [
            "",
            "a",
            "b",
            "gone",
            "other",
            "ssh",
            "ssh/deep",
            "ssh/deep/er",
            "ssh/id",
            "ssh/known"
        ]
    );
    for (path, content, mode) in TWO {
        assert_eq!(all[*path].5, content.as_bytes());
        assert_eq!(all[*path].0 & 0o7777, *mode, "{path}");
    }
    assert_eq!(all["ssh/deep"].0 & 0o7777, 0o755);
}

#[test]
fn what_cannot_be_filled_is_told_with_its_path() {
    let container = Container::new();
    fs::create_dir(container.at("a")).unwrap();
    let said = container.fill(false, ONE).unwrap_err();
    assert_eq!(said, "/.vkc/volumes/v/a: it is a directory");
    let other = |name: &str| {
        let volume = Volume {
            name: name.to_owned(),
            ..volume(true)
        };
        container.fill_as(&volume, ONE).unwrap_err()
    };
    assert_eq!(
        other("none"),
        "/.vkc/volumes/none: it is not mounted in this container"
    );
    symlink(
        container.outside(),
        container.root.path().join(".vkc/volumes/link"),
    )
    .unwrap();
    fs::write(container.root.path().join(".vkc/volumes/file"), "").unwrap();
    let outside = tree(&container.outside());
    assert!(other("link").contains("a link"));
    assert!(other("file").contains("no directory"));
    assert_eq!(tree(&container.outside()), outside);
    // Nor on the way to it.
    fs::rename(
        container.root.path().join(".vkc/volumes"),
        container.root.path().join("moved"),
    )
    .unwrap();
    symlink("../moved", container.root.path().join(".vkc/volumes")).unwrap();
    let said = container.fill(true, ONE).unwrap_err();
    assert!(said.contains("a link is on the way"), "{said}");
    // Nobody has looked at what is asked for.
    let volume = Volume {
        name: "..".to_owned(),
        ..volume(true)
    };
    container.fill_as(&volume, ONE).unwrap_err();
}

#[test]
fn a_volume_belongs_to_whom_it_should() {
    let container = Container::new();
    let root = geteuid().as_raw() == 0;
    let own = fs::metadata(container.volume()).unwrap();
    let (owner, group) = if root {
        (1234, 2345)
    } else {
        (own.uid(), own.gid())
    };
    for linked in [true, false] {
        let volume = Volume {
            owner: Some(1234),
            group: Some(2345),
            mode: 0o2770,
            ..volume(linked)
        };
        let path = Root::open(container.root.path().to_str().unwrap()).unwrap();
        let mut files: Vec<_> = TWO.iter().map(|it| ready(*it)).collect();
        for file in &mut files {
            file.group = Some(2345);
        }
        files[0].group = Some(77);
        fill(&path, &volume, &files).unwrap();
        let all = tree(&container.volume());
        for (name, is) in &all {
            let special = is.5 == b"new" && root;
            let expected = (owner, if special { 77 } else { group });
            assert_eq!((is.1, is.2), expected, "{name}");
        }
        fill(&path, &volume, &files).unwrap();
        assert_eq!(tree(&container.volume()), all);
        if linked {
            // Somebody else's file is not what is wanted.
            let data = container.data();
            let file = container.at(&data).join("b");
            std::os::unix::fs::lchown(&file, root.then_some(1), None).unwrap();
            fill(&path, &volume, &files).unwrap();
            assert_eq!(container.data() != data, root);
            fs::remove_dir_all(container.volume()).unwrap();
            fs::create_dir(container.volume()).unwrap();
        }
    }
}

#[test]
fn a_file_keeps_the_bits_that_a_new_owner_takes_away() {
    let container = Container::new();
    let volume = Volume {
        owner: Some(1234),
        ..volume(true)
    };
    let files = &[("run", "x", 0o6755)];
    container.fill_as(&volume, files).unwrap();
    container.assert_holds(files, "with an owner");
}

#[test]
fn two_updates_at_once_wait_for_each_other() {
    let container = Container::new();
    thread::scope(|scope| {
        for files in [ONE, TWO] {
            let container = &container;
            scope.spawn(move || {
                for _ in 0..50 {
                    container.fill(true, files).unwrap();
                }
            });
        }
    });
    let is_one = fs::read(container.at("a")).unwrap() == b"old";
    container.assert_holds(if is_one { ONE } else { TWO }, "after two");

    let (path, volume) = (container.root.path().to_str().unwrap(), volume(true));
    let open = || Place::of(&Root::open(path).unwrap(), &volume).unwrap();
    let (first, second) = (open(), open());
    first.lock(Duration::ZERO).unwrap();
    let said = second.lock(Duration::ZERO).unwrap_err().to_string();
    assert!(said.contains("locked"), "{said}");
    drop(first);
    second.lock(Duration::ZERO).unwrap();
}

#[test]
fn a_directory_is_named_by_its_day() {
    for (seconds, name) in [
        (0, "..1970_01_01_00_00_00.7"),
        (951_782_399, "..2000_02_28_23_59_59.7"),
        (951_782_400, "..2000_02_29_00_00_00.7"),
        (951_868_800, "..2000_03_01_00_00_00.7"),
        (1_798_761_599, "..2026_12_31_23_59_59.7"),
        (1_798_761_600, "..2027_01_01_00_00_00.7"),
        (4_107_542_400, "..2100_03_01_00_00_00.7"),
    ] {
        assert_eq!(dated(seconds, 7), name);
        assert!(is_dated(name));
    }
    assert!(is_dated(&new_name()));
    assert_ne!(new_name(), new_name());
    for name in [
        "",
        "..",
        "...",
        "..data",
        "..data_tmp",
        "a",
        "..2026_12_31_23_59_59",
        "..2026_12_31_23_59_59.",
        "..2026_12_31_23_59_59.x",
        "..2026_12_31_23_59_59.1.2",
        "..2026_12_31_23_59_59.1/..",
        ".2026_12_31_23_59_59.1",
        "..2026_12_31_23_59.1",
        "..2026_12_31_23_59_5x.1",
        "..2026-12-31-23-59-59.1",
    ] {
        assert!(!is_dated(name), "{name}");
    }
}

proptest! {
    #[test]
    fn any_name_is_looked_at(name in "\\PC*") {
        let _ = is_dated(&name);
    }

    #[test]
    fn every_day_has_a_name(seconds in 0..250_000_000_000_u64, unique: u64) {
        prop_assert!(is_dated(&dated(seconds, unique)));
    }
}
