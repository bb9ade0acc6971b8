use proptest::prelude::*;

use super::super::Writer;
use super::super::lines;
use super::super::options::Options;
use super::super::shown::Shown;
use super::*;

fn parse(content: &str) -> Vec<Line<'_>> {
    lines::last(content, true, usize::MAX)
}

/// What a follower shows first: the last `tail` lines of `content`.
fn first(content: &str, tail: Option<usize>) -> String {
    let mut shown = Shown::new(content.to_owned(), true, tail, true);
    let mut writer = Writer::new(&Options::default());
    let chunks: Vec<_> = std::iter::from_fn(|| shown.next(&mut writer)).collect();
    String::from_utf8(chunks.concat()).unwrap()
}

/// `sec:text` words as ACI's content; a word that ends with `~` is not finished.
fn content(words: &[&str]) -> String {
    words
        .iter()
        .map(|word| {
            let (second, text) = word.split_once(':').unwrap();
            let (text, end) = text
                .strip_suffix('~')
                .map_or((text, "\n"), |text| (text, ""));
            format!("2026-01-02T03:04:{second:0>2}Z {text}{end}")
        })
        .collect::<Vec<_>>()
        .concat()
}

/// What a step writes, lines joined; a gap shows as `!`.
fn written(step: &Step) -> String {
    let (mark, pieces) = match step {
        Step::New(pieces) => ("", pieces),
        Step::Gap(pieces) => ("!", pieces),
        Step::Widen => return "?".into(),
    };
    let text = pieces
        .iter()
        .map(|piece| format!("{}{}", piece.text, if piece.ends { "\n" } else { "" }));
    format!("{mark}{}", text.collect::<Vec<_>>().concat())
}

fn look(seen: &mut Seen, words: &[&str], whole: bool, last: bool) -> String {
    let content = content(words);
    written(&seen.look(&parse(&content), whole, last))
}

/// A follower that has seen these.
fn after(words: &[&str]) -> Seen {
    let mut seen = Seen::default();
    let content = content(words);
    seen.begin(&parse(&content));
    seen
}

#[test]
fn looks() {
    for (why, first, second, whole, expected) in [
        (
            "nothing new",
            &["1:a", "2:b"][..],
            &["1:a", "2:b"][..],
            true,
            "",
        ),
        ("one more", &["1:a"], &["1:a", "2:b"], true, "b\n"),
        (
            "a small window",
            &["1:a", "2:b"],
            &["2:b", "3:c"],
            false,
            "c\n",
        ),
        (
            "equal times",
            &["1:a", "1:b"],
            &["1:a", "1:b", "1:c"],
            true,
            "c\n",
        ),
        (
            "equal lines",
            &["1:x", "1:x"],
            &["1:x", "1:x", "1:x"],
            true,
            "x\n",
        ),
        (
            "equal lines in a small window",
            &["1:a", "1:x", "1:x"],
            &["1:x", "1:x"],
            false,
            "?",
        ),
        (
            "equal texts, other times",
            &["1:x", "2:x"],
            &["2:x", "3:x", "4:x"],
            false,
            "x\nx\n",
        ),
        (
            "the window has moved past",
            &["1:a", "2:b"],
            &["5:e", "6:f"],
            false,
            "?",
        ),
        (
            "and there is no more",
            &["1:a", "2:b"],
            &["5:e", "6:f"],
            true,
            "!e\nf\n",
        ),
        (
            "time runs back",
            &["5:a", "4:b"],
            &["5:a", "4:b", "3:c"],
            true,
            "c\n",
        ),
        ("an empty answer", &["1:a"], &[], true, ""),
        ("the first lines", &[], &["1:a"], true, "a\n"),
        (
            "the first lines in a small window",
            &[],
            &["1:a"],
            false,
            "?",
        ),
        (
            "periodic",
            &["1:a", "1:b", "1:a", "1:b"],
            &["1:a", "1:b", "1:a", "1:b", "1:a"],
            true,
            "a\n",
        ),
    ] {
        assert_eq!(
            look(&mut after(first), second, whole, false),
            expected,
            "{why}"
        );
    }
}

