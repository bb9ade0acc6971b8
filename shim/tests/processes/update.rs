//! Volumes that are brought up to date.

use std::collections::BTreeSet;
use std::os::unix::process::CommandExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use vkc_shim::spec::LONGEST;

use super::*;

/// A volume with these files.
pub(super) fn keys(files: &[(&str, Content)]) -> Volume {
    let file = |(path, content): &(&str, Content)| File {
        path: (*path).to_owned(),
        content: content.clone(),
        mode: 0o640,
        group: None,
    };
    Volume {
        name: "keys".to_owned(),
        mode: 0o755,
        owner: None,
        group: None,
        linked: true,
        files: files.iter().map(file).collect(),
    }
}

fn text(text: &str) -> Content {
    Content::Text(Text::plain(text))
}

/// A container that has the volume.
fn with_keys() -> Container {
    let container = Container::new(&Spec::new());
    fs::create_dir_all(container.path(".vkc/volumes/keys")).unwrap();
    container
}

/// What the session says in the end is told as an error, if it is one.
fn update_with(command: Command, input: &[u8]) -> Output {
    let mut typed = String::new();
    for piece in input.chunks(3000) {
        typed.extend([&STANDARD.encode(piece), "\n"]);
    }
    let mut output = typed_into(command, &(typed + ".\n"));
    let said = out(&output);
    let lines: Vec<_> = said.lines().collect();
    let says = |line: &&str| line.strip_prefix("vkc-shim 1 ").map(str::to_owned);
    let said: Vec<_> = lines.iter().map_while(says).collect();
    assert_eq!(said.len(), lines.len(), "{lines:?}");
    assert_eq!(said[0], "ready");
    let last = said.last().unwrap();
    output.stdout.clear();
    if let Some(why) = last.strip_prefix("failed ") {
        output.stderr.extend_from_slice(why.as_bytes());
    } else {
        assert_eq!(last, "done");
        assert_eq!(said.len(), 2 + input.chunks(3000).count());
    }
    output
}

fn typed_into(mut command: Command, input: &str) -> Output {
    let pipes = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = pipes.spawn().unwrap();
    let mut typed = child.stdin.take().unwrap();
    thread::scope(|scope| {
        // It may end before it has read all.
        scope.spawn(move || typed.write_all(input.as_bytes()));
        child.wait_with_output().unwrap()
    })
}

fn update(container: &Container, volume: Volume) -> Output {
    let spec = Spec {
        volumes: vec![volume],
        ..Spec::new()
    };
    let mut command = Command::new(env!("CARGO_BIN_EXE_vkc-shim"));
    command.args(["update", "--root", container.root.path().to_str().unwrap()]);
    update_with(command, &spec.write().unwrap())
}

#[test]
fn an_update_brings_a_volume_up_to_date_and_touches_nothing_that_is() {
    let container = with_keys();
    let content = Content::Base64(Text::plain("AP8K"));
    let volume = keys(&[("ssh/id", content), ("a", text("one"))]);
    let update = |volume: &Volume| {
        let output = update(&container, volume.clone());
        assert_eq!(
            (
                output.status.code(),
                out(&output).as_str(),
                err(&output).as_str()
            ),
            (Some(0), "", "")
        );
    };
    update(&volume);
    let at = |name: &str| container.path(&format!(".vkc/volumes/keys/{name}"));
    assert_eq!(fs::read(at("ssh/id")).unwrap(), b"\0\xff\n");
    assert_eq!(fs::read(at("a")).unwrap(), b"one");
    assert_eq!(fs::metadata(at("a")).unwrap().mode() & 0o7777, 0o640);
    // Again, and nothing is touched.
    let data = fs::read_link(at("..data")).unwrap();
    let about = || {
        let paths = ["", "..data", "..data/ssh", "ssh/id", "a"].into_iter();
        let about = paths.map(|path| fs::metadata(at(path)).unwrap());
        let about = about.map(|is| (is.ino(), is.mtime_nsec(), is.ctime(), is.ctime_nsec()));
        about.collect::<Vec<_>>()
    };
    let before = about();
    update(&volume);
    assert_eq!(fs::read_link(at("..data")).unwrap(), data);
    assert_eq!(about(), before);
    // Another content.
    update(&keys(&[("a", text("two"))]));
    assert_eq!(fs::read(at("a")).unwrap(), b"two");
    assert!(fs::symlink_metadata(at("ssh")).is_err());
    assert!(fs::symlink_metadata(at(data.to_str().unwrap())).is_err());
}

