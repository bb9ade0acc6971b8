//! What is said in a session, in lines over a terminal, and what a session can be asked to do. PURE.
//!
//! ACI starts one program without arguments on a terminal. So the shim has a name for each [`Task`], and reads what else there is
//! to know. Its own lines begin with [`SAYS`]; whatever else is on the terminal is passed over. Bytes go in base64, and the other
//! side answers each line of them ([`Said::More`], [`Told::More`]), so that no more is on its way than [`WINDOW`] lines.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::spec::{PROGRAMS, SpecError, VERSION};

/// What the lines of the shim begin with: name and version.
pub const SAYS: &str = "vkc-shim 1";
/// The line after the last of the orders.
pub const END: &str = ".";
/// Lines of bytes, or of orders, that are not answered yet.
pub const WINDOW: usize = 16;
/// Bytes of orders, or of input, in one line: 3,000 characters of base64.
pub const PIECE: usize = 2250;
/// Bytes of output in one line.
pub const PIECE_OF_OUTPUT: usize = 12 * 1024;
/// Longest line of either side, without its end.
pub const LONGEST_LINE: usize = 64 * 1024;

/// What a session does besides being a shell. Each has a name of the shim's of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Send SIGTERM to the first process of the container.
    Terminate,
    /// Kill all others, where the first one is the shim, which then ends too.
    Kill,
    /// Bring volumes up to date, with orders that it reads ([`crate::spec::Spec::parse_update`]).
    Update,
    /// Run a program, or be a connection, with orders that it reads ([`Request`]).
    Run,
}

impl Task {
    pub const ALL: [Self; 4] = [Self::Terminate, Self::Kill, Self::Update, Self::Run];

    /// The name of the shim that does it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Terminate => "vkc-terminate",
            Self::Kill => "vkc-kill",
            Self::Update => "vkc-update",
            Self::Run => "vkc-exec",
        }
    }

    /// What ACI is to start.
    pub fn program(self) -> String {
        format!("{PROGRAMS}/{}", self.name())
    }
}

/// What a session of [`Task::Run`] asks for.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Request {
    pub version: u32,
    pub what: What,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum What {
    /// A program with its arguments.
    #[serde(rename_all = "camelCase")]
    Program {
        argv: Vec<String>,
        /// Whether there is input; without, the program reads an empty one.
        input: bool,
        /// The size of the terminal that the program gets; without, it has pipes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        terminal: Option<Size>,
    },
    /// A connection to this port of the container's own address.
    Port(u16),
    /// To be attached to the program of the container.
    Attach,
}

/// The size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    pub rows: u16,
    pub columns: u16,
}

impl Request {
    pub fn new(what: What) -> Self {
        Self {
            version: VERSION,
            what,
        }
    }

    /// Reads what [`Request::write`] has written.
    ///
    /// # Errors
    /// It is of another version, or has what this shim does not know.
    pub fn parse(text: &[u8]) -> Result<Self, SpecError> {
        let orders: Self = crate::spec::versioned(text)?;
        let null = |argv: &[String]| argv.iter().any(|word| word.contains('\0'));
        match &orders.what {
            What::Program { argv, .. } if argv.is_empty() || null(argv) => Err(SpecError::Invalid(
                "there is no program, or a word of it has a null byte",
            )),
            What::Port(0) => Err(SpecError::Invalid("there is no port 0")),
            _ => Ok(orders),
        }
    }

    /// # Errors
    /// None that is known.
    pub fn write(&self) -> Result<Zeroizing<Vec<u8>>, serde_json::Error> {
        serde_json::to_vec(self).map(Zeroizing::new)
    }
}

/// Where bytes of a program come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Standard output, and everything where there is a terminal.
    Output,
    Error,
}

/// What the shim says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// It begins, and orders can come.
    Ready,
    /// It has taken a line of them, or of input.
    More,
    /// It has done what was asked for.
    Done,
    /// It has not, and why.
    Failed(String),
    /// The program runs.
    Begun,
    /// What the program has written, which is never nothing.
    Bytes(Source, Vec<u8>),
    /// How the program ended: after all that it has written.
    Ended(i32),
}

const READY: &str = "ready";
const MORE: &str = "more";
const DONE: &str = "done";
const FAILED: &str = "failed";
const BEGUN: &str = "begun";
const OUTPUT: &str = "out";
const ERROR: &str = "err";
const ENDED: &str = "ended";

impl Said {
    /// The line, with its end.
    pub fn write(&self) -> String {
        let bytes = |name, bytes| format!("{SAYS} {name} {}\n", STANDARD.encode(bytes));
        match self {
            Self::Ready => format!("{SAYS} {READY}\n"),
            Self::More => format!("{SAYS} {MORE}\n"),
            Self::Done => format!("{SAYS} {DONE}\n"),
            Self::Failed(why) => {
                format!("{SAYS} {FAILED} {}\n", why.replace(char::is_control, "?"))
            }
            Self::Begun => format!("{SAYS} {BEGUN}\n"),
            Self::Bytes(Source::Output, it) => bytes(OUTPUT, it),
            Self::Bytes(Source::Error, it) => bytes(ERROR, it),
            Self::Ended(code) => format!("{SAYS} {ENDED} {code}\n"),
        }
    }

