//! What a pod is told about its container group besides its status: what Azure bills, its public name, and what ACI
//! does not enforce.

use std::fmt;

use crate::azure::model::{Container, ContainerGroup};
use crate::translate::identity;
use crate::translate::operator_annotations::{BILLED, FQDN, NOT_ENFORCED};

/// The annotations that a pod gets together with its status, as they were last made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BilledNoted(Option<Box<Noted>>);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Noted {
    billed: Option<Box<str>>,
    fqdn: Option<Box<str>>,
    not_enforced: Option<Box<str>>,
}

impl BilledNoted {
    /// What `group` says. Azure bills the requests (Azure Container Instances pricing); what the group does not say
    /// stays as it was.
    pub fn learn(&mut self, group: &ContainerGroup) {
        let noted = self.0.get_or_insert_default();
        let total = Total::of(&group.properties.containers);
        if total.is_some() {
            noted.billed = total.map(|total| total.to_string().into());
        }
        let address = group.properties.ip_address.as_ref();
        if let Some(name) = address.and_then(|address| address.fqdn.as_deref()) {
            noted.fqdn = Some(name.into());
        }
        if let Some(list) = identity::not_enforced(&group.tags) {
            noted.not_enforced = Some(list.into());
        }
    }

    /// Key and value of each.
    pub fn annotations(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let all = self.0.iter().flat_map(|noted| {
            [
                (BILLED, &noted.billed),
                (FQDN, &noted.fqdn),
                (NOT_ENFORCED, &noted.not_enforced),
            ]
        });
        all.filter_map(|(key, value)| Some((key, value.as_deref()?)))
    }
}

/// What the containers of a group request together, in hundredths of a core and tenths of a gigabyte. Shown as
/// quantities: `cpu=1,memory=1.5G`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Total {
    cpu: f64,
    memory: f64,
}

impl Total {
    /// The sum over `containers`; `None` when one says nothing.
    fn of(containers: &[Container]) -> Option<Self> {
        let mut sum = None;
        for container in containers {
            let requests = container.properties.resources.as_ref()?.requests;
            let Self { cpu, memory } = sum.unwrap_or(Self {
                cpu: 0.0,
                memory: 0.0,
            });
            sum = Some(Self {
                cpu: cpu + (requests.cpu * 100.0).round(),
                memory: memory + (requests.memory_in_gb * 10.0).round(),
            });
        }
        sum
    }
}

impl fmt::Display for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Whole steps: one correctly rounded division has no decimal dust.
        write!(f, "cpu={},memory={}G", self.cpu / 100.0, self.memory / 10.0)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::translate::testing::{RUNNING, group};

    fn told(changes: &[(&str, serde_json::Value)]) -> Vec<(&'static str, String)> {
        let mut told = BilledNoted::default();
        told.learn(&group(RUNNING, changes));
        let pairs = told.annotations();
        pairs.map(|(key, value)| (key, value.to_owned())).collect()
    }

    #[test]
    fn the_sum_of_the_requests_and_the_name() {
        let containers = json!([
            {"name": "a", "properties": {"resources": {"requests": {"cpu": 0.1, "memoryInGB": 0.3}}}},
            {"name": "b", "properties": {"resources": {"requests": {"cpu": 1.15, "memoryInGB": 1.2}}}},
        ]);
        let changes = [
            ("/properties/containers", containers),
            (
                "/properties/ipAddress",
                json!({"type": "Public", "fqdn": "a.eastus.azurecontainer.io"}),
            ),
            ("/tags", json!({"VKC-not-enforced": "fsGroup,probes"})),
        ];
        assert_eq!(
            told(&changes),
            [
                (
                    "virtual-kubelet.io/billed-resources",
                    "cpu=1.25,memory=1.5G".to_owned()
                ),
                (
                    "virtual-kubelet.io/fqdn",
                    "a.eastus.azurecontainer.io".to_owned()
                ),
                (
                    "virtual-kubelet.io/not-enforced",
                    "fsGroup,probes".to_owned()
                ),
            ]
        );
        let silent = [
            ("/properties/containers", json!([{"name": "a"}])),
            ("/properties/ipAddress", json!(null)),
        ];
        assert_eq!(told(&silent), [], "a list says nothing of resources");
    }
}
