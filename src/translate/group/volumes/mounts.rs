//! Mounts: ACI mounts whole volumes on directories, so what a pod mounts of a volume becomes a volume of its own.

use std::collections::BTreeSet;
use std::collections::btree_map::Entry;
use std::fmt;

use k8s_openapi::api::core::v1::{Container, VolumeMount};

use super::files::Files;
use super::{MAX_VOLUMES, Source, Volumes, empty_dir, view_name};
use crate::api::Os;
use crate::azure::model;
use crate::translate::group::budget::{Amount, Exceeded, Of, written};
use crate::translate::group::env::{Environment, Expanded};
use crate::translate::group::kubelet::CONFIG_ERROR;
use crate::translate::group::review::{Review, set};
use crate::translate::group::shim::{Part as ShimPart, has_mark, mode_for, place_of};

const FILE: &str = "spec.containers[].volumeMounts[].subPath: a single file";
const PART: &str = "spec.containers[].volumeMounts[].subPath: of a share or a git repository";
const EXPRESSION: &str =
    "spec.containers[].volumeMounts[].subPathExpr: with a name whose value is from a Secret";
const OF_SHIM: &str = "spec.containers[].volumeMounts[].mountPath: of the shim";
pub(super) const COLON: &str = "spec.containers[].volumeMounts[].mountPath: with a colon";
const BESIDE: &str = "spec.volumes[]: a file both in a volume and in a directory of it";
/// Bytes of a mount in a request without its path: `{"name":"","mountPath":"","readOnly":true},` and the name's 63.
const FRAME: usize = 110;
const TWICE: &str = "spec.containers[].volumeMounts[].mountPath: of another mount too";
const NOT_ROOT: &str = "spec.containers[].volumeMounts[]: Azure Files where runAsUser is not 0";

