//! The rules of a container group that its shape cannot say: names, ports, sums, references.
//!
//! Where the service's own code for a refusal is not on public record, the code here is this
//! emulator's; the README lists those.

mod containers;
mod features;
mod network;
mod volumes;

use std::collections::HashSet;

use serde_json::Value;

use super::errors::ApiError;
use crate::config::Settings;

type Check = Result<(), ApiError>;

/// Everything a PUT body is refused for besides its shape.
pub(crate) fn check(name: &str, body: &Value, settings: &Settings) -> Check {
    let none = Value::Null;
    let properties = body.get("properties").unwrap_or(&none);
    let group = Group { name, properties };
    tags(body.get("tags"))?;
    group.os()?;
    group.containers()?;
    group.resources(settings)?;
    group.volumes()?;
    group.ports()?;
    group.network()?;
    group.features(body)?;
    group.credentials(body)?;
    group.images()
}

struct Group<'a> {
    name: &'a str,
    properties: &'a Value,
}

/// Items of an array member, none when it is absent.
pub(crate) fn items<'a>(value: &'a Value, member: &str) -> &'a [Value] {
    value
        .get(member)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// A text member.
pub(crate) fn text<'a>(value: &'a Value, member: &str) -> Option<&'a str> {
    value.get(member).and_then(Value::as_str)
}

fn refuse(code: &str, message: String) -> Check {
    Err(ApiError::bad(code, message))
}

impl<'a> Group<'a> {
    fn all(&self) -> impl Iterator<Item = (&'a str, &'a Value, bool)> {
        let of = |member, init| {
            items(self.properties, member).iter().map(move |item| {
                (
                    text(item, "name").unwrap_or_default(),
                    item.get("properties").unwrap_or(&Value::Null),
                    init,
                )
            })
        };
        of("containers", false).chain(of("initContainers", true))
    }

    fn windows(&self) -> bool {
        text(self.properties, "osType") == Some("Windows")
    }

    fn os(&self) -> Check {
        match text(self.properties, "osType") {
            Some("Windows" | "Linux") => {}
            // The text of the service, which does not know the group's name here.
            _ => {
                return refuse(
                    "InvalidOsType",
                    "The 'osType' for container group '<null>' is invalid. The value must be one of 'Windows,Linux'.".to_owned(),
                );
            }
        }
        if self.windows() && self.all().count() > 1 {
            return refuse(
                "MultipleContainersNotSupportedForWindows",
                format!(
                    "The container group '{}' of 'Windows' OS type must have exactly one container and no init container.",
                    self.name
                ),
            );
        }
        Ok(())
    }

    fn credentials(&self, body: &Value) -> Check {
        let group = self.name;
        let identities = body
            .pointer("/identity/userAssignedIdentities")
            .and_then(Value::as_object);
        let mut servers = HashSet::new();
        for credential in items(self.properties, "imageRegistryCredentials") {
            let server = text(credential, "server").unwrap_or_default();
            if server.is_empty() || server.contains("://") || !servers.insert(server) {
                return refuse(
                    "InvalidImageRegistryCredentialServer",
                    format!(
                        "The image registry server '{server}' of container group '{group}' is empty, given twice or has a scheme."
                    ),
                );
            }
            match (text(credential, "username"), text(credential, "identity")) {
                (Some(_), Some(_)) => {
                    return refuse(
                        "AmbiguousImageResitryCredentialType",
                        format!(
                            "The image registry credential for '{server}' in container group '{group}' has both a user name and an identity."
                        ),
                    );
                }
                (None, None) => {
                    return refuse(
                        "InvalidImageRegistryCredentialType",
                        format!(
                            "The image registry credential for '{server}' in container group '{group}' has neither a user name nor an identity."
                        ),
                    );
                }
                (None, Some(identity))
                    if !identities.is_some_and(|map| {
                        map.keys().any(|key| key.eq_ignore_ascii_case(identity))
                    }) =>
                {
                    return refuse(
                        "InvalidImageRegistryIdentity",
                        format!(
                            "The identity '{identity}' of the image registry credential for '{server}' is not an identity of container group '{group}'."
                        ),
                    );
                }
                (Some(_), None)
                    if text(credential, "password").is_none()
                        && text(credential, "passwordReference").is_none() =>
                {
                    return refuse(
                        "InvalidImageRegistryCredentialType",
                        format!(
                            "The image registry credential for '{server}' in container group '{group}' has no password."
                        ),
                    );
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Demonstration: an image whose path holds `inaccessible` cannot be pulled.
    fn images(&self) -> Check {
        let bad = self
            .all()
            .filter_map(|(_, properties, _)| text(properties, "image"))
            .find(|image| image.contains("inaccessible"));
        match bad {
            Some(image) => Err(ApiError::inaccessible_image(self.name, image)),
            None => Ok(()),
        }
    }
}

/// Lower-case letters, digits and inner hyphens, `min` to 63 characters.
fn label(name: &str, min: usize) -> bool {
    (min..=63).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// A container group's name.
pub(crate) fn group_name(name: &str) -> Check {
    if label(name, 1) && !name.contains("--") {
        return Ok(());
    }
    refuse(
        "InvalidResourceName",
        format!(
            "The container group name '{name}' is invalid. It must have 1 to 63 lower-case letters, digits and single inner hyphens."
        ),
    )
}

/// ARM's rules for tags.
pub(crate) fn tags(tags: Option<&Value>) -> Check {
    let Some(tags) = tags.and_then(Value::as_object) else {
        return Ok(());
    };
    if tags.len() > 50 {
        return refuse(
            "InvalidTags",
            format!(
                "The number of tags '{}' exceeds the maximum of '50'.",
                tags.len()
            ),
        );
    }
    let mut seen = HashSet::new();
    for (name, value) in tags {
        let long = name.chars().count() > 512
            || value
                .as_str()
                .is_some_and(|value| value.chars().count() > 256);
        if name.is_empty() || long || !seen.insert(name.to_lowercase()) {
            return refuse(
                "InvalidTagLength",
                format!(
                    "The tag '{name}' is empty, given twice or too long (name 512, value 256 characters)."
                ),
            );
        }
        if name.contains(['<', '>', '%', '&', '\\', '?', '/']) {
            return refuse(
                "InvalidTagNameCharacters",
                format!(
                    "The tag name '{name}' has one of the reserved characters '<,>,%,&,\\,?,/'."
                ),
            );
        }
    }
    Ok(())
}
