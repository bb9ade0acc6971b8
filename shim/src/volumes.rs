//! Volumes of files, filled and brought up to date.
//!
//! A linked volume is laid out as a kubelet lays its own out, because programs know that: the files are in a directory
//! `..<date>.<unique>`, the link `..data` names it, and what is seen are links over `..data`. So one rename brings in all that is
//! new: whoever looks sees all of the old or all of the new.
//!
//! Programs of the tenant may write into a volume, also while it is brought up to date, and who does that may be root where they
//! are not. So nothing in it is believed: no link is followed, each directory is opened from the one that it is in, rights are set
//! only for what this process has made or has opened as a directory, and what is removed is counted.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::io;
use std::os::fd::OwnedFd;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::{self, AtFlags, Dir, FileType, FlockOperation, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::process::geteuid;
use zeroize::Zeroizing;

use crate::place::{self, DIRECTORY, PlaceError, Rights, Root};
use crate::plan::Placed;
use crate::spec::{SpecError, VOLUMES, Volume};

mod tree;

use tree::{Broom, MOST_ENTRIES, Tree};

/// The link to the directory with the files, and what it is called before it is that.
const DATA: &str = "..data";
const TEMPORARY: &str = "..data_tmp";
/// For an update of the same volume that is under way, in another container maybe.
const WAIT: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_millis(20);

/// A file of a volume with its bytes.
pub type Ready<'s> = Placed<'s, Zeroizing<Vec<u8>>>;

#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    #[error(transparent)]
    Spec(#[from] SpecError),
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error(
        "{path}: this container's user {user} may not change it: the volume belongs to user {owner}, group {group}, with mode \
         {mode:04o}; {}", hint(*user, *owner)
    )]
    NotAllowed {
        path: String,
        user: u32,
        owner: u32,
        group: u32,
        mode: u32,
    },
}

/// What to do about it.
fn hint(user: u32, owner: u32) -> &'static str {
    match user {
        0 => "root needs the capabilities CHOWN, DAC_OVERRIDE and FOWNER for that",
        _ if user == owner => {
            "let no program take rights away in the volume, or put there what is another user's"
        }
        _ => "run the container as that user, or as root",
    }
}

/// Lets the volume hold `files`, where it is in the container.
///
/// # Errors
/// It is not mounted, or may not be written. What is seen then is what was there before, or all of the new.
pub fn fill(root: &Root, volume: &Volume, files: &[Ready<'_>]) -> Result<(), VolumeError> {
    let place = Place::of(root, volume)?;
    place.lock(WAIT)?;
    place.take(&place.dir, "")?;
    if volume.linked {
        place.link(&Tree::of(files))
    } else {
        files.iter().try_for_each(|file| place.write(file))
    }
}

/// The volume where it is.
struct Place<'a> {
    dir: OwnedFd,
    device: u64,
    /// Who this process is.
    user: u32,
    path: String,
    volume: &'a Volume,
}

impl<'a> Place<'a> {
    fn of(root: &Root, volume: &'a Volume) -> Result<Self, VolumeError> {
        volume.check()?;
        let path = format!("{VOLUMES}/{}", volume.name);
        let dir = root.open_mount(&path)?;
        let is = fs::fstat(&dir).map_err(|why| place::failed(&path, why))?;
        Ok(Self {
            dir,
            device: is.st_dev,
            user: geteuid().as_raw(),
            path,
            volume,
        })
    }

    /// Two that bring it up to date at once would remove each other's directories. Where there are no locks there is none.
    fn lock(&self, wait: Duration) -> Result<(), VolumeError> {
        let until = Instant::now() + wait;
        while fs::flock(&self.dir, FlockOperation::NonBlockingLockExclusive)
            == Err(Errno::WOULDBLOCK)
        {
            if Instant::now() >= until {
                return Err(self.way("", "another process has locked the volume"));
            }
            sleep(AGAIN);
        }
        Ok(())
    }

    /// Who may do what with something in it. Only root gives things away; the files of others have the group of the directory
    /// that they are in, where its mode says so.
    fn rights(&self, mode: u32, group: Option<u32>) -> Rights {
        let is_root = self.user == 0;
        Rights {
            mode,
            owner: self.volume.owner.filter(|_| is_root),
            group: group.filter(|_| is_root),
        }
    }

    fn of_directories(&self) -> Rights {
        self.rights(self.volume.mode, self.volume.group)
    }

    /// Sets the rights of a directory that is there, by those who can.
    fn take(&self, dir: &OwnedFd, name: &str) -> Result<(), VolumeError> {
        let is = fs::fstat(dir).map_err(|why| self.failed(name, why))?;
        if self.user != 0 && is.st_uid != self.user {
            return Ok(());
        }
        place::own(dir, self.of_directories()).map_err(|why| self.failed(name, why))
    }