impl Volumes<'_> {
    /// The mounts of `container`, whose index is `index`; those of a volume that was refused or left out are left out too.
    /// `user` is the number that the container runs as, when it says one; `shim` gets what the shim has to place.
    pub(in crate::translate::group) fn mounts(
        &mut self,
        container: &Container,
        index: usize,
        environment: &Environment,
        (user, shim): (Option<i64>, &mut ShimPart),
        review: &mut Review<'_>,
    ) -> Vec<model::VolumeMount> {
        let mounts = container.volume_mounts.as_deref().unwrap_or_default();
        let mut out: Vec<model::VolumeMount> = Vec::with_capacity(mounts.len());
        let mut paths = BTreeSet::new();
        for (n, mount) in mounts.iter().enumerate() {
            let VolumeMount {
                mount_path,
                mount_propagation,
                name,
                read_only,
                recursive_read_only: _,
                sub_path: _,
                sub_path_expr: _,
            } = mount;
            if !self.sources.contains_key(name) {
                continue;
            }
            let place = [index, n];
            let shared = mount_propagation
                .as_deref()
                .is_some_and(|mode| !matches!(mode, "" | "None"));
            if mount_path.is_empty() {
                let [container, mount] = place;
                let field = format!("spec.containers[{container}].volumeMounts[{mount}].mountPath");
                review.refuse(field, "a mount needs a path".to_owned());
                continue;
            }
            let mount_path = absolute(mount_path, review.os);
            for (row, present) in [
                (
                    OF_SHIM,
                    review.shim.may()
                        && mount_path
                            .strip_prefix("/.vkc")
                            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
                ),
                (COLON, mount_path.contains(':')),
                (TWICE, !paths.insert(mount_path.clone())),
                (
                    "spec.containers[].volumeMounts[].mountPropagation: Bidirectional or HostToContainer",
                    shared,
                ),
            ] {
                review.field(row, present, &place);
            }
            let Some(path) = path_in_volume(mount, place, environment, review) else {
                continue;
            };
            let parts = self.parts(mount, (&mount_path, &path), place, shim, review);
            let nests = parts.len() > 1 && parts.first().is_some_and(|part| part.below.is_empty());
            for part in parts {
                let not_root = part.is_share && user.is_some_and(|user| user != 0);
                review.field(NOT_ROOT, not_root, &place);
                let outer = part.below.is_empty();
                let at = below(&mount_path, &part.below);
                if !outer {
                    review.field(COLON, part.below.contains(':'), &place);
                    review.field(TWICE, !paths.insert(at.clone()), &place);
                    let field = format_args!("spec.volumes[{}]", part.index);
                    if pay(&at, &field, review).is_err() {
                        return out;
                    }
                }
                // A mount in a read-only one has no place to be.
                let read_only = read_only.filter(|read_only| *read_only && !(nests && outer));
                // As a kubelet mounts files.
                let read_only = if part.is_filled {
                    Some(true)
                } else {
                    read_only
                };
                // What runs along with the group brings it up to date where no program looks for it.
                let place_of_shim = place_of(&part.name);
                if !review.ends_first
                    && self.fills.is_updated(&part.name)
                    && out.iter().all(|it| it.mount_path != place_of_shim)
                {
                    let user = user.and_then(|user| u32::try_from(user).ok());
                    self.fills.belongs_to(&part.name, user);
                    out.push(model::VolumeMount {
                        name: part.name.clone(),
                        mount_path: place_of_shim,
                        read_only: None,
                    });
                }
                out.push(model::VolumeMount {
                    name: part.name,
                    mount_path: at,
                    read_only,
                });
            }
        }
        out
    }

    /// The group's volumes of what `mount` shows at `path` of its volume: one, or of files one for each directory; none when
    /// that is refused.
    fn parts(
        &mut self,
        mount: &VolumeMount,
        (mount_path, path): (&str, &str),
        place: [usize; 2],
        shim: &mut ShimPart,
        review: &mut Review<'_>,
    ) -> Vec<Part> {
        let Some((index, source)) = self.sources.get(&mount.name) else {
            return Vec::new();
        };
        let index = *index;
        let directories: Vec<String> = match source {
            Source::Whole(_) if !path.is_empty() => {
                review.field(PART, true, &place);
                return Vec::new();
            }
            Source::Empty | Source::Whole(_) => vec![path.to_owned()],
            Source::Files(files) => {
                // More than there may be is more, however many it is.
                let directories = files.directories(path, MAX_VOLUMES + 1);
                if directories.is_empty() {
                    if review.field(FILE, true, &place) {
                        place_file(files, (mount_path, path), self.group, place, shim, review);
                    }
                    return Vec::new();
                }
                if files.by_shim {
                    // All of it, directories and all.
                    vec![path.to_owned()]
                } else {
                    directories.into_iter().map(str::to_owned).collect()
                }
            }
        };
        if directories.len() > 1 && directories.first().is_some_and(|first| first == path) {
            review.at(BESIDE, format!("spec.volumes[{index}]"));
        }
        let is_filled = matches!(source, Source::Files(files) if files.by_shim);
        let mut parts = Vec::with_capacity(directories.len());
        for directory in directories {
            let below = directory.strip_prefix(path).unwrap_or_default();
            let below = below.trim_start_matches('/').to_owned();
            let Some(volume) = self.view(&mount.name, directory, review) else {
                break;
            };
            parts.push(Part {
                index,
                name: volume.name.clone(),
                below,
                is_share: volume.azure_file.is_some(),
                is_filled,
            });
        }
        parts
    }

    /// The group's volume of what is in the directory `path` of the volume `name`, and not deeper; `None` when it is refused.
    fn view(
        &mut self,
        name: &str,
        path: String,
        review: &mut Review<'_>,
    ) -> Option<&model::Volume> {
        let (index, source) = self.sources.get(name)?;
        let at = format!("spec.volumes[{index}]");
        let count = self.views.len();
        // What is there is not made again: any number of mounts may show it.
        let place_in = match self.views.entry((*index, path)) {
            Entry::Occupied(view) => return Some(view.into_mut()),
            Entry::Vacant(place_in) => place_in,
        };
        if count >= MAX_VOLUMES {
            self.others.insert(place_in.into_key());
            return None;
        }
        let path = place_in.key().1.as_str();
        let mut made = match source {
            Source::Empty => empty_dir(),
            Source::Whole(volume) => model::Volume::clone(volume),
            Source::Files(files) if files.by_shim => {
                let volume = view_name(name, path);
                // A part of a volume stays what it is, with a kubelet too.
                let version = path.is_empty().then(|| files.version());
                self.fills.begin(&volume, version);
                for (below, bytes, mode) in files.below(path) {
                    let filled = self.fills.file(below, bytes, mode, &at, review);
                    filled.ok()?;
                }
                empty_dir()
            }
            Source::Files(files) => files.directory(path, &at, review).ok()?,
        };
        made.name = view_name(name, path);
        Some(place_in.insert(made))
    }
}

