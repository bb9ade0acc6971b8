//! The message of a program's end, on its way through the log: no other thing of an ended container reaches anybody. PURE.
//!
//! It is one line at the end of the log, and names itself. A program can write such a line as well, as it can write the message.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// What a kubelet takes of the file (Kubernetes, "Determine the Reason for Pod Failure").
pub const LONGEST: usize = 4096;
const BEGIN: &str = "[vkc-shim termination-message v1 ";
const END: &str = "]";

/// The line for `message`, its end when it is too long; `None` of an empty one.
pub fn frame(message: &[u8]) -> Option<String> {
    let from = message.len().saturating_sub(LONGEST);
    let end = message.get(from..).filter(|end| !end.is_empty())?;
    Some(format!("{BEGIN}{}{END}\n", STANDARD.encode(end)))
}

/// The log without such lines, and the message of the last one.
pub fn split(log: &str) -> (String, Option<String>) {
    let (mut rest, mut message) = (String::with_capacity(log.len()), None);
    for line in log.split_inclusive('\n') {
        // The program's last line may have had no end.
        match line
            .rfind(BEGIN)
            .and_then(|at| Some((at, read(line.get(at..)?)?)))
        {
            Some((at, text)) => {
                rest.push_str(line.get(..at).unwrap_or_default());
                message = Some(text);
            }
            None => rest.push_str(line),
        }
    }
    (rest, message)
}

fn read(framed: &str) -> Option<String> {
    let body = framed.strip_prefix(BEGIN)?.trim_end().strip_suffix(END)?;
    if body.len() > LONGEST.div_ceil(3) * 4 {
        return None;
    }
    let bytes = STANDARD.decode(body).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_message_goes_through_a_log() {
        let line = frame(b"DONE\n").unwrap();
        let log = format!("one\ntwo{line}");
        assert_eq!(
            split(&log),
            ("one\ntwo".to_owned(), Some("DONE\n".to_owned()))
        );
        let log = format!("one\n{line}");
        assert_eq!(split(&log), ("one\n".to_owned(), Some("DONE\n".to_owned())));
        // A log's last line end may be lost.
        assert_eq!(split(line.trim_end()).1.unwrap(), "DONE\n");
        assert_eq!(frame(b""), None);
        let cut = frame(&[b'x'; 5000]).unwrap();
        assert_eq!(split(&cut).1.unwrap().len(), LONGEST);
    }

    #[test]
    fn what_is_no_such_line_is_the_program_s() {
        let too_long = format!("{BEGIN}{}{END}", "A".repeat(6000));
        for log in [
            "",
            "a\nb",
            BEGIN,
            "[vkc-shim termination-message v1 ?]",
            &too_long,
        ] {
            assert_eq!(split(log), (log.to_owned(), None));
        }
    }

    proptest! {
        #[test]
        fn any_log_is_taken(log in "\\PC*", message in proptest::collection::vec(any::<u8>(), 1..64)) {
            let (rest, _) = split(&log);
            prop_assert!(rest.len() <= log.len());
            let framed = format!("{log}{}", frame(&message).unwrap());
            let expected = String::from_utf8_lossy(&message).into_owned();
            prop_assert_eq!(split(&framed).1, Some(expected));
        }
    }
}
