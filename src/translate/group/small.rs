//! Whether a pod is small: then it is translated where it stands, else where nobody waits for the thread.

use k8s_openapi::api::core::v1::{Container, Pod, Volume};

use super::resolved::{Object, Resolved};

/// Things that are gone through one by one, each for itself: containers, variables, words, mounts, volumes, services.
const ITEMS: usize = 500;
/// Bytes that are read one by one: what the pod says of variables and commands, and the objects that it refers to.
const BYTES: usize = 64 * 1024;

/// Whether `pod` and what is `resolved` of it have few parts and little text. It is not known beforehand what becomes of
/// them: that is what [`super::budget::Budget::small`] bounds. Both together are an upper bound of the time.
pub(super) fn is_small(pod: &Pod, resolved: &Resolved) -> bool {
    let mut left = Left {
        items: ITEMS,
        bytes: BYTES,
    };
    left.pod(pod)
        .and_then(|()| left.resolved(resolved))
        .is_some()
}

/// What there may still be; `None` of each operation is that there is more.
struct Left {
    items: usize,
    bytes: usize,
}

impl Left {
    fn items(&mut self, count: usize) -> Option<()> {
        self.items = self.items.checked_sub(count)?;
        Some(())
    }

    fn text(&mut self, text: &str) -> Option<()> {
        self.bytes = self.bytes.checked_sub(text.len())?;
        Some(())
    }

    fn list<T>(&mut self, list: Option<&Vec<T>>) -> Option<()> {
        self.items(list.map_or(0, Vec::len))
    }

    /// The items that a source of files names.
    fn keys<T>(&mut self, items: Option<&Option<Vec<T>>>) -> Option<()> {
        self.list(items.and_then(Option::as_ref))
    }

    fn pod(&mut self, pod: &Pod) -> Option<()> {
        for map in [&pod.metadata.annotations, &pod.metadata.labels] {
            for (key, value) in map.iter().flatten() {
                self.items(1)?;
                self.text(key)?;
                self.text(value)?;
            }
        }
        let Some(spec) = &pod.spec else {
            return Some(());
        };
        self.list(spec.image_pull_secrets.as_ref())?;
        self.list(spec.dns_config.as_ref().and_then(|it| it.options.as_ref()))?;
        self.items(spec.containers.len())?;
        self.list(spec.init_containers.as_ref())?;
        let inits = spec.init_containers.iter().flatten();
        for container in spec.containers.iter().chain(inits) {
            self.container(container)?;
        }
        self.list(spec.volumes.as_ref())?;
        for volume in spec.volumes.iter().flatten() {
            self.volume(volume)?;
        }
        Some(())
    }

    fn container(&mut self, container: &Container) -> Option<()> {
        self.list(container.env.as_ref())?;
        self.list(container.env_from.as_ref())?;
        self.list(container.ports.as_ref())?;
        self.list(container.volume_mounts.as_ref())?;
        for variable in container.env.iter().flatten() {
            self.text(&variable.name)?;
            self.text(variable.value.as_deref().unwrap_or_default())?;
        }
        for words in [&container.command, &container.args] {
            self.list(words.as_ref())?;
            for word in words.iter().flatten() {
                self.text(word)?;
            }
        }
        for mount in container.volume_mounts.iter().flatten() {
            self.text(mount.sub_path_expr.as_deref().unwrap_or_default())?;
        }
        Some(())
    }

    fn volume(&mut self, volume: &Volume) -> Option<()> {
        self.keys(volume.secret.as_ref().map(|it| &it.items))?;
        self.keys(volume.config_map.as_ref().map(|it| &it.items))?;
        self.keys(volume.downward_api.as_ref().map(|it| &it.items))?;
        let Some(projected) = &volume.projected else {
            return Some(());
        };
        self.list(projected.sources.as_ref())?;
        for source in projected.sources.iter().flatten() {
            self.keys(source.secret.as_ref().map(|it| &it.items))?;
            self.keys(source.config_map.as_ref().map(|it| &it.items))?;
            self.keys(source.downward_api.as_ref().map(|it| &it.items))?;
        }
        Some(())
    }

    fn resolved(&mut self, resolved: &Resolved) -> Option<()> {
        for service in resolved.services.iter().flat_map(|services| &**services) {
            self.items(service.ports.len() + service.selector.len())?;
        }
        for object in resolved.objects.values().flatten() {
            let Object { data, binary, .. } = &**object;
            for (key, content) in data.iter().chain(binary) {
                self.text(key)?;
                self.bytes = self.bytes.checked_sub(content.expose().len())?;
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests;