/// A volume of the group that shows a part of a pod's volume.
#[derive(Debug)]
struct Part {
    /// Index of the pod's volume.
    index: usize,
    name: String,
    /// Where it is below the mount; empty for the mount itself.
    below: String,
    is_share: bool,
    /// The shim writes what is in it.
    is_filled: bool,
}

/// Has the shim place the file `path` of a volume at `mount_path`.
fn place_file(
    files: &Files<'_>,
    (mount_path, path): (&str, &str),
    group: Option<u32>,
    place: [usize; 2],
    shim: &mut ShimPart,
    review: &mut Review<'_>,
) {
    let [container, n] = place;
    let at = format_args!("spec.containers[{container}].volumeMounts[{n}].subPath");
    if let Some((bytes, mode)) = files.file(path) {
        let mode = mode_for(group, mode);
        let _ = shim.file(mount_path.to_owned(), bytes, mode, group, &at, review);
    } else if !review.all_known() {
        shim.will_place();
    } else if !files.is_missing(path) {
        // A kubelet would mount an empty directory there, which is not what anybody means.
        let message = format!("the volume has no file {path:?}");
        review.refuse_until_present(CONFIG_ERROR, at.to_string(), message);
    }
}

/// The path in its volume that `mount` shows; `None` when that is refused, or not known before everything is fetched.
fn path_in_volume(
    mount: &VolumeMount,
    place: [usize; 2],
    environment: &Environment,
    review: &mut Review<'_>,
) -> Option<String> {
    let path = if set(mount.sub_path_expr.as_deref()) {
        if !review.all_known() {
            return None;
        }
        let text = mount.sub_path_expr.as_deref().unwrap_or_default();
        let [container, n] = place;
        let field = format_args!("spec.containers[{container}].volumeMounts[{n}].subPathExpr");
        match environment.path(text, &field, review).ok()? {
            Expanded::Path(path) if has_mark(&path) => {
                let message = "the pod's address is not known before its volumes are made; use other variables";
                review.refuse(field.to_string(), message.to_owned());
                return None;
            }
            Expanded::Path(path) => path,
            Expanded::Secret => {
                review.field(EXPRESSION, true, &place);
                return None;
            }
            Expanded::Missing(names) => {
                let names: Vec<String> = names.into_iter().collect();
                let message = format!("missing value for {}", names.join(", "));
                review.refuse_until_present(CONFIG_ERROR, field.to_string(), message);
                return None;
            }
        }
    } else {
        mount.sub_path.clone().unwrap_or_default()
    };
    let Some(path) = clean(&path) else {
        let field = format!(
            "spec.containers[{}].volumeMounts[{}].subPathExpr",
            place[0], place[1]
        );
        let message = if path.starts_with('/') {
            format!("error SubPath `{path}` must not be an absolute path")
        } else {
            format!("unable to provision SubPath `{path}`: must not contain '..'")
        };
        review.refuse_until_present(CONFIG_ERROR, field, message);
        return None;
    };
    Some(path)
}

/// `path` below `mount_path`; the latter when `path` is empty.
pub(super) fn below(mount_path: &str, path: &str) -> String {
    if path.is_empty() {
        return mount_path.to_owned();
    }
    format!("{}/{path}", mount_path.trim_end_matches('/'))
}

/// Pays for a mount that the pod does not have itself.
pub(super) fn pay(
    mount_path: &str,
    at: &dyn fmt::Display,
    review: &mut Review<'_>,
) -> Result<(), Exceeded> {
    let amount = Amount::own(FRAME + written(mount_path));
    review.spend(Of::Bytes, amount, "the mounts of directories", at)
}

/// A path in a volume without empty parts and `.`; `None` when it leads out of the volume.
pub(super) fn clean(path: &str) -> Option<String> {
    let parts = || path.split('/').filter(|part| !matches!(*part, "" | "."));
    let out = path.starts_with('/') || parts().any(|part| part == "..");
    (!out).then(|| parts().collect::<Vec<_>>().join("/"))
}

/// `path` from the root, as a kubelet takes it, and without a slash at the end.
fn absolute(path: &str, os: Os) -> String {
    if os == Os::Windows {
        return path.to_owned();
    }
    match path.trim_matches('/') {
        "" => path.to_owned(),
        _ if path.starts_with('/') => path.trim_end_matches('/').to_owned(),
        relative => format!("/{relative}"),
    }
}
