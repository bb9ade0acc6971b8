//! The shim as it is: the program, with programs that it runs.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use vkc_shim::message::split;
use vkc_shim::spec::{
    CAPABILITIES, Content, FILE, File, Host, MessageFile, Spec, Text, User, Variable, Volume,
};

#[path = "processes/command.rs"]
mod command;
#[path = "processes/update.rs"]
mod update;
#[path = "processes/wait.rs"]
mod wait;

use update::keys;

/// A container's file system, and orders.
struct Container {
    root: TempDir,
}

impl Container {
    fn new(spec: &Spec) -> Self {
        let container = Self {
            root: tempfile::tempdir().unwrap(),
        };
        for directory in [".vkc/bin", ".vkc/spec"] {
            let directory = container.root.path().join(directory);
            fs::create_dir_all(&directory).unwrap();
            fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
        }
        container.order(spec);
        container
    }

    fn order(&self, spec: &Spec) {
        self.put(FILE, &spec.write().unwrap());
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(&format!(".vkc/spec/{name}")), bytes).unwrap();
    }

    fn path(&self, path: &str) -> String {
        self.root.path().join(path).to_str().unwrap().to_owned()
    }

    fn command(&self, what: &str, program: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vkc-shim"));
        command
            .arg(what)
            .args(["--spec", &self.path(".vkc/spec")])
            .args(["--root", self.root.path().to_str().unwrap()]);
        if !program.is_empty() {
            command.arg("--").args(program);
        }
        command
    }

    fn run(&self, program: &[&str]) -> Output {
        self.command("run", program).output().unwrap()
    }
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn file(path: &str, from: &str, mode: u32) -> File {
    File {
        path: path.to_owned(),
        content: Content::From(from.to_owned()),
        mode,
        group: None,
    }
}

#[test]
fn a_program_has_its_files_its_variables_and_its_directory() {
    let mut spec = Spec {
        env: vec![
            Variable {
                name: "data-1".to_owned(),
                value: Text::plain("a b"),
            },
            Variable {
                name: "PLAIN".to_owned(),
                value: Text::plain("$(NOT) expanded"),
            },
        ],
        files: vec![file("/etc/app/app.conf", "f0", 0o440)],
        hosts: vec![Host {
            ip: "10.0.0.5".to_owned(),
            names: vec!["db".to_owned()],
        }],
        ..Spec::new()
    };
    let container = Container::new(&spec);
    spec.working_dir = Some(container.path("etc/app"));
    container.order(&spec);
    container.put("f0", b"key=1\n");
    let output = container.run(&["sh", "-c", "pwd; cat app.conf; cat ../hosts"]);
    // A shell passes on only names that it likes.
    let shown = out(&output) + &out(&container.run(&["env"]));
    assert!(output.status.success(), "{}", err(&output));
    for part in [
        "/etc/app\nkey=1\n",
        "10.0.0.5\tdb\n",
        "data-1=a b\n",
        "PLAIN=$(NOT) expanded\n",
    ] {
        assert!(shown.contains(part), "{part:?} is not in {shown}");
    }
    let mode = fs::metadata(container.path("etc/app/app.conf"))
        .unwrap()
        .mode();
    assert_eq!(mode & 0o7777, 0o440);
    // A container that runs again has the same.
    let again = out(&container.run(&["cat", &container.path("etc/hosts")]));
    assert_eq!(again.matches("10.0.0.5").count(), 1, "{again}");
}

#[test]
fn a_program_ends_the_container_as_it_ends() {
    let container = Container::new(&Spec::new());
    let code = |program: &[&str]| container.run(program).status.code();
    assert_eq!(code(&["sh", "-c", "exit 7"]), Some(7));
    assert_eq!(code(&["sh", "-c", "exit 255"]), Some(255));
    assert_eq!(code(&["true"]), Some(0));
    assert_eq!(code(&["sh", "-c", "kill -KILL $$"]), Some(137));
    assert_eq!(code(&["sh", "-c", "kill -SEGV $$"]), Some(139));
    assert_eq!(code(&["/no/such/program"]), Some(127));
    assert_eq!(code(&["/etc/passwd"]), Some(126));
    assert_eq!(code(&[]), Some(128));
}

