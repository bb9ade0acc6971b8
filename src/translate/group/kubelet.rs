//! What a kubelet would not start either, told in its words: tools know its reasons.

use super::resolved::Reference;
use super::review::Review;
use super::{Refusal, Refusals};
use crate::translate::fault::ContainerFault;

/// A container's configuration cannot be made.
pub(super) const CONFIG_ERROR: &str = "CreateContainerConfigError";
/// The image's name is none.
const INVALID_NAME: &str = "InvalidImageName";
/// The image is not there and must not be pulled.
pub(super) const NEVER_PULL: &str = "ErrImageNeverPull";
/// A volume cannot be mounted. No container has it for a reason: all of them wait.
const FAILED_MOUNT: &str = "FailedMount";

impl Refusal {
    /// The refusal of the image of a container whose name no container runtime can read.
    pub fn invalid_image_name(init: bool, index: usize, image: &str) -> Self {
        let repository = repository(image);
        let why = if repository.bytes().any(|b| b.is_ascii_uppercase()) {
            format!(": repository name ({repository}) must be lowercase")
        } else {
            String::new()
        };
        let list = if init { "initContainers" } else { "containers" };
        Self {
            reason: INVALID_NAME,
            field: format!("spec.{list}[{index}].image"),
            message: format!(
                "Failed to apply default image tag {image:?}: couldn't parse image name {image:?}: invalid reference format{why}"
            ),
            is_retryable: false,
        }
    }

    fn is_mount(&self) -> bool {
        self.reason == FAILED_MOUNT
    }

    /// Whether a kubelet has it, too, for a pod that it has admitted.
    fn is_kubelets(&self) -> bool {
        [CONFIG_ERROR, INVALID_NAME, NEVER_PULL, FAILED_MOUNT].contains(&self.reason)
    }

    /// What it means for the container that it is about.
    fn fault(&self) -> Option<ContainerFault> {
        let place = self.field.strip_prefix("spec.")?;
        let (list, rest) = place.split_once('[')?;
        let init = match list {
            "containers" => false,
            "initContainers" => true,
            _ => return None,
        };
        let (index, _) = rest.split_once(']')?;
        Some(ContainerFault {
            init,
            index: index.parse().ok()?,
            reason: self.reason,
            message: self.message.clone(),
        })
    }
}

impl Refusals {
    /// The refusal that a kubelet would tell of when it has all of them: volumes come before containers.
    pub fn as_kubelet(&self) -> Option<&Refusal> {
        let all = self.0.iter().all(Refusal::is_kubelets);
        let mount = self.0.iter().find(|refusal| refusal.is_mount());
        mount.or_else(|| self.0.first()).filter(|_| all)
    }

    /// What each container waits for when [`Refusals::as_kubelet`] tells; the others wait for nothing in particular.
    pub fn faults(&self) -> Vec<ContainerFault> {
        if self.0.iter().any(Refusal::is_mount) {
            return Vec::new();
        }
        self.0.iter().filter_map(Refusal::fault).collect()
    }

    /// The first refusal that no kubelet has.
    pub(super) fn own(&self) -> Option<&Refusal> {
        self.0.iter().find(|refusal| !refusal.is_kubelets())
    }
}

impl Review<'_> {
    /// Refuses what a kubelet would not start either, with its reason and words, until the reference or its key is there.
    pub(super) fn refuse_missing(&mut self, reference: &Reference, key: Option<&str>, path: &str) {
        let Some((kind, name, of_key)) = reference.object() else {
            let message = format!("{reference} does not exist; create it and the pod starts");
            return self.refuse_until_present(reference.missing(), path.to_owned(), message);
        };
        let absent = || format!("{} {name:?} not found", kind.to_ascii_lowercase());
        if self.volume.is_some() {
            let why = key.map(|key| format!("references non-existent {of_key}: {key}"));
            return self.refuse_mount(path, &why.unwrap_or_else(absent));
        }
        let namespace = &self.namespace;
        let message =
            key.map(|key| format!("couldn't find key {key} in {kind} {namespace}/{name}"));
        self.refuse_until_present(
            CONFIG_ERROR,
            path.to_owned(),
            message.unwrap_or_else(absent),
        );
    }

    /// Refuses the volume that is looked at as a kubelet says that it cannot mount it, until that changes.
    pub(super) fn refuse_mount(&mut self, path: &str, why: &str) {
        let volume = self.volume.as_deref().unwrap_or_default();
        let message = format!("MountVolume.SetUp failed for volume {volume:?} : {why}");
        self.refuse_until_present(FAILED_MOUNT, path.to_owned(), message);
    }
}

/// What stands in `image` between the host of its registry and its tag.
fn repository(image: &str) -> &str {
    let path = match image.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => rest,
        _ => image,
    };
    path.split(':').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_s_name_that_is_none_is_told_in_a_kubelet_s_words() {
        let message = |image: &str| Refusal::invalid_image_name(true, 2, image).message;
        assert_eq!(
            message("r.io/Team/App:1"),
            "Failed to apply default image tag \"r.io/Team/App:1\": couldn't parse image name \"r.io/Team/App:1\": \
             invalid reference format: repository name (Team/App) must be lowercase"
        );
        assert!(message("nginx:a:b").ends_with("\"nginx:a:b\": invalid reference format"));
        let refusals = Refusals(vec![Refusal::invalid_image_name(true, 2, "X")]);
        let faults = refusals.faults();
        assert_eq!((faults[0].init, faults[0].index), (true, 2));
    }

    fn refusal(reason: &'static str, field: &str) -> Refusal {
        Refusal {
            reason,
            field: field.to_owned(),
            message: format!("of {field}"),
            is_retryable: true,
        }
    }

    fn fault(init: bool, index: usize, reason: &'static str, field: &str) -> ContainerFault {
        let message = format!("of {field}");
        ContainerFault {
            init,
            index,
            reason,
            message,
        }
    }

    #[test]
    fn each_container_has_its_own_fault() {
        let (first, second) = ("spec.initContainers[1].env[0]", "spec.containers[0].image");
        let refusals = Refusals(vec![
            refusal(CONFIG_ERROR, first),
            refusal(INVALID_NAME, second),
        ]);
        assert_eq!(
            refusals.faults(),
            [
                fault(true, 1, CONFIG_ERROR, first),
                fault(false, 0, INVALID_NAME, second)
            ]
        );
        assert_eq!(refusals.as_kubelet(), refusals.0.first());
        assert_eq!(refusals.reason(), CONFIG_ERROR);
    }

    #[test]
    fn volumes_come_before_containers_and_what_only_aci_refuses_before_both() {
        let env = refusal(CONFIG_ERROR, "spec.containers[0].env[0]");
        let mount = refusal(FAILED_MOUNT, "spec.volumes[0].secret");
        let own = refusal("NotSupportedOnAci", "spec.hostNetwork");
        let refusals = Refusals(vec![env.clone(), mount.clone()]);
        assert_eq!(refusals.as_kubelet(), Some(&mount));
        assert_eq!(
            (refusals.reason(), refusals.faults()),
            (FAILED_MOUNT, vec![])
        );
        let refusals = Refusals(vec![env, mount, own]);
        assert_eq!(refusals.as_kubelet(), None);
        assert_eq!(refusals.reason(), "NotSupportedOnAci");
    }
}
