use proptest::prelude::*;

use super::*;

const MARK: &str = "^000000000000002a";

fn feed(tty: bool, text: &str) -> (Vec<Event>, Scanner) {
    let mut scanner = Scanner::new(&Mark::new(42), tty);
    let events = scanner.feed(text.replace('@', MARK).as_bytes());
    (events, scanner)
}

fn out(text: &str) -> Event {
    Event::Output(Output::Stdout, Bytes::from(text.to_owned()))
}

fn err(text: &str) -> Event {
    Event::Output(Output::Stderr, Bytes::from(text.to_owned()))
}

/// Neighbouring outputs of one kind as one.
fn merged(events: Vec<Event>) -> Vec<Event> {
    let mut all: Vec<Event> = Vec::new();
    for event in events {
        if let (Some(Event::Output(to, before)), Event::Output(other, bytes)) =
            (all.last_mut(), &event)
            && to == other
        {
            *before = Bytes::from([before.as_ref(), bytes.as_ref()].concat());
        } else {
            all.push(event);
        }
    }
    all
}

#[test]
fn a_session_from_prompt_to_exit() {
    let session = "# stty -echo; n=@; echo ${n}p | cat\r\n@p\r\n@b\r\n@r:0\r\n# @a\r\n# @s\r\n\
                   out\r\n\r\r\n@eoops\r\n@a\r\nno newline@ehalf @x7.\r\n# ";
    let want = [
        Event::Pipes,
        Event::Base64,
        Event::Ready(true),
        Event::Ack,
        Event::Start,
        out("out\n\r\n"),
        err("oops\n"),
        Event::Ack,
        out("no newline"),
        err("half "),
        Event::Exit(7),
    ];
    // The CRs are seen to be the terminal's only once the probe's answer was read.
    let (head, tail) = session.split_at(session.find("# @a").unwrap());
    let mut scanner = Scanner::new(&Mark::new(42), false);
    let mut events = scanner.feed(head.replace('@', MARK).as_bytes());
    events.extend(scanner.feed(tail.replace('@', MARK).as_bytes()));
    let mut events = merged(events);
    assert_eq!(
        events.split_off(events.len() - 2),
        [err("\n"), out("# ")],
        "what comes after the exit is nobody's"
    );
    assert_eq!(events, want);
    assert!(scanner.preface().starts_with("# stty -echo; n=^"));
}

#[test]
fn newlines_stay_where_the_terminal_does_not_change_them() {
    for (head, crlf) in [("@r:0\n", false), ("@r:0\r\n", true)] {
        let (_, mut scanner) = feed(false, head);
        scanner.feed(format!("{MARK}s\n").as_bytes());
        let want = if crlf { "a\n\rb\r" } else { "a\r\n\rb\r\r" };
        let mut events = scanner.feed(b"a\r\n\rb\r");
        events.extend(scanner.feed(b"\r"));
        assert_eq!(merged(events), [out(want)], "{head:?}");
    }
    // The client's own terminal gets what is shown.
    let (events, _) = feed(true, "@r:1\r\n@s\r\na\r\n@x0.\r\n");
    assert_eq!(
        events,
        [
            Event::Ready(false),
            Event::Start,
            out("a\r\n"),
            Event::Exit(0),
            out("\r\n")
        ]
    );
}

#[test]
fn what_is_no_tag_is_text() {
    let (events, _) = feed(false, "@s\n@q @x@x12345678\n@xy\n@x1\n@@x1.\n");
    let text = format!("{MARK}q {MARK}x{MARK}x12345678\n{MARK}xy\n{MARK}x1\n{MARK}");
    let want = [Event::Start, out(&text), Event::Exit(1), out("\n")];
    assert_eq!(merged(events), want);
    // Nobody but the probe may say so, and only on a line of its own.
    let (events, _) = feed(false, "@p | cat\n@s\n@r:0\n");
    assert_eq!(merged(events), [Event::Start, out(&format!("{MARK}r:0\n"))]);
}

#[test]
fn an_echo_of_the_probe_is_noticed() {
    assert!(feed(false, "# n=@; echo ${n}r:$?").1.echoed());
    assert!(
        !feed(
            false,
            "@r:1
@s
n=@;"
        )
        .1
        .echoed()
    );
}

#[test]
fn a_single_caret_waits_for_what_follows() {
    let (events, mut scanner) = feed(true, "@s\na^");
    assert_eq!(events, [Event::Start, out("a")]);
    assert_eq!(scanner.feed(b"C"), [out("^C")]);
}

#[test]
fn the_preface_is_one_bounded_line() {
    let (events, scanner) = feed(
        false,
        &format!("exec failed:\r\n no\u{7} such file {}", "x".repeat(999)),
    );
    assert_eq!(events, []);
    assert!(
        scanner
            .preface()
            .starts_with("exec failed: no such file xxx")
    );
    assert!(scanner.preface().len() <= PREFACE);
}

proptest! {
    #[test]
    fn frames_may_be_cut_anywhere(cuts in proptest::collection::vec(0_usize..400, 0..30)) {
        let head = "# x n=@;\r\n@p\r\n@r:0\r\n".replace('@', MARK);
        let tail = "@s\r\n\r\r\n^0000x@eoops\r\n^@a\r\nzzz\r\nhalf\r@ehalf@x7.".replace('@', MARK);
        let want = {
            let mut scanner = Scanner::new(&Mark::new(42), false);
            let mut events = scanner.feed(head.as_bytes());
            events.extend(scanner.feed(tail.as_bytes()));
            merged(events)
        };
        prop_assert_eq!(want.last(), Some(&Event::Exit(7)));
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut % tail.len()).collect();
        cuts.extend([0, tail.len()]);
        cuts.sort_unstable();
        let mut scanner = Scanner::new(&Mark::new(42), false);
        let mut events = scanner.feed(head.as_bytes());
        for pair in cuts.windows(2) {
            events.extend(scanner.feed(&tail.as_bytes()[pair[0]..pair[1]]));
        }
        prop_assert_eq!(merged(events), want);
    }

    #[test]
    fn any_bytes_pass(bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
        let (_, mut scanner) = feed(false, "@s\n");
        let mut seen = Vec::new();
        let mut bytes = bytes;
        bytes.retain(|byte| *byte != b'^');
        for part in bytes.chunks(7) {
            for event in scanner.feed(part) {
                if let Event::Output(_, bytes) = event {
                    seen.extend_from_slice(&bytes);
                }
            }
        }
        prop_assert_eq!(seen, bytes);
    }
}

#[test]
fn an_echo_between_the_exit_code_and_its_newline_hides_nothing() {
    // Seen under load: the shell's line, the echo of Ctrl-C, the line's end.
    let (events, _) = feed(true, "@r:1\r\n@s\r\ngo\r\n@x130.^C\r\n");
    assert!(events.contains(&Event::Exit(130)), "{events:?}");
}

/// A container that knows the mark says it as often as it can: what it costs grows with the bytes, not with their square.
#[test]
fn marks_by_the_hundred_thousand_are_read_at_once() {
    for part in ["@!", "@e", "@ex\n", "@a\n", "@", "^"] {
        let mut scanner = Scanner::new(&Mark::new(42), false);
        scanner.feed(format!("{MARK}s\n").as_bytes());
        let frame = part.replace('@', MARK);
        let frame = frame.repeat((2 << 20) / frame.len());
        let begun = std::time::Instant::now();
        let events = scanner.feed(frame.as_bytes());
        let took = begun.elapsed();
        assert!(
            took.as_secs() < 5,
            "{part:?}: {took:?} for {} events",
            events.len()
        );
    }
}
