//! Directories of files: written, compared, and removed.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsRawFd as _, OwnedFd};

use rustix::fs::{self, AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::{Place, Ready, VolumeError};
use crate::place::{self, DIRECTORY, Rights};
use crate::spec::MOST_PARTS;

/// What is removed, and looked at, at once. It is more than an update has.
pub(super) const MOST_ENTRIES: usize = 1 << 17;

/// What a directory is to hold.
#[derive(Default)]
pub(super) struct Tree<'a> {
    files: BTreeMap<&'a str, &'a Ready<'a>>,
    directories: BTreeMap<&'a str, Tree<'a>>,
}

impl<'a> Tree<'a> {
    pub(super) fn of(files: &'a [Ready<'a>]) -> Self {
        let mut tree = Self::default();
        for file in files {
            let (above, name) = file.path.rsplit_once('/').unwrap_or(("", file.path));
            let mut here = &mut tree;
            for part in above.split('/').filter(|part| !part.is_empty()) {
                here = here.directories.entry(part).or_default();
            }
            here.files.insert(name, file);
        }
        tree
    }

    /// What is seen in it.
    pub(super) fn names(&self) -> impl Iterator<Item = &'a str> + '_ {
        self.files.keys().chain(self.directories.keys()).copied()
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.files.contains_key(name) || self.directories.contains_key(name)
    }

    /// Writes all of it into `dir`, a new directory at `path` in the volume.
    pub(super) fn write(
        &self,
        dir: &OwnedFd,
        path: &str,
        to: &Place<'_>,
    ) -> Result<(), VolumeError> {
        for (name, file) in &self.files {
            let rights = to.rights(file.mode, file.group);
            place::create(dir, name, &file.bytes, rights)
                .map_err(|why| to.failed(file.path, why))?;
        }
        for (name, tree) in &self.directories {
            let path = format!("{path}{name}");
            let failed = |why| to.failed(&path, why);
            let made = to.make(dir, name).map_err(failed)?;
            tree.write(&made, &format!("{path}/"), to)?;
            place::own(&made, to.of_directories()).map_err(failed)?;
        }
        Ok(())
    }

    /// Whether `dir` holds this and nothing else. What cannot be read does not.
    pub(super) fn is_in(&self, dir: &OwnedFd, of: &Place<'_>) -> bool {
        let is = fs::fstat(dir).is_ok_and(|is| has_rights(&is, of.of_directories()));
        is && self.has_all_of(dir)
            && (self.files.iter()).all(|(name, file)| holds(dir, name, file, of))
            && (self.directories.iter())
                .all(|(name, tree)| of.open(dir, name).is_ok_and(|dir| tree.is_in(&dir, of)))
    }

    /// Whether `dir` has as many entries as this, and only such.
    fn has_all_of(&self, dir: &OwnedFd) -> bool {
        let Ok(entries) = Dir::read_from(dir) else {
            return false;
        };
        let mut left = self.files.len() + self.directories.len();
        for entry in entries {
            let Ok(entry) = entry else {
                return false;
            };
            match entry.file_name().to_str() {
                Ok("." | "..") => {}
                Ok(name) if left > 0 && self.has(name) => left -= 1,
                _ => return false,
            }
        }
        left == 0
    }
}

/// Whether `name` in `dir` is the file as it is wanted. Nothing is opened that is none: that could wait, or do something.
pub(super) fn holds(dir: &OwnedFd, name: &str, file: &Ready<'_>, of: &Place<'_>) -> bool {
    let rights = of.rights(file.mode, file.group);
    let is_it = |is: Stat| {
        FileType::from_raw_mode(is.st_mode) == FileType::RegularFile
            && u64::try_from(is.st_size).ok() == u64::try_from(file.bytes.len()).ok()
            && has_rights(&is, rights)
    };
    if !fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(is_it) {
        return false;
    }
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let Ok(opened) = fs::openat(dir, name, flags, Mode::empty()) else {
        return false;
    };
    fs::fstat(&opened).is_ok_and(is_it) && has(File::from(opened), &file.bytes)
}

