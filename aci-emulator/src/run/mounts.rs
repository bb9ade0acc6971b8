//! What `--run` mounts on this machine: the root file systems of containers and the files of secret volumes.

use std::{
    ffi::CString,
    fs, io,
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

/// A root file system at `folder/rootfs`: what is below is not changed, what is written goes to `folder/upper`.
pub(super) fn overlay(below: &Path, folder: &Path) -> io::Result<PathBuf> {
    let root = folder.join("rootfs");
    let (upper, work) = (folder.join("upper"), folder.join("work"));
    for folder in [&root, &upper, &work] {
        fs::create_dir_all(folder)?;
    }
    // The root of the file system has the mode and the owner of the image's.
    let about = fs::metadata(below)?;
    fs::set_permissions(&upper, about.permissions())?;
    // By what is open: in a path a colon, a comma or a backslash would mean something, and tags of images have colons.
    let (below, upper, work) = (
        fs::File::open(below)?,
        fs::File::open(&upper)?,
        fs::File::open(&work)?,
    );
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        path_of(&below),
        path_of(&upper),
        path_of(&work)
    );
    let options = CString::new(options)?;
    mount(
        "overlay",
        &root,
        "overlay",
        MountFlags::empty(),
        Some(options.as_c_str()),
    )?;
    Ok(root)
}

/// A path of a folder that is open in this process.
fn path_of(open: &fs::File) -> String {
    format!("/proc/self/fd/{}", open.as_raw_fd())
}

/// A file system in memory, so that no secret gets to a disk.
pub(super) fn memory(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let options = CString::new("mode=0755,size=64m")?;
    mount(
        "tmpfs",
        folder,
        "tmpfs",
        MountFlags::NOSUID | MountFlags::NODEV,
        Some(options.as_c_str()),
    )?;
    Ok(())
}

/// Unmounts everything at and below a folder, the innermost first.
pub(super) fn unmount_below(folder: &Path) -> io::Result<()> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    for path in below(&table, folder).iter().rev() {
        unmount(path, UnmountFlags::DETACH)?;
    }
    Ok(())
}

/// Mount points at and below a folder, in the order of the table.
fn below(table: &str, folder: &Path) -> Vec<PathBuf> {
    table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|path| PathBuf::from(unescape(path)))
        .filter(|path| path.starts_with(folder))
        .collect()
}

/// `mountinfo` writes blanks and the like as three octal digits.
fn unescape(path: &str) -> String {
    [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ]
    .iter()
    .fold(path.to_owned(), |path, (code, character)| {
        path.replace(code, character)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_below_a_folder() {
        let table = "22 1 0:1 / / rw - ext4 /dev/x rw\n30 22 0:2 / /s/run/a\\040b rw - overlay overlay rw\n31 30 0:3 / /s/run/a\\040b/c rw - tmpfs t rw\n32 22 0:4 / /s/runner rw - tmpfs t rw\n";
        assert_eq!(
            below(table, Path::new("/s/run")),
            [Path::new("/s/run/a b"), Path::new("/s/run/a b/c")]
        );
    }
}
