//! From ACI's log text to lines, and from lines to what kubectl prints. PURE.
//!
//! With `timestamps=true` ACI writes a time before each line (`2026-01-02T03:04:05.678901234Z text`). The window that
//! it keeps begins anywhere, also in the middle of a line; the newest line may not be finished.

use k8s_openapi::jiff::Timestamp;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// When it was written, where the text says so.
    pub at: Option<Timestamp>,
    /// Its text without the newline; a carriage return before that stays.
    pub text: &'a str,
    /// False for a last line without a newline.
    pub ended: bool,
}

/// The lines of `content`, of which there may be millions: one by one. `timed`: a time was asked for with each line.
pub fn each(content: &str, timed: bool) -> impl Iterator<Item = Line<'_>> {
    content.split_inclusive('\n').map(move |raw| {
        let (text, ended) = raw
            .strip_suffix('\n')
            .map_or((raw, false), |text| (text, true));
        let (at, text) = if timed {
            split_time(text)
        } else {
            (None, text)
        };
        Line { at, text, ended }
    })
}

/// `content` without its first line, when that is the rest of a line that was cut: one without a time, before others that
/// have one; and no more than the last `most` lines.
pub fn end_of(content: &str, timed: bool, most: Option<usize>) -> &str {
    let mut first = each(content, timed).take(2);
    let cut = match (first.next(), first.next()) {
        (Some(first), Some(second)) => timed && first.at.is_none() && second.at.is_some(),
        _ => false,
    };
    let whole = match content.split_once('\n') {
        Some((_, rest)) if cut => rest,
        _ => content,
    };
    let Some(most) = most else {
        return whole;
    };
    if most == 0 {
        return "";
    }
    let before_last = whole.strip_suffix('\n').unwrap_or(whole);
    let begin = before_last.rmatch_indices('\n').nth(most - 1);
    begin.map_or(whole, |(at, _)| whole.get(at + 1..).unwrap_or_default())
}

/// The last `most` lines of `content` at once.
pub fn last(content: &str, timed: bool, most: usize) -> Vec<Line<'_>> {
    each(end_of(content, timed, Some(most)), timed).collect()
}

/// A time and a blank before a text.
fn split_time(line: &str) -> (Option<Timestamp>, &str) {
    let (word, text) = match line.split_once(' ') {
        Some((word, text)) => (word, text),
        // An empty line may come without the blank, and with the carriage return of Windows.
        None => match line.strip_suffix('\r') {
            Some(word) => (word, line.get(word.len()..).unwrap_or_default()),
            None => (line, ""),
        },
    };
    let begins_as_one = word.len() >= 20 && word.as_bytes().get(10) == Some(&b'T');
    match word.parse::<Timestamp>() {
        Ok(at) if begins_as_one => (Some(at), text),
        _ => (None, line),
    }
}

/// A time as a kubelet prints it: nine digits of fraction.
pub fn prefix(at: Timestamp) -> String {
    format!("{at:.9} ")
}

/// Counts bytes out, and cuts where the limit is.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    left: Option<u64>,
}

impl Limit {
    /// At most `bytes`, or no limit.
    pub fn new(bytes: Option<u64>) -> Self {
        Self { left: bytes }
    }

    /// Appends as much of `text` as the limit allows.
    pub fn write(&mut self, out: &mut Vec<u8>, text: &str) {
        let bytes = text.as_bytes();
        let Some(left) = &mut self.left else {
            out.extend_from_slice(bytes);
            return;
        };
        let room = usize::try_from(*left)
            .unwrap_or(usize::MAX)
            .min(bytes.len());
        out.extend_from_slice(bytes.get(..room).unwrap_or_default());
        *left -= room as u64;
    }

    /// Nothing more can be written.
    pub fn is_reached(&self) -> bool {
        self.left == Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: &str = "2026-01-02T03:04:05.678901234Z";

    fn at(text: &str) -> Option<Timestamp> {
        text.parse().ok()
    }

    fn line(at: Option<Timestamp>, text: &str, ended: bool) -> Line<'_> {
        Line { at, text, ended }
    }

    #[test]
    fn lines_with_times() {
        for (content, expected) in [
            (String::new(), vec![]),
            (
                format!("{T} a b\n{T} \n"),
                vec![line(at(T), "a b", true), line(at(T), "", true)],
            ),
            (format!("{T}\n"), vec![line(at(T), "", true)]),
            (
                format!("{T} a\r\n{T}\r\n"),
                vec![line(at(T), "a\r", true), line(at(T), "\r", true)],
            ),
            (
                format!("{T} a\n{T} b"),
                vec![line(at(T), "a", true), line(at(T), "b", false)],
            ),
            // Cut in the middle of the first line, or of its time.
            (format!("st of it\n{T} b\n"), vec![line(at(T), "b", true)]),
            (format!("4:05.67Z a\n{T} b\n"), vec![line(at(T), "b", true)]),
            (
                "no time at all\n".into(),
                vec![line(None, "no time at all", true)],
            ),
            (
                "two\nlines\n".into(),
                vec![line(None, "two", true), line(None, "lines", true)],
            ),
            (
                "2026-01-02T03:04:05Z a\n2026-01-02T03:04:05.5+00:00  b\n".into(),
                vec![
                    line(at("2026-01-02T03:04:05Z"), "a", true),
                    line(at("2026-01-02T03:04:05.5Z"), " b", true),
                ],
            ),
        ] {
            assert_eq!(last(&content, true, 9), expected, "{content:?}");
        }
    }

    #[test]
    fn the_last_lines() {
        for (content, most, end) in [
            ("", Some(3), ""),
            ("a\nb\nc", None, "a\nb\nc"),
            ("a\nb\nc", Some(0), ""),
            ("a\nb\nc", Some(1), "c"),
            ("a\nb\nc\n", Some(1), "c\n"),
            ("a\nb\nc\n", Some(2), "b\nc\n"),
            ("a\nb\nc\n", Some(3), "a\nb\nc\n"),
            ("a\nb\nc\n", Some(usize::MAX), "a\nb\nc\n"),
            ("\n\n\n", Some(2), "\n\n"),
        ] {
            assert_eq!(end_of(content, false, most), end, "{content:?} {most:?}");
        }
        let cut = format!("st\n{T} a\n{T} b\n");
        assert_eq!(end_of(&cut, true, Some(5)), format!("{T} a\n{T} b\n"));
        assert_eq!(end_of(&cut, true, Some(1)), format!("{T} b\n"));
    }

    #[test]
    fn without_times_a_line_is_what_it_is() {
        let content = format!("{T} a\nb");
        let first = format!("{T} a");
        assert_eq!(
            last(&content, false, 9),
            [line(None, &first, true), line(None, "b", false)]
        );
    }

    #[test]
    fn times_are_printed_with_nine_digits() {
        for (text, printed) in [
            (T, "2026-01-02T03:04:05.678901234Z "),
            ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05.000000000Z "),
            (
                "2026-01-02T04:04:05.5+01:00",
                "2026-01-02T03:04:05.500000000Z ",
            ),
        ] {
            assert_eq!(prefix(text.parse().unwrap()), printed);
        }
    }

    #[test]
    fn a_limit_cuts_anywhere() {
        let mut out = Vec::new();
        let mut limit = Limit::new(Some(4));
        limit.write(&mut out, "ab");
        assert!(!limit.is_reached());
        limit.write(&mut out, "cä");
        assert!(limit.is_reached());
        limit.write(&mut out, "x");
        assert_eq!(out, b"abc\xc3");
        let mut all = Limit::new(None);
        all.write(&mut out, "y");
        assert!(!all.is_reached());
    }
}
