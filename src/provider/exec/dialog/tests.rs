//! The scripts on a real `/bin/sh`: through pipes, and on a terminal (the `script` of util-linux opens one).

use std::process::Stdio;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Child;
use tokio::task::JoinSet;

use super::*;

/// How the shell under test is reached.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Place {
    Pipes,
    Terminal,
    /// A terminal, in an image whose only programs on the path are these.
    Bare(&'static [&'static str]),
}

struct Run {
    result: Result<Exit, ExecError>,
    stdout: Vec<u8>,
    stderr: String,
}

fn shell(place: Place) -> Child {
    let mut command = match place {
        Place::Pipes => {
            let mut command = tokio::process::Command::new("/bin/sh");
            command.args(["-c", "exec /bin/sh 2>&1"]);
            command
        }
        Place::Terminal | Place::Bare(_) => {
            // Tests may run where interrupts are ignored, behind nohup for one; a container starts without that.
            let mut command = tokio::process::Command::new("env");
            command.args([
                "--default-signal=INT,QUIT",
                "script",
                "-q",
                "-E",
                "always",
                "-c",
                "stty rows 24 cols 80; exec /bin/sh",
                "/dev/null",
            ]);
            command
        }
    };
    command
        .env_clear()
        .env("SHELL", "/bin/sh")
        .env("TERM", "xterm");
    command.env("PATH", std::env::var("PATH").unwrap());
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    command.spawn().unwrap()
}

/// A folder with links to the programs of a bare place.
fn path_of(place: Place) -> Option<tempfile::TempDir> {
    let Place::Bare(programs) = place else {
        return None;
    };
    let folder = tempfile::tempdir().unwrap();
    for program in programs {
        let link = folder.path().join(program);
        std::os::unix::fs::symlink(format!("/bin/{program}"), link).unwrap();
    }
    Some(folder)
}

async fn run(place: Place, argv: &[&str], tty: bool, stdin: Option<Vec<u8>>) -> Run {
    run_and_type(place, argv, tty, "", stdin).await
}

