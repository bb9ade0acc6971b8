//! What the shim of one container is to do, as the operator writes it. PURE.
//!
//! A shim and the operator may be of different versions: the shim is that of the day its group was made, or the one that a
//! connector names. What the operator has no use for it leaves out, and what a shim does not know it refuses: a field that was
//! passed over would be a promise that nobody keeps.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// The version of this form. Another one is written only for what this one cannot say.
pub const VERSION: u32 = 1;
/// Where the shim is in a container. The mount is read-only, so that nobody who runs there can put another program in its place.
pub const PROGRAMS: &str = "/.vkc/bin";
/// Where what it is to do is in a container.
pub const ORDERS: &str = "/.vkc/spec";
/// Where the first init container has the volumes that it fills, each under its name.
pub const VOLUMES: &str = "/.vkc/volumes";
/// The shim.
pub const PROGRAM: &str = "/.vkc/bin/vkc-shim";
/// The shim under the name by which it becomes the shell of the image: sessions begin with it, because ACI takes no arguments.
pub const SHELL: &str = "/.vkc/bin/sh";
/// Whom the program of a container runs as, where the shim has begun as root: written before the program starts, by root.
pub const IDENTITY: &str = "/.vkc/identity";
/// What the shim needs as root, and gives up: to place files in directories that are another's, and to become somebody else.
pub const CAPABILITIES: [&str; 6] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "SETGID",
    "SETPCAP",
    "SETUID",
];
/// The file with what is to be done.
pub const FILE: &str = "spec.json";
/// Longest such file that is read, and longest file that is placed: a whole request to Azure has 4 MB.
pub const LONGEST: u64 = 4 * 1024 * 1024;

/// What is to be done before, and how, the program of a container runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Spec {
    pub version: u32,
    /// The program and its arguments, where they must not be seen or have the address in them; else they are on the command line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<Text>,
    /// Variables that ACI cannot give.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<Variable>,
    /// Where the program starts, where that is not where its image says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub directories: Vec<Directory>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<File>,
    /// Lines of `/etc/hosts`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<Host>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<MessageFile>,
    /// Whom the program runs as, where the shim begins as root. Nobody else's rights change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<User>,
}

/// A variable of the environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variable {
    pub name: String,
    pub value: Text,
}

/// A directory that is made, or has its mode set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Directory {
    pub path: String,
    pub mode: u32,
    /// Its group; `None` for the one that it gets by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<u32>,
}

/// A file that is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    pub path: String,
    pub content: Content,
    pub mode: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<u32>,
}

/// What is in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Content {
    /// That of the file of this name beside [`FILE`].
    From(String),
    Text(Text),
}

/// A line of `/etc/hosts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    pub ip: String,
    pub names: Vec<String>,
}

/// The file that a program may write the message of its end to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MessageFile {
    pub path: String,
    /// Whether the pod asks for it: then a file that cannot be made is an error, else the program runs without.
    #[serde(default, skip_serializing_if = "is_false")]
    pub required: bool,
}

/// Whom a program runs as.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct User {
    /// As an image says it: a number or a name, and a group behind a colon.
    pub name: String,
    /// The number of the group; `None` for that of `name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<u32>,
    /// Further groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<u32>,
    /// Whether the groups that the image gives the user are left out.
    #[serde(default, skip_serializing_if = "is_false")]
    pub strict: bool,
    /// Capabilities that only the shim has, without `CAP_`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drop: Vec<String>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub no_new_privileges: bool,
    /// Whether the pod says where the user is at home (`HOME`).
    #[serde(default, skip_serializing_if = "is_false")]
    pub keep_home: bool,
}

/// Text that is shown to nobody, in parts: some are known only where it is used.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Text(pub Vec<Part>);

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Part {
    Text(#[serde(with = "plain")] Zeroizing<String>),
    Address { address: Which },
}

/// What of the pod's addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Which {
    /// The first.
    PodIp,
    /// All, with commas between.
    PodIps,
}

impl Text {
    /// Without an address in it.
    pub fn plain(text: impl Into<String>) -> Self {
        Self(vec![Part::Text(Zeroizing::new(text.into()))])
    }

