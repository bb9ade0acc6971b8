//! What a shell in the container is told. PURE.
//!
//! The shell that ACI starts is interactive: it echoes, prompts, edits lines and keeps a history, and a line of its
//! terminal holds at most 4,095 bytes. So it is only typed short lines of plain characters at: a probe that turns the
//! echo off and tells what there is; then, piece by piece, a script in the escapes of `printf %b`; then the word to
//! become another shell that runs this script. Only POSIX is used: `sh` may be dash, bash, busybox or ksh.
//!
//! Everything the scripts say to us begins with a mark: `^` and a nonce. The mark is put together by the shell, with a
//! tag behind it, so that no echo of what was typed can be taken for it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Longest line typed at the interactive shell. Line editors of small shells take 1,024 bytes.
const TYPED: usize = 800;
/// Bytes of a script in one typed line.
const PIECE: usize = 400;

/// How a session is marked. 16 random hexadecimal digits are never output by chance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark(String);

impl Mark {
    /// A mark from 64 random bits.
    pub fn new(nonce: u64) -> Self {
        Self(format!("^{nonce:016x}"))
    }

    pub fn text(&self) -> &str {
        &self.0
    }
}

/// The first line: turns off the echo (and, without the client's terminal, the translation of newlines), then tells
/// whether pipes, and `head` with `base64`, work, then how turning off went.
pub fn probe(mark: &Mark, tty: bool) -> String {
    let mark = mark.text();
    let off = if tty { "-echo" } else { "-echo -opost" };
    let decodes = STANDARD.encode(format!("{mark}b\n"));
    format!(
        "stty {off} 2>/dev/null; s=$?; n={mark}; echo ${{n}}p | cat; echo {decodes} | head -n 1 | base64 -d; unset HISTFILE; echo ${{n}}r:$s\n"
    )
}

/// Lines that hand over `script` and become a shell that runs it. Each but the last is answered with `a`.
pub fn load(script: &str, tty: bool) -> Vec<String> {
    let escaped = escape(script.as_bytes(), b"'!");
    let mut lines = Vec::new();
    let mut before = "c=";
    for piece in escaped.as_bytes().chunks(PIECE) {
        // Escaped text is ASCII.
        let piece = String::from_utf8_lossy(piece);
        lines.push(format!("{before}'{piece}'; echo ${{n}}a\n"));
        before = "c=${c}";
    }
    let echo = if tty { "stty echo; " } else { "" };
    lines.push(format!("{echo}exec /bin/sh -c \"$(printf %b \"$c\")\"\n"));
    lines
}

/// The script that runs `argv` on pipes: its output as it is, each line of its standard error behind `e`, its exit
/// code behind `x`. With `stdin` it reads lines of [`super::input`] and answers each with `a`.
///
/// The exit code goes the way of standard error, so that it comes after all of both.
pub fn piped(mark: &Mark, argv: &[String], stdin: bool) -> String {
    let (mark, command) = (mark.text(), command(argv));
    let (feed, input) = if stdin {
        let feed = concat!(
            "while IFS= read -r l; do case $l in .) break;; t*) printf %b \"${l#t}\";; ",
            "b*) echo \"${l#b}\" | base64 -d;; m*) head -n \"${l#m}\" | base64 -d;; esac; ",
            "echo \"${n}a\" >&3; done | "
        );
        (feed, "")
    } else {
        ("", " </dev/null")
    };
    format!(
        "n={mark}; echo \"${{n}}s\"; {{ {feed}{{ (exec {command}{input} 2>&1 >&3 3>&-); echo \"${{n}}x$?.\"; }} 2>/dev/null | \
         while IFS= read -r l || [ -n \"$l\" ]; do printf '%s\\n' \"${{n}}e$l\"; done; }} 3>&1 | cat"
    )
}

/// The script that runs `argv` on the terminal, and tells its exit code after it. An interrupt is the command's.
pub fn terminal(mark: &Mark, argv: &[String]) -> String {
    let (mark, command) = (mark.text(), command(argv));
    format!("trap : INT QUIT; n={mark}; echo \"${{n}}s\"; (exec {command}); echo \"${{n}}x$?.\"")
}

/// The one line for a shell without pipes: the command on the terminal, then its exit code. `None` when the command
/// is more than such a shell can be told.
pub fn basic(argv: &[String], tty: bool, stdin: bool) -> Option<String> {
    let echo = if tty { "stty echo; " } else { "" };
    let input = if tty || stdin { "" } else { " </dev/null" };
    let line = format!(
        "{echo}echo ${{n}}s; {}{input}; echo ${{n}}x$?.; exit\n",
        command(argv)
    );
    let plain = line
        .trim_end_matches('\n')
        .bytes()
        .all(|byte| matches!(byte, b' '..=b'~'));
    (plain && line.len() <= TYPED).then_some(line)
}

/// The one line that sends SIGTERM to the container's program, then tells how that went.
///
/// That program is process 1 where the shell was put into the container from outside: such a shell has no parent there, and
/// nobody else's process 1 is ever signalled. The signal is sent by the shell itself: many images have no `kill`.
pub const SIGTERM: &str = "echo ${n}s; [ \"$PPID\" = 0 ] && kill -TERM 1; echo ${n}x$?.; exit\n";

/// `argv` as words of a shell: whatever they hold, they arrive as given.
fn command(argv: &[String]) -> String {
    let words: Vec<String> = argv
        .iter()
        .map(|word| format!("'{}'", word.replace('\'', "'\\''")))
        .collect();
    words.join(" ")
}

/// `bytes` as plain characters that `printf %b` turns back; those of `also` are escaped, too.
pub(super) fn escape(bytes: &[u8], also: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() + bytes.len() / 8);
    for byte in bytes {
        match byte {
            b'\n' => text.push_str("\\n"),
            b'\t' => text.push_str("\\t"),
            b'\\' => text.push_str("\\\\"),
            b' '..=b'~' if !also.contains(byte) => text.push(char::from(*byte)),
            _ => {
                // Always three digits: what follows may be a digit, too.
                text.push_str("\\0");
                for shift in [6, 3, 0] {
                    text.push(char::from(b'0' + ((byte >> shift) & 7)));
                }
            }
        }
    }
    text
}

#[cfg(test)]
mod tests;
