//! What a pod can tell about itself: `fieldRef` and `resourceFieldRef`, in the environment and in volumes.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Write};

use k8s_openapi::api::core::v1::{Container, ObjectFieldSelector, Pod, ResourceFieldSelector};

use super::budget::{Amount, Of, written};
use super::resources::{DISK, NANO, nano};
use super::review::Review;
use super::services::ServiceVariables;
use super::shim::{self, OfPod};
use crate::translate::defaults::GroupDefaults;

/// Where the values come from.
pub(super) struct Fields<'a> {
    pub(super) pod: &'a Pod,
    pub(super) defaults: &'a GroupDefaults,
    pub(super) services: ServiceVariables,
    /// What the shim does in each container.
    pub(super) shim: OfPod,
    /// Its containers and init containers, by name.
    containers: HashMap<&'a str, &'a Container>,
}

/// The row of a field that nobody can know before the group is made.
const POD_IP: &str = "spec.containers[].env[].valueFrom.fieldRef: status.podIP or status.podIPs";
/// The row of a resource that ACI does not have.
const RESOURCE: &str = "spec.containers[].env[].valueFrom.resourceFieldRef: other than cpu, memory and ephemeral-storage";

impl<'a> Fields<'a> {
    pub(super) fn new(
        pod: &'a Pod,
        defaults: &'a GroupDefaults,
        services: ServiceVariables,
    ) -> Self {
        let mut containers = HashMap::new();
        if let Some(spec) = &pod.spec {
            let inits = spec.init_containers.iter().flatten();
            for container in spec.containers.iter().chain(inits) {
                containers
                    .entry(container.name.as_str())
                    .or_insert(container);
            }
        }
        Self {
            pod,
            defaults,
            services,
            shim: OfPod::of(pod),
            containers,
        }
    }

    /// The host name that a kubelet gives the pod: its own, else its name as far as that is a label of DNS.
    pub(super) fn hostname(&self) -> Option<&'a str> {
        const LONGEST: usize = 63;
        let own = self.pod.spec.as_ref()?.hostname.as_deref();
        let name = own
            .filter(|name| !name.is_empty())
            .or(self.pod.metadata.name.as_deref())?;
        let cut = name.get(..LONGEST).unwrap_or(name);
        Some(cut.trim_end_matches(['-', '.']))
    }

    /// The value of `field`, which stands at `path` and is paid for; `None` when it is refused. A label or annotation that
    /// is not there is empty, as a kubelet has it.
    pub(super) fn field(
        &self,
        field: &ObjectFieldSelector,
        path: &str,
        review: &mut Review<'_>,
    ) -> Option<String> {
        // Once nothing is left, nothing is counted either.
        pay(0, path, review)?;
        let meta = &self.pod.metadata;
        let spec = self.pod.spec.as_ref();
        let value = match field.field_path.as_str() {
            "metadata.name" => meta.name.as_ref(),
            "metadata.namespace" => meta.namespace.as_ref(),
            "metadata.uid" => meta.uid.as_ref(),
            "metadata.labels" => return lines(meta.labels.as_ref(), path, review),
            "metadata.annotations" => return lines(meta.annotations.as_ref(), path, review),
            "spec.nodeName" => spec.and_then(|spec| spec.node_name.as_ref()),
            "spec.serviceAccountName" => spec.and_then(|spec| spec.service_account_name.as_ref()),
            "status.hostIP" | "status.hostIPs" => review.resolved.node_ip.as_ref(),
            field @ ("status.podIP" | "status.podIPs") => {
                if !review.at(POD_IP, path.to_owned()) {
                    return None;
                }
                let mark = shim::mark(field == "status.podIPs");
                pay(written(mark), path, review)?;
                return Some(mark.to_owned());
            }
            other => match subscript(other) {
                Some(("metadata.labels", key)) => get(meta.labels.as_ref(), key),
                Some(("metadata.annotations", key)) => get(meta.annotations.as_ref(), key),
                _ => {
                    review.refuse(path.to_owned(), format!("a pod has no field {other:?}"));
                    return None;
                }
            },
        };
        let value = value.map(String::as_str).unwrap_or_default();
        pay(written(value), path, review)?;
        Some(value.to_owned())
    }

    /// The value of `resource`, in units of its divisor, rounded up as a kubelet does; of the container `own` unless it
    /// names another. `None` when it is refused.
    ///
    /// A kubelet gives the node's capacity for a limit that is not set. A virtual node's is no container's, so it is what
    /// the container asks ACI for: its request, else the connector's default.
    pub(super) fn resource(
        &self,
        resource: &ResourceFieldSelector,
        own: Option<&Container>,
        path: &str,
        review: &mut Review<'_>,
    ) -> Option<String> {
        let ResourceFieldSelector {
            container_name,
            divisor,
            resource,
        } = resource;
        let container = match container_name.as_deref().filter(|name| !name.is_empty()) {
            Some(name) => self.containers.get(name).copied(),
            None => own,
        };
        let Some(container) = container else {
            review.refuse(path.to_owned(), "there is no such container".to_owned());
            return None;
        };
        let resources = container.resources.as_ref();
        let amount = |limits: bool, name: &str| {
            let map = resources.and_then(|resources| {
                let map = if limits {
                    &resources.limits
                } else {
                    &resources.requests
                };
                map.as_ref()
            });
            map.and_then(|map| map.get(name))
                .and_then(|quantity| nano(&quantity.0))
        };
        let or_default = |name: &str, default: u128| {
            let asked = amount(true, name).or_else(|| amount(false, name));
            asked.unwrap_or(default)
        };
        let value = match resource.as_str() {
            "limits.cpu" => or_default("cpu", whole(self.defaults.default_cpu * 1e9)),
            "limits.memory" => or_default(
                "memory",
                whole(self.defaults.default_memory_gb * 1e9) * NANO,
            ),
            "limits.ephemeral-storage" => or_default("ephemeral-storage", DISK * NANO),
            "requests.ephemeral-storage" => amount(false, "ephemeral-storage").unwrap_or(0),
            "requests.cpu" => amount(false, "cpu").unwrap_or(0),
            "requests.memory" => amount(false, "memory").unwrap_or(0),
            _ => {
                review.at(RESOURCE, path.to_owned());
                return None;
            }
        };
        let divisor = divisor
            .as_ref()
            .and_then(|divisor| nano(&divisor.0))
            .filter(|divisor| *divisor > 0)
            .unwrap_or(NANO);
        Some(value.div_ceil(divisor).to_string())
    }
}

