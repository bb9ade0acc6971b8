//! Statuses of a pod that has no running group yet, and why.

use k8s_openapi::api::core::v1::PodStatus;
use k8s_openapi::jiff::Timestamp;

use super::container::Seen;
use super::events::{ERR_IMAGE_PULL, IMAGE_PULL_BACK_OFF};
use super::facts::{ContainerFacts, PodFacts};
use super::{All, Kind, Lives, Ready, not_back};
use crate::translate::fault::ContainerFault;

/// Status of a pod that has no running group yet: `Pending`, every container `Waiting` for `reason`.
pub fn status_waiting(
    facts: &PodFacts,
    reason: &str,
    message: &str,
    host_ip: Option<&str>,
    now: Timestamp,
) -> PodStatus {
    let see = |container, _: Kind| Seen::waiting(container, Some(reason), Some(message));
    pending(facts, see, host_ip, now)
}

/// Status of a pod that has no group because containers of it cannot be started, as a kubelet has it: those wait for their
/// first fault, the others for nothing in particular.
pub fn status_not_started<'a>(
    facts: &'a PodFacts,
    faults: &[ContainerFault],
    host_ip: Option<&str>,
    now: Timestamp,
) -> PodStatus {
    let see = |container: &'a ContainerFacts, kind| {
        let list = match kind {
            Kind::Init => &facts.init_containers,
            Kind::Main => &facts.containers,
        };
        let is_it = |fault: &&ContainerFault| {
            let found = list.get(fault.index);
            fault.init == (kind == Kind::Init) && found.is_some_and(|it| it.name == container.name)
        };
        let fault = faults.iter().find(is_it);
        let (reason, message) = fault.map(|it| (it.reason, it.message.as_str())).unzip();
        Seen::waiting(container, reason, message)
    };
    pending(facts, see, host_ip, now)
}

/// Status of a pod for which ACI makes no group because it cannot pull an image, said in `message`: as a kubelet has it,
/// `ErrImagePull` after the first try and `ImagePullBackOff` when it was tried `again`. Containers whose image `message` does
/// not name wait without a reason, when it names one at all.
pub fn status_unpulled<'a>(
    facts: &'a PodFacts,
    again: bool,
    message: &str,
    host_ip: Option<&str>,
    now: Timestamp,
) -> PodStatus {
    // ACI puts the image in quotes.
    let named = |container: &ContainerFacts| message.contains(&format!("'{}'", container.image));
    let names_one = facts.all().any(named);
    let see = |container: &'a ContainerFacts, _| {
        if names_one && !named(container) {
            return Seen::waiting(container, None, None);
        }
        if again {
            let message = format!(
                "Back-off pulling image \"{}\": {ERR_IMAGE_PULL}: {message}",
                container.image
            );
            return Seen::waiting(container, Some(IMAGE_PULL_BACK_OFF), Some(&message));
        }
        Seen::waiting(container, Some(ERR_IMAGE_PULL), Some(message))
    };
    pending(facts, see, host_ip, now)
}

fn pending<'a>(
    facts: &'a PodFacts,
    see: impl Fn(&'a ContainerFacts, Kind) -> Seen<'a>,
    host_ip: Option<&str>,
    now: Timestamp,
) -> PodStatus {
    let lives = Lives {
        phase: not_back(facts, "Pending"),
        ready: Ready::ByContainers,
        seen: All::of(facts, see),
    };
    lives.status(facts, None, None, host_ip, now)
}
