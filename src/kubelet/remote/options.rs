//! What a request for exec or attach asks for. PURE.

use axum::extract::Query;
use http::Uri;

use crate::kubelet::api_error::ApiError;
use crate::provider::exec::TerminalSize;

/// The streams of a session.
// Four switches of the protocol that do not depend on each other.
#[allow(clippy::struct_excessive_bools)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// The client sends standard input.
    pub stdin: bool,
    /// The client wants standard output.
    pub stdout: bool,
    /// The client wants standard error. Never with a terminal, on which it cannot be told apart.
    pub stderr: bool,
    /// The process gets the client's terminal.
    pub tty: bool,
}

impl Options {
    /// The options in the query of `uri`, named as a kubelet has them: `input`, `output`, `error` and `tty`, each `1`.
    ///
    /// # Errors
    /// 400 when it asks for no stream at all, or cannot be read.
    pub fn of(uri: &Uri) -> Result<Self, ApiError> {
        let pairs = pairs(uri)?;
        let is = |name: &str| {
            let mut values = pairs.iter().filter(|(known, _)| known == name);
            values.any(|(_, value)| value == "1" || value == "true")
        };
        let tty = is("tty");
        let options = Self {
            stdin: is("input"),
            stdout: is("output"),
            stderr: is("error") && !tty,
            tty,
        };
        if options.stdin || options.stdout || options.stderr {
            Ok(options)
        } else {
            Err(ApiError::bad_request(
                "you must specify at least 1 of stdin, stdout, stderr",
            ))
        }
    }
}

/// The command in the query of `uri`: each `command` is a word of it, in their order.
///
/// # Errors
/// 400 when the query cannot be read.
pub fn command(uri: &Uri) -> Result<Vec<String>, ApiError> {
    let words = pairs(uri)?.into_iter();
    Ok(words
        .filter(|(name, _)| name == "command")
        .map(|(_, value)| value)
        .collect())
}

fn pairs(uri: &Uri) -> Result<Vec<(String, String)>, ApiError> {
    Query::try_from_uri(uri)
        .map(|Query(pairs)| pairs)
        .map_err(|_| ApiError::bad_request("the query cannot be read"))
}

/// Reads terminal sizes, JSON objects one after the other, which may come in any parts.
#[derive(Debug, Default)]
pub(super) struct Sizes {
    pending: Vec<u8>,
}

#[derive(serde::Deserialize)]
struct Size {
    #[serde(rename = "Width")]
    width: u16,
    #[serde(rename = "Height")]
    height: u16,
}

impl Sizes {
    /// Bytes that may wait for the rest of their object.
    const PENDING: usize = 1024;

    /// The sizes that are complete with `bytes`. What cannot be read is thrown away.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Vec<TerminalSize> {
        self.pending.extend_from_slice(bytes);
        let mut sizes = Vec::new();
        let mut values = serde_json::Deserializer::from_slice(&self.pending).into_iter::<Size>();
        let (mut read, mut broken) = (0, false);
        while let Some(value) = values.next() {
            match value {
                Ok(Size { width, height }) => {
                    read = values.byte_offset();
                    if width > 0 && height > 0 {
                        sizes.push(TerminalSize {
                            rows: height,
                            columns: width,
                        });
                    }
                }
                Err(error) => {
                    broken = !error.is_eof();
                    break;
                }
            }
        }
        self.pending.drain(..read.min(self.pending.len()));
        if broken || self.pending.len() > Self::PENDING {
            self.pending.clear();
        }
        sizes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(query: &str) -> Result<Options, ApiError> {
        Options::of(&format!("/exec/ns/pod/c?{query}").parse().unwrap())
    }

    #[test]
    fn streams_are_those_that_were_asked_for() {
        let all = |stdin, stdout, stderr, tty| Options {
            stdin,
            stdout,
            stderr,
            tty,
        };
        for (query, want) in [
            ("output=1&error=1", all(false, true, true, false)),
            (
                "input=1&output=1&tty=1&error=1",
                all(true, true, false, true),
            ),
            ("input=true", all(true, false, false, false)),
        ] {
            assert_eq!(of(query), Ok(want), "{query}");
        }
        for query in ["", "input=0&tty=1", "stdin=1", "error=1&tty=1"] {
            assert_eq!(of(query).unwrap_err().status.as_u16(), 400, "{query}");
        }
    }

    #[test]
    fn words_of_the_command_are_decoded_and_keep_their_order() {
        let uri =
            "/exec/ns/pod/c?command=sh&input=1&command=-c&command=echo+%22a%20%24b%22%0A&command=";
        assert_eq!(
            command(&uri.parse().unwrap()),
            Ok(["sh", "-c", "echo \"a $b\"\n", ""]
                .map(str::to_owned)
                .to_vec())
        );
    }

    #[test]
    fn sizes_come_in_any_parts() {
        let size = |rows, columns| TerminalSize { rows, columns };
        let mut sizes = Sizes::default();
        assert_eq!(sizes.feed(b"{\"Width\":100,\"Hei"), []);
        assert_eq!(
            sizes.feed(b"ght\":40}\n{\"Width\":90,\"Height\":30}{"),
            [size(40, 100), size(30, 90)]
        );
        assert_eq!(sizes.feed(b"\"Width\":0,\"Height\":0}"), []);
        assert_eq!(sizes.feed(b"junk"), []);
        assert_eq!(sizes.feed(b"{\"Width\":1,\"Height\":2}"), [size(2, 1)]);
        assert_eq!(sizes.feed(&[b' '; 5000]), []);
        assert!(sizes.pending.len() <= Sizes::PENDING);
    }
}