    /// What `line` says, if it is the shim's.
    pub fn read(line: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(line.trim_ascii()).ok()?;
        let said = text.strip_prefix(SAYS)?.strip_prefix(' ')?;
        let bytes = |source, text| Some(Self::Bytes(source, STANDARD.decode(text).ok()?));
        match said.split_once(' ') {
            None if said == READY => Some(Self::Ready),
            None if said == MORE => Some(Self::More),
            None if said == DONE => Some(Self::Done),
            None if said == BEGUN => Some(Self::Begun),
            Some((FAILED, why)) => Some(Self::Failed(why.to_owned())),
            Some((OUTPUT, text)) => bytes(Source::Output, text),
            Some((ERROR, text)) => bytes(Source::Error, text),
            Some((ENDED, code)) => code.parse().ok().map(Self::Ended),
            _ => None,
        }
    }
}

/// What a program in a session is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// Never nothing.
    Input(Zeroizing<Vec<u8>>),
    EndOfInput,
    /// A line of output was taken.
    More,
    /// Its terminal has another size.
    Size(Size),
    /// Nobody wants it any more.
    Interrupt,
}

const INPUT: &str = "in";
const END_OF_INPUT: &str = "end";
const SIZE: &str = "size";
const INTERRUPT: &str = "interrupt";

impl Told {
    /// The line, with its end.
    pub fn write(&self) -> Zeroizing<String> {
        Zeroizing::new(match self {
            Self::Input(bytes) => format!("{INPUT} {}\n", STANDARD.encode(bytes)),
            Self::EndOfInput => format!("{END_OF_INPUT}\n"),
            Self::More => format!("{MORE}\n"),
            Self::Size(Size { rows, columns }) => format!("{SIZE} {rows} {columns}\n"),
            Self::Interrupt => format!("{INTERRUPT}\n"),
        })
    }

    /// What `line` tells; `None` where it is none.
    pub fn read(line: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(line.trim_ascii()).ok()?;
        match text.split_once(' ') {
            None if text == END_OF_INPUT => Some(Self::EndOfInput),
            None if text == MORE => Some(Self::More),
            None if text == INTERRUPT => Some(Self::Interrupt),
            Some((INPUT, text)) => {
                let bytes = STANDARD.decode(text).ok()?;
                Some(Self::Input(Zeroizing::new(bytes)))
            }
            Some((SIZE, both)) => {
                let (rows, columns) = both.split_once(' ')?;
                let (rows, columns) = (rows.parse().ok()?, columns.parse().ok()?);
                Some(Self::Size(Size { rows, columns }))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn said() -> impl Strategy<Value = Said> {
        let source = prop_oneof![Just(Source::Output), Just(Source::Error)];
        let bytes = proptest::collection::vec(any::<u8>(), 1..5000);
        prop_oneof![
            Just(Said::Ready),
            Just(Said::More),
            Just(Said::Done),
            Just(Said::Begun),
            "[a-z][ -~]{0,50}[a-z]".prop_map(Said::Failed),
            (source, bytes).prop_map(|(source, bytes)| Said::Bytes(source, bytes)),
            any::<i32>().prop_map(Said::Ended),
        ]
    }

    fn told() -> impl Strategy<Value = Told> {
        let bytes = proptest::collection::vec(any::<u8>(), 1..PIECE);
        prop_oneof![
            bytes.prop_map(|bytes| Told::Input(Zeroizing::new(bytes))),
            Just(Told::EndOfInput),
            Just(Told::More),
            any::<(u16, u16)>().prop_map(|(rows, columns)| Told::Size(Size { rows, columns })),
            Just(Told::Interrupt),
        ]
    }

    proptest! {
        #[test]
        fn what_is_said_is_read(said in said(), told in told()) {
            let line = said.write();
            prop_assert!(line.len() <= LONGEST_LINE && line.find('\n') == Some(line.len() - 1));
            prop_assert_eq!(Said::read(line.as_bytes()), Some(said.clone()));
            // A terminal has its own ends of lines.
            prop_assert_eq!(Said::read(line.replace('\n', "\r\n").as_bytes()), Some(said));
            let line = told.write();
            prop_assert!(line.len() <= LONGEST_LINE && line.find('\n') == Some(line.len() - 1));
            prop_assert_eq!(Told::read(line.as_bytes()), Some(told));
        }

        #[test]
        fn anything_else_is_nothing(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(Said::read(&line), None);
            let _ = Told::read(&line);
        }
    }

    #[test]
    fn orders_are_refused_that_ask_for_nothing_or_for_what_is_not_known() {
        let program = |argv: &[&str]| {
            Request::new(What::Program {
                argv: argv.iter().map(|word| (*word).to_owned()).collect(),
                input: true,
                terminal: None,
            })
        };
        let read = |orders: &Request| Request::parse(&orders.write().unwrap()).is_ok();
        assert!(read(&program(&["a", ""])) && read(&Request::new(What::Port(80))));
        assert!(!read(&program(&[])) && !read(&program(&["a\0"])));
        assert!(!read(&Request::new(What::Port(0))));
        for text in [
            r#"{"version":2,"what":{"port":80}}"#,
            r#"{"version":1,"what":{"file":"/etc/passwd"}}"#,
            r#"{"version":1,"what":{"port":80},"as":"root"}"#,
            "",
        ] {
            assert!(Request::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
