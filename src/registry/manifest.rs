//! Manifests, indexes and configurations of images (OCI image specification; Docker's image manifest v2, schema 2).
//! PURE. All of it is written by strangers.

use std::fmt;

use serde::Deserialize;

use super::digest::Digest;
use super::error::RegistryError;

/// What is asked for: indexes and manifests of both families.
pub(super) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json";
/// The only architecture of Azure Container Instances.
const ARCHITECTURE: &str = "amd64";
/// Longest entry point, command, user or directory that is kept, all words together; real ones are a few words.
const MAX_WORDS: usize = 16 << 10;

/// What a container of Azure Container Instances runs on; the architecture is amd64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Platform {
    /// linux/amd64.
    Linux,
    /// windows/amd64; of several versions of Windows the newest.
    Windows,
}

impl Platform {
    fn os(self) -> &'static str {
        match self {
            Self::Linux => "linux",
            Self::Windows => "windows",
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{ARCHITECTURE}", self.os())
    }
}

/// Where a manifest leads.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// To the manifest of the platform.
    Manifest(Digest),
    /// To the configuration of the image.
    Config {
        digest: Digest,
        /// Bytes that it is said to have.
        size: u64,
    },
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    manifests: Option<Vec<Descriptor>>,
    #[serde(default)]
    config: Option<Descriptor>,
}

#[derive(Deserialize)]
struct Descriptor {
    #[serde(default)]
    digest: String,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    platform: Option<Words>,
}

#[derive(Deserialize)]
struct Words {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    #[serde(default, rename = "os.version")]
    os_version: Option<String>,
}

/// Where the index or manifest `bytes` of `host` leads for `platform`.
pub(super) fn next(bytes: &[u8], platform: Platform, host: &str) -> Result<Next, RegistryError> {
    let malformed = |what| RegistryError::Malformed {
        host: host.to_owned(),
        what,
    };
    let document: Document =
        serde_json::from_slice(bytes).map_err(|_| malformed("no manifest of an image"))?;
    let digest = |text: &str| {
        Digest::parse(text)
            .ok_or_else(|| malformed("a manifest that names no sha256 or sha512 digest"))
    };
    match (document.manifests, document.config) {
        (Some(manifests), None) => {
            let chosen = choose(&manifests, platform).ok_or(RegistryError::Platform(platform))?;
            Ok(Next::Manifest(digest(&chosen.digest)?))
        }
        (None, Some(config)) => Ok(Next::Config {
            digest: digest(&config.digest)?,
            size: config.size,
        }),
        // What is both means one thing to one reader and another to the next.
        (Some(_), Some(_)) => Err(malformed("what is index and manifest at once")),
        (None, None) => Err(malformed("a manifest of a kind that is not read")),
    }
}

/// The manifest of `platform`: of the same platform the newest version, else the first. An index may leave a platform
/// out; the configuration then tells it.
fn choose(manifests: &[Descriptor], platform: Platform) -> Option<&Descriptor> {
    let mut best: Option<(Vec<u64>, &Descriptor)> = None;
    for descriptor in manifests {
        let version = match &descriptor.platform {
            None => Vec::new(),
            Some(words) if words.os == platform.os() && words.architecture == ARCHITECTURE => {
                version(words.os_version.as_deref())
            }
            Some(_) => continue,
        };
        if best.as_ref().is_none_or(|(newest, _)| version > *newest) {
            best = Some((version, descriptor));
        }
    }
    best.map(|(_, descriptor)| descriptor)
}

/// The numbers of a version of Windows, `10.0.20348.2700`.
fn version(text: Option<&str>) -> Vec<u64> {
    let parts = text.unwrap_or_default().split('.');
    parts.map_while(|part| part.parse().ok()).collect()
}

#[derive(Deserialize)]
struct ImageFile {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    #[serde(default)]
    config: Option<ImageConfig>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ImageConfig {
    #[serde(default)]
    entrypoint: Option<Vec<String>>,
    #[serde(default)]
    cmd: Option<Vec<String>>,
    #[serde(default)]
    user: Option<String>,
    #[serde(default)]
    working_dir: Option<String>,
    /// Windows: the entry point is a whole command line in one word.
    #[serde(default)]
    args_escaped: Option<bool>,
}

/// What an image says of the process that it is made for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Configuration {
    /// `Entrypoint`, and `Cmd` behind it.
    pub entry_point: Vec<String>,
    /// Arguments, or the command of an image without an entry point.
    pub command: Vec<String>,
    /// `User`: a name or a number, and a group behind a colon; empty for root.
    pub user: String,
    /// `WorkingDir`; empty for the root.
    pub working_dir: String,
}

