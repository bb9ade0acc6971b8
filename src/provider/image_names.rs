//! Names of images that nobody can pull: a kubelet says so without asking a registry.

use k8s_openapi::api::core::v1::{Container, Pod};

use super::Failure;
use crate::registry::ImageReference;
use crate::translate::{Refusal, Refusals};

/// Fails when a container of `pod` has an image whose name is none.
pub(super) fn check(pod: &Pod) -> Result<(), Failure> {
    let Some(spec) = &pod.spec else { return Ok(()) };
    let unreadable = |(init, index, container): (bool, usize, &Container)| {
        let image = container.image.as_deref()?;
        let name = ImageReference::parse(image);
        name.is_err()
            .then(|| Refusal::invalid_image_name(init, index, image))
    };
    let inits = spec.init_containers.iter().flatten().enumerate();
    let inits = inits.map(|(index, container)| (true, index, container));
    let containers = spec.containers.iter().enumerate();
    let containers = containers.map(|(index, container)| (false, index, container));
    let refusals: Vec<Refusal> = inits.chain(containers).filter_map(unreadable).collect();
    if refusals.is_empty() {
        Ok(())
    } else {
        Err(Refusals(refusals).into())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::provider::FailureKind;
    use crate::translate::ContainerFault;

    #[test]
    fn a_name_that_is_none_is_told_as_a_kubelet_tells_it() {
        let pod = |image: &str| -> Pod {
            serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": {"containers": [
                {"name": "a", "image": "nginx:1.27"}, {"name": "b", "image": image}]}}))
            .unwrap()
        };
        for image in [
            "busybox",
            "reg.example.com:5000/team/app@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        ] {
            check(&pod(image)).unwrap();
        }
        for image in ["nginx:", "nginx:a:b", "https://example.com/nginx", "a b"] {
            let failure = check(&pod(image)).unwrap_err();
            let message = format!(
                "Failed to apply default image tag \"{image}\": couldn't parse image name \"{image}\": invalid reference format"
            );
            assert_eq!(failure.kind, FailureKind::Refused);
            assert_eq!(failure.event(), ("InspectFailed", message.as_str().into()));
            let fault = ContainerFault {
                init: false,
                index: 1,
                reason: "InvalidImageName",
                message,
            };
            assert_eq!(failure.faults, Some(vec![fault]));
        }
    }
}