    /// Writes one file of a volume without links.
    fn write(&self, file: &Ready<'_>) -> Result<(), VolumeError> {
        let (above, name) = file.path.rsplit_once('/').unwrap_or(("", file.path));
        let failed = |why: io::Error| match why.kind() {
            io::ErrorKind::IsADirectory => self.way(file.path, "it is a directory"),
            _ => self.failed(file.path, why),
        };
        let here = fs::openat(&self.dir, ".", DIRECTORY, Mode::empty());
        let mut here = here.map_err(|why| failed(why.into()))?;
        for part in above.split('/').filter(|part| !part.is_empty()) {
            here = match self.open(&here, part) {
                Err(Errno::NOENT) => self.make(&here, part),
                opened => opened,
            }
            .map_err(|why| match why {
                Errno::NOTDIR | Errno::LOOP => {
                    self.way(file.path, "what is above it is no directory")
                }
                Errno::XDEV => self.way(file.path, "it leads out of the volume"),
                why => self.failed(file.path, why),
            })?;
            self.take(&here, file.path)?;
        }
        if tree::holds(&here, name, file, self) {
            return Ok(());
        }
        let rights = self.rights(file.mode, file.group);
        place::replace(&here, name, &file.bytes, rights).map_err(failed)
    }

    /// Opens a directory in `dir`, which is in the volume.
    fn open(&self, dir: &OwnedFd, name: &str) -> Result<OwnedFd, Errno> {
        let opened = fs::openat(dir, name, DIRECTORY, Mode::empty())?;
        if fs::fstat(&opened)?.st_dev != self.device {
            return Err(Errno::XDEV);
        }
        Ok(opened)
    }

    /// Makes a directory in `dir`, which this process can write into at first.
    fn make(&self, dir: &OwnedFd, name: &str) -> Result<OwnedFd, Errno> {
        let mode = self.volume.mode & 0o777 | 0o700;
        fs::mkdirat(dir, name, Mode::from_raw_mode(mode))?;
        let opened = self.open(dir, name)?;
        if fs::fstat(&opened)?.st_uid != self.user {
            // Somebody has put another in its place.
            return Err(Errno::AGAIN);
        }
        Ok(opened)
    }

    /// Lets a linked volume hold `tree`. What is there already is not touched.
    fn link(&self, tree: &Tree<'_>) -> Result<(), VolumeError> {
        let known = self.target(DATA).filter(|name| is_dated(name));
        let holds = |name: &String| {
            self.open(&self.dir, name)
                .is_ok_and(|it| tree.is_in(&it, self))
        };
        let now = match known.filter(holds) {
            Some(name) => name,
            None => self.switch(tree)?,
        };
        for top in tree.names() {
            self.point(top, &format!("{DATA}/{top}"))?;
        }
        self.sweep(&now, tree)
    }

    /// Writes `tree` into a new directory, and lets that be the volume's; its name.
    fn switch(&self, tree: &Tree<'_>) -> Result<String, VolumeError> {
        let name = new_name();
        // Whoever is told knows no such name, and no two are the same.
        let failed = |why| self.failed("", why);
        let made = self.make(&self.dir, &name).map_err(failed)?;
        let written = tree
            .write(&made, "", self)
            .and_then(|()| place::own(&made, self.of_directories()).map_err(failed))
            .and_then(|()| self.point(DATA, &name));
        if written.is_err() {
            let _ = Broom::new(self.device).remove(&self.dir, &name);
        }
        written.map(|()| name)
    }

    /// What the link `name` names; `None` where it is none.
    fn target(&self, name: &str) -> Option<String> {
        let target = fs::readlinkat(&self.dir, name, Vec::new()).ok()?;
        target.into_string().ok()
    }

    /// Lets `name` be a link to `target`, at once; what else is there gives way.
    fn point(&self, name: &str, target: &str) -> Result<(), VolumeError> {
        if self.target(name).is_some_and(|it| it == target) {
            return Ok(());
        }
        let dir = &self.dir;
        let rename = || fs::renameat(dir, TEMPORARY, dir, name);
        let put = || {
            match fs::unlinkat(dir, TEMPORARY, AtFlags::empty()) {
                Err(Errno::ISDIR) => self.aside(TEMPORARY)?,
                Ok(()) | Err(Errno::NOENT) => {}
                Err(why) => return Err(why),
            }
            fs::symlinkat(target, dir, TEMPORARY)?;
            self.give(TEMPORARY)?;
            match rename() {
                Err(Errno::ISDIR) => {
                    self.aside(name)?;
                    rename()
                }
                renamed => renamed,
            }
        };
        put().map_err(|why| self.failed(name, why))
    }

