//! One file, in a directory that is open.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{self, AtFlags, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

/// How a directory is opened: never over a link.
pub(crate) const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Who may do what with a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rights {
    pub(crate) mode: u32,
    /// Whose it is; `None` for the one that it belongs to by itself.
    pub(crate) owner: Option<u32>,
    pub(crate) group: Option<u32>,
}

impl Rights {
    pub(crate) fn of(mode: u32) -> Self {
        Self {
            mode,
            owner: None,
            group: None,
        }
    }
}

/// Sets what is different. The mode first, while the file is who sets it's; and once more where a new owner or group has taken bits
/// of it away. Nobody runs a file as its first owner meanwhile.
pub(crate) fn own(file: impl AsFd, rights: Rights) -> Result<(), Errno> {
    let set = |is: &fs::Stat, mode: u32| {
        if is.st_mode & 0o7777 == mode {
            return Ok(());
        }
        fs::fchmod(&file, Mode::from_raw_mode(mode))
    };
    let is = fs::fstat(&file)?;
    let owner = rights.owner.filter(|it| *it != is.st_uid);
    let group = rights.group.filter(|it| *it != is.st_gid);
    if owner.is_none() && group.is_none() {
        return set(&is, rights.mode);
    }
    let is_directory = FileType::from_raw_mode(is.st_mode) == FileType::Directory;
    let first = if is_directory { 0o7777 } else { 0o1777 };
    set(&is, rights.mode & first)?;
    fs::fchown(&file, owner.map(Uid::from_raw), group.map(Gid::from_raw))?;
    set(&fs::fstat(&file)?, rights.mode)
}

/// Writes a new file into the directory `to`.
pub(crate) fn create(to: &OwnedFd, name: &str, bytes: &[u8], rights: Rights) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let created = fs::openat(to, name, flags, Mode::from_raw_mode(0o600))?;
    let mut file = File::from(created);
    file.write_all(bytes)?;
    Ok(own(&file, rights)?)
}

/// Writes a file into the directory `to`, at once in the place of what is there, which is no directory.
pub(crate) fn replace(to: &OwnedFd, name: &str, bytes: &[u8], rights: Rights) -> io::Result<()> {
    let temporary = format!(".vkc-{}-{}", std::process::id(), name.len());
    // What an interrupted start has left.
    let _ = fs::unlinkat(to, &temporary, AtFlags::empty());
    let written = create(to, &temporary, bytes, rights)
        .and_then(|()| Ok(fs::renameat(to, &temporary, to, name)?));
    written.inspect_err(|_| {
        let _ = fs::unlinkat(to, &temporary, AtFlags::empty());
    })
}
