//! Layers of an image, one after the other into one folder. What is in a layer is the image's author's: no path of it leaves the
//! folder, whatever links are on the way.

use std::{
    collections::VecDeque,
    ffi::OsString,
    fs, io,
    io::{BufReader, Read},
    path::{Component, Path, PathBuf},
};

use ring::digest::{Context, SHA256};
use tar::{Archive, Entry, EntryType};

/// Links that are followed on the way of one path, as Linux does it.
const LINKS: usize = 40;
const WHITEOUT: &str = ".wh.";
const OPAQUE: &str = ".wh..wh..opq";

/// A layer as it is in its store.
#[derive(Debug, Clone)]
pub(super) struct Blob {
    pub(super) path: PathBuf,
    pub(super) digest: String,
}

/// Why a layer could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is not what its digest says.
    #[error("{path}: its digest is not {digest}")]
    Digest {
        /// The blob.
        path: PathBuf,
        /// What it should be.
        digest: String,
    },
    /// It is compressed as we do not read it.
    #[error("{0}: compressed by zstd; only gzip and plain tar are read")]
    Zstd(PathBuf),
}

fn at(path: &Path) -> impl Fn(io::Error) -> LayerError + '_ {
    move |source| LayerError::Io {
        path: path.to_owned(),
        source,
    }
}

/// Makes a folder once: what is there under its name is whole.
pub(super) fn once<E: From<LayerError>>(
    folder: &Path,
    make: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    if folder.is_dir() {
        return Ok(());
    }
    let parent = folder.parent().unwrap_or(folder);
    fs::create_dir_all(parent).map_err(at(parent))?;
    let draft = tempfile::Builder::new()
        .prefix(".draft-")
        .tempdir_in(parent)
        .map_err(at(parent))?;
    let new = draft.path().join("new");
    fs::create_dir(&new).map_err(at(&new))?;
    make(&new)?;
    match fs::rename(&new, folder) {
        Ok(()) => Ok(()),
        // Somebody else was as fast.
        Err(_) if folder.is_dir() => Ok(()),
        Err(source) => Err(at(folder)(source).into()),
    }
}

/// Reads a blob, and knows its digest at the end.
struct Hashed<R> {
    inner: R,
    hash: Context,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.hash.update(buffer.get(..length).unwrap_or_default());
        Ok(length)
    }
}

/// Unpacks one layer over what the layers below have left in the folder.
pub(super) fn apply(blob: &Blob, folder: &Path) -> Result<(), LayerError> {
    let path = &blob.path;
    // What is deleted is what lies below, so that comes first.
    each(blob, |entry| {
        let name = entry.path()?.into_owned();
        let Some(file) = name.file_name().and_then(|file| file.to_str()) else {
            return Ok(());
        };
        let Some(hidden) = file.strip_prefix(WHITEOUT) else {
            return Ok(());
        };
        let Some(parent) = resolve(folder, name.parent().unwrap_or(Path::new("")))? else {
            return Ok(());
        };
        if file == OPAQUE {
            if let Ok(entries) = fs::read_dir(&parent) {
                for entry in entries {
                    remove(&entry?.path())?;
                }
            }
        } else if !matches!(hidden, "" | "." | "..") {
            remove(&parent.join(hidden))?;
        }
        Ok(())
    })
    .map_err(|error| error.unless_digest(path))?;
    each(blob, |entry| {
        let name = entry.path()?.into_owned();
        let is_whiteout = name
            .file_name()
            .and_then(|file| file.to_str())
            .is_some_and(|file| file.starts_with(WHITEOUT));
        if is_whiteout {
            Ok(())
        } else {
            write(entry, &name, folder)
        }
    })
    .map_err(|error| error.unless_digest(path))
}

impl LayerError {
    /// Errors of reading name the blob.
    fn unless_digest(self, blob: &Path) -> Self {
        match self {
            Self::Io { source, .. } => at(blob)(source),
            other => other,
        }
    }
}

