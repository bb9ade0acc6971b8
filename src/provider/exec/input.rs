//! Standard input as lines that a shell loop unpacks. PURE.
//!
//! A line is one of: `.` the end, `t` text in the escapes of `printf %b`, `b` base64, `m` and the number of lines of
//! nothing but base64 that follow.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::script::escape;

/// The line that ends standard input.
pub const END: &str = ".\n";

/// Most bytes that can be packed at once.
pub const PACKET: usize = 32 * 1024;
/// Longest line, below what a terminal's line holds (4,095 bytes).
const LINE: usize = 3900;
/// Bytes packed into one line of base64.
const BASE64_PIECE: usize = LINE / 4 * 3 - 60;
/// Bytes packed into one line of text, at worst five characters each.
const TEXT_PIECE: usize = LINE / 5 - 20;

/// Lines that the shell answers together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    pub text: String,
    /// Nothing may be typed before the answer: what reads these lines may read on in whatever follows.
    pub alone: bool,
}

/// The packets for at most [`PACKET`] bytes. A little text goes as text, which costs the container nothing; a line of
/// base64 costs it a process. A shell reads its lines byte by byte: much goes in many lines past it.
pub fn packets(bytes: &[u8], base64: bool) -> Vec<Packet> {
    let line = |kind: char, packed: &str| Packet {
        text: format!("{kind}{packed}\n"),
        alone: false,
    };
    if base64 && bytes.len() > BASE64_PIECE {
        let pieces = bytes.chunks(BASE64_PIECE);
        let mut text = format!("m{}\n", pieces.len());
        for piece in pieces {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{}", STANDARD.encode(piece));
        }
        return vec![Packet { text, alone: true }];
    }
    let text = escape(bytes, b"");
    if bytes.is_empty() {
        Vec::new()
    } else if text.len() < LINE - 100 && (!base64 || text.len() <= bytes.len() / 4 * 5 + 16) {
        vec![line('t', &text)]
    } else if base64 {
        vec![line('b', &STANDARD.encode(bytes))]
    } else {
        let pieces = bytes.chunks(TEXT_PIECE);
        pieces.map(|piece| line('t', &escape(piece, b""))).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the shell makes of the lines.
    fn unpack(packets: &[Packet]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let all: String = packets.iter().map(|packet| packet.text.as_str()).collect();
        assert!(all.bytes().all(|b| matches!(b, b' '..=b'~' | b'\n')));
        let mut lines = all.lines();
        assert!(all.lines().all(|line| line.len() < 4095));
        while let Some(packed) = lines.next() {
            let (kind, packed) = packed.split_at(1);
            match kind {
                "b" => bytes.extend(STANDARD.decode(packed).unwrap()),
                "t" => bytes.extend(printf(packed)),
                "m" => {
                    for line in lines.by_ref().take(packed.parse().unwrap()) {
                        bytes.extend(STANDARD.decode(line).unwrap());
                    }
                }
                _ => panic!("{kind}"),
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
        let of = |bytes: &[u8], base64| -> Vec<String> {
            let packets = packets(bytes, base64).into_iter();
            packets.map(|packet| packet.text).collect()
        };
        let line = |packed: &str| format!("{packed}\n");
        assert_eq!(of(b"", true), Vec::<String>::new());
        assert_eq!(of(b"a b\n", true), [line("ta b\\n")]);
        assert_eq!(of(b"1\\\t%", false), [line("t1\\\\\\t%")]);
        assert_eq!(of(&[0; 30], true), [line(&format!("b{}", "A".repeat(40)))]);
        assert_eq!(of(&[0, 0xff], false), [line("t\\0000\\0377")]);
        let much = packets(&vec![0; PACKET], true);
        assert!(much.len() == 1 && much[0].alone && much[0].text.starts_with("m12\nA"));
        assert!(
            packets(&vec![b'a'; PACKET], false)
                .iter()
                .all(|packet| !packet.alone)
        );
    }

    proptest! {
        #[test]
        fn bytes_arrive_as_given(bytes in proptest::collection::vec(any::<u8>(), 0..9000), base64: bool) {
            prop_assert_eq!(unpack(&packets(&bytes, base64)), bytes);
        }

        #[test]
        fn text_arrives_as_given(text in "[ -~\n\\\\]{0,9000}", base64: bool) {
            prop_assert_eq!(unpack(&packets(text.as_bytes(), base64)), text.as_bytes());
        }
    }
}
