//! Programs in sessions.

use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::process::ChildStdin;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use vkc_shim::session::{PIECE, Request, Said, Size, Source, Told, WINDOW, What};
use vkc_shim::spec::Attached;
use zeroize::Zeroizing;

use super::*;

const LIMIT: Duration = Duration::from_secs(20);

/// A session, as the operator leads it.
struct Session {
    child: Child,
    typed: Option<ChildStdin>,
    said: Receiver<Said>,
    /// What [`Session::until`] has not looked at.
    shown: String,
}

impl Session {
    fn open() -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vkc-shim"));
        command.arg0("vkc-exec");
        Self::of(command)
    }

    fn of(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let (say, said) = channel();
        thread::spawn(move || {
            for line in lines.split(b'\n') {
                let line = line.unwrap();
                let it = Said::read(&line).unwrap_or_else(|| panic!("{line:?}"));
                if say.send(it).is_err() {
                    return;
                }
            }
        });
        Self {
            typed: child.stdin.take(),
            child,
            said,
            shown: String::new(),
        }
    }

    fn start(what: What) -> Self {
        let mut session = Self::open();
        session.order(what);
        session
    }

    /// One that is attached to the program of `container`.
    fn attach(container: &Container) -> Self {
        let mut session = Self::of(container.command("serve", &[]));
        session.order(What::Attach);
        session
    }

    fn order(&mut self, what: What) {
        let session = self;
        assert_eq!(session.next(), Said::Ready);
        let orders = Request::new(what).write().unwrap();
        for piece in orders.chunks(PIECE) {
            session.write(&format!("{}\n", STANDARD.encode(piece)));
            assert_eq!(session.next(), Said::More);
        }
        session.write(".\n");
    }

    fn program(argv: &[&str], input: bool, terminal: Option<Size>) -> Self {
        let argv = argv.iter().map(|word| (*word).to_owned()).collect();
        let mut session = Self::start(What::Program {
            argv,
            input,
            terminal,
        });
        assert_eq!(session.next(), Said::Begun);
        session
    }

    fn write(&mut self, text: &str) {
        self.typed
            .as_mut()
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
    }

    fn tell(&mut self, what: &Told) {
        self.write(&what.write());
    }

    fn input(&mut self, bytes: &[u8]) {
        self.tell(&Told::Input(Zeroizing::new(bytes.to_vec())));
    }

    fn next(&mut self) -> Said {
        self.said.recv_timeout(LIMIT).unwrap()
    }

    /// Both outputs up to the end, and the exit code.
    fn end(&mut self) -> (Vec<u8>, Vec<u8>, i32) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        loop {
            match self.next() {
                Said::Bytes(source, bytes) => {
                    match source {
                        Source::Output => out.extend(bytes),
                        Source::Error => err.extend(bytes),
                    }
                    // It may have ended meanwhile.
                    let line = Told::More.write();
                    let _ = self.typed.as_mut().unwrap().write_all(line.as_bytes());
                }
                Said::More => {}
                Said::Ended(code) => {
                    assert_eq!(self.next(), Said::Done);
                    assert!(self.child.wait().unwrap().success());
                    return (out, err, code);
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// Takes what is shown up to `text`.
    fn until(&mut self, text: &str) {
        loop {
            if let Some((_, rest)) = self.shown.split_once(text) {
                self.shown = rest.to_owned();
                return;
            }
            match self.next() {
                Said::Bytes(_, bytes) => {
                    self.shown.push_str(std::str::from_utf8(&bytes).unwrap());
                    self.tell(&Told::More);
                }
                Said::More => {}
                other => panic!("{other:?} after {:?}", self.shown),
            }
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const TERMINAL: Option<Size> = Some(Size {
    rows: 33,
    columns: 99,
});

#[test]
fn a_program_gets_its_words_and_its_outputs_and_its_exit_code_are_told() {
    let script = r#"printf '<%s>' "$@"; echo oh >&2; exit 7"#;
    let words = [
        "sh",
        "-c",
        script,
        "sh",
        "a b",
        "'\"$X\\",
        "new\nline",
        "",
        "ü",
    ];
    let mut session = Session::program(&words, false, None);
    let (out, err, code) = session.end();
    assert_eq!(text(&out), "<a b><'\"$X\\><new\nline><><ü>");
    assert_eq!((text(&err).as_str(), code), ("oh\n", 7));
    for (argv, expected) in [
        (&["sh", "-c", "kill -KILL $$"][..], 128 + 9),
        (&["/no such program"], 127),
        (&["/etc/passwd"], 126),
        // Without input there is an empty one.
        (&["cat"], 0),
    ] {
        let (_, err, code) = Session::program(argv, false, None).end();
        assert_eq!(code, expected, "{argv:?}: {}", text(&err));
        assert_eq!(err.is_empty(), !matches!(code, 126 | 127), "{}", text(&err));
    }
}

#[test]
fn input_and_output_are_the_very_bytes() {
    let mut session = Session::program(&["cat"], true, None);
    let bytes: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 253) as u8).collect();
    let (mut under_way, mut back) = (0, Vec::new());
    let mut pieces = bytes.chunks(PIECE);
    while back.len() < bytes.len() {
        while under_way < WINDOW
            && let Some(piece) = pieces.next()
        {
            session.input(piece);
            under_way += 1;
        }
        match session.next() {
            Said::More => under_way -= 1,
            Said::Bytes(Source::Output, bytes) => {
                back.extend(bytes);
                session.tell(&Told::More);
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(back == bytes);
    session.tell(&Told::EndOfInput);
    assert_eq!(session.end(), (Vec::new(), Vec::new(), 0));
}

#[test]
fn a_terminal_has_a_size_that_can_change_and_takes_the_interrupt() {
    let script = "stty size; tty; test -t 0 -a -t 1 -a -t 2 && echo all; : >/dev/tty && echo own; \
                  trap 'stty size' WINCH; trap 'echo interrupted; exit 5' INT; echo go; while :; do sleep 0.05; done";
    let mut session = Session::program(&["sh", "-c", script], true, TERMINAL);
    for part in ["33 99\r\n", "/dev/pts/", "all\r\n", "own\r\n", "go\r\n"] {
        session.until(part);
    }
    session.tell(&Told::Size(Size {
        rows: 50,
        columns: 120,
    }));
    session.until("50 120\r\n");
    session.input(b"\x03");
    let (out, _, code) = session.end();
    assert!(text(&out).contains("interrupted"), "{}", text(&out));
    assert_eq!(code, 5);
}

#[test]
fn the_end_of_input_is_one_on_a_terminal() {
    let mut session = Session::program(&["cat"], true, TERMINAL);
    session.input(b"no end of line");
    session.tell(&Told::EndOfInput);
    let (out, _, code) = session.end();
    assert_eq!((text(&out).matches("no end of line").count(), code), (2, 0));
}

#[test]
fn no_more_output_is_on_its_way_than_is_taken() {
    let mut session = Session::program(&["yes"], false, None);
    for _ in 0..WINDOW {
        assert!(matches!(session.next(), Said::Bytes(Source::Output, _)));
    }
    let more = session.said.recv_timeout(Duration::from_millis(300));
    assert!(more.is_err(), "{more:?}");
    session.tell(&Told::More);
    assert!(matches!(session.next(), Said::Bytes(Source::Output, _)));
    session.typed = None;
    assert_eq!(session.child.wait().unwrap().code(), Some(128));
}

/// A program that says in a file how it was told to end.
fn heedful(container: &Container) -> [String; 3] {
    let script = format!(
        "trap 'echo interrupted >{0}; exit' INT; echo go; while :; do sleep 0.05; done",
        container.path("told")
    );
    ["sh".to_owned(), "-c".to_owned(), script]
}

#[test]
fn a_program_whose_session_has_gone_is_interrupted() {
    for gone in [
        None,
        Some(Told::Interrupt.write()),
        Some("rubbish\n".to_owned().into()),
    ] {
        let container = Container::new(&Spec::new());
        let argv = heedful(&container);
        let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
        let mut session = Session::program(&argv, true, None);
        session.until("go\n");
        // A terminal that goes away says so.
        signal(&session.child, "-HUP");
        match gone {
            None => session.typed = None,
            Some(line) => session.write(&line),
        }
        session.child.wait().unwrap();
        assert_eq!(
            fs::read_to_string(container.path("told")).unwrap(),
            "interrupted\n"
        );
    }
}

#[test]
fn more_input_than_was_asked_for_ends_the_session() {
    let started = Instant::now();
    let mut session = Session::program(&["sleep", "60"], true, None);
    // What a pipe takes, and what may wait; the program takes nothing.
    for _ in 0..200 {
        let line = Told::Input(Zeroizing::new(vec![b'a'; PIECE])).write();
        if session
            .typed
            .as_mut()
            .unwrap()
            .write_all(line.as_bytes())
            .is_err()
        {
            break;
        }
    }
    session.child.wait().unwrap();
    assert!(started.elapsed() < LIMIT);
}

#[test]
fn who_holds_an_ended_program_s_output_open_keeps_nobody_waiting() {
    let started = Instant::now();
    let script = "sleep 60 & echo $!; exit 3";
    let (out, _, code) = Session::program(&["sh", "-c", script], false, None).end();
    assert_eq!(code, 3);
    assert!(started.elapsed() < LIMIT);
    let left: i32 = text(&out).trim().parse().unwrap();
    let left = rustix::process::Pid::from_raw(left).unwrap();
    rustix::process::kill_process(left, rustix::process::Signal::KILL).unwrap();
}

#[test]
fn a_session_can_be_a_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        let mut all = Vec::new();
        connection.read_to_end(&mut all).unwrap();
        all.reverse();
        connection.write_all(&all).unwrap();
    });
    let mut session = Session::start(What::Port(port));
    assert_eq!(session.next(), Said::Begun);
    session.input(b"abc");
    session.tell(&Told::EndOfInput);
    assert_eq!(session.end(), (b"cba".to_vec(), Vec::new(), 0));
    server.join().unwrap();

    let mut refused = Session::start(What::Port(port));
    let Said::Failed(why) = refused.next() else {
        panic!("nobody listens there");
    };
    assert!(why.starts_with(&format!("port {port}: ")), "{why}");
    assert_eq!(refused.child.wait().unwrap().code(), Some(1));
}

#[test]
fn orders_that_are_none_are_refused() {
    for orders in ["e30=", "!"] {
        let mut session = Session::open();
        assert_eq!(session.next(), Said::Ready);
        session.write(&format!("{orders}\n.\n"));
        let refused = std::iter::from_fn(|| Some(session.next())).find(|it| *it != Said::More);
        assert!(matches!(refused, Some(Said::Failed(_))), "{refused:?}");
    }
}

/// A container with a program that people can attach to, and it.
fn attachable(attach: Attached, script: &str) -> (Container, Child) {
    let spec = Spec {
        attach: Some(attach),
        ..Spec::new()
    };
    let container = Container::new(&spec);
    let mut command = container.command("run", &["sh", "-c", script]);
    // Its own end is no input of the program's.
    command.stdin(Stdio::null());
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let child = child.unwrap();
    let socket = container.path(".vkc/attach");
    let started = Instant::now();
    while !Path::new(&socket).exists() {
        assert!(started.elapsed() < LIMIT, "nobody can attach");
        thread::sleep(Duration::from_millis(5));
    }
    (container, child)
}

const INPUT: Attached = Attached {
    terminal: false,
    input: true,
    once: false,
};

#[test]
fn who_attaches_gives_input_and_is_shown_what_the_log_gets() {
    let script =
        "echo before; while read -r line; do echo \"got $line\"; echo oh >&2; done; exit 4";
    let once = Attached {
        once: true,
        ..INPUT
    };
    let (container, child) = attachable(once, script);
    let mut session = Session::attach(&container);
    assert_eq!(session.next(), Said::Begun);
    session.input(b"one\ntwo\n");
    session.until("got two\n");
    session.input(b"three");
    // The program's `read` takes what has no end of a line for none.
    session.tell(&Told::EndOfInput);
    assert_eq!(session.end().2, 4);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(4));
    assert_eq!(out(&output), "before\ngot one\ngot two\n");
    assert_eq!(super::err(&output), "oh\noh\n");
}

#[test]
fn input_goes_on_with_the_next_who_attaches_unless_it_is_for_one() {
    let script = "while read -r line; do echo \"got $line\"; done; exit 4";
    for once in [false, true] {
        let (container, mut child) = attachable(Attached { once, ..INPUT }, script);
        let mut first = Session::attach(&container);
        let mut second = Session::attach(&container);
        for session in [&mut first, &mut second] {
            assert_eq!(session.next(), Said::Begun);
        }
        first.input(b"one\n");
        for session in [&mut first, &mut second] {
            session.until("got one\n");
        }
        first.tell(&Told::Interrupt);
        first.child.wait().unwrap();
        if !once {
            second.input(b"two\n");
            second.until("got two\n");
            child.kill().unwrap();
        }
        let code = child.wait().unwrap().code();
        assert_eq!(code, once.then_some(4));
        if once {
            assert_eq!(second.end().2, 4);
        }
    }
}

#[test]
fn a_program_s_own_terminal_is_that_of_who_attaches() {
    let script = "trap 'stty size' WINCH; trap 'echo interrupted; exit 5' INT; stty size; \
                  while :; do sleep 0.05; done";
    let terminal = Attached {
        terminal: true,
        input: true,
        once: true,
    };
    let (container, mut child) = attachable(terminal, script);
    let mut log = BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    log.read_line(&mut first).unwrap();
    assert_eq!(first, "24 80\r\n");
    let mut session = Session::attach(&container);
    assert_eq!(session.next(), Said::Begun);
    session.tell(&Told::Size(Size {
        rows: 50,
        columns: 120,
    }));
    session.until("50 120\r\n");
    session.input(b"\x03");
    let (shown, _, code) = session.end();
    assert!(text(&shown).contains("interrupted"), "{}", text(&shown));
    assert_eq!(code, 5);
    assert_eq!(child.wait().unwrap().code(), Some(5));
}

#[test]
fn a_terminal_without_an_input_takes_none() {
    let terminal = Attached {
        terminal: true,
        input: false,
        once: false,
    };
    let (container, mut child) = attachable(terminal, "read -r line; echo \"got $line\"");
    let mut session = Session::attach(&container);
    assert_eq!(session.next(), Said::Begun);
    session.input(b"one\n");
    assert_eq!(session.next(), Said::More);
    let shown = session.said.recv_timeout(Duration::from_millis(300));
    assert!(shown.is_err(), "{shown:?}");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn what_was_written_last_is_shown_before_the_end() {
    let (container, child) = attachable(INPUT, "read -r line; head -c 300000 /dev/zero; exit 3");
    let mut session = Session::attach(&container);
    assert_eq!(session.next(), Said::Begun);
    session.input(b"go\n");
    let output = thread::spawn(move || child.wait_with_output().unwrap());
    let (shown, _, code) = session.end();
    assert_eq!((shown.len(), code), (300_000, 3));
    assert_eq!(output.join().unwrap().stdout.len(), 300_000);
}

#[test]
fn nobody_attaches_to_what_has_no_place_for_it() {
    let container = Container::new(&Spec::new());
    let mut session = Session::attach(&container);
    let refused = session.next();
    let Said::Failed(why) = refused else {
        panic!("{refused:?}");
    };
    assert!(why.contains("/.vkc/attach"), "{why}");
}

#[test]
fn who_is_attached_and_takes_nothing_keeps_no_container_from_ending() {
    let (container, mut child) = attachable(INPUT, "read -r line; echo hello; exit 3");
    let frozen = Session::attach(&container);
    let mut other = Session::attach(&container);
    for session in [&frozen, &other] {
        assert_eq!(session.said.recv_timeout(LIMIT).unwrap(), Said::Begun);
    }
    other.input(b"go\n");
    // It takes no line of the output, and stays.
    assert_eq!(child.wait().unwrap().code(), Some(3));
    drop(frozen);
}
