//! What the shim of one container is to do, as the operator writes it. PURE.
//!
//! A shim and the operator may be of different versions: the shim is that of the day its group was made, or the one that a
//! connector names. What the operator has no use for it leaves out, and what a shim does not know it refuses: a field that was
//! passed over would be a promise that nobody keeps.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// The version of this form. Another one is written only for what this one cannot say.
pub const VERSION: u32 = 1;
/// Where the shim is in a container. The mount is read-only, so that nobody who runs there can put another program in its place.
pub const PROGRAMS: &str = "/.vkc/bin";
/// Where what it is to do is in a container.
pub const ORDERS: &str = "/.vkc/spec";
/// Where a container has the volumes that the shim fills, or brings up to date, each under its name.
pub const VOLUMES: &str = "/.vkc/volumes";
/// The name of the shim.
pub const NAME: &str = "vkc-shim";
/// The shim.
pub const PROGRAM: &str = "/.vkc/bin/vkc-shim";
/// The shim under the name by which it becomes the shell of the image: sessions begin with it, because ACI takes no arguments.
pub const SHELL: &str = "/.vkc/bin/sh";
/// Whom the program of a container runs as, where the shim has begun as root: written before the program starts, by root.
pub const IDENTITY: &str = "/.vkc/identity";
/// Where people attach to the program of a container.
pub const ATTACH: &str = "/.vkc/attach";
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
/// Parts of the path of a file in a volume, and bytes of each, which is Linux's own limit.
pub const MOST_PARTS: usize = 256;
const LONGEST_NAME: usize = 255;

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
    /// Volumes to fill, in the first init container and in an update; a container has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<Volume>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<File>,
    /// Lines of `/etc/hosts`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<Host>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<MessageFile>,
    /// What has to answer before the program starts, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<Wait>,
    /// What people have of the program who attach to it; `None` where nobody can, and its outputs are the container's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attach: Option<Attached>,
    /// Whom the program runs as, where the shim begins as root. Nobody else's rights change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<User>,
}

/// Something in the pod that is waited for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wait {
    /// It takes connections at this port of the loopback address.
    pub port: u16,
    /// And answers a request for this page with a status from 200 to 399.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Headers of that request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// Seconds until it is asked first.
    #[serde(default)]
    pub delay: u32,
    /// Seconds that an answer may take.
    pub timeout: u32,
}

/// A program that people can attach to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attached {
    /// Whether it has a terminal (`tty` of the container); else it has pipes.
    #[serde(default, skip_serializing_if = "is_false")]
    pub terminal: bool,
    /// Whether it has an input (`stdin`).
    #[serde(default, skip_serializing_if = "is_false")]
    pub input: bool,
    /// Whether its input ends with that of the first who attaches (`stdinOnce`).
    #[serde(default, skip_serializing_if = "is_false")]
    pub once: bool,
}

/// A variable of the environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variable {
    pub name: String,
    pub value: Text,
}

/// A volume of files. The first init container fills it; `update` brings it up to date in a container that mounts it at the same
/// place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// Its name, which is that of its directory in [`VOLUMES`].
    pub name: String,
    /// The mode of its directory, and of those in it.
    pub mode: u32,
    /// The user that it belongs to: that of the container in which it is brought up to date. `None` for whoever writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<u32>,
    /// Whether its files are links into a directory that is replaced as a whole, as in a kubelet's volumes.
    #[serde(default, skip_serializing_if = "is_false")]
    pub linked: bool,
    /// The files, by their paths in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<File>,
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
    /// These bytes, in base64: there is nothing beside an update.
    Base64(Text),
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