#[test]
fn secret_arguments_are_on_no_command_line() {
    let spec = Spec {
        command: [
            "sh",
            "-c",
            "echo $1; tr '\\0' ' ' </proc/$PPID/cmdline",
            "sh",
            "hunter2",
        ]
        .map(Text::plain)
        .to_vec(),
        ..Spec::new()
    };
    let shown = out(&Container::new(&spec).run(&[]));
    let (first, second) = shown.split_once('\n').unwrap();
    assert_eq!(first, "hunter2");
    assert!(
        second.contains("run") && !second.contains("hunter2"),
        "{second}"
    );
}

/// A running program that has said `ready`.
fn started(container: &Container, script: &str) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut child = container
        .command("run", &["sh", "-c", script])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    (child, output)
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill")
        .args([name, &child.id().to_string()])
        .status();
    assert!(sent.unwrap().success());
}

#[test]
fn signals_go_on_to_the_program() {
    let container = Container::new(&Spec::new());
    let wait = "echo ready; while :; do sleep 0.05; done";
    for (name, code) in [("-TERM", 42), ("-HUP", 43), ("-USR1", 44)] {
        let script =
            format!("trap 'exit 42' TERM; trap 'exit 43' HUP; trap 'exit 44' USR1; {wait}");
        let (mut child, _output) = started(&container, &script);
        signal(&child, name);
        assert_eq!(child.wait().unwrap().code(), Some(code), "{name}");
    }
    // One that does nothing about it ends by it.
    let (mut child, _output) = started(&container, wait);
    signal(&child, "-TERM");
    assert_eq!(child.wait().unwrap().code(), Some(143));
    // One that ignores it goes on.
    let script = format!("trap '' TERM; trap 'exit 5' USR2; {wait}");
    let (mut child, _output) = started(&container, &script);
    signal(&child, "-TERM");
    signal(&child, "-USR2");
    assert_eq!(child.wait().unwrap().code(), Some(5));
}

#[test]
fn a_program_starts_with_no_signal_held_back() {
    let container = Container::new(&Spec::new());
    let shown = out(&container.run(&["grep", "-E", "SigBlk|SigIgn", "/proc/self/status"]));
    assert!(shown.contains("SigBlk:\t0000000000000000"), "{shown}");
    // Rust's own programs ignore SIGPIPE; no other is to.
    let ignored = shown
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:\t"))
        .unwrap();
    assert_eq!(
        u64::from_str_radix(ignored, 16).unwrap() & 0x1000,
        0,
        "{shown}"
    );
}

#[test]
fn the_shim_does_not_wait_for_what_a_program_leaves_behind() {
    let container = Container::new(&Spec::new());
    let since = Instant::now();
    let mut command = container.command("run", &["sh", "-c", "sleep 30 >/dev/null 2>&1 & exit 3"]);
    assert_eq!(command.status().unwrap().code(), Some(3));
    assert!(since.elapsed() < Duration::from_secs(20));
}

fn message_of(script: &str) -> (String, Option<String>) {
    let mut spec = Spec::new();
    let container = Container::new(&spec);
    // The path is the one in the container, where the shim's root is the container's.
    let path = container.path("log");
    spec.message = Some(MessageFile {
        path: path.clone(),
        required: true,
    });
    container.order(&spec);
    let mut command = Command::new(env!("CARGO_BIN_EXE_vkc-shim"));
    let output = command
        .args([
            "run",
            "--spec",
            &container.path(".vkc/spec"),
            "--",
            "sh",
            "-c",
            script,
            "sh",
            &path,
        ])
        .output()
        .unwrap();
    split(&err(&output))
}

#[test]
fn the_message_of_an_end_is_the_last_line_of_the_log() {
    let (rest, message) = message_of("echo problem >&2; printf 'it broke\\n' >$1; exit 1");
    assert_eq!(
        (rest.as_str(), message.as_deref()),
        ("problem\n", Some("it broke\n"))
    );
    assert_eq!(message_of("true").1, None);
    let (_, long) = message_of("head -c 9000 /dev/zero | tr '\\0' x >$1");
    assert_eq!(long.unwrap().len(), 4096);
}

