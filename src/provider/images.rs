//! What a pod's images say about themselves, from their registries, with the credentials that its container group has.

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};

use super::{Failure, FailureKind};
use crate::api::Os;
use crate::azure::model::RegistryCredential;
use crate::registry::{Configuration, Login, Platform, Registry, RegistryError};
use crate::translate::{Image, Resolved, registry_server};

const DIRECTORY: &str = "workingDir";
/// Reason of a pod that waits for what its image says.
const UNREADABLE: &str = "ImageConfigUnreadable";

/// Reads what a container group must know about its images.
#[async_trait]
pub trait Images: Send + Sync {
    /// Puts what every one of the `images` of `pod` says about itself into `resolved`, or tells why one could not be had.
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
            let read = registry.configuration(asker, image, platform, login.as_ref());
            match read.await {
                Ok(said) => Ok(((*image).to_owned(), Arc::new(told(&said)))),
                Err(error) if os == Os::Linux && is_dispensable(pod, image, &error) => {
                    Ok(((*image).to_owned(), Arc::default()))
                }
                Err(error) => Err(failure(pod, image, credential, &error)),
            }
        });
        resolved.images.extend(try_join_all(reads).await?);
        Ok(())
    }
}

fn told(said: &Configuration) -> Image {
    let Configuration {
        entry_point,
        command,
        user,
        working_dir,
    } = said.clone();
    Image {
        entry_point,
        command,
        user,
        working_dir,
    }
}

/// Whether it does without what `image` says: only whether a shell has to change the directory in front of a command hangs on it,
/// and the shell does that in any case. A registry that asks for a moment gets it.
fn is_dispensable(pod: &Pod, image: &str, error: &RegistryError) -> bool {
    let later = matches!(
        error,
        RegistryError::Unavailable { .. } | RegistryError::Busy { .. }
    );
    let spec = pod.spec.as_ref();
    let all = spec.into_iter().flat_map(|spec| {
        let inits = spec.init_containers.iter().flatten();
        spec.containers.iter().chain(inits)
    });
    let mut of_image = all.filter(|it| it.image.as_deref() == Some(image));
    !later
        && of_image.all(|container| {
            let says_what = container.command.as_ref().is_some_and(|it| !it.is_empty());
            match need_of(container, spec) {
                Some((member, _)) => member == DIRECTORY && says_what,
                // The shim asks then, and what it is told decides what runs, and as whom.
                None => false,
            }
        })
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
    let (field, instead) = need(pod, image);
    let message = format!(
        "{field}: the configuration of image {image:?} is needed and cannot be read: {error}{hint}; {instead} to do without"
    );
    Failure {
        kind: if error.is_transient() {
            FailureKind::Transient
        } else {
            FailureKind::Slow
        },
        reason: UNREADABLE,
        message,
        retry_after: error.retry_after(),
        faults: None,
    }
}

/// The first field that what `image` says is needed for, and how to do without.
fn need(pod: &Pod, image: &str) -> (String, &'static str) {
    let spec = pod.spec.as_ref();
    let main = spec.map(|spec| &spec.containers[..]).unwrap_or_default();
    let init = spec.and_then(|spec| spec.init_containers.as_deref());
    for (list, containers) in [
        ("containers", main),
        ("initContainers", init.unwrap_or_default()),
    ] {
        for (index, container) in containers.iter().enumerate() {
            if container.image.as_deref() == Some(image)
                && let Some((member, instead)) = need_of(container, spec)
            {
                return (format!("spec.{list}[{index}].{member}"), instead);
            }
        }
    }
    let instead = "set command and runAsUser, or forbid the shim (spec.shim.mode: Never)";
    ("spec.containers[].command".to_owned(), instead)
}

/// Likewise of a container.
fn need_of(container: &Container, spec: Option<&PodSpec>) -> Option<(&'static str, &'static str)> {
    let some = |words: &Option<Vec<String>>| words.as_ref().is_some_and(|it| !it.is_empty());
    if !some(&container.command) && some(&container.args) {
        return Some(("args", "set command as well"));
    }
    let own = container.security_context.as_ref();
    let of_pod = spec.and_then(|spec| spec.security_context.as_ref());
    let user = own
        .and_then(|it| it.run_as_user)
        .or(of_pod.and_then(|it| it.run_as_user));
    let not_root = own
        .and_then(|it| it.run_as_non_root)
        .or(of_pod.and_then(|it| it.run_as_non_root));
    if not_root == Some(true) && user.is_none() {
        return Some(("securityContext.runAsNonRoot", "set runAsUser"));
    }
    let directory = container.working_dir.as_ref();
    directory
        .is_some_and(|it| !it.is_empty())
        .then_some((DIRECTORY, "set command as well"))
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
        for (container, field, instead) in [
            (
                json!({"workingDir": "/a"}),
                "workingDir",
                "set command as well",
            ),
            (
                json!({"securityContext": {"runAsNonRoot": true}}),
                "securityContext.runAsNonRoot",
                "set runAsUser",
            ),
        ] {
            let mut container = container;
            container["name"] = json!("a");
            container["image"] = json!("i");
            let pod = serde_json::from_value(json!({"spec": {"containers": [container]}})).unwrap();
            let told = failure(&pod, "i", None, &unauthorized);
            let (start, end) = (
                format!("spec.containers[0].{field}: "),
                format!("{instead} to do without"),
            );
            assert!(
                told.message.starts_with(&start) && told.message.ends_with(&end),
                "{told}"
            );
        }
        let unreachable = RegistryError::Unreachable {
            host: host(),
            reason: "no route".to_owned(),
        };
        let away = RegistryError::Busy { host: host() };
        let works = json!({"workingDir": "/a", "command": ["x"]});
        let secured = json!({"workingDir": "/a", "command": ["x"], "securityContext": {"runAsNonRoot": true}});
        for (container, error, dispensable) in [
            (&works, &unreachable, true),
            (&works, &unauthorized, true),
            (&works, &away, false),
            (&secured, &unreachable, false),
            (&json!({"workingDir": "/a"}), &unreachable, false),
        ] {
            let mut container = container.clone();
            container["name"] = json!("a");
            container["image"] = json!("i");
            let pod = serde_json::from_value(json!({"spec": {"containers": [container]}})).unwrap();
            assert_eq!(
                is_dispensable(&pod, "i", error),
                dispensable,
                "{pod:?} {error}"
            );
        }
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
