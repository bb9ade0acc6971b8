//! Claims and the volumes they are bound to: of these ACI has the shares of Azure Files.

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, PersistentVolumeSpec};

use super::share;
use crate::azure::model;
use crate::translate::group::resolved::Found;
use crate::translate::group::review::{NOT_FOR_ACI, Review, some};

const OPTIONS: &str = "spec.volumes[].persistentVolumeClaim: of a volume with mountOptions";
/// Reason of a refusal: the claim has no volume yet, or none any more.
const NOT_BOUND: &str = "PersistentVolumeClaimNotBound";
/// Reason of a refusal: the claim of an ephemeral volume is somebody else's.
const NOT_OWNED: &str = "PersistentVolumeClaimNotOwned";

/// The volume that the claim `name` is bound to, which the pod refers to at `path`. The claim of an ephemeral volume
/// belongs to the pod with the UID `owner`.
///
/// What a kubelet waits for, the pod waits for too: the claim, that it is bound, and the volume.
pub(super) fn volume(
    name: &str,
    read_only: bool,
    owner: Option<&str>,
    path: &str,
    review: &mut Review<'_>,
) -> Option<model::Volume> {
    let claim = match review.claim(name, path) {
        Found::Unknown => return Some(share::unknown()),
        Found::Absent => return None,
        Found::Here(claim) => claim,
    };
    let bound = match bound(name, claim, owner) {
        Ok(bound) => bound,
        Err((reason, message)) => {
            review.refuse_until_present(reason, path.to_owned(), message);
            return None;
        }
    };
    let volume = match review.volume(bound, path) {
        Found::Unknown => return Some(share::unknown()),
        Found::Absent => return None,
        Found::Here(volume) => volume,
    };
    let reference = volume
        .spec
        .as_ref()
        .and_then(|spec| spec.claim_ref.as_ref());
    if reference.is_none_or(|reference| reference.uid != claim.metadata.uid) {
        let message = format!("PersistentVolume {bound} is bound to another claim than {name}");
        review.refuse_until_present(NOT_BOUND, path.to_owned(), message);
        return None;
    }
    source(bound, volume, claim, read_only, path, review)
}

/// The name of the volume that `claim` is bound to, or why it is to be waited for.
fn bound<'c>(
    name: &str,
    claim: &'c PersistentVolumeClaim,
    owner: Option<&str>,
) -> Result<&'c str, (&'static str, String)> {
    let meta = &claim.metadata;
    if let Some(owner) = owner {
        let mut owners = meta.owner_references.iter().flatten();
        if !owners.any(|it| it.controller == Some(true) && it.uid == owner) {
            let message = format!(
                "PersistentVolumeClaim {name} was not made for this pod; delete it, or rename the volume"
            );
            return Err((NOT_OWNED, message));
        }
    }
    if meta.deletion_timestamp.is_some() {
        let message = format!("PersistentVolumeClaim {name} is being deleted");
        return Err((NOT_BOUND, message));
    }
    let spec = claim.spec.as_ref();
    if spec.and_then(|spec| spec.volume_mode.as_deref()) == Some("Block") {
        let message = format!(
            "PersistentVolumeClaim {name} is of volumeMode Block; ACI mounts file systems only"
        );
        return Err((NOT_FOR_ACI, message));
    }
    let phase = claim.status.as_ref().and_then(|it| it.phase.as_deref());
    let volume = spec.and_then(|spec| spec.volume_name.as_deref());
    match volume.filter(|volume| !volume.is_empty() && phase == Some("Bound")) {
        Some(volume) => Ok(volume),
        None => Err((
            NOT_BOUND,
            format!(
                "PersistentVolumeClaim {name} is not bound to a volume; the pod starts when it is"
            ),
        )),
    }
}

/// ARM's form of the volume `name`, when it is a share of Azure Files.
fn source(
    name: &str,
    volume: &PersistentVolume,
    claim: &PersistentVolumeClaim,
    read_only: bool,
    path: &str,
    review: &mut Review<'_>,
) -> Option<model::Volume> {
    let PersistentVolumeSpec {
        access_modes,
        azure_file,
        csi,
        mount_options,
        ..
    } = volume.spec.as_ref()?;
    let options = mount_options.as_deref();
    // A kubelet mounts by the first of the modes.
    let mode = access_modes.iter().flatten().next();
    let read_only = read_only
        || mode.is_some_and(|mode| mode == "ReadOnlyMany")
        || options.is_some_and(|options| options.iter().any(|option| share::is_read_only(option)));
    let namespace = claim.metadata.namespace.as_deref().unwrap_or_default();
    let share = match (azure_file, csi) {
        (Some(file), _) => share::of_in_tree_volume(file, namespace, read_only, path, review),
        (None, Some(csi)) if csi.driver == share::DRIVER => {
            let names = share::Names {
                namespace,
                claim: claim.metadata.name.as_deref().unwrap_or_default(),
                volume: name,
            };
            share::of_csi_volume(csi, names, read_only, path, review)
        }
        (None, other) => {
            let what = other.as_ref().map_or_else(
                || "is no share of Azure Files".to_owned(),
                |csi| format!("is of the driver {}", csi.driver),
            );
            let message = format!(
                "PersistentVolume {name} {what}; ACI mounts shares of Azure Files only (driver {}, or azureFile)",
                share::DRIVER
            );
            review.refuse_until_present(NOT_FOR_ACI, path.to_owned(), message);
            None
        }
    };
    if share.is_some() && some(options) {
        review.at(OPTIONS, path.to_owned());
    }
    share
}