#[test]
fn what_a_program_makes_of_the_message_file_ends_nothing() {
    for script in [
        "rm $1",
        "rm $1; mkdir $1",
        "rm $1; mkfifo $1",
        "rm $1; ln -s /dev/zero $1",
        "rm $1; ln -s $1 $1",
        "chmod 0 $1",
    ] {
        let since = Instant::now();
        let (_, message) = message_of(script);
        assert_eq!(message, None, "{script}");
        assert!(since.elapsed() < Duration::from_secs(20), "{script}");
    }
}

#[test]
fn what_cannot_be_done_ends_the_container_with_a_reason_and_without_the_program() {
    let container = Container::new(&Spec::new());
    let said = |path: &str| {
        container.order(&Spec {
            files: vec![file(path, "f0", 0o644)],
            ..Spec::new()
        });
        let output = container.run(&["echo", "ran"]);
        assert_eq!(
            (output.status.code(), out(&output).as_str()),
            (Some(128), ""),
            "{path}"
        );
        err(&output)
    };
    assert!(said("/a").contains("f0"));
    container.put("f0", b"x");
    fs::create_dir(container.path("directory")).unwrap();
    assert!(said("/directory").contains("/directory: it is a directory"));
    fs::write(container.path("plain"), "").unwrap();
    assert!(said("/plain/x").contains("no directory"));
    symlink("loop", container.path("loop")).unwrap();
    assert!(said("/loop/x").contains("too many links"));
    container.put(FILE, b"{\"version\":9}");
    let output = container.run(&["echo", "ran"]);
    assert!(err(&output).contains("of version 9"), "{}", err(&output));
    container.put(FILE, b"{\"version\":1,\"hunter2\":1}");
    let output = container.run(&["echo", "ran"]);
    assert!(!err(&output).contains("hunter2"), "{}", err(&output));
}

#[test]
fn a_working_directory_is_made_where_the_image_has_none_and_is_named_where_that_cannot_be() {
    let directory = "/no-such-directory/of/any/machine";
    let container = Container::new(&Spec {
        working_dir: Some(directory.to_owned()),
        ..Spec::new()
    });
    let output = container.run(&["echo", "ran"]);
    let made = container.path(directory.trim_start_matches('/'));
    assert!(fs::metadata(made).unwrap().is_dir());
    // This test's machine has none: what was made is in the container.
    let said = err(&output);
    assert!(said.contains(directory) && !said.contains("echo"), "{said}");
    assert_eq!(output.status.code(), Some(128));
}