fn has(mut file: File, mut bytes: &[u8]) -> bool {
    let mut buffer = zeroize::Zeroizing::new([0; 8192]);
    loop {
        match file.read(buffer.as_mut_slice()) {
            Ok(0) => return bytes.is_empty(),
            Ok(read) => match bytes.strip_prefix(buffer.get(..read).unwrap_or_default()) {
                Some(rest) => bytes = rest,
                None => return false,
            },
            Err(_) => return false,
        }
    }
}

fn has_rights(is: &Stat, wanted: Rights) -> bool {
    let mut mode = is.st_mode & 0o7777;
    if FileType::from_raw_mode(is.st_mode) == FileType::Directory {
        // Linux takes that bit away from who is not in the group. What it is for, the files' group, is looked at itself.
        mode = mode & !0o2000 | wanted.mode & 0o2000;
    }
    mode == wanted.mode
        && wanted.owner.is_none_or(|it| it == is.st_uid)
        && wanted.group.is_none_or(|it| it == is.st_gid)
}

/// What removes, until it has removed much.
pub(super) struct Broom {
    device: u64,
    left: usize,
}

impl Broom {
    pub(super) fn new(device: u64) -> Self {
        Self::with(device, MOST_ENTRIES)
    }

    pub(super) fn with(device: u64, left: usize) -> Self {
        Self { device, left }
    }

    /// Removes `name` in `dir` with all that is in it. What is on another file system stays, and what is too deep or too much.
    pub(super) fn remove(&mut self, dir: &OwnedFd, name: &str) -> Result<(), Errno> {
        let name = CString::new(name).map_err(|_| Errno::INVAL)?;
        self.sweep(dir, &name, MOST_PARTS + 1).map(drop)
    }

    /// Whether it is gone.
    fn sweep(&mut self, dir: &OwnedFd, name: &CStr, depth: usize) -> Result<bool, Errno> {
        match fs::unlinkat(dir, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => return Ok(true),
            Err(Errno::ISDIR) => {}
            Err(why) => return Err(why),
        }
        let Some(depth) = depth.checked_sub(1) else {
            return Ok(false);
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = match fs::openat(dir, name, flags, Mode::empty()) {
            // Somebody has put something else there meanwhile: the next one sees to that.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(false),
            opened => opened?,
        };
        let is = fs::fstat(&opened)?;
        if is.st_dev != self.device {
            return Ok(false);
        }
        if is.st_mode & 0o700 != 0o700 {
            // Its owner may not look at or remove what is in it. What is open is meant, whatever has its name by now. Where this
            // fails the removal says so.
            let itself = format!("/proc/self/fd/{}", opened.as_raw_fd());
            let _ = fs::chmod(itself, Mode::from_raw_mode(0o700));
        }
        let opened = fs::openat(&opened, ".", DIRECTORY, Mode::empty())?;
        let mut gone = Ok(true);
        for name in self.names(&opened)? {
            let swept = self.sweep(&opened, &name, depth);
            gone = gone.and_then(|gone| Ok(gone & swept?));
        }
        if gone != Ok(true) {
            return gone;
        }
        match fs::unlinkat(dir, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(true),
            // There is more in it, or something else is there.
            Err(Errno::NOTEMPTY | Errno::NOTDIR) => Ok(false),
            Err(why) => Err(why),
        }
    }

    /// What is in `dir`, as much as may still be removed.
    fn names(&mut self, dir: &OwnedFd) -> Result<Vec<CString>, Errno> {
        let mut names = Vec::new();
        for entry in Dir::read_from(dir)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let Some(left) = self.left.checked_sub(1) else {
                break;
            };
            self.left = left;
            names.push(name.to_owned());
        }
        Ok(names)
    }
}