#[test]
fn an_update_that_cannot_be_carried_out_says_why_in_one_line() {
    let container = with_keys();
    let root = container.root.path().to_str().unwrap();
    let refused = |input: &[u8], why: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vkc-shim"));
        command.args(["update", "--root", root]);
        let output = update_with(command, input);
        let said = err(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert_eq!(
            (out(&output).as_str(), said.lines().count()),
            ("", 1),
            "{said}"
        );
        assert!(said.contains(why) && !said.contains("hunter2"), "{said}");
    };
    let volumes = |volume: Volume| {
        let spec = Spec {
            volumes: vec![volume],
            ..Spec::new()
        };
        spec.write().unwrap().to_vec()
    };
    refused(b"", "broken");
    refused(b"{\"version\":9}", "of version 9");
    refused(b"{\"version\":1,\"hunter2\":[]}", "newer operator");
    refused(br#"{"version":1,"command":[["hunter2"]]}"#, "volumes only");
    refused(
        &volumes(keys(&[("a", Content::From("f0".to_owned()))])),
        "nothing beside it",
    );
    refused(
        &volumes(keys(&[("a", Content::Base64(Text::plain("hunter2")))])),
        "no base64",
    );
    refused(&volumes(keys(&[("../a", text("x"))])), "stay in its volume");
    let long = vec![b' '; usize::try_from(LONGEST).unwrap() + 1];
    refused(&long, "too large");
    let other = Volume {
        name: "other".to_owned(),
        ..keys(&[])
    };
    refused(
        &volumes(other),
        "/.vkc/volumes/other: it is not mounted in this container",
    );
    let name = "n\new\u{1b}";
    fs::create_dir(container.path(&format!(".vkc/volumes/keys/{name}"))).unwrap();
    let plain = Volume {
        linked: false,
        ..keys(&[(name, text("x"))])
    };
    refused(&volumes(plain), "n?ew?: it is a directory");
    assert!(fs::symlink_metadata(container.path(".vkc/volumes/keys/..data")).is_err());
}

#[test]
fn who_reads_a_volume_meanwhile_sees_all_of_the_old_or_all_of_the_new() {
    const TIMES: usize = 200;
    let container = with_keys();
    let volume = |turn: usize| {
        let content = turn.to_string().repeat(500);
        let mut files = vec![
            ("a", text(&content)),
            ("d/b", text(&content)),
            ("c", text(&content)),
        ];
        // One that comes and goes.
        if turn.is_multiple_of(2) {
            files.push(("e", text(&content)));
        }
        keys(&files)
    };
    assert!(update(&container, volume(0)).status.success());
    let at = |name: &str| container.path(&format!(".vkc/volumes/keys/{name}"));
    let data = || fs::read_link(at("..data")).unwrap();
    let done = AtomicBool::new(false);
    let seen = thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut seen = BTreeSet::new();
            while !done.load(Ordering::Relaxed) {
                // As programs do it that want all of one state: the link, and what is behind it. What is behind it goes once it
                // is old, so who is late looks again.
                let before = data();
                let within = |name: &str| fs::read(at(before.join(name).to_str().unwrap()));
                let all = [within("a"), within("d/b"), within("c")];
                let is_late = || data() != before;
                match all {
                    [Ok(a), Ok(b), Ok(c)] => {
                        assert!(a == b && b == c && a.len() >= 500, "a mix");
                        seen.insert(a);
                    }
                    missing => assert!(is_late(), "{:?} of {before:?}", missing.map(Result::err)),
                }
                // And over the names that are seen.
                for name in ["a", "d/b", "c"] {
                    let before = data();
                    match fs::read(at(name)) {
                        Ok(read) => assert!(read.len() >= 500 && read.len() % 500 == 0, "in part"),
                        Err(why) => assert!(data() != before, "{name}: {why}"),
                    }
                }
            }
            seen.len()
        });
        for turn in 1..=TIMES {
            let output = update(&container, volume(turn));
            assert!(output.status.success(), "{}", err(&output));
        }
        done.store(true, Ordering::Relaxed);
        reader.join().unwrap()
    });
    assert!(seen > 1, "the reader has seen no update");
    assert_eq!(fs::read_dir(at("")).unwrap().count(), 6);
}

/// The volume brought up to date by the user 1234, in no other group than 1235.
fn update_as_user(container: &Container, volume: Volume) -> Output {
    // Where others can start it.
    let program = container.path("vkc-shim");
    fs::copy(env!("CARGO_BIN_EXE_vkc-shim"), &program).unwrap();
    for path in [container.path(""), program.clone()] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let spec = Spec {
        volumes: vec![volume],
        ..Spec::new()
    };
    let mut command = Command::new(program);
    command.args(["update", "--root", container.root.path().to_str().unwrap()]);
    if is_root() {
        command.uid(1234).gid(1235);
    }
    update_with(command, &spec.write().unwrap())
}

