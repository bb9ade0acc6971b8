//! Standard input as lines that a shell loop unpacks. Pure.
//!
//! A line is the session's mark, `i`, and one of: `.` the end, `t` text in the escapes of `printf %b`, `b` base64. The
//! mark is there so that an echo of the line, on a terminal whose echo could not be turned off, can be told from output.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::script::{Mark, escape};

/// Longest line, below what a terminal's line holds (4,095 bytes).
const LINE: usize = 3900;
/// Bytes packed into one line of base64.
const BASE64_PIECE: usize = LINE / 4 * 3 - 60;
/// Bytes packed into one line of text, at worst five characters each.
const TEXT_PIECE: usize = LINE / 5 - 20;

/// The lines for `bytes`. Text goes as text: that costs the container nothing, while each line of base64 costs it a
/// process.
pub fn lines(mark: &Mark, bytes: &[u8], base64: bool) -> Vec<String> {
    let mut lines = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.len().min(BASE64_PIECE));
        let text = escape(piece, b"");
        let (kind, packed, after) = if text.len() <= piece.len() / 4 * 5 + 16 {
            ('t', text, after)
        } else if base64 {
            ('b', STANDARD.encode(piece), after)
        } else {
            let (piece, after) = rest.split_at(rest.len().min(TEXT_PIECE));
            ('t', escape(piece, b""), after)
        };
        lines.push(format!("{}i{kind}{packed}\n", mark.text()));
        rest = after;
    }
    lines
}

/// The line that ends standard input.
pub fn end(mark: &Mark) -> String {
    format!("{}i.\n", mark.text())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the shell makes of the lines.
    fn unpack(mark: &Mark, lines: &[String]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for line in lines {
            assert!(line.len() <= 4095 && line.bytes().all(|b| matches!(b, b' '..=b'~' | b'\n')));
            let line = line.strip_suffix('\n').unwrap();
            let packed = line
                .strip_prefix(mark.text())
                .unwrap()
                .strip_prefix('i')
                .unwrap();
            if let Some(packed) = packed.strip_prefix('b') {
                bytes.extend(STANDARD.decode(packed).unwrap());
            } else {
                bytes.extend(printf(packed.strip_prefix('t').unwrap()));
            }
        }
        bytes
    }

    /// `printf %b` as POSIX has it.
    fn printf(text: &str) -> Vec<u8> {
        let (mut bytes, mut chars) = (Vec::new(), text.bytes());
        while let Some(byte) = chars.next() {
            if byte != b'\\' {
                bytes.push(byte);
                continue;
            }
            match chars.next().unwrap() {
                b'n' => bytes.push(b'\n'),
                b't' => bytes.push(b'\t'),
                b'\\' => bytes.push(b'\\'),
                b'0' => {
                    let digits: String = chars.by_ref().take(3).map(char::from).collect();
                    bytes.push(u8::from_str_radix(&digits, 8).unwrap());
                }
                other => panic!("escape {other}"),
            }
        }
        bytes
    }

    #[test]
    fn text_goes_as_text_and_the_rest_as_base64_where_there_is_one() {
        let mark = Mark::new(7);
        let line = |packed: &str| format!("^0000000000000007i{packed}\n");
        assert_eq!(lines(&mark, b"", true), Vec::<String>::new());
        assert_eq!(lines(&mark, b"a b\n", true), [line("ta b\\n")]);
        assert_eq!(lines(&mark, b"1\\\t%", false), [line("t1\\\\\\t%")]);
        assert_eq!(
            lines(&mark, &[0; 30], true),
            [line(&format!("b{}", "A".repeat(40)))]
        );
        assert_eq!(lines(&mark, &[0, 0xff], false), [line("t\\0000\\0377")]);
        assert_eq!(end(&mark), line("."));
    }

    proptest! {
        #[test]
        fn bytes_arrive_as_given(bytes in proptest::collection::vec(any::<u8>(), 0..9000), base64: bool) {
            let mark = Mark::new(1);
            prop_assert_eq!(unpack(&mark, &lines(&mark, &bytes, base64)), bytes);
        }

        #[test]
        fn text_arrives_as_given(text in "[ -~\n\\\\]{0,9000}", base64: bool) {
            let mark = Mark::new(1);
            prop_assert_eq!(unpack(&mark, &lines(&mark, text.as_bytes(), base64)), text.as_bytes());
        }
    }
}