    /// A directory in the place of a link: it goes to where it is removed at last.
    fn aside(&self, name: &str) -> Result<(), Errno> {
        fs::renameat(&self.dir, name, &self.dir, new_name())
    }

    /// Lets a link that this process has made belong to whom the volume belongs.
    fn give(&self, name: &str) -> Result<(), Errno> {
        let rights = self.of_directories();
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let link = fs::openat(&self.dir, name, flags, Mode::empty())?;
        let is = fs::fstat(&link)?;
        let owner = rights.owner.filter(|it| *it != is.st_uid);
        let group = rights.group.filter(|it| *it != is.st_gid);
        let is_link = FileType::from_raw_mode(is.st_mode) == FileType::Symlink;
        if !is_link || is.st_uid != self.user || (owner.is_none() && group.is_none()) {
            return Ok(());
        }
        let (owner, group) = (owner.map(Uid::from_raw), group.map(Gid::from_raw));
        fs::chownat(&link, "", owner, group, AtFlags::EMPTY_PATH)
    }

    /// Removes links to files that are gone, and what former updates, and interrupted ones, have left. All that can be removed is,
    /// before anything that cannot is told.
    fn sweep(&self, now: &str, tree: &Tree<'_>) -> Result<(), VolumeError> {
        let (mut links, mut old) = (Vec::new(), Vec::new());
        let entries = Dir::read_from(&self.dir).map_err(|why| self.failed("", why))?;
        for (count, entry) in entries.enumerate() {
            let entry = entry.map_err(|why| self.failed("", why))?;
            if count > MOST_ENTRIES {
                return Err(self.way("", "there are too many files in the volume"));
            }
            let Ok(name) = entry.file_name().to_str() else {
                continue;
            };
            if name == TEMPORARY || (is_dated(name) && name != now) {
                old.push(name.to_owned());
            } else if !tree.has(name)
                && self.target(name).is_some_and(|it| {
                    it.strip_prefix(DATA).and_then(|it| it.strip_prefix('/')) == Some(name)
                })
            {
                links.push(name.to_owned());
            }
        }
        let mut broom = Broom::new(self.device);
        let mut swept = Ok(());
        // Links before the directories that they may lead to.
        for name in links.iter().chain(&old) {
            // What is too deep, or too much, for now is no file of an update, and nobody looks there.
            if let Err(why) = broom.remove(&self.dir, name) {
                swept = swept.and(Err(self.failed(name, why)));
            }
        }
        swept
    }

    fn full_path(&self, name: &str) -> String {
        let path = &self.path;
        if name.is_empty() {
            path.clone()
        } else {
            format!("{path}/{name}")
        }
    }

    fn way(&self, name: &str, why: &'static str) -> VolumeError {
        place::way(&self.full_path(name), why).into()
    }

    /// Something that a system call could not do with `name`, for who has not read what its errors are called.
    fn failed(&self, name: &str, why: impl Into<io::Error>) -> VolumeError {
        let (path, why) = (self.full_path(name), why.into());
        let about = fs::fstat(&self.dir).ok();
        match (why.kind(), about) {
            (io::ErrorKind::PermissionDenied, Some(is)) => VolumeError::NotAllowed {
                path,
                user: self.user,
                owner: is.st_uid,
                group: is.st_gid,
                mode: is.st_mode & 0o7777,
            },
            (io::ErrorKind::ReadOnlyFilesystem, _) => {
                self.way(name, "the volume is mounted read-only in this container")
            }
            (io::ErrorKind::WouldBlock, _) => {
                self.way(name, "a program changes the volume at the same time")
            }
            _ => place::failed(&path, why).into(),
        }
    }
}

/// A name for a directory, which nothing else has.
fn new_name() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let unique = RandomState::new().build_hasher().finish();
    dated(now.unwrap_or_default().as_secs(), unique)
}

/// As a kubelet names the directory of a volume: `..2026_12_31_23_59_59.1234567890`.
fn dated(seconds: u64, unique: u64) -> String {
    // Years begin with March here: the day that some lack is the last (Howard Hinnant, "chrono-Compatible Low-Level Date
    // Algorithms", civil_from_days).
    let days = seconds / 86_400 + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (next, month) = if month < 10 {
        (0, month + 3)
    } else {
        (1, month - 9)
    };
    let year = era * 400 + year + next;
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("..{year:04}_{month:02}_{day:02}_{hour:02}_{minute:02}_{second:02}.{unique}")
}

/// Whether a directory of this name is one of an update.
fn is_dated(name: &str) -> bool {
    let Some((date, unique)) = name.strip_prefix("..").and_then(|it| it.split_once('.')) else {
        return false;
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
    let lengths = date.split('_').map(str::len);
    digits(unique) && lengths.eq([4, 2, 2, 2, 2, 2]) && date.split('_').all(digits)
}

#[cfg(test)]
mod tests;