#[test]
fn the_owner_of_a_volume_brings_it_up_to_date_without_being_root() {
    let container = with_keys();
    let own = fs::metadata(container.path(".vkc/volumes/keys")).unwrap();
    let (owner, group) = if is_root() {
        (1234, 4321)
    } else {
        (own.uid(), own.gid())
    };
    let volume = |content: &str| Volume {
        owner: Some(owner),
        group: Some(group),
        mode: 0o2775,
        ..keys(&[("ssh/id", text(content)), ("a", text(content))])
    };
    // As the first init container does.
    container.order(&Spec {
        volumes: vec![volume("one")],
        ..Spec::new()
    });
    let output = container.command("install", &[]).output().unwrap();
    assert!(output.status.success(), "{}", err(&output));
    for content in ["two", "two", "three"] {
        let output = update_as_user(&container, volume(content));
        assert_eq!(err(&output), "");
        let at = |name: &str| container.path(&format!(".vkc/volumes/keys/{name}"));
        for (name, mode) in [
            ("", 0o2775),
            ("..data/", 0o2775),
            ("ssh/", 0o2775),
            ("ssh/id", 0o640),
            ("a", 0o640),
        ] {
            let is = fs::metadata(at(name)).unwrap();
            let expected = (owner, group, mode);
            assert_eq!((is.uid(), is.gid(), is.mode() & 0o7777), expected, "{name}");
        }
        assert_eq!(fs::read_to_string(at("ssh/id")).unwrap(), content);
    }
}

#[test]
fn who_may_not_write_a_volume_is_told_so() {
    let container = with_keys();
    let path = container.path(".vkc/volumes/keys");
    if is_root() {
        chown(&path, Some(1500), Some(1501)).unwrap();
    } else {
        // There is no other user: one that may not.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o555)).unwrap();
    }
    for linked in [true, false] {
        let volume = Volume {
            linked,
            mode: if is_root() { 0o755 } else { 0o555 },
            ..keys(&[("a", text("hunter2"))])
        };
        let output = update_as_user(&container, volume);
        let said = err(&output);
        assert_eq!(
            (output.status.code(), said.lines().count()),
            (Some(1), 1),
            "{said}"
        );
        assert!(
            said.contains(if linked {
                "/.vkc/volumes/keys: "
            } else {
                "/.vkc/volumes/keys/a: "
            }),
            "{said}"
        );
        if is_root() {
            assert!(said.contains("user 1234 may not change it"), "{said}");
            assert!(said.contains("belongs to user 1500, group 1501"), "{said}");
        }
        assert!(!said.contains("hunter2"), "{said}");
        assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
    }
}

#[test]
fn a_session_that_breaks_off_or_is_no_base64_writes_nothing() {
    let container = with_keys();
    let root = container.root.path().to_str().unwrap();
    let spec = Spec {
        volumes: vec![keys(&[("a", text("hunter2"))])],
        ..Spec::new()
    };
    let whole = STANDARD.encode(spec.write().unwrap());
    let part = whole.get(..40).unwrap();
    for typed in [
        String::new(),
        format!("{whole}\n"),
        format!("{part}\n"),
        part.to_owned(),
        "!\n.\n".to_owned(),
        format!("{}\n.\n", "A".repeat(70_000)),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vkc-shim"));
        command.args(["update", "--root", root]);
        let output = typed_into(command, &typed);
        let said = out(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("vkc-shim 1 failed the session: "), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
        assert_eq!(
            fs::read_dir(container.path(".vkc/volumes/keys"))
                .unwrap()
                .count(),
            0
        );
    }
}

/// The shim under another name, and what it says.
fn as_task(name: &str) -> (Option<i32>, String) {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join(name);
    symlink(env!("CARGO_BIN_EXE_vkc-shim"), &program).unwrap();
    let output = Command::new(program).output().unwrap();
    (output.status.code(), out(&output))
}

#[test]
fn nothing_is_killed_where_the_shim_is_not_the_first_process() {
    let (code, said) = as_task("vkc-kill");
    assert_eq!(code, Some(1));
    assert!(
        said.starts_with("vkc-shim 1 ready\nvkc-shim 1 failed "),
        "{said}"
    );
    assert!(said.contains("process 1 is the program"), "{said}");
}