    /// Whether the address is in it.
    pub fn has_address(&self) -> bool {
        self.0.iter().any(|it| matches!(it, Part::Address { .. }))
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Text that is zeroed when it is dropped, as it is written.
mod plain {
    use serde::{Deserialize as _, Deserializer, Serializer};
    use zeroize::Zeroizing;

    pub(super) fn serialize<S: Serializer>(
        text: &Zeroizing<String>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.serialize_str(text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Zeroizing<String>, D::Error> {
        String::deserialize(from).map(Zeroizing::new)
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks with a reference"
)]
fn is_false(value: &bool) -> bool {
    !value
}

/// Why an order is none.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    #[error("the orders are of version {0}, and this shim ({program}) knows version {VERSION}: it is older than the operator; remove spec.shim.image of the connector, or name a newer one", program = env!("CARGO_PKG_VERSION"))]
    Version(u32),
    /// Not with what stands there: it may be secret.
    #[error(
        "the orders cannot be read at line {line}, column {column}: they are of a newer operator, or broken"
    )]
    Syntax { line: usize, column: usize },
    #[error("{0}")]
    Invalid(&'static str),
}

impl Spec {
    /// One that asks for nothing.
    pub fn new() -> Self {
        Self {
            version: VERSION,
            ..Self::default()
        }
    }

    /// Reads what the operator has written.
    ///
    /// # Errors
    /// It is of another version, or has what this shim does not know.
    pub fn parse(text: &[u8]) -> Result<Self, SpecError> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let syntax = |error: serde_json::Error| SpecError::Syntax {
            line: error.line(),
            column: error.column(),
        };
        let Versioned { version } = serde_json::from_slice(text).map_err(syntax)?;
        if version != VERSION {
            return Err(SpecError::Version(version));
        }
        let spec: Self = serde_json::from_slice(text).map_err(syntax)?;
        spec.check()?;
        Ok(spec)
    }

    /// The operator writes nothing of this; it is the tenant's pod all the same.
    fn check(&self) -> Result<(), SpecError> {
        let names = self.env.iter().map(|it| it.name.as_str());
        let mut names = names.chain(self.files.iter().map(|it| it.path.as_str()));
        if names.any(|name| name.is_empty() || name.contains('\0')) {
            return Err(SpecError::Invalid(
                "a name or a path is empty or has a null byte",
            ));
        }
        if self.env.iter().any(|it| it.name.contains('=')) {
            return Err(SpecError::Invalid(
                "the name of a variable has an equals sign",
            ));
        }
        let beside = self.files.iter().filter_map(|it| match &it.content {
            Content::From(name) => Some(name.as_str()),
            Content::Text(_) => None,
        });
        if beside
            .into_iter()
            .any(|it| it.contains('/') || it.starts_with('.'))
        {
            return Err(SpecError::Invalid(
                "the content of a file is not beside the orders",
            ));
        }
        let modes = self.files.iter().map(|it| it.mode);
        let mut modes = modes.chain(self.directories.iter().map(|it| it.mode));
        if modes.any(|mode| mode > 0o7777) {
            return Err(SpecError::Invalid("a mode is none"));
        }
        let lines = self
            .hosts
            .iter()
            .flat_map(|it| it.names.iter().chain([&it.ip]));
        if lines
            .into_iter()
            .any(|it| it.contains(|c: char| c.is_whitespace() || c == '#'))
        {
            return Err(SpecError::Invalid(
                "a line of the hosts has blanks in a name",
            ));
        }
        Ok(())
    }

    /// What [`Spec::parse`] reads.
    ///
    /// # Errors
    /// None that is known: every field is text or a number.
    pub fn write(&self) -> Result<Zeroizing<Vec<u8>>, serde_json::Error> {
        serde_json::to_vec(self).map(Zeroizing::new)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Result<Spec, String> {
        Spec::parse(text.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_asked_for_is_written_and_read() {
        let spec = Spec {
            command: vec![Text(vec![
                Part::Text(Zeroizing::new("http://".to_owned())),
                Part::Address {
                    address: Which::PodIp,
                },
            ])],
            files: vec![File {
                path: "/etc/app.conf".to_owned(),
                content: Content::From("f0".to_owned()),
                mode: 0o644,
                group: Some(1),
            }],
            ..Spec::new()
        };
        let text = spec.write().unwrap();
        assert_eq!(
            std::str::from_utf8(&text).unwrap(),
            r#"{"version":1,"command":[["http://",{"address":"podIp"}]],"files":[{"path":"/etc/app.conf","content":{"from":"f0"},"mode":420,"group":1}]}"#
        );
        assert_eq!(Spec::parse(&text).unwrap(), spec);
        assert_eq!(parsed(r#"{"version":1}"#).unwrap(), Spec::new());
    }

    #[test]
    fn what_a_shim_does_not_know_it_refuses() {
        for (text, why) in [
            (r#"{"version":2,"new":1}"#, "of version 2"),
            (r#"{"version":1,"new":1}"#, "newer operator"),
            ("{}", "broken"),
            ("", "broken"),
            (r#"["1"]"#, "broken"),
            (
                r#"{"version":1,"env":[{"name":"A=B","value":["x"]}]}"#,
                "equals sign",
            ),
            (
                r#"{"version":1,"env":[{"name":"","value":["x"]}]}"#,
                "empty",
            ),
            (
                r#"{"version":1,"files":[{"path":"/a","content":{"from":"../x"},"mode":0}]}"#,
                "not beside",
            ),
            (
                r#"{"version":1,"files":[{"path":"/a","content":{"from":"x"},"mode":65536}]}"#,
                "a mode",
            ),
            (
                r#"{"version":1,"hosts":[{"ip":"1.2.3.4","names":["a\nb"]}]}"#,
                "blanks",
            ),
        ] {
            let said = parsed(text).unwrap_err();
            assert!(said.contains(why), "{text}: {said}");
        }
    }

    #[test]
    fn a_refusal_does_not_say_what_stands_there() {
        let said = parsed(r#"{"version":1,"env":"hunter2"}"#).unwrap_err();
        assert!(!said.contains("hunter2"), "{said}");
        let spec = Spec {
            command: vec![Text::plain("hunter2")],
            ..Spec::new()
        };
        assert!(!format!("{spec:?}").contains("hunter2"));
    }

    proptest! {
        #[test]
        fn any_text_is_taken(text in "\\PC*") {
            let _ = Spec::parse(text.as_bytes());
        }

        #[test]
        fn any_text_goes_through(words in proptest::collection::vec("\\PC*", 0..4)) {
            let spec = Spec { command: words.into_iter().map(Text::plain).collect(), ..Spec::new() };
            let text = spec.write().unwrap();
            prop_assert_eq!(Spec::parse(&text).unwrap(), spec);
        }
    }
}