/// The configuration of an image, of `host`, in `bytes`.
pub(super) fn configuration(
    bytes: &[u8],
    platform: Platform,
    host: &str,
) -> Result<Configuration, RegistryError> {
    let malformed = |what| RegistryError::Malformed {
        host: host.to_owned(),
        what,
    };
    let file: ImageFile =
        serde_json::from_slice(bytes).map_err(|_| malformed("no configuration of an image"))?;
    if !file.os.eq_ignore_ascii_case(platform.os()) || file.architecture != ARCHITECTURE {
        return Err(RegistryError::Platform(platform));
    }
    let config = file.config.unwrap_or_default();
    let configuration = Configuration {
        entry_point: config.entrypoint.unwrap_or_default(),
        command: config.cmd.unwrap_or_default(),
        user: config.user.unwrap_or_default(),
        working_dir: config.working_dir.unwrap_or_default(),
    };
    let Configuration {
        entry_point,
        command,
        user,
        working_dir,
    } = &configuration;
    for (what, no_program, words) in [
        (
            "an ENTRYPOINT",
            "an ENTRYPOINT that no program can have",
            entry_point.as_slice(),
        ),
        (
            "a CMD",
            "a CMD that no program can have",
            command.as_slice(),
        ),
        (
            "a USER",
            "a USER that nobody can be",
            std::slice::from_ref(user),
        ),
        (
            "a WORKDIR",
            "a WORKDIR that is no directory",
            std::slice::from_ref(working_dir),
        ),
    ] {
        let size: usize = words.iter().map(|word| word.len() + 1).sum();
        if size > MAX_WORDS {
            return Err(RegistryError::TooLarge {
                host: host.to_owned(),
                what,
                limit: MAX_WORDS,
            });
        }
        if words.iter().any(|word| word.contains('\0')) {
            return Err(malformed(no_program));
        }
    }
    if config.args_escaped == Some(true) && platform == Platform::Windows && !entry_point.is_empty()
    {
        return Err(RegistryError::ShellForm);
    }
    Ok(configuration)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn digest(n: u32) -> String {
        format!("sha256:{n:064x}")
    }

    fn entry(n: u32, os: &str, architecture: &str, version: Option<&str>) -> Value {
        json!({"digest": digest(n), "size": 7, "platform": {"os": os, "architecture": architecture, "os.version": version}})
    }

    fn read(document: &Value, platform: Platform) -> Result<Next, RegistryError> {
        next(document.to_string().as_bytes(), platform, "r")
    }

    fn manifest(n: u32) -> Next {
        Next::Manifest(Digest::parse(&digest(n)).unwrap())
    }

    #[test]
    fn an_index_leads_to_the_platform_and_the_newest_windows() {
        let index = json!({"schemaVersion": 2, "manifests": [
            entry(1, "linux", "arm64", None),
            entry(2, "linux", "amd64", None),
            entry(3, "linux", "amd64", None),
            entry(4, "windows", "amd64", Some("10.0.17763.6414")),
            entry(5, "windows", "amd64", Some("10.0.20348.2762")),
            entry(6, "windows", "amd64", Some("10.0.20348.999")),
            entry(7, "windows", "arm64", Some("10.0.99999.1")),
            entry(8, "unknown", "unknown", None),
        ]});
        assert_eq!(read(&index, Platform::Linux), Ok(manifest(2)));
        assert_eq!(read(&index, Platform::Windows), Ok(manifest(5)));
        let linux = json!({"manifests": [entry(1, "linux", "arm64", None), entry(2, "linux", "amd64", None)]});
        assert_eq!(
            read(&linux, Platform::Windows),
            Err(RegistryError::Platform(Platform::Windows))
        );
        let arm = json!({"manifests": [entry(1, "linux", "arm64", None)]});
        assert_eq!(
            read(&arm, Platform::Linux),
            Err(RegistryError::Platform(Platform::Linux))
        );
        let silent = json!({"manifests": [{"digest": digest(9), "size": 1}]});
        assert_eq!(read(&silent, Platform::Windows), Ok(manifest(9)));
    }

    #[test]
    fn a_manifest_leads_to_its_configuration() {
        let plain = json!({"schemaVersion": 2, "config": {"digest": digest(1), "size": 42}, "layers": [{}]});
        let expected = Next::Config {
            digest: Digest::parse(&digest(1)).unwrap(),
            size: 42,
        };
        assert_eq!(read(&plain, Platform::Linux), Ok(expected));
    }

    #[test]
    fn what_is_no_manifest_leads_nowhere() {
        let both = json!({"manifests": [entry(1, "linux", "amd64", None)], "config": {"digest": digest(1)}});
        for document in [
            both,
            json!({}),
            json!([]),
            json!("x"),
            json!({"schemaVersion": 1, "fsLayers": []}),
            json!({"config": {"digest": "sha256:../../x", "size": 1}}),
            json!({"config": {"size": 1}}),
            json!({"manifests": "x"}),
            json!({"manifests": [{"digest": "", "platform": {"os": "linux", "architecture": "amd64"}}]}),
            json!({"config": {"digest": digest(1), "size": -1}}),
        ] {
            let read = read(&document, Platform::Linux);
            assert!(
                matches!(read, Err(RegistryError::Malformed { .. })),
                "{document}: {read:?}"
            );
        }
        let deep = "[".repeat(100_000);
        assert!(next(deep.as_bytes(), Platform::Linux, "r").is_err());
    }

    #[test]
    fn entry_points() {
        let whole =
            |platform, value: &Value| configuration(value.to_string().as_bytes(), platform, "r");
        let read = |platform, value: &Value| whole(platform, value).map(|it| it.entry_point);
        let linux =
            |config: Value| json!({"os": "linux", "architecture": "amd64", "config": config});
        let windows =
            |config: Value| json!({"os": "windows", "architecture": "amd64", "config": config});
        for (config, expected) in [
            (
                json!({"Entrypoint": ["/a", "-b"], "Cmd": ["c"]}),
                vec!["/a", "-b"],
            ),
            (json!({"Entrypoint": null, "Cmd": ["c"]}), vec![]),
            (json!({"Entrypoint": []}), vec![]),
            (json!({}), vec![]),
            (Value::Null, vec![]),
            (
                json!({"Entrypoint": ["/a"], "ArgsEscaped": true}),
                vec!["/a"],
            ),
        ] {
            assert_eq!(read(Platform::Linux, &linux(config)).unwrap(), expected);
        }
        let all =
            json!({"Entrypoint": ["/a"], "Cmd": ["c", "d"], "User": "1000:0", "WorkingDir": "/w"});
        let expected = Configuration {
            entry_point: vec!["/a".to_owned()],
            command: vec!["c".to_owned(), "d".to_owned()],
            user: "1000:0".to_owned(),
            working_dir: "/w".to_owned(),
        };
        assert_eq!(whole(Platform::Linux, &linux(all)), Ok(expected));
        for (member, value) in [
            ("Cmd", json!(["a\u{0}"])),
            ("User", json!("\u{0}")),
            ("WorkingDir", json!("/\u{0}")),
        ] {
            let read = read(Platform::Linux, &linux(json!({member: value})));
            assert!(
                matches!(read, Err(RegistryError::Malformed { .. })),
                "{member}: {read:?}"
            );
        }
        for member in ["User", "WorkingDir"] {
            let read = read(Platform::Linux, &linux(json!({member: "a".repeat(17_000)})));
            assert!(
                matches!(read, Err(RegistryError::TooLarge { .. })),
                "{member}: {read:?}"
            );
        }
        let shell = json!({"Entrypoint": ["cmd /S /C run.exe"], "ArgsEscaped": true});
        assert_eq!(
            read(Platform::Windows, &windows(shell)),
            Err(RegistryError::ShellForm)
        );
        // The shell form is that of CMD, which args replace.
        let shell = json!({"Cmd": ["cmd /S /C run.exe"], "ArgsEscaped": true});
        assert_eq!(read(Platform::Windows, &windows(shell)), Ok(vec![]));
        let long = json!({"Entrypoint": vec!["a".repeat(1000); 17]});
        let too_large = read(Platform::Linux, &linux(long));
        assert!(
            matches!(too_large, Err(RegistryError::TooLarge { .. })),
            "{too_large:?}"
        );
        let other = RegistryError::Platform(Platform::Linux);
        assert_eq!(
            read(Platform::Linux, &windows(json!({}))),
            Err(other.clone())
        );
        let arm = json!({"os": "linux", "architecture": "arm64"});
        assert_eq!(read(Platform::Linux, &arm), Err(other));
        for bad in [
            json!("x"),
            linux(json!({"Entrypoint": "/a"})),
            linux(json!({"Entrypoint": ["a\u{0}"]})),
        ] {
            let read = read(Platform::Linux, &bad);
            assert!(
                matches!(read, Err(RegistryError::Malformed { .. })),
                "{bad}: {read:?}"
            );
        }
    }
}