#[test]
fn an_unfinished_line_waits_for_its_end() {
    let mut seen = after(&["1:a"]);
    assert_eq!(look(&mut seen, &["1:a", "2:b~"], true, false), "");
    assert_eq!(look(&mut seen, &["1:a", "2:bc"], true, false), "bc\n");
    // It stands still: written as it is, then its rest, then its end.
    assert_eq!(look(&mut seen, &["2:bc", "3:d~"], true, false), "");
    assert_eq!(look(&mut seen, &["2:bc", "3:d~"], true, false), "d");
    assert_eq!(look(&mut seen, &["2:bc", "3:d~"], true, false), "");
    assert_eq!(look(&mut seen, &["2:bc", "3:de~"], true, false), "e");
    assert_eq!(
        look(&mut seen, &["2:bc", "3:def", "4:g"], true, false),
        "f\ng\n"
    );
    assert_eq!(
        look(&mut seen, &["4:g", "5:h~"], true, true),
        "h",
        "the last look"
    );
    assert_eq!(look(&mut seen, &["4:g", "5:h"], true, true), "\n");
}

#[test]
fn a_character_cut_in_the_middle_is_written_once_and_whole() {
    let mut seen = after(&["1:a"]);
    for (words, expected) in [
        (["1:a", "2:caf\u{fffd}~"], ""),
        (["1:a", "2:caf\u{fffd}~"], "caf"),
        (["1:a", "2:café~"], "é"),
        (["1:a", "2:café"], "\n"),
    ] {
        assert_eq!(look(&mut seen, &words, true, false), expected);
    }
}

#[test]
fn a_gap_ends_a_line_that_was_written_in_part() {
    let mut seen = after(&["1:a", "2:b~"]);
    assert_eq!(look(&mut seen, &["1:a", "2:b~"], true, false), "b");
    assert_eq!(look(&mut seen, &["7:x"], true, false), "!\nx\n");
}

#[test]
fn the_first_look_shows_a_tail_and_remembers_all() {
    let text = content(&["1:a", "2:b", "3:c~"]);
    for (tail, expected) in [
        (None, "a\nb\n"),
        (Some(2), "b\n"),
        (Some(1), ""),
        (Some(0), ""),
    ] {
        let mut seen = Seen::default();
        seen.begin(&parse(&text));
        assert_eq!(first(&text, tail), expected, "{tail:?}");
        assert_eq!(
            look(&mut seen, &["1:a", "2:b", "3:cd", "4:e"], true, false),
            "cd\ne\n"
        );
    }
}

#[test]
fn the_memory_is_bounded_and_still_finds_its_place() {
    let words: Vec<String> = (0..5000).map(|n| format!("{}:{n}", n % 60)).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut seen = after(words.get(..4000).unwrap());
    assert_eq!(seen.written.len(), REMEMBERED);
    // A stopped container keeps 1,000 lines.
    assert_eq!(
        look(&mut seen, words.get(3000..4000).unwrap(), true, false),
        ""
    );
    let all = look(&mut seen, &words, true, false);
    assert_eq!(all.lines().count(), 1000);
    assert!(all.starts_with("4000\n"));
}

proptest! {
    /// Whatever a log holds and wherever it is looked at, a follower that widens its window writes it exactly once.
    #[test]
    fn every_line_once(
        lines in proptest::collection::vec((0u32..6, 0u8..3), 1..80),
        looks in proptest::collection::vec((0usize..80, 1usize..20), 1..12),
    ) {
        let mut second = 0;
        let words: Vec<String> = lines.iter().map(|(step, text)| {
            second += step / 5;
            format!("{}:{text}", second % 60)
        }).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut ends: Vec<usize> = looks.iter().map(|(end, _)| (*end).min(words.len())).collect();
        ends.sort_unstable();
        let begun = content(&words[..ends[0]]);
        let mut seen = Seen::default();
        seen.begin(&parse(&begun));
        let mut out = first(&begun, None);
        for (end, (_, size)) in ends.iter().zip(&looks) {
            // Repeated lines of one time can only be told apart in a window that holds them all.
            let time = |at: usize| words[at].split_once(':').unwrap().0;
            let mut from = end.saturating_sub(size + 60);
            while (1..*end).contains(&from) && time(from) == time(from - 1) {
                from -= 1;
            }
            let mut step = look(&mut seen, &words[from..*end], from == 0, false);
            if step == "?" {
                step = look(&mut seen, &words[..*end], true, false);
            }
            out += &step;
        }
        let last = *ends.last().unwrap();
        let texts = words[..last].iter().map(|word| format!("{}\n", word.split_once(':').unwrap().1));
        let expected = texts.collect::<Vec<_>>().concat();
        prop_assert_eq!(out, expected);
    }
}
