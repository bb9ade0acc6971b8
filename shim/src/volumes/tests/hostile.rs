//! Programs of the tenant in a volume, which do what they can.

use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, FileType as Type, Mode as Bits, mknodat};

use super::*;

fn fifo(path: &Path) {
    mknodat(CWD, path, Type::Fifo, Bits::from_raw_mode(0o666), 0).unwrap();
}

#[test]
fn whatever_is_planted_in_a_linked_volume_nothing_outside_is_changed() {
    type Plant = fn(&Container, &Path);
    let replace = |it: &Container, name: &str| {
        let _ = fs::remove_file(it.at(name));
        let _ = fs::remove_dir_all(it.at(name));
        it.at(name)
    };
    let names = [
        "..data",
        "..data_tmp",
        "a",
        "ssh",
        "..2026_01_01_00_00_00.7",
        "DATED",
        "DATED/a",
        "DATED/ssh",
        "DATED/ssh/id",
        "DATED/new",
    ];
    let plants: [(&str, Plant); 9] = [
        ("a link to a directory", |it, at| {
            symlink(it.outside(), at).unwrap();
        }),
        ("a link to a file", |it, at| {
            symlink(it.outside().join("secret"), at).unwrap();
        }),
        ("a relative link", |_, at| {
            symlink("../../../outside/dir", at).unwrap();
        }),
        ("a link to above", |_, at| symlink("..", at).unwrap()),
        ("a link to itself", |_, at| symlink(".", at).unwrap()),
        ("a directory of links", |it, at| {
            fs::create_dir_all(at.join("more")).unwrap();
            symlink(it.outside(), at.join("dir")).unwrap();
            symlink(it.outside().join("secret"), at.join("more/a")).unwrap();
            symlink("../../../outside/dir/secret", at.join("a")).unwrap();
            fifo(&at.join("id"));
            fs::set_permissions(at.join("more"), fs::Permissions::from_mode(0o0)).unwrap();
        }),
        ("a file", |_, at| fs::write(at, "key").unwrap()),
        ("a hard link", |it, at| {
            fs::hard_link(it.outside().join("dir/secret"), at).unwrap();
        }),
        ("a fifo", |_, at| fifo(at)),
    ];
    for name in names {
        for (what, plant) in plants {
            let because = format!("{what} at {name}");
            let container = Container::new();
            container.fill(true, ONE).unwrap();
            let dated = container.data();
            let at = replace(&container, &name.replace("DATED", &dated));
            if what == "a hard link" {
                // The number of its names changes, and with that when it was changed.
                fs::write(container.outside().join("dir/secret"), "key").unwrap();
            }
            plant(&container, &at);
            let outside = tree(&container.outside());
            let links = fs::metadata(container.outside().join("dir/secret"))
                .unwrap()
                .nlink();
            for files in [ONE, TWO] {
                container.fill(true, files).unwrap();
                container.assert_holds(files, &because);
            }
            if links == 1 {
                assert_eq!(tree(&container.outside()), outside, "{because}");
            } else {
                let strip = |all: All| -> Vec<_> {
                    all.into_values()
                        .map(|it| (it.0, it.1, it.2, it.3, it.5))
                        .collect()
                };
                assert_eq!(
                    strip(tree(&container.outside())),
                    strip(outside),
                    "{because}"
                );
            }
        }
    }
}

#[test]
fn a_link_to_what_is_wanted_elsewhere_is_not_believed() {
    for away in ["../../../outside/copy", "mine"] {
        let container = Container::new();
        container.fill(true, ONE).unwrap();
        let there = container.at(away);
        fs::rename(container.at(&container.data()), &there).unwrap();
        fs::remove_file(container.at("..data")).unwrap();
        symlink(away, container.at("..data")).unwrap();
        let before = tree(&there);
        container.fill(true, ONE).unwrap();
        container.assert_holds(ONE, away);
        assert_eq!(tree(&there), before, "{away}");
    }
}

#[test]
fn what_is_too_deep_or_too_much_to_be_removed_stays_for_now() {
    let container = Container::new();
    let deep = container.at("..2026_01_01_00_00_00.1");
    fs::create_dir(&deep).unwrap();
    let mut here = fs::File::open(&deep).map(OwnedFd::from).unwrap();
    for _ in 0..5000 {
        rustix::fs::mkdirat(&here, "d", Bits::from_raw_mode(0o755)).unwrap();
        here = rustix::fs::openat(&here, "d", DIRECTORY, Bits::empty()).unwrap();
    }
    drop(here);
    container.fill(true, ONE).unwrap();
    assert!(deep.exists());
    assert_eq!(fs::read(container.at("a")).unwrap(), b"old");
    // The directory that is to go is taken apart from below, in reach, by who can.
    assert!(
        std::process::Command::new("rm")
            .arg("-r")
            .arg(&deep)
            .status()
            .unwrap()
            .success()
    );

    let many = container.at("many");
    for directory in ["", "x", "y"] {
        fs::create_dir(many.join(directory)).unwrap();
        for file in 0..50 {
            fs::write(many.join(directory).join(file.to_string()), "").unwrap();
        }
    }
    let dir = OwnedFd::from(fs::File::open(container.volume()).unwrap());
    let device = fs::metadata(container.volume()).unwrap().dev();
    let mut times = 0;
    while many.exists() {
        let mut broom = Broom::with(device, 60);
        broom.remove(&dir, "many").unwrap();
        times += 1;
    }
    assert_eq!(times, 3);
    let mut broom = Broom::with(device + 1, 60);
    broom.remove(&dir, &container.data()).unwrap();
    assert_eq!(
        fs::read(container.at("a")).unwrap(),
        b"old",
        "it is on another file system"
    );
}