/// Pays for a value of so many bytes.
fn pay(bytes: usize, path: &str, review: &mut Review<'_>) -> Option<()> {
    let what = "what the pod tells about itself";
    review
        .spend(Of::Bytes, Amount::own(bytes), what, &path)
        .ok()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the connector's defaults are small and positive; a cast saturates"
)]
fn whole(value: f64) -> u128 {
    value.round() as u128
}

fn get<'m>(map: Option<&'m BTreeMap<String, String>>, key: &str) -> Option<&'m String> {
    map.and_then(|map| map.get(key))
}

/// `metadata.labels['key']` as its map and key.
fn subscript(path: &str) -> Option<(&str, &str)> {
    path.strip_suffix("']")?.split_once("['")
}

/// A map as the downward API writes it, which is paid for.
fn lines(
    map: Option<&BTreeMap<String, String>>,
    path: &str,
    review: &mut Review<'_>,
) -> Option<String> {
    let mut length = Length(0);
    write_lines(map, &mut length).ok()?;
    pay(length.0, path, review)?;
    let mut out = String::new();
    write_lines(map, &mut out).ok()?;
    Some(out)
}

/// Counts what is written, as it is in a request.
struct Length(usize);

impl Write for Length {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 = self.0.saturating_add(written(text));
        Ok(())
    }
}

/// `key="value"` on each line, the value as Go quotes it.
fn write_lines(map: Option<&BTreeMap<String, String>>, out: &mut impl Write) -> fmt::Result {
    for (n, (key, value)) in map.into_iter().flatten().enumerate() {
        if n > 0 {
            out.write_char('\n')?;
        }
        out.write_str(key)?;
        out.write_str("=\"")?;
        for c in value.chars() {
            match c {
                '"' | '\\' => {
                    out.write_char('\\')?;
                    out.write_char(c)?;
                }
                '\n' => out.write_str("\\n")?,
                '\r' => out.write_str("\\r")?,
                '\t' => out.write_str("\\t")?,
                '\u{7}' => out.write_str("\\a")?,
                '\u{8}' => out.write_str("\\b")?,
                '\u{b}' => out.write_str("\\v")?,
                '\u{c}' => out.write_str("\\f")?,
                c if c.is_ascii_control() => write!(out, "\\x{:02x}", u32::from(c))?,
                c if c.is_control() => write!(out, "\\u{:04x}", u32::from(c))?,
                c => out.write_char(c)?,
            }
        }
        out.write_char('"')?;
    }
    Ok(())
}
