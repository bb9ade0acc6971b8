//! Volumes and the mounts that refer to them.

use std::collections::HashSet;

use base64::Engine as _;
use serde_json::Value;

use super::{Check, Group, items, label, refuse, text};

impl Group<'_> {
    pub(super) fn volumes(&self) -> Check {
        let group = self.name;
        let volumes = items(self.properties, "volumes");
        if volumes.len() > 20 {
            return refuse(
                "TooManyVolumes",
                format!("The container group '{group}' has more than 20 volumes."),
            );
        }
        let mut names = HashSet::new();
        for volume in volumes {
            let name = text(volume, "name").unwrap_or_default();
            if !label(name, 5) || name.contains("--") {
                return refuse(
                    "InvalidVolumeName",
                    format!(
                        "The volume name '{name}' in container group '{group}' is invalid. It must have 5 to 63 lower-case letters, digits and single hyphens."
                    ),
                );
            }
            if !names.insert(name) {
                return refuse(
                    "DuplicateVolumeName",
                    format!(
                        "The volume name '{name}' in container group '{group}' is used more than once."
                    ),
                );
            }
            let sources = [
                "emptyDir",
                "secret",
                "secretReference",
                "gitRepo",
                "azureFile",
            ];
            let given: Vec<&str> = sources
                .into_iter()
                .filter(|member| volume.get(member).is_some_and(|given| !given.is_null()))
                .collect();
            let [source] = given.as_slice() else {
                return refuse(
                    "InvalidVolume",
                    format!(
                        "The volume '{name}' in container group '{group}' must have exactly one source."
                    ),
                );
            };
            // The documentation of each kind of volume restricts it to Linux.
            if self.windows() {
                return refuse(
                    "VolumeNotSupportedForWindows",
                    format!(
                        "The '{source}' volume '{name}' in container group '{group}' is not supported for 'Windows' OS type."
                    ),
                );
            }
            if let Some(secret) = volume.get("secret").and_then(Value::as_object) {
                let engine = base64::engine::general_purpose::STANDARD;
                if let Some((key, _)) = secret.iter().find(|(_, value)| {
                    value
                        .as_str()
                        .is_none_or(|value| engine.decode(value).is_err())
                }) {
                    return refuse(
                        "InvalidSecretVolume",
                        format!(
                            "The value of '{key}' in secret volume '{name}' of container group '{group}' is not base64."
                        ),
                    );
                }
            }
        }
        for (container, properties, _) in self.all() {
            let mut paths = HashSet::new();
            for mount in items(properties, "volumeMounts") {
                let (name, path) = (
                    text(mount, "name").unwrap_or_default(),
                    text(mount, "mountPath").unwrap_or_default(),
                );
                if !names.contains(name) {
                    return refuse(
                        "VolumeMountNotFound",
                        format!(
                            "The volume mount '{name}' of container '{container}' in container group '{group}' refers to no volume."
                        ),
                    );
                }
                if path.is_empty() || (path.contains(':') && !self.windows()) || !paths.insert(path)
                {
                    return refuse(
                        "InvalidMountPath",
                        format!(
                            "The mount path '{path}' of container '{container}' in container group '{group}' is empty, used twice or holds ':'."
                        ),
                    );
                }
            }
        }
        Ok(())
    }
}