#[test]
fn no_link_in_a_volume_of_plain_files_is_followed() {
    for (target, name, refused) in [
        ("../../../outside", "ssh", true),
        (".", "ssh", true),
        ("../../../outside/secret", "ssh", true),
        ("../../../outside/secret", "a", false),
        ("../../../outside", "b", false),
        ("../../../outside/secret", "ssh/id", false),
        ("../../../outside", "ssh/deep", true),
    ] {
        let container = Container::new();
        if name.contains('/') {
            fs::create_dir(container.at("ssh")).unwrap();
        }
        symlink(target, container.at(name)).unwrap();
        let outside = tree(&container.outside());
        let filled = container.fill(false, TWO);
        assert_eq!(tree(&container.outside()), outside, "{name} to {target}");
        if let Err(said) = filled {
            assert!(refused && said.contains("no directory"), "{name}: {said}");
        } else {
            assert!(!refused, "{name} to {target}");
            assert!(
                !fs::symlink_metadata(container.at(name))
                    .unwrap()
                    .is_symlink()
            );
        }
    }
}

#[test]
fn a_program_that_plants_links_meanwhile_changes_nothing_outside() {
    for linked in [true, false] {
        let container = Container::new();
        container.fill(linked, ONE).unwrap();
        let outside = tree(&container.outside());
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let out = container.outside();
                while !done.load(Ordering::Relaxed) {
                    for name in names(&container.volume()) {
                        // Never itself over a link: only the shim is looked at.
                        let _ = fs::rename(container.at(&name), container.at("away"));
                        let _ = symlink(&out, container.at(&name));
                        let _ = fs::remove_file(container.at(&name));
                        let _ = fs::rename(container.at("away"), container.at(&name));
                        let _ = symlink(&out, container.at("..data_tmp"));
                        let _ = symlink(&out, container.at("ssh"));
                    }
                }
            });
            for turn in 0..300 {
                // It may say that somebody changes the volume meanwhile.
                let files = if turn % 2 == 0 { TWO } else { ONE };
                let _ = container.fill(linked, files);
            }
            done.store(true, Ordering::Relaxed);
        });
        assert_eq!(tree(&container.outside()), outside, "linked: {linked}");
        if linked {
            let _ = fs::remove_dir_all(container.at("away"));
            let _ = fs::remove_file(container.at("away"));
            container.fill(true, TWO).unwrap();
            container.assert_holds(TWO, "once it has ended");
        }
    }
}

/// What a tenant does in a volume, as far as that can be done.
fn plant(container: &Container, (what, name, target): &(u8, String, String)) {
    let dated = fs::read_link(container.at("..data")).unwrap_or_default();
    let at = container.at(&name.replace("DATED", dated.to_str().unwrap_or_default()));
    // A test must not itself follow what it has planted.
    let inside = fs::canonicalize(at.parent().unwrap());
    let volume = fs::canonicalize(container.volume()).unwrap();
    if !inside.is_ok_and(|it| it.starts_with(&volume)) || at == container.volume() {
        return;
    }
    match what {
        0 => drop(symlink(target, &at)),
        1 => drop(fs::create_dir(&at)),
        2 if fs::symlink_metadata(&at).is_err() => drop(fs::write(&at, target)),
        3 if at.parent().is_some_and(Path::is_dir) && fs::symlink_metadata(&at).is_err() => {
            fifo(&at);
        }
        4 => drop(fs::remove_file(&at)),
        5 => drop(fs::rename(
            &at,
            container
                .at("DATED")
                .with_file_name("..2020_01_01_00_00_00.1"),
        )),
        _ => drop(fs::rename(&at, container.at("z"))),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]
    #[test]
    fn whatever_a_tenant_does_a_volume_holds_what_it_should_and_nothing_outside_is_changed(
        first in proptest::bool::ANY,
        done in proptest::collection::vec((
            0..7_u8,
            "(a|b|ssh|ssh/deep|ssh/id|z|DATED|DATED/a|DATED/ssh|DATED/ssh/id|\\.\\.data|\\.\\.data_tmp|\\.\\.2020_01_01_00_00_00\\.[12])(/[abz])?",
            "(\\.|\\.\\.|\\.\\./\\.\\./\\.\\./outside|\\.\\./\\.\\./\\.\\./outside/secret|\\.\\.data|\\.\\.data/a|ssh|\\.\\.2020_01_01_00_00_00\\.[12])",
        ), 0..12),
    ) {
        let container = Container::new();
        if first {
            container.fill(true, ONE).unwrap();
        }
        let outside = tree(&container.outside());
        for it in &done {
            plant(&container, it);
        }
        // As plain files some of it is refused.
        let _ = container.fill(false, &[("z/a", "x", 0o644), ("z/b/c", "x", 0o644), ("y", "x", 0o644)]);
        prop_assert_eq!(&tree(&container.outside()), &outside);
        for files in [TWO, ONE] {
            container.fill(true, files).unwrap();
            container.assert_holds(files, "whatever was done");
            prop_assert_eq!(&tree(&container.outside()), &outside);
            let before = tree(&container.volume());
            container.fill(true, files).unwrap();
            prop_assert_eq!(tree(&container.volume()), before);
        }
    }
}
