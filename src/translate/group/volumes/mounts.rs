//! Mounts: ACI mounts whole volumes on directories, so what a pod mounts of a volume becomes a volume of its own.

use std::collections::BTreeSet;
use std::collections::btree_map::Entry;

use k8s_openapi::api::core::v1::{Container, VolumeMount};

use super::{MAX_VOLUMES, Source, Volumes, empty_dir, view_name};
use crate::api::Os;
use crate::azure::model;
use crate::translate::group::env::Environment;
use crate::translate::group::review::{Review, set};

const FILE: &str = "spec.containers[].volumeMounts[].subPath: a single file";
const PART: &str = "spec.containers[].volumeMounts[].subPath: of a share or a git repository";
const EXPRESSION: &str = "spec.containers[].volumeMounts[].subPathExpr: with a name that is no variable, or whose value is from a Secret";
const TWICE: &str = "spec.containers[].volumeMounts[].mountPath: of another mount too";
const NOT_ROOT: &str = "spec.containers[].volumeMounts[]: Azure Files where runAsUser is not 0";

impl Volumes<'_> {
    /// The mounts of `container`, whose index is `index`; those of a volume that was refused or left out are left out too.
    /// `user` is the number that the container runs as, when it says one.
    pub(in crate::translate) fn mounts(
        &mut self,
        container: &Container,
        index: usize,
        environment: &Environment,
        user: Option<i64>,
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
                    "spec.containers[].volumeMounts[].mountPath: with a colon",
                    mount_path.contains(':'),
                ),
                (TWICE, !paths.insert(mount_path.clone())),
                (
                    "spec.containers[].volumeMounts[].mountPropagation: Bidirectional or HostToContainer",
                    shared,
                ),
            ] {
                review.field(row, present, &place);
            }
            let Some(view) = self.view(mount, place, environment, review) else {
                continue;
            };
            let not_root = view.azure_file.is_some() && user.is_some_and(|user| user != 0);
            review.field(NOT_ROOT, not_root, &place);
            out.push(model::VolumeMount {
                name: view.name.clone(),
                mount_path,
                read_only: read_only.filter(|read_only| *read_only),
            });
        }
        out
    }

    /// The group's volume of what `mount` shows; `None` when that is refused, or not known before everything is fetched.
    fn view(
        &mut self,
        mount: &VolumeMount,
        place: [usize; 2],
        environment: &Environment,
        review: &mut Review<'_>,
    ) -> Option<&model::Volume> {
        let path = if set(mount.sub_path_expr.as_deref()) {
            if !review.all_known() {
                return None;
            }
            let text = mount.sub_path_expr.as_deref().unwrap_or_default();
            let [container, n] = place;
            let field = format_args!("spec.containers[{container}].volumeMounts[{n}].subPathExpr");
            let path = environment.path(text, &field, review).ok()?;
            if path.is_none() {
                review.field(EXPRESSION, true, &place);
            }
            path?
        } else {
            mount.sub_path.clone().unwrap_or_default()
        };
        let Some(path) = clean(&path) else {
            let field = format!(
                "spec.containers[{}].volumeMounts[{}].subPathExpr",
                place[0], place[1]
            );
            let message = "the path leads out of the volume; it must be relative and without ..";
            review.refuse(field, message.to_owned());
            return None;
        };
        let (index, source) = self.sources.get(&mount.name)?;
        let at = format!("spec.volumes[{index}]");
        let count = self.views.len();
        // What is there is not made again: any number of mounts may show it.
        let place_in = match self.views.entry((*index, path)) {
            Entry::Occupied(view) => return Some(view.into_mut()),
            Entry::Vacant(place_in) => place_in,
        };
        let path = place_in.key().1.as_str();
        if matches!(source, Source::Whole(_)) && !path.is_empty() {
            review.field(PART, true, &place);
            return None;
        }
        if count >= MAX_VOLUMES {
            self.others.insert(place_in.into_key());
            return None;
        }
        let mut made = match source {
            Source::Empty => empty_dir(),
            Source::Whole(volume) => model::Volume::clone(volume),
            Source::Files(files) if path.is_empty() => files.all(&at, review).ok()?,
            Source::Files(files) => {
                let below = files.below(path, &at, review).ok()?;
                if below.is_none() {
                    review.field(FILE, true, &place);
                }
                below?
            }
        };
        made.name = view_name(&mount.name, path);
        Some(place_in.insert(made))
    }
}

/// A path in a volume without empty parts and `.`; `None` when it leads out of the volume.
fn clean(path: &str) -> Option<String> {
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
