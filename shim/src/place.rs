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

use rustix::fs::{self, AtFlags, FileType, Gid, Mode, OFlags};
use rustix::io::Errno;

/// Links that are followed on one way, as Linux has it.
const MOST_LINKS: usize = 40;
/// Parts of a path.
const MOST_PARTS: usize = 256;

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

    /// Makes the directory `path` where it is missing, and those above it, and sets its mode and group.
    ///
    /// # Errors
    /// It cannot be made, or is something else.
    pub fn directory(&self, path: &str, mode: u32, group: Option<u32>) -> Result<(), PlaceError> {
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
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let placed = fs::openat(&fd, &last, flags, Mode::empty()).map_err(error)?;
        own(&placed, mode, group).map_err(error)
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
        if let Found::Directory = look(&fd, &last).map_err(error)? {
            return Err(way(path, "it is a directory"));
        }
        let temporary = format!(".vkc-{}-{}", std::process::id(), last.len());
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // What an interrupted start has left.
        let _ = fs::unlinkat(&fd, &temporary, AtFlags::empty());
        let placed =
            fs::openat(&fd, &temporary, flags, Mode::from_raw_mode(0o600)).map_err(error)?;
        let written = own(&placed, mode, group)
            .map_err(io::Error::from)
            .and_then(|()| File::from(placed).write_all(bytes))
            .and_then(|()| Ok(fs::renameat(&fd, &temporary, &fd, &last)?));
        written.map_err(|why| {
            let _ = fs::unlinkat(&fd, &temporary, AtFlags::empty());
            failed(path, why)
        })
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

/// The group first: a change of it takes bits of the mode away.
fn own(file: &OwnedFd, mode: u32, group: Option<u32>) -> Result<(), Errno> {
    if let Some(group) = group {
        fs::fchown(file, None, Some(Gid::from_raw(group)))?;
    }
    fs::fchmod(file, Mode::from_raw_mode(mode))
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

fn failed(path: &str, why: impl Into<io::Error>) -> PlaceError {
    PlaceError::Io {
        path: path.to_owned(),
        why: why.into(),
    }
}

fn way(path: &str, why: &'static str) -> PlaceError {
    PlaceError::Way {
        path: path.to_owned(),
        why,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
    use std::path::Path;

    use proptest::prelude::*;

    use super::Root;

    fn root(dir: &Path) -> Root {
        Root::open(dir.to_str().unwrap()).unwrap()
    }

    #[test]
    fn a_file_is_placed_with_its_mode_and_the_directories_above_it() {
        let dir = tempfile::tempdir().unwrap();
        let root = root(dir.path());
        root.write("/etc/app/conf.d/a.conf", b"one", 0o440, None)
            .unwrap();
        let file = dir.path().join("etc/app/conf.d/a.conf");
        assert_eq!(fs::read(&file).unwrap(), b"one");
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o440);
        assert_eq!(
            fs::metadata(dir.path().join("etc")).unwrap().mode() & 0o7777,
            0o755
        );
        // Again, over one that cannot be written, and nothing is left beside it.
        root.write("/etc/app/conf.d/a.conf", b"two", 0o644, None)
            .unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"two");
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_beside_a_file_stays() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("opt/conf")).unwrap();
        fs::write(dir.path().join("opt/conf/other"), "kept").unwrap();
        root(dir.path())
            .write("/opt/conf/my.cnf", b"x", 0o644, None)
            .unwrap();
        assert_eq!(
            fs::read(dir.path().join("opt/conf/other")).unwrap(),
            b"kept"
        );
    }

    #[test]
    fn no_link_leads_out_of_the_container() {
        let outside = tempfile::tempdir().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let out = outside.path().to_str().unwrap();
        symlink(out, dir.path().join("absolute")).unwrap();
        symlink("../../../../../../../../../..", dir.path().join("up")).unwrap();
        let root = root(dir.path());
        // In the container the link names a place in it.
        root.write("/absolute/x", b"x", 0o644, None).unwrap();
        root.write("/up/y", b"y", 0o644, None).unwrap();
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
        let inside = dir.path().join(out.trim_start_matches('/'));
        assert_eq!(fs::read(inside.join("x")).unwrap(), b"x");
        assert_eq!(fs::read(dir.path().join("y")).unwrap(), b"y");
    }

    #[test]
    fn a_link_in_the_file_s_place_is_replaced_and_not_followed() {
        let outside = tempfile::tempdir().unwrap();
        let target = outside.path().join("shadow");
        fs::write(&target, "precious").unwrap();
        let dir = tempfile::tempdir().unwrap();
        symlink(&target, dir.path().join("a.conf")).unwrap();
        root(dir.path())
            .write("/a.conf", b"x", 0o644, None)
            .unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"precious");
        assert!(
            fs::symlink_metadata(dir.path().join("a.conf"))
                .unwrap()
                .is_file()
        );
    }

    #[test]
    fn links_of_the_image_are_followed_in_it_and_not_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("run")).unwrap();
        fs::create_dir(dir.path().join("var")).unwrap();
        symlink("/run", dir.path().join("var/run")).unwrap();
        symlink("loop", dir.path().join("loop")).unwrap();
        let root = root(dir.path());
        root.write("/var/run/app/pid", b"1", 0o644, None).unwrap();
        assert_eq!(fs::read(dir.path().join("run/app/pid")).unwrap(), b"1");
        let said = root
            .write("/loop/x", b"1", 0o644, None)
            .unwrap_err()
            .to_string();
        assert!(said.contains("too many links"), "{said}");
        assert!(root.read("/loop", 10).is_err());
    }

    #[test]
    fn a_link_of_the_image_into_a_volume_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        // A file system of its own is what a volume is.
        symlink("proc", dir.path().join("conf")).unwrap();
        let image = Root {
            device: u64::MAX,
            ..root(dir.path())
        };
        fs::create_dir(dir.path().join("proc")).unwrap();
        let said = image
            .write("/conf/x", b"1", 0o644, None)
            .unwrap_err()
            .to_string();
        assert!(said.contains("volume"), "{said}");
        let root = root(dir.path());
        root.write("/conf/x", b"1", 0o644, None).unwrap();
    }

    #[test]
    fn what_cannot_be_placed_is_told_with_its_path() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("d")).unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        let root = root(dir.path());
        for (path, why) in [
            ("/d", "it is a directory"),
            ("/", "it is a directory"),
            ("/file/x", "no directory"),
            ("/d/..", "it has no name"),
        ] {
            let said = root.write(path, b"", 0o644, None).unwrap_err().to_string();
            assert!(said.starts_with(path) && said.contains(why), "{said}");
        }
    }

    #[test]
    fn directories_have_the_modes_that_they_are_to_have() {
        let dir = tempfile::tempdir().unwrap();
        let root = root(dir.path());
        root.directory("/a/b", 0o2750, None).unwrap();
        root.directory("/a/b", 0o750, None).unwrap();
        let made = fs::metadata(dir.path().join("a/b")).unwrap();
        assert_eq!(made.permissions().mode() & 0o7777, 0o750);
        fs::write(dir.path().join("f"), "").unwrap();
        assert!(root.directory("/f", 0o755, None).is_err());
    }

    #[test]
    fn hosts_are_appended_to_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let root = root(dir.path());
        let add = |known: &str| format!("[{known}]");
        root.append("/etc/hosts", 100, add).unwrap();
        root.append("/etc/hosts", 100, add).unwrap();
        root.append("/etc/hosts", 100, |_| String::new()).unwrap();
        assert_eq!(root.read("/etc/hosts", 100).unwrap().unwrap(), b"[][[]]");
        assert_eq!(root.read("/etc/none", 100).unwrap(), None);
        assert_eq!(root.read("/none/none", 100).unwrap(), None);
        assert_eq!(root.read("/etc/hosts", 2).unwrap().unwrap(), b"[]");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn whatever_links_there_are_nothing_is_written_outside(
            links in proptest::collection::vec(("[ab]", "(\\.\\./|/|[ab]/){0,4}[ab.]{1,2}"), 0..6),
            path in "(/[ab]|/\\.\\.){1,5}",
        ) {
            let above = tempfile::tempdir().unwrap();
            let dir = above.path().join("root");
            fs::create_dir(&dir).unwrap();
            for (name, target) in links {
                let _ = symlink(target, dir.join(name));
            }
            let _ = root(&dir).write(&path, b"x", 0o644, None);
            prop_assert_eq!(fs::read_dir(above.path()).unwrap().count(), 1);
        }
    }
}
