//! Volumes of a group as folders of this machine.

use std::{
    collections::HashMap,
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use super::{
    mounts,
    plan::{ContainerPlan, Source, Volume},
    spec::Bind,
};

/// A volume that is ready, and whether nothing may be written to it.
pub(super) struct Ready {
    folder: PathBuf,
    read_only: bool,
}

/// Makes the volumes of a group below `folder`; shares are below `shares`, and stay when the group goes.
pub(super) fn make(
    volumes: &[Volume],
    folder: &Path,
    shares: &Path,
) -> io::Result<HashMap<String, Ready>> {
    let secrets = folder.join("secrets");
    if volumes
        .iter()
        .any(|volume| matches!(volume.source, Source::Secret(_)))
    {
        mounts::memory(&secrets)?;
    }
    let mut ready = HashMap::new();
    for (number, volume) in volumes.iter().enumerate() {
        let number = number.to_string();
        let (at, read_only) = match &volume.source {
            Source::EmptyDir | Source::Git => {
                let at = folder.join("volumes").join(number);
                open_to_all(&at)?;
                (at, false)
            }
            Source::Secret(files) => {
                let at = secrets.join(number);
                fs::create_dir_all(&at)?;
                for (name, bytes) in files {
                    fs::write(at.join(plain(name)?), bytes)?;
                }
                (at, false)
            }
            Source::AzureFile {
                account,
                share,
                read_only,
            } => {
                let at = shares.join(plain(account)?).join(plain(share)?);
                // As SMB mounts it: for everybody.
                open_to_all(&at)?;
                (at, *read_only)
            }
        };
        let made = Ready {
            folder: at,
            read_only,
        };
        ready.insert(volume.name.clone(), made);
    }
    Ok(ready)
}

/// A folder that everybody may write to, as a kubelet makes an `emptyDir`.
fn open_to_all(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o777))
}

/// One part of a path, and nothing that leads elsewhere.
fn plain(name: &str) -> io::Result<&str> {
    if name.is_empty() || name.contains(['/', '\0']) || name == "." || name == ".." {
        return Err(io::Error::other(format!("{name:?} is no name of a file")));
    }
    Ok(name)
}

/// Where a container has which volume.
pub(super) fn binds(container: &ContainerPlan, ready: &HashMap<String, Ready>) -> Vec<Bind> {
    container
        .mounts
        .iter()
        .filter_map(|mount| {
            let volume = ready.get(&mount.volume)?;
            Some(Bind {
                source: volume.folder.clone(),
                path: mount.path.clone(),
                read_only: mount.read_only || volume.read_only,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_part_of_a_path() {
        for name in ["", ".", "..", "a/b", "/etc", "a\0"] {
            assert!(plain(name).is_err(), "{name:?}");
        }
        assert_eq!(plain("..data").unwrap(), "..data");
    }
}
