//! Files and directories in a container's file system, placed by who may be root there.
//!
//! The file system is the image's, and volumes in it may be others' too. So nothing is followed blindly: each part of a path is
//! opened from the one before. A link is followed when the image has it (`/var/run`), stands for the place that it names *in the
//! container*, and leads to the image's own files. A link in a volume is never followed, and one into a volume neither: somebody
//! else could point it at what only root may write. No program of the container runs yet.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::spec::MOST_PARTS;

mod files;

pub(crate) use files::{DIRECTORY, Rights, create, own, replace};

/// Links that are followed on one way, as Linux has it.
const MOST_LINKS: usize = 40;

#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    #[error("{path}: {why}")]
    Io {
        path: String,
        #[source]
        why: io::Error,
    },
    #[error("{path}: {why}")]
    Way { path: String, why: &'static str },
}

/// The root of a container's file system.
#[derive(Debug)]
pub struct Root {
    root: OwnedFd,
    device: u64,
}

/// A directory on the way, and where it is.
struct Step {
    fd: OwnedFd,
    device: u64,
}

enum Found {
    Directory,
    Other,
    Nothing,
}

impl Root {
    /// # Errors
    /// There is no such directory.
    pub fn open(path: &str) -> Result<Self, PlaceError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = || {
            let root = fs::open(path, flags, Mode::empty())?;
            let device = fs::fstat(&root)?.st_dev;
            Ok(Self { root, device })
        };
        open().map_err(|why: Errno| failed(path, why))
    }

    /// Makes the directory `path` and those above it where they are missing, and changes nothing that is there.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn make(&self, path: &str) -> Result<(), PlaceError> {
        // What is above a name in it.
        self.walk(&format!("{path}/any"), true).map(drop)
    }

    /// Makes the directory `path` where it is missing, and those above it, and sets its mode.
    ///
    /// # Errors
    /// It cannot be made, or is something else.
    pub fn directory(&self, path: &str, mode: u32) -> Result<(), PlaceError> {
        let (fd, last) = self.walk(path, true)?;
        let error = |why| failed(path, why);
        let Some(last) = last else {
            return Err(way(path, "the root is there already"));
        };
        let placed = match look(&fd, &last).map_err(error)? {
            Found::Nothing => fs::mkdirat(&fd, &last, Mode::from_raw_mode(0o700)).map_err(error),
            Found::Directory => Ok(()),
            Found::Other => Err(way(path, "it is no directory")),
        };
        placed?;
        let placed = fs::openat(&fd, &last, DIRECTORY, Mode::empty()).map_err(error)?;
        own(&placed, Rights::of(mode)).map_err(error)
    }

    /// Opens the directory `path`. No link is followed on the way, one of the image neither: a mount is there, or nothing.
    ///
    /// # Errors
    /// It is not there, or a link is on the way.
    pub fn open_mount(&self, path: &str) -> Result<OwnedFd, PlaceError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut here = fs::openat(&self.root, ".", flags, Mode::empty());
        for part in split(path) {
            here = here.and_then(|here| fs::openat(&here, &part, flags, Mode::empty()));
        }
        let here = here.and_then(|here| fs::openat(&here, ".", DIRECTORY, Mode::empty()));
        here.map_err(|why| match why {
            Errno::NOENT => way(path, "it is not mounted in this container"),
            Errno::NOTDIR | Errno::LOOP => {
                way(path, "it is no directory, or a link is on the way to it")
            }
            why => failed(path, why),
        })
    }

    /// Writes the file `path` at once: whoever looks sees what was there, or all that is written.
    ///
    /// # Errors
    /// It cannot be written, or a directory is there.
    pub fn write(
        &self,
        path: &str,
        bytes: &[u8],
        mode: u32,
        group: Option<u32>,
    ) -> Result<(), PlaceError> {
        let (fd, last) = self.walk(path, true)?;
        let error = |why| failed(path, why);
        let Some(last) = last else {
            return Err(way(path, "it is a directory"));
        };
        if let Found::Directory = look(&fd, &last).map_err(|why| failed(path, why))? {
            return Err(way(path, "it is a directory"));
        }
        let rights = Rights {
            group,
            ..Rights::of(mode)
        };
        replace(&fd, &last, bytes, rights).map_err(error)
    }

    /// Puts a link to `target` at `path`, in the place of whatever file is there.
    ///
    /// # Errors
    /// It cannot be made, or a directory is there.
    pub fn link(&self, path: &str, target: &str) -> Result<(), PlaceError> {
        let (fd, last) = self.walk(path, true)?;
        let error = |why| failed(path, why);
        let Some(last) = last else {
            return Err(way(path, "it is a directory"));
        };
        match fs::unlinkat(&fd, &last, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(why) => return Err(error(why)),
        }
        fs::symlinkat(target, &fd, &last).map_err(error)
    }

    /// The file `path`, up to `most` bytes of it; `None` when it is not there. Links of the image are followed.
    ///
    /// # Errors
    /// It cannot be read, or is no file.
    pub fn read(&self, path: &str, most: u64) -> Result<Option<Vec<u8>>, PlaceError> {
        let file = self.open_file(path, OFlags::RDONLY)?;
        file.map(|file| start(file, path, most)).transpose()
    }

    /// Whether nobody but root can put another thing in the place of what is at `path`, a directory: none of those above it is a
    /// link, or can be written by others, and it cannot either, or is mounted read-only.
    ///
    /// # Errors
    /// It is not there.
    pub fn is_roots_own(&self, path: &str) -> Result<bool, PlaceError> {
        let error = |why| failed(path, why);
        let only_root = |fd: &OwnedFd| {
            let is = fs::fstat(fd)?;
            Ok::<_, Errno>(
                FileType::from_raw_mode(is.st_mode) == FileType::Directory
                    && is.st_uid == 0
                    && is.st_mode & 0o022 == 0,
            )
        };
        let mut here = self.root.try_clone().map_err(|why| failed(path, why))?;
        for part in split(path) {
            if !only_root(&here).map_err(error)? {
                return Ok(false);
            }
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            here = fs::openat(&here, &part, flags, Mode::empty()).map_err(error)?;
        }
        let is = fs::fstat(&here).map_err(error)?;
        if FileType::from_raw_mode(is.st_mode) != FileType::Directory {
            return Ok(false);
        }
        let flags = fs::fstatvfs(&here).map_err(error)?.f_flag;
        Ok(flags.contains(fs::StatVfsMountFlags::RDONLY) || only_root(&here).map_err(error)?)
    }

    /// As [`Root::read`], of a file that only root can have written.
    ///
    /// # Errors
    /// It is not there, or may be another's.
    pub fn read_roots_own(&self, path: &str, most: u64) -> Result<Vec<u8>, PlaceError> {
        let file = self.open_file(path, OFlags::RDONLY)?;
        let file = file.ok_or_else(|| way(path, "it is not there"))?;
        let is = fs::fstat(&file).map_err(|why| failed(path, why))?;
        if is.st_uid != 0 || is.st_mode & 0o022 != 0 {
            return Err(way(path, "others can write it"));
        }
        start(file, path, most)
    }

    /// Appends to the file `path`, which stays the one that it is: a mount may be there. `add` says what, from what it holds.
    ///
    /// # Errors
    /// It cannot be written, or is no file.
    pub fn append(
        &self,
        path: &str,
        most: u64,
        add: impl FnOnce(&str) -> String,
    ) -> Result<(), PlaceError> {
        let known = self.read(path, most)?;
        let more = add(&String::from_utf8_lossy(
            known.as_deref().unwrap_or_default(),
        ));
        if more.is_empty() {
            return Ok(());
        }
        if known.is_none() {
            return self.write(path, more.as_bytes(), 0o644, None);
        }
        let file = self.open_file(path, OFlags::WRONLY | OFlags::APPEND)?;
        let written = file.map_or_else(
            || Err(io::Error::from(io::ErrorKind::NotFound)),
            |mut file| file.write_all(more.as_bytes()),
        );
        written.map_err(|why| failed(path, why))
    }

    fn open_file(&self, path: &str, how: OFlags) -> Result<Option<File>, PlaceError> {
        let mut path_now = path.to_owned();
        let error = |why| failed(path, why);
        for _ in 0..MOST_LINKS {
            let (fd, last) = match self.walk(&path_now, false) {
                Err(PlaceError::Io { why, .. }) if why.kind() == io::ErrorKind::NotFound => {
                    return Ok(None);
                }
                walked => walked?,
            };
            let Some(last) = last else {
                return Err(way(path, "it is no file"));
            };
            // Whatever is there, opening it waits for nothing.
            let flags =
                how | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
            match fs::openat(&fd, &last, flags, Mode::empty()) {
                Ok(file) => {
                    let is = fs::fstat(&file).map_err(error)?;
                    if FileType::from_raw_mode(is.st_mode) != FileType::RegularFile {
                        return Err(way(path, "it is no file"));
                    }
                    return Ok(Some(file.into()));
                }
                Err(Errno::LOOP) => {
                    if fs::fstat(&fd).map_err(error)?.st_dev != self.device {
                        return Err(way(path, "it is a link in a volume"));
                    }
                    let target = fs::readlinkat(&fd, &last, Vec::new()).map_err(error)?;
                    let target = target.into_string();
                    let target = target.map_err(|_| way(path, "it is a link to no text"))?;
                    let above = path_now.rsplit_once('/').map_or("", |(above, _)| above);
                    path_now = if target.starts_with('/') {
                        target
                    } else {
                        format!("{above}/{target}")
                    };
                }
                Err(Errno::NOENT) => return Ok(None),
                Err(why) => return Err(error(why)),
            }
        }
        Err(way(path, "too many links"))
    }

    /// The directory that `path` is in, and its last part; `None` for the root. Directories that are missing are made when
    /// `make` says so.
    fn walk(&self, path: &str, make: bool) -> Result<(OwnedFd, Option<String>), PlaceError> {
        let error = |why| failed(path, why);
        let mut parts: VecDeque<String> = split(path).collect();
        let last = parts.pop_back();
        if last.as_deref() == Some("..") {
            return Err(way(path, "it has no name"));
        }
        let root = || {
            let fd = self.root.try_clone().map_err(|why| failed(path, why))?;
            Ok::<_, PlaceError>(Step {
                fd,
                device: self.device,
            })
        };
        let mut way_here = vec![root()?];
        let (mut links, mut done) = (0, 0);
        while let Some(part) = parts.pop_front() {
            done += 1;
            if done > MOST_PARTS {
                return Err(way(path, "it is too long"));
            }
            if part == ".." {
                if way_here.len() > 1 {
                    way_here.pop();
                }
                continue;
            }
            let Some(here) = way_here.last() else {
                return Err(way(path, "it leads out"));
            };
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let next = match fs::openat(&here.fd, &part, flags, Mode::empty()) {
                Err(Errno::NOENT) if make => {
                    match fs::mkdirat(&here.fd, &part, Mode::from_raw_mode(0o755)) {
                        // A mask may have taken bits away that those who look for the file need.
                        Ok(()) => fs::chmodat(
                            &here.fd,
                            &part,
                            Mode::from_raw_mode(0o755),
                            AtFlags::empty(),
                        ),
                        Err(Errno::EXIST) => Ok(()),
                        Err(why) => Err(why),
                    }
                    .and_then(|()| fs::openat(&here.fd, &part, flags, Mode::empty()))
                    .map_err(error)?
                }
                opened => opened.map_err(error)?,
            };
            let stat = fs::fstat(&next).map_err(error)?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => {
                    if links > 0 && stat.st_dev != self.device {
                        return Err(way(path, "a link of the image leads into a volume"));
                    }
                    way_here.push(Step {
                        fd: next,
                        device: stat.st_dev,
                    });
                }
                FileType::Symlink => {
                    links += 1;
                    if here.device != self.device {
                        return Err(way(path, "it leads over a link in a volume"));
                    }
                    if links > MOST_LINKS {
                        return Err(way(path, "too many links"));
                    }
                    let target = fs::readlinkat(&here.fd, &part, Vec::new()).map_err(error)?;
                    let target = target.into_string();
                    let target =
                        target.map_err(|_| way(path, "it leads over a link to no text"))?;
                    if target.starts_with('/') {
                        way_here = vec![root()?];
                    }
                    for part in split(&target).collect::<Vec<_>>().into_iter().rev() {
                        parts.push_front(part);
                    }
                    if parts.len() > MOST_PARTS {
                        return Err(way(path, "it is too long"));
                    }
                }
                _ => return Err(way(path, "what is above it is no directory")),
            }
        }
        let here = way_here.pop();
        let here = here.ok_or_else(|| way(path, "it leads out"))?;
        Ok((here.fd, last))
    }
}

