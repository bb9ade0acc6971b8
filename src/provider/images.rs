//! The entry points of a pod's images, from their registries, with the credentials that its container group has.

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::{Container, Pod};

use super::{Failure, FailureKind};
use crate::api::Os;
use crate::azure::model::RegistryCredential;
use crate::registry::{Login, Platform, Registry, RegistryError};
use crate::translate::{Resolved, registry_server};

/// Reason of a pod that waits for what its image says.
const UNREADABLE: &str = "ImageConfigUnreadable";

/// Reads what a container group must know about its images.
#[async_trait]
pub trait Images: Send + Sync {
    /// Puts the entry point of every one of the `images` of `pod` into `resolved`, or tells why one could not be had.
    /// `credentials` are those of the container group.
    async fn resolve(
        &self,
        pod: &Pod,
        os: Os,
        images: &[&str],
        credentials: &[RegistryCredential],
        resolved: &mut Resolved,
    ) -> Result<(), Failure>;
}

/// Images by their registries.
pub struct RegistryImages {
    registry: Arc<Registry>,
}

impl RegistryImages {
    /// Reads with `registry`.
    pub fn new(registry: Arc<Registry>) -> Self {
        Self { registry }
    }
}

#[async_trait]
impl Images for RegistryImages {
    async fn resolve(
        &self,
        pod: &Pod,
        os: Os,
        images: &[&str],
        credentials: &[RegistryCredential],
        resolved: &mut Resolved,
    ) -> Result<(), Failure> {
        let platform = match os {
            Os::Linux => Platform::Linux,
            Os::Windows => Platform::Windows,
        };
        let reads = images.iter().map(|image| async move {
            let credential = credential(image, credentials);
            let login = credential.and_then(login);
            let asker = pod.metadata.namespace.as_deref().unwrap_or_default();
            let registry = &self.registry;
            let read = registry.entry_point(asker, image, platform, login.as_ref());
            match read.await {
                Ok(words) => Ok(((*image).to_owned(), words)),
                Err(error) => Err(failure(pod, image, credential, &error)),
            }
        });
        resolved.entry_points.extend(try_join_all(reads).await?);
        Ok(())
    }
}

/// The credential of the registry of `image`.
fn credential<'a>(
    image: &str,
    credentials: &'a [RegistryCredential],
) -> Option<&'a RegistryCredential> {
    let server = registry_server(image);
    credentials
        .iter()
        .find(|credential| credential.server == server)
}

/// User name and password; none of an identity, which only ACI can use.
fn login(credential: &RegistryCredential) -> Option<Login> {
    Some(Login {
        username: credential.username.clone()?,
        password: credential.password.clone()?,
    })
}

fn failure(
    pod: &Pod,
    image: &str,
    credential: Option<&RegistryCredential>,
    error: &RegistryError,
) -> Failure {
    let identity = credential.is_some_and(|credential| credential.identity.is_some());
    let hint = match error {
        RegistryError::Unauthorized { .. } if identity => {
            " (the connector's managed identity pulls the image, but only ACI can use it)"
        }
        _ => "",
    };
    let message = format!(
        "{}: the entry point of image {image:?} is needed and cannot be read: {error}{hint}; set command as well to do without",
        place(pod, image)
    );
    Failure {
        kind: if error.passes() {
            FailureKind::Transient
        } else {
            FailureKind::Slow
        },
        reason: UNREADABLE,
        message,
        retry_after: error.retry_after(),
    }
}

/// The first container that needs the entry point of `image`.
fn place(pod: &Pod, image: &str) -> String {
    let needs = |container: &Container| {
        container.image.as_deref() == Some(image)
            && container.command.iter().flatten().next().is_none()
            && container.args.iter().flatten().next().is_some()
    };
    let spec = pod.spec.as_ref();
    let main = spec.map(|spec| &spec.containers[..]).unwrap_or_default();
    let init = spec.and_then(|spec| spec.init_containers.as_deref());
    for (list, containers) in [
        ("containers", main),
        ("initContainers", init.unwrap_or_default()),
    ] {
        if let Some(index) = containers.iter().position(needs) {
            return format!("spec.{list}[{index}].args");
        }
    }
    "spec.containers[].args".to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::azure::model::SecretText;

    fn named(server: &str) -> RegistryCredential {
        RegistryCredential {
            server: server.to_owned(),
            username: Some("u".to_owned()),
            password: Some(SecretText::new("p".to_owned())),
            identity: None,
        }
    }

    fn identity(server: &str) -> RegistryCredential {
        RegistryCredential {
            server: server.to_owned(),
            identity: Some("/subscriptions/s".to_owned()),
            ..RegistryCredential::default()
        }
    }

    #[test]
    fn an_image_gets_the_credential_of_its_registry_only() {
        let all = [
            named("index.docker.io"),
            named("r.io:5000"),
            identity("a.azurecr.io"),
        ];
        for (image, server) in [
            ("nginx", Some("index.docker.io")),
            ("docker.io/team/app", Some("index.docker.io")),
            ("r.io:5000/a", Some("r.io:5000")),
            ("r.io/a", None),
            ("evil.io/r.io:5000/a", None),
            ("a.azurecr.io/a:1", Some("a.azurecr.io")),
        ] {
            let found = credential(image, &all);
            assert_eq!(found.map(|it| it.server.as_str()), server, "{image}");
        }
        assert!(login(&all[0]).is_some());
        assert_eq!(login(&all[2]), None);
    }

    #[test]
    fn a_failure_names_the_container_and_the_way_out() {
        let pod: Pod = serde_json::from_value(json!({"spec": {
            "containers": [
                {"name": "a", "image": "i", "command": ["x"], "args": ["y"]},
                {"name": "b", "image": "i"},
            ],
            "initContainers": [{"name": "c", "image": "i", "args": ["y"]}],
        }}))
        .unwrap();
        let host = || "r".to_owned();
        let unauthorized = RegistryError::Unauthorized {
            host: host(),
            login: false,
        };
        let told = failure(&pod, "i", None, &unauthorized);
        assert_eq!((told.kind, told.reason), (FailureKind::Slow, UNREADABLE));
        assert!(
            told.message.starts_with("spec.initContainers[0].args: "),
            "{told}"
        );
        assert!(
            told.message.contains("pull secret")
                && told.message.ends_with("set command as well to do without")
        );
        let told = failure(&pod, "i", Some(&identity("r")), &unauthorized);
        assert!(told.message.contains("only ACI can use it"), "{told}");
        let busy = RegistryError::Unavailable {
            host: host(),
            status: 429,
            retry_after: Some(Duration::from_secs(9)),
        };
        let told = failure(&pod, "i", None, &busy);
        assert_eq!(told.kind, FailureKind::Transient);
        assert_eq!(told.retry_after, Some(Duration::from_secs(9)));
    }
}
