//! Images in a folder: OCI image layouts, OCI archives, and root file systems with a configuration beside them.
//!
//! | in the folder | is |
//! |---|---|
//! | `ANY/index.json` | an OCI image layout; each manifest that has the annotation `org.opencontainers.image.ref.name` is an image of that name |
//! | `ANY.tar` | the same as an archive; it is unpacked once |
//! | `NAME/rootfs`, `NAME/config.json` | an image that every reference with this last part means; NAME may have a tag; the JSON is the `config` of an OCI image |

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::layers::{self, LayerError};

/// Longest index, manifest or configuration that is read.
const LONGEST: u64 = 4 * 1024 * 1024;
/// Indexes in indexes.
const DEPTH: u8 = 4;
const NAMES: [&str; 2] = [
    "org.opencontainers.image.ref.name",
    "io.containerd.image.name",
];

/// Why an image cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A file cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("{path}: {reason}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A layer cannot be unpacked.
    #[error(transparent)]
    Layer(#[from] LayerError),
}

/// What a run needs of an image's configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct ImageConfig {
    #[serde(deserialize_with = "or_empty")]
    pub(super) entrypoint: Vec<String>,
    #[serde(deserialize_with = "or_empty")]
    pub(super) cmd: Vec<String>,
    #[serde(deserialize_with = "or_empty")]
    pub(super) env: Vec<String>,
    pub(super) working_dir: String,
    pub(super) user: String,
    pub(super) stop_signal: String,
}

/// `null` is as good as nothing.
fn or_empty<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

#[derive(Debug)]
pub(super) struct Image {
    pub(super) config: ImageConfig,
    files: Files,
}

#[derive(Debug)]
enum Files {
    /// A folder that has them already.
    There(PathBuf),
    Layers {
        id: String,
        blobs: Vec<layers::Blob>,
    },
}

#[derive(Deserialize)]
struct Index {
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    #[serde(default)]
    annotations: std::collections::HashMap<String, String>,
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    os: String,
    architecture: String,
}

#[derive(Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Configuration {
    #[serde(default)]
    config: Option<ImageConfig>,
}

/// The folder, and where what is unpacked of it is kept.
pub(super) struct Store {
    folder: PathBuf,
    cache: PathBuf,
}

impl Store {
    pub(super) fn new(folder: PathBuf, cache: PathBuf) -> Self {
        Self { folder, cache }
    }

    /// The image of this name, `None` when the folder has none.
    pub(super) fn find(&self, reference: &str) -> Result<Option<Image>, ImageError> {
        let wanted = full_name(reference);
        let mut folders = vec![self.folder.clone()];
        let mut names: Vec<PathBuf> = std::fs::read_dir(&self.folder)
            .map_err(reading(&self.folder))?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .collect();
        names.sort();
        for path in names {
            if path.extension().is_some_and(|extension| extension == "tar") {
                folders.push(self.unpacked(&path)?);
            } else if path.is_dir() {
                folders.push(path);
            }
        }
        for folder in &folders {
            if folder.join("index.json").is_file()
                && let Some(image) = in_layout(folder, &wanted)?
            {
                return Ok(Some(image));
            }
        }
        for folder in &folders {
            if folder.join("rootfs").is_dir() && is_meant(folder, &wanted) {
                let config: ImageConfig = json(&folder.join("config.json"))?;
                let files = Files::There(folder.join("rootfs"));
                return Ok(Some(Image { config, files }));
            }
        }
        Ok(None)
    }

    /// An archive's layout, by name, size and time of the file.
    fn unpacked(&self, archive: &Path) -> Result<PathBuf, ImageError> {
        let about = std::fs::metadata(archive).map_err(reading(archive))?;
        let time = about
            .modified()
            .ok()
            .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok())
            .unwrap_or_default();
        let name = archive
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let to =
            self.cache
                .join("archives")
                .join(format!("{name}-{}-{}", about.len(), time.as_nanos()));
        layers::once(&to, |to| {
            let file = std::fs::File::open(archive).map_err(reading(archive))?;
            // Plain files only are written; a link in an archive of blobs would be nothing good.
            layers::unpack_files(file, to).map_err(ImageError::from)
        })?;
        Ok(to)
    }

    /// The folder with the image's files, unpacked when this is the first time. Blocks.
    pub(super) fn files(&self, image: &Image) -> Result<PathBuf, ImageError> {
        match &image.files {
            Files::There(folder) => Ok(folder.clone()),
            Files::Layers { id, blobs } => {
                let to = self.cache.join("images").join(id);
                layers::once(&to, |to| {
                    for blob in blobs {
                        layers::apply(blob, to)?;
                    }
                    Ok::<(), ImageError>(())
                })?;
                Ok(to)
            }
        }
    }
}

fn reading(path: &Path) -> impl Fn(std::io::Error) -> ImageError + '_ {
    move |source| ImageError::Read {
        path: path.to_owned(),
        source,
    }
}