#[test]
fn a_directory_that_cannot_be_written_is_told() {
    let container = Container::new(&Spec {
        files: vec![file("/ro/x", "f0", 0o644)],
        ..Spec::new()
    });
    container.put("f0", b"x");
    // /proc takes no files, whoever asks.
    symlink("/proc", container.path("ro")).unwrap();
    fs::create_dir(container.path("proc")).unwrap();
    assert!(
        container.run(&["true"]).status.success(),
        "in the container it is a directory"
    );
    fs::remove_file(container.path("ro")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_vkc-shim"));
    container.order(&Spec {
        files: vec![file("/proc/x", "f0", 0o644)],
        ..Spec::new()
    });
    let output = command
        .args(["run", "--spec", &container.path(".vkc/spec"), "--", "true"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(128));
    assert!(err(&output).contains("/proc/x"), "{}", err(&output));
}

#[test]
fn sixty_at_once_start_and_end() {
    let container = Container::new(&Spec {
        files: vec![file("/etc/app.conf", "f0", 0o644)],
        ..Spec::new()
    });
    container.put("f0", b"x");
    let others: Vec<Container> = (0..59)
        .map(|_| {
            let other = Container::new(&Spec {
                files: vec![file("/etc/app.conf", "f0", 0o644)],
                ..Spec::new()
            });
            other.put("f0", b"x");
            other
        })
        .collect();
    let all = others.iter().chain([&container]);
    let children: Vec<Child> = all
        .map(|it| it.command("run", &["sh", "-c", "exit 9"]).spawn().unwrap())
        .collect();
    for mut child in children {
        assert_eq!(child.wait().unwrap().code(), Some(9));
    }
}

#[test]
fn a_probe_has_the_surroundings_of_the_program() {
    let container = Container::new(&Spec {
        env: vec![Variable {
            name: "data-1".to_owned(),
            value: Text::plain("x"),
        }],
        working_dir: Some("/".to_owned()),
        ..Spec::new()
    });
    let exec = |program: &[&str]| container.command("exec", program).output().unwrap();
    let output = exec(&["sh", "-c", "pwd; exit 3"]);
    assert_eq!(
        (out(&output).as_str(), output.status.code()),
        ("/\n", Some(3))
    );
    assert!(out(&exec(&["env"])).contains("data-1=x\n"));
}

#[test]
fn the_first_container_brings_the_shim_and_fills_volumes() {
    let container = Container::new(&Spec {
        volumes: vec![Volume {
            files: vec![file("ssh/id", "f0", 0o400), file("a", "f0", 0o755)],
            ..keys(&[])
        }],
        ..Spec::new()
    });
    container.put("f0", b"key");
    let output = container.command("install", &[]).output().unwrap();
    assert!(
        err(&output).contains("keys: it is not mounted"),
        "{}",
        err(&output)
    );
    fs::create_dir_all(container.path(".vkc/volumes/keys")).unwrap();
    let output = container.command("install", &[]).output().unwrap();
    assert!(output.status.success(), "{}", err(&output));
    for (path, mode) in [
        (".vkc/bin/vkc-shim", 0o555),
        (".vkc/bin/sh", 0o555),
        (".vkc/volumes/keys/ssh/id", 0o400),
        (".vkc/volumes/keys/a", 0o755),
        (".vkc/volumes/keys", 0o755),
    ] {
        let is = fs::metadata(container.path(path)).unwrap();
        assert_eq!(is.mode() & 0o7777, mode, "{path}");
    }
    let version = Command::new(container.path(".vkc/bin/vkc-shim"))
        .arg("--version")
        .output();
    assert!(out(&version.unwrap()).starts_with("vkc-shim "));
    // Once more, as after a failed start, and without orders.
    fs::remove_file(container.path(".vkc/spec/spec.json")).unwrap();
    assert!(
        container
            .command("install", &[])
            .status()
            .unwrap()
            .success()
    );
}

/// Only root can give rights up; elsewhere the others of this file say what can be said.
fn is_root() -> bool {
    let root = fs::metadata("/proc/self").unwrap().uid() == 0;
    if !root {
        eprintln!("not root: what the shim does as root is not tested here");
    }
    root
}

fn as_user(user: User) -> Container {
    let container = Container::new(&Spec {
        user: Some(user),
        files: vec![file("/etc/app.conf", "f0", 0o644)],
        ..Spec::new()
    });
    fs::set_permissions(container.root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    container.put("f0", b"x");
    container
}

fn restricted() -> User {
    User {
        name: "1234:1235".to_owned(),
        groups: vec![4000],
        drop: CAPABILITIES.map(str::to_owned).to_vec(),
        no_new_privileges: true,
        ..User::default()
    }
}

#[test]
fn rights_are_given_up_before_the_program_runs() {
    if !is_root() {
        return;
    }
    let container = as_user(restricted());
    let look = [
        "grep",
        "-E",
        "^(Uid|Gid|Groups|Cap|NoNewPrivs)",
        "/proc/self/status",
    ];
    for what in ["run", "exec"] {
        let output = container.command(what, &look).output().unwrap();
        let shown = out(&output);
        for line in [
            "Uid:\t1234\t1234\t1234\t1234",
            "Gid:\t1235\t1235\t1235\t1235",
            "Groups:\t1235 4000",
            "CapInh:\t0000000000000000",
            "CapPrm:\t0000000000000000",
            "CapEff:\t0000000000000000",
            "CapAmb:\t0000000000000000",
            "NoNewPrivs:\t1",
        ] {
            assert!(
                shown.contains(line),
                "{what}: {line} is not in {shown}{}",
                err(&output)
            );
        }
        let bounding = shown
            .lines()
            .find_map(|line| line.strip_prefix("CapBnd:\t"))
            .unwrap();
        let bounding = u64::from_str_radix(bounding, 16).unwrap();
        // CHOWN, DAC_OVERRIDE, FOWNER, SETGID, SETUID, SETPCAP.
        assert_eq!(
            bounding & (1 | 2 | 8 | 0x40 | 0x80 | 0x100),
            0,
            "{what}: {bounding:x}"
        );
    }
    let placed = fs::metadata(container.path("etc/app.conf")).unwrap();
    assert_eq!((placed.uid(), placed.mode() & 0o7777), (0, 0o644));
}

#[test]
fn a_program_is_at_home_where_its_user_is() {
    if !is_root() {
        return;
    }
    let home = |keep_home: bool, given: &str| {
        let container = as_user(User {
            keep_home,
            ..restricted()
        });
        fs::create_dir_all(container.path("etc")).unwrap();
        let passwd = "root:x:0:0:root:/root:\napp:x:1234:1::/home/app:\n";
        fs::write(container.path("etc/passwd"), passwd).unwrap();
        let mut command = container.command("run", &["sh", "-c", "echo $HOME"]);
        out(&command.env("HOME", given).output().unwrap())
    };
    assert_eq!(home(false, "/root"), "/home/app\n");
    assert_eq!(home(false, "/srv"), "/srv\n");
    assert_eq!(home(true, "/root"), "/root\n");
}

#[test]
fn the_shim_can_be_signalled_by_the_program_s_user_and_not_used_by_it() {
    if !is_root() {
        return;
    }
    let container = as_user(restricted());
    // Its parent is the shim.
    let output = container.run(&[
        "sh",
        "-c",
        "kill -0 $PPID && echo may; echo x >/proc/1/oom_score_adj || echo root is away",
    ]);
    assert!(
        out(&output).contains("may"),
        "{}{}",
        out(&output),
        err(&output)
    );
}

#[test]
fn whom_a_program_runs_as_is_settled_at_its_start() {
    if !is_root() {
        return;
    }
    let container = as_user(User {
        name: "app".to_owned(),
        ..restricted()
    });
    let early = container.command("exec", &["id", "-u"]).output().unwrap();
    assert!(!early.status.success(), "nobody has said who that is");
    fs::create_dir_all(container.path("etc")).unwrap();
    fs::write(container.path("etc/passwd"), "app:x:1500:1501::/:\n").unwrap();
    assert_eq!(out(&container.run(&["id", "-u"])), "1500\n");
    // The program has made itself root, in a file that it may write.
    fs::write(container.path("etc/passwd"), "app:x:0:0::/:\n").unwrap();
    let session = container.command("exec", &["id", "-u"]).output().unwrap();
    assert_eq!(out(&session), "1500\n", "{}", err(&session));
    // An image cannot bring that along so that others could change it.
    chown(container.path(".vkc/identity"), Some(1500), None).unwrap();
    let session = container.command("exec", &["id", "-u"]).output().unwrap();
    assert!(!session.status.success());
}

#[test]
fn the_shim_is_not_root_where_others_could_replace_it() {
    if !is_root() {
        return;
    }
    let refused = |container: &Container, because: &str| {
        let output = container.run(&["echo", "ran"]);
        let said = err(&output);
        assert_eq!(
            (output.status.code(), out(&output).as_str()),
            (Some(128), ""),
            "{because}"
        );
        assert!(said.contains("/.vkc/"), "{because}: {said}");
    };
    let mode = |container: &Container, path: &str, mode: u32| {
        fs::set_permissions(container.path(path), fs::Permissions::from_mode(mode)).unwrap();
    };
    for path in ["", ".vkc", ".vkc/bin", ".vkc/spec"] {
        let container = as_user(restricted());
        mode(&container, path, 0o777);
        refused(&container, path);
        mode(&container, path, 0o755);
        chown(container.path(path), Some(1234), None).unwrap();
        refused(&container, path);
        chown(container.path(path), Some(0), None).unwrap();
        assert!(container.run(&["true"]).status.success());
    }
    let container = as_user(restricted());
    fs::rename(container.path(".vkc"), container.path("elsewhere")).unwrap();
    symlink("elsewhere", container.path(".vkc")).unwrap();
    refused(&container, "a link");
    assert!(Path::new(&container.path("elsewhere/bin")).exists());
}

#[test]
fn a_signal_in_the_last_moment_keeps_nobody_from_ending() {
    use rustix::process::{Pid, Signal, kill_process};
    let container = Container::new(&Spec::new());
    for _ in 0..100 {
        let mut child = container.command("run", &["true"]).spawn().unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        let started = Instant::now();
        let status = loop {
            // Nobody has waited for it: the number is still its own.
            let _ = kill_process(pid, Signal::CHILD);
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if started.elapsed() > Duration::from_secs(10) {
                child.kill().unwrap();
            }
        };
        assert!(status.success(), "{status}");
    }
}