fn each(
    blob: &Blob,
    mut visit: impl FnMut(&mut Entry<'_, &mut dyn Read>) -> io::Result<()>,
) -> Result<(), LayerError> {
    let path = &blob.path;
    let mut magic = [0; 4];
    let mut file = fs::File::open(path).map_err(at(path))?;
    let length = file.read(&mut magic).map_err(at(path))?;
    let file = fs::File::open(path).map_err(at(path))?;
    let mut hashed = Hashed {
        inner: BufReader::with_capacity(1 << 17, file),
        hash: Context::new(&SHA256),
    };
    match magic.get(..length).unwrap_or_default() {
        [0x1f, 0x8b, ..] => {
            let mut plain = flate2::read::MultiGzDecoder::new(&mut hashed);
            visit_all(&mut plain, &mut visit)
        }
        [0x28, 0xb5, 0x2f, 0xfd] => return Err(LayerError::Zstd(path.clone())),
        _ => visit_all(&mut hashed, &mut visit),
    }
    .map_err(at(path))?;
    io::copy(&mut hashed, &mut io::sink()).map_err(at(path))?;
    let hash = hashed.hash.finish();
    let found = super::hex(hash.as_ref());
    if blob.digest != format!("sha256:{found}") {
        return Err(LayerError::Digest {
            path: path.clone(),
            digest: blob.digest.clone(),
        });
    }
    Ok(())
}

fn visit_all(
    from: &mut dyn Read,
    visit: &mut impl FnMut(&mut Entry<'_, &mut dyn Read>) -> io::Result<()>,
) -> io::Result<()> {
    let mut archive = Archive::new(from);
    archive.set_preserve_ownerships(true);
    archive.set_preserve_permissions(true);
    archive.set_unpack_xattrs(true);
    for entry in archive.entries()? {
        visit(&mut entry?)?;
    }
    Ok(())
}

/// Unpacks plain files and folders of an archive, and nothing else of it.
pub(super) fn unpack_files(archive: fs::File, folder: &Path) -> Result<(), LayerError> {
    visit_all(&mut BufReader::new(archive), &mut |entry| {
        let name = entry.path()?.into_owned();
        match entry.header().entry_type() {
            EntryType::Regular | EntryType::Directory => write(entry, &name, folder),
            _ => Ok(()),
        }
    })
    .map_err(at(folder))
}

/// Writes one entry at its place.
fn write(entry: &mut Entry<'_, &mut dyn Read>, name: &Path, folder: &Path) -> io::Result<()> {
    let Some(file) = name.file_name() else {
        return Ok(()); // "./"
    };
    let Some(parent) = resolve(folder, name.parent().unwrap_or(Path::new("")))? else {
        return Err(io::Error::other(format!(
            "{}: no such path",
            name.display()
        )));
    };
    fs::create_dir_all(&parent)?;
    let to = parent.join(file);
    let kind = entry.header().entry_type();
    let old = fs::symlink_metadata(&to).ok();
    if let Some(old) = old
        && !(old.is_dir() && kind.is_dir())
    {
        remove(&to)?;
    }
    match kind {
        EntryType::Regular
        | EntryType::Continuous
        | EntryType::GNUSparse
        | EntryType::Directory
        | EntryType::Symlink => entry.unpack(&to).map(drop),
        EntryType::Link => {
            let target = entry.link_name()?.unwrap_or_default().into_owned();
            let missing = || io::Error::other(format!("{}: no such path", target.display()));
            let parent = resolve(folder, target.parent().unwrap_or(Path::new("")))?;
            let from = parent
                .zip(target.file_name())
                .map(|(parent, file)| parent.join(file))
                .ok_or_else(missing)?;
            fs::hard_link(from, &to)
        }
        // Devices and the like: a container has its own /dev.
        _ => Ok(()),
    }
}

/// Removes a file, a link or a folder; what is not there is removed.
fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(about) if about.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Where a path of a root file system is, links followed as if the folder were the root. What is missing of it is taken as it is;
/// `None` when its links have no end.
pub(super) fn resolve(root: &Path, path: &Path) -> io::Result<Option<PathBuf>> {
    let parts = |path: &Path| -> Vec<Option<OsString>> {
        path.components()
            .filter_map(|part| match part {
                Component::Normal(name) => Some(Some(name.to_owned())),
                Component::ParentDir => Some(None),
                _ => None,
            })
            .collect()
    };
    let mut rest = VecDeque::from(parts(path));
    let mut inside = PathBuf::new();
    let mut links = 0;
    while let Some(part) = rest.pop_front() {
        let Some(name) = part else {
            inside.pop();
            continue;
        };
        let here = inside.join(name);
        match fs::symlink_metadata(root.join(&here)) {
            Ok(about) if about.is_symlink() => {
                links += 1;
                if links > LINKS {
                    return Ok(None);
                }
                let target = fs::read_link(root.join(&here))?;
                if target.is_absolute() {
                    inside = PathBuf::new();
                }
                for part in parts(&target).into_iter().rev() {
                    rest.push_front(part);
                }
            }
            Ok(_) => inside = here,
            Err(error) if error.kind() == io::ErrorKind::NotFound => inside = here,
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(Some(root.join(inside)))
}

#[cfg(test)]
mod tests;