/// Reads an order of this version.
pub(crate) fn versioned<T: DeserializeOwned>(text: &[u8]) -> Result<T, SpecError> {
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
    serde_json::from_slice(text).map_err(syntax)
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
        let spec: Self = versioned(text)?;
        spec.check()?;
        Ok(spec)
    }

    /// Reads what an update is to do: volumes, and nothing else.
    ///
    /// # Errors
    /// As [`Spec::parse`], and where it asks for more than volumes, or for what is beside it.
    pub fn parse_update(text: &[u8]) -> Result<Self, SpecError> {
        let mut spec = Self::parse(text)?;
        let volumes = std::mem::take(&mut spec.volumes);
        if spec != Self::new() {
            return Err(SpecError::Invalid("an update is of volumes only"));
        }
        let mut files = volumes.iter().flat_map(|it| &it.files);
        if files.any(|it| matches!(it.content, Content::From(_))) {
            return Err(SpecError::Invalid(
                "an update has nothing beside it: the content of a file is not in it",
            ));
        }
        spec.volumes = volumes;
        Ok(spec)
    }

    /// The operator writes nothing of this; it is the tenant's pod all the same.
    fn check(&self) -> Result<(), SpecError> {
        let in_volumes = || self.volumes.iter().flat_map(|it| &it.files);
        let files = || self.files.iter().chain(in_volumes());
        let names = self.env.iter().map(|it| it.name.as_str());
        let mut names = names.chain(files().map(|it| it.path.as_str()));
        if names.any(|name| name.is_empty() || name.contains('\0')) {
            return Err(SpecError::Invalid(
                "a name or a path is empty or has a null byte",
            ));
        }
        let volumes: BTreeSet<&str> = self.volumes.iter().map(|it| it.name.as_str()).collect();
        if volumes.len() < self.volumes.len() || volumes.into_iter().any(is_no_name) {
            return Err(SpecError::Invalid(
                "the name of a volume is none, or that of another",
            ));
        }
        self.volumes.iter().try_for_each(Volume::check)?;
        let of_volumes = self.volumes.iter().flat_map(|it| [it.owner, it.group]);
        let mut numbers = of_volumes.chain(files().map(|it| it.group)).flatten();
        if numbers.any(|number| number == u32::MAX) {
            return Err(SpecError::Invalid("a user or a group is none"));
        }
        if self.env.iter().any(|it| it.name.contains('=')) {
            return Err(SpecError::Invalid(
                "the name of a variable has an equals sign",
            ));
        }
        let beside = files().filter_map(|it| match &it.content {
            Content::From(name) => Some(name.as_str()),
            Content::Text(_) | Content::Base64(_) => None,
        });
        if beside
            .into_iter()
            .any(|it| it.contains('/') || it.starts_with('.'))
        {
            return Err(SpecError::Invalid(
                "the content of a file is not beside the orders",
            ));
        }
        let headers = self.after.iter().flat_map(|it| &it.headers);
        let paths = self.after.iter().filter_map(|it| it.path.as_ref());
        let mut words = headers.flat_map(|(name, value)| [name, value]).chain(paths);
        if words.any(|it| it.contains(char::is_control)) {
            return Err(SpecError::Invalid(
                "a request has a control character in its path or a header",
            ));
        }
        let modes = files().map(|it| it.mode);
        let mut modes = modes.chain(self.volumes.iter().map(|it| it.mode));
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

impl Volume {
    /// Whether its files stay in it, each in a place of its own.
    pub(crate) fn check(&self) -> Result<(), SpecError> {
        // What begins with two dots is the layout's own, in a kubelet's volumes too.
        let out = |path: &str| {
            path.starts_with("..")
                || path.split('/').count() > MOST_PARTS
                || path.split('/').any(is_no_name)
        };
        let paths: BTreeSet<&str> = self.files.iter().map(|it| it.path.as_str()).collect();
        if is_no_name(&self.name) || paths.iter().copied().any(out) {
            return Err(SpecError::Invalid(
                "the path of a file does not stay in its volume, or is too long",
            ));
        }
        let is_in_a_file = |path: &str| {
            let mut above = path.match_indices('/').filter_map(|(at, _)| path.get(..at));
            above.any(|it| paths.contains(it))
        };
        if paths.len() < self.files.len() || paths.iter().copied().any(is_in_a_file) {
            return Err(SpecError::Invalid(
                "two files of a volume have one path, or one is where a directory of the other is",
            ));
        }
        Ok(())
    }
}

/// Whether a directory can have nothing of this name, or nothing of its own.
fn is_no_name(name: &str) -> bool {
    matches!(name, "" | "." | "..") || name.contains(['/', '\0']) || name.len() > LONGEST_NAME
}

#[cfg(test)]
mod tests;