/// Types `stdin` as soon as the output holds `prompt`.
async fn run_and_type(
    place: Place,
    argv: &[&str],
    tty: bool,
    prompt: &str,
    stdin: Option<Vec<u8>>,
) -> Run {
    let mut tasks = JoinSet::new();
    let (input, mut typed) = mpsc::channel::<Bytes>(4);
    let (shown, output) = mpsc::channel(4);
    let mut child = shell(place);
    // Whoever sits in the container finds nothing else.
    let path = path_of(place);
    let (mut to, mut from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let typed_path = path.as_ref().map(|path| path.path().to_owned());
    tasks.spawn(async move {
        if let Some(path) = typed_path {
            let line = format!("PATH={}\n", path.display());
            to.write_all(line.as_bytes()).await.unwrap();
        }
        while let Some(bytes) = typed.recv().await {
            assert!(bytes.len() <= 48);
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    });
    tasks.spawn(async move {
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            if shown
                .send(Bytes::copy_from_slice(&buffer[..read]))
                .await
                .is_err()
            {
                return;
            }
        }
    });
    let (out, mut collected) = mpsc::channel(4);
    let (keys, keyboard) = mpsc::channel(4);
    let has_stdin = stdin.is_some();
    let (prompted, prompt_seen) = tokio::sync::oneshot::channel();
    let mut prompted = Some(prompted);
    tasks.spawn(async move {
        prompt_seen.await.unwrap();
        for part in stdin.unwrap_or_default().chunks(10_000) {
            if keys.send(Bytes::copy_from_slice(part)).await.is_err() {
                return;
            }
        }
    });
    let mut streams = Streams {
        stdin: has_stdin.then_some(keyboard),
        output: out,
        resize: None,
        gone: CancellationToken::new(),
    };
    let command = Command {
        argv: argv.iter().map(|word| (*word).to_owned()).collect(),
        tty,
    };
    let mark = Mark::new(0x0123_4567_89ab_cdef);
    let console = Console { input, output };
    let collect = async {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        loop {
            if String::from_utf8_lossy(&stdout).contains(prompt)
                && let Some(prompted) = prompted.take()
            {
                prompted.send(()).unwrap();
            }
            let Some((to, bytes)) = collected.recv().await else {
                break;
            };
            match to {
                Output::Stdout => stdout.extend_from_slice(&bytes),
                Output::Stderr => stderr.extend_from_slice(&bytes),
            }
        }
        (stdout, String::from_utf8(stderr).unwrap())
    };
    let dialog = async {
        let result = super::run(console, Settings::default(), &mark, &command, &mut streams).await;
        drop(streams);
        result
    };
    let both = async { tokio::join!(dialog, collect) };
    let limit = Duration::from_secs(60);
    let (result, (stdout, stderr)) = tokio::time::timeout(limit, both).await.unwrap();
    Run {
        result,
        stdout,
        stderr,
    }
}

async fn check(place: Place, argv: &[&str], stdin: Option<&str>, want: (i32, &str, &str)) {
    let stdin = stdin.map(|text| text.as_bytes().to_vec());
    let run = run(place, argv, false, stdin).await;
    let stdout = String::from_utf8_lossy(&run.stdout).into_owned();
    assert_eq!(
        (run.result.unwrap(), stdout.as_str(), run.stderr.as_str()),
        (Exit::Code(want.0), want.1, want.2),
        "{place:?} {argv:?}"
    );
}

#[tokio::test]
async fn commands_arrive_as_given_and_their_ends_come_back() {
    let odd = "it's \"a\"  $HOME `x` \\n \\ ! * ~ \t\n\n ü\u{1}\u{3}\u{4}\u{7f} %s ^";
    let long = "x 'y' ".repeat(5000);
    for place in [Place::Pipes, Place::Terminal] {
        check(place, &["sh", "-c", "exit 7"], None, (7, "", "")).await;
        check(place, &["printf", "%s", odd], None, (0, odd, "")).await;
        check(place, &["printf", "%s", &long], None, (0, &long, "")).await;
        check(place, &["printf", "a\r\nb\n"], None, (0, "a\r\nb\n", "")).await;
        check(place, &["cat"], None, (0, "", "")).await;
        check(
            place,
            &[
                "sh",
                "-c",
                "echo out; echo err >&2; printf half >&2; exit 3",
            ],
            None,
            (3, "out\n", "err\nhalf"),
        )
        .await;
        check(place, &["sh", "-c", "kill -9 $$"], None, (137, "", "")).await;
        check(
            place,
            &["sh", "-c", "test -t 0 || test -t 1 || echo no"],
            None,
            (0, "no\n", ""),
        )
        .await;
        let missing = run(place, &["nothing-like-it"], false, None).await;
        assert_eq!(missing.result.unwrap(), Exit::Code(127));
        assert!(missing.stderr.contains("not found"), "{}", missing.stderr);
        // Words of the shell itself are no programs.
        let builtin = run(place, &["exit", "3"], false, None).await;
        assert_eq!(builtin.result.unwrap(), Exit::Code(127));
    }
}

#[tokio::test]
async fn standard_input_arrives_byte_for_byte_and_ends() {
    let every: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    for place in [Place::Pipes, Place::Terminal] {
        let copied = run(place, &["cat"], false, Some(every.clone())).await;
        assert_eq!(copied.result.unwrap(), Exit::Code(0));
        assert!(
            copied.stdout == every,
            "{place:?}: {} bytes",
            copied.stdout.len()
        );
        check(
            place,
            &["cat"],
            Some("a\n\\n 'b' \u{4}\n.\n"),
            (0, "a\n\\n 'b' \u{4}\n.\n", ""),
        )
        .await;
        check(place, &["cat"], Some(""), (0, "", "")).await;
        check(place, &["sh"], Some("echo $0\nexit 5\n"), (5, "sh\n", "")).await;
        // Nobody reads what is left.
        check(
            place,
            &["head", "-c", "3"],
            Some(&"long\n".repeat(40_000)),
            (0, "lon", ""),
        )
        .await;
    }
}

#[tokio::test]
async fn a_terminal_is_passed_through_and_the_exit_code_still_told() {
    let typed = b"echo a-$((1+1)); test -t 0 && stty size; exit 9\n".to_vec();
    let run_ = run(Place::Terminal, &["sh"], true, Some(typed)).await;
    let text = String::from_utf8(run_.stdout).unwrap();
    assert_eq!(run_.result.unwrap(), Exit::Code(9), "{text}");
    assert!(
        text.contains("echo a-$((1+1))") && text.contains("a-2\r\n24 80\r\n"),
        "{text}"
    );
    // An interrupt is the command's; the exit code is told all the same.
    let sleep = ["sh", "-c", "echo go; exec sleep 1000"];
    let interrupt = Some(vec![INTERRUPT]);
    let run_ = run_and_type(Place::Terminal, &sleep, true, "go", interrupt).await;
    assert_eq!(run_.result.unwrap(), Exit::Code(130));
    let run_ = run(Place::Terminal, &["cat"], true, Some(b"a\nb".to_vec())).await;
    assert_eq!(run_.result.unwrap(), Exit::Code(0));
    let text = String::from_utf8(run_.stdout).unwrap();
    assert!(text.starts_with("a\r\n") && text.ends_with('b'), "{text:?}");
}

#[tokio::test]
async fn what_an_image_lacks_is_done_without_or_said() {
    // No `base64`: escapes of printf carry any byte.
    let every: Vec<u8> = (0..=255).cycle().take(9000).collect();
    let place = Place::Bare(&["cat", "stty"]);
    let copied = run(place, &["/bin/cat"], false, Some(every.clone())).await;
    assert_eq!(copied.result.unwrap(), Exit::Code(0));
    assert!(copied.stdout == every);
    // No `stty`: the newlines of the terminal are undone; input cannot be told from its echo.
    let place = Place::Bare(&["cat"]);
    check(
        place,
        &["/bin/printf", "a\r\nb\n"],
        None,
        (0, "a\r\nb\n", ""),
    )
    .await;
    let refused = run(place, &["/bin/cat"], false, Some(b"a".to_vec())).await;
    assert!(matches!(refused.result, Err(ExecError::Echo)));
    // No `cat`: no pipes, so that all output is one; what is more than a plain line cannot be told.
    let place = Place::Bare(&["stty"]);
    let both = ["/bin/sh", "-c", "echo out; echo err >&2; exit 3"];
    check(place, &both, None, (3, "out\nerr\n", "")).await;
    check(
        place,
        &["/bin/cat"],
        Some("typed\nhalf"),
        (0, "typed\nhalf", ""),
    )
    .await;
    let refused = run(place, &["/bin/echo", "a\nb"], false, None).await;
    assert!(matches!(refused.result, Err(ExecError::Limited)));
    // Nothing but a shell.
    check(
        Place::Bare(&[]),
        &["/bin/sh", "-c", "exit 7"],
        None,
        (7, "", ""),
    )
    .await;
}

/// Runs `ls` on a console that shows `said` and then ends.
async fn ended_after(said: &'static str) -> ExecError {
    let (input, _typed) = mpsc::channel(64);
    let (shown, output) = mpsc::channel(4);
    shown
        .send(Bytes::from_static(said.as_bytes()))
        .await
        .unwrap();
    drop(shown);
    let (out, _collected) = mpsc::channel(4);
    let mut streams = Streams {
        stdin: None,
        output: out,
        resize: None,
        gone: CancellationToken::new(),
    };
    let command = Command {
        argv: vec!["ls".to_owned()],
        tty: false,
    };
    let console = Console { input, output };
    let settings = Settings::default();
    let result = super::run(console, settings, &Mark::new(1), &command, &mut streams).await;
    result.unwrap_err()
}

#[tokio::test]
async fn an_end_before_its_time_is_said() {
    let text = ended_after("exec: \"/bin/sh\": no such file\r\n")
        .await
        .to_string();
    assert!(
        text.contains("no usable /bin/sh")
            && text.ends_with("(it said: exec: \"/bin/sh\": no such file)"),
        "{text}"
    );
    let lost = ended_after("^0000000000000001r:1\n^0000000000000001s\nhalf").await;
    assert!(matches!(lost, ExecError::Lost), "{lost}");
}

#[tokio::test]
async fn the_command_of_a_client_that_has_gone_is_interrupted() {
    let (input, mut typed) = mpsc::channel(64);
    let (shown, output) = mpsc::channel(4);
    let (out, mut collected) = mpsc::channel(4);
    let gone = CancellationToken::new();
    let mut streams = Streams {
        stdin: None,
        output: out,
        resize: None,
        gone: gone.clone(),
    };
    let command = Command {
        argv: vec!["sleep".to_owned(), "100".to_owned()],
        tty: false,
    };
    let (console, mark) = (Console { input, output }, Mark::new(1));
    let session = super::run(console, Settings::default(), &mark, &command, &mut streams);
    let shell = async {
        let say = async |text: &'static str| shown.send(text.into()).await.unwrap();
        say("^0000000000000001r:0\n^0000000000000001s\nit runs").await;
        collected.recv().await.unwrap();
        gone.cancel();
        while typed.recv().await.unwrap()[..] != [INTERRUPT] {}
        // It has a moment to end by itself.
        say("^0000000000000001x130.\n").await;
    };
    let both = async { tokio::join!(session, shell).0 };
    let result = tokio::time::timeout(Duration::from_secs(20), both).await;
    assert!(matches!(result, Ok(Err(ExecError::Lost))), "{result:?}");
}
