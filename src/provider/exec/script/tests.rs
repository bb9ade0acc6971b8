use super::*;

fn argv(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn words_are_quoted() {
    for (words, want) in [
        (&["ls"][..], "'ls'"),
        (&["sh", "-c", "exit 7"], "'sh' '-c' 'exit 7'"),
        (
            &["echo", "", "it's", "$HOME \"`x`"],
            "'echo' '' 'it'\\''s' '$HOME \"`x`'",
        ),
    ] {
        assert_eq!(command(&argv(words)), want);
    }
}

#[test]
fn typed_lines_are_short_and_plain_and_never_show_a_mark_with_a_tag() {
    let mark = Mark::new(0xfeed);
    let long = "wörter\n\t'!\u{1}".repeat(300);
    let mut lines = vec![probe(&mark, false), probe(&mark, true)];
    lines.extend(load(&piped(&mark, &argv(&["echo", &long]), true), false));
    lines.extend(load(&terminal(&mark, &argv(&["echo", &long])), true));
    lines.extend(basic(&argv(&["ls"]), true, false));
    for line in lines {
        assert!(line.len() <= TYPED, "{} bytes", line.len());
        let typed = line.strip_suffix('\n').unwrap();
        assert!(
            typed.bytes().all(|byte| matches!(byte, b' '..=b'~')),
            "{typed}"
        );
        // Behind the mark stands what no tag begins with.
        for behind in typed.split(mark.text()).skip(1) {
            assert!(behind.starts_with(';'), "{typed}");
        }
    }
}

#[test]
fn a_shell_without_pipes_is_told_short_plain_commands_only() {
    assert_eq!(
        basic(&argv(&["sh", "-c", "exit 7"]), false, false).unwrap(),
        "echo ${n}s; 'sh' '-c' 'exit 7' </dev/null; echo ${n}x$?.; exit\n"
    );
    assert_eq!(
        basic(&argv(&["cat"]), true, true).unwrap(),
        "stty echo; echo ${n}s; 'cat'; echo ${n}x$?.; exit\n"
    );
    assert_eq!(basic(&argv(&["echo", "a\nb"]), false, false), None);
    assert_eq!(
        basic(&argv(&["echo", &"a".repeat(900)]), false, false),
        None
    );
}

#[test]
fn escapes_are_those_of_printf() {
    assert_eq!(
        escape("a 'é\n\t\\%".as_bytes(), b"'"),
        "a \\0047\\0303\\0251\\n\\t\\\\%"
    );
}