/// What `name` is in the directory.
fn look(fd: &OwnedFd, name: &str) -> Result<Found, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let found = match fs::openat(fd, name, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(Found::Nothing),
        found => found?,
    };
    let is = FileType::from_raw_mode(fs::fstat(&found)?.st_mode);
    Ok(match is {
        FileType::Directory => Found::Directory,
        _ => Found::Other,
    })
}

fn split(path: &str) -> impl Iterator<Item = String> + '_ {
    let parts = path.split('/').filter(|part| !matches!(*part, "" | "."));
    parts.map(str::to_owned)
}

/// Up to `most` bytes of the file, which is at `path`.
fn start(file: File, path: &str, most: u64) -> Result<Vec<u8>, PlaceError> {
    let mut bytes = Vec::new();
    let read = file.take(most).read_to_end(&mut bytes);
    read.map_err(|why| failed(path, why))?;
    Ok(bytes)
}

pub(crate) fn failed(path: &str, why: impl Into<io::Error>) -> PlaceError {
    PlaceError::Io {
        path: path.to_owned(),
        why: why.into(),
    }
}

pub(crate) fn way(path: &str, why: &'static str) -> PlaceError {
    PlaceError::Way {
        path: path.to_owned(),
        why,
    }
}

#[cfg(test)]
mod tests;