fn content(path: &Path, reason: &dyn std::fmt::Display) -> ImageError {
    ImageError::Content {
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}

fn json<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, ImageError> {
    use std::io::Read as _;
    let file = std::fs::File::open(path).map_err(reading(path))?;
    let mut text = Vec::new();
    file.take(LONGEST)
        .read_to_end(&mut text)
        .map_err(reading(path))?;
    serde_json::from_slice(&text).map_err(|error| content(path, &error))
}

/// `registry/path:tag` or `…@digest`, as every client of registries completes a short name.
pub(super) fn full_name(reference: &str) -> String {
    let (name, digest) = match reference.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (reference, None),
    };
    let (name, tag) = match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (name, None),
    };
    let first = name.split('/').next().unwrap_or_default();
    let host =
        name.contains('/') && (first.contains('.') || first.contains(':') || first == "localhost");
    let name = if host {
        name.strip_prefix("index.docker.io/")
            .map_or_else(|| name.to_owned(), |path| format!("docker.io/{path}"))
    } else if name.contains('/') {
        format!("docker.io/{name}")
    } else {
        format!("docker.io/library/{name}")
    };
    match (digest, tag) {
        (Some(digest), _) => format!("{name}@{digest}"),
        (None, tag) => format!("{name}:{}", tag.unwrap_or("latest")),
    }
}

/// Whether a folder's name is the last part of a full name, with or without its tag.
fn is_meant(folder: &Path, wanted: &str) -> bool {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let last = wanted.rsplit('/').next().unwrap_or_default();
    let bare = last.split([':', '@']).next().unwrap_or_default();
    name == last || name == bare
}

fn in_layout(folder: &Path, wanted: &str) -> Result<Option<Image>, ImageError> {
    let index: Index = json(&folder.join("index.json"))?;
    let digest = wanted.split_once('@').map(|(_, digest)| digest);
    for descriptor in &index.manifests {
        let named = NAMES
            .iter()
            .filter_map(|name| descriptor.annotations.get(*name))
            .any(|name| full_name(name) == wanted);
        if named || digest == Some(descriptor.digest.as_str()) {
            return image(folder, descriptor, DEPTH).map(Some);
        }
    }
    Ok(None)
}

/// `blobs/sha256/…`; nothing but a digest is made a path.
fn blob(folder: &Path, digest: &str) -> Result<(PathBuf, String), ImageError> {
    let hex = digest.strip_prefix("sha256:").unwrap_or_default();
    if hex.len() != 64
        || !hex
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    {
        return Err(content(
            folder,
            &format_args!("{digest:?} is no digest by SHA-256"),
        ));
    }
    Ok((folder.join("blobs/sha256").join(hex), hex.to_owned()))
}

fn image(folder: &Path, descriptor: &Descriptor, depth: u8) -> Result<Image, ImageError> {
    let (path, hex) = blob(folder, &descriptor.digest)?;
    if descriptor.media_type.contains("index") || descriptor.media_type.contains("list") {
        let index: Index = json(&path)?;
        let fits = |inner: &&Descriptor| {
            inner.platform.as_ref().is_none_or(|platform| {
                platform.os == "linux" && platform.architecture == architecture()
            })
        };
        return match index.manifests.iter().find(fits) {
            Some(inner) if depth > 0 => image(folder, inner, depth - 1),
            _ => Err(content(&path, &"it has no image for this platform")),
        };
    }
    let manifest: Manifest = json(&path)?;
    let (path, _) = blob(folder, &manifest.config.digest)?;
    let configuration: Configuration = json(&path)?;
    let blobs = manifest.layers.iter().map(|layer| {
        Ok(layers::Blob {
            path: blob(folder, &layer.digest)?.0,
            digest: layer.digest.clone(),
        })
    });
    Ok(Image {
        config: configuration.config.unwrap_or_default(),
        files: Files::Layers {
            id: hex,
            blobs: blobs.collect::<Result<_, ImageError>>()?,
        },
    })
}

/// Go's name of this machine's architecture.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_completed() {
        for (short, full) in [
            ("busybox", "docker.io/library/busybox:latest"),
            ("busybox:1", "docker.io/library/busybox:1"),
            (
                "microsoft/aci-helloworld",
                "docker.io/microsoft/aci-helloworld:latest",
            ),
            ("docker.io/a/b:2", "docker.io/a/b:2"),
            ("index.docker.io/a/b:2", "docker.io/a/b:2"),
            ("localhost/x", "localhost/x:latest"),
            ("127.0.0.1:5000/x", "127.0.0.1:5000/x:latest"),
            (
                "mcr.microsoft.com/a/b@sha256:ab",
                "mcr.microsoft.com/a/b@sha256:ab",
            ),
            (
                "mcr.microsoft.com/a/b:1@sha256:ab",
                "mcr.microsoft.com/a/b@sha256:ab",
            ),
        ] {
            assert_eq!(full_name(short), full, "{short}");
        }
    }

    #[test]
    fn a_digest_is_no_way_out_of_the_folder() {
        for digest in [
            "sha256:../../etc/passwd",
            "md5:00",
            "sha256:",
            &format!("sha256:{}", "A".repeat(64)),
        ] {
            assert!(blob(Path::new("/x"), digest).is_err(), "{digest}");
        }
        assert!(blob(Path::new("/x"), &format!("sha256:{}", "a".repeat(64))).is_ok());
    }

    #[test]
    fn a_root_file_system_is_found_by_the_last_part_of_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("busybox");
        std::fs::create_dir_all(image.join("rootfs")).unwrap();
        std::fs::write(
            image.join("config.json"),
            r#"{"Cmd":["sh"],"Entrypoint":null}"#,
        )
        .unwrap();
        let store = Store::new(folder.path().to_owned(), folder.path().join("cache"));
        let found = store
            .find("registry.k8s.io/e2e-test-images/busybox:1.37")
            .unwrap()
            .unwrap();
        assert_eq!(found.config.cmd, ["sh"]);
        assert_eq!(store.files(&found).unwrap(), image.join("rootfs"));
        assert!(store.find("alpine").unwrap().is_none());
    }
}
