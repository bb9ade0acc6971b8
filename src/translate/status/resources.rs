//! What a container asks for, as its status repeats it: in a form that is kept for every pod of a node.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// Requests and limits of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContainerResources {
    requests: Amounts,
    limits: Amounts,
}

/// Names and quantities.
type Amounts = Box<[(Box<str>, Box<str>)]>;

fn slim(amounts: Option<&BTreeMap<String, Quantity>>) -> Amounts {
    let amounts = amounts.into_iter().flatten();
    amounts
        .map(|(name, quantity)| (name.as_str().into(), quantity.0.as_str().into()))
        .collect()
}

fn whole(amounts: &Amounts) -> Option<BTreeMap<String, Quantity>> {
    let all = amounts.iter();
    let all = all.map(|(name, quantity)| (name.to_string(), Quantity(quantity.to_string())));
    (!amounts.is_empty()).then(|| all.collect())
}

impl ContainerResources {
    pub(super) fn of(resources: &ResourceRequirements) -> Self {
        Self {
            requests: slim(resources.requests.as_ref()),
            limits: slim(resources.limits.as_ref()),
        }
    }

    /// Bytes that it points at.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let all = self.requests.iter().chain(&self.limits);
        all.map(|one| size_of_val(one) + one.0.len() + one.1.len())
            .sum()
    }

    /// `resources` of a container's status.
    pub(super) fn resources(&self) -> Option<ResourceRequirements> {
        (*self != Self::default()).then(|| ResourceRequirements {
            requests: whole(&self.requests),
            limits: whole(&self.limits),
            ..ResourceRequirements::default()
        })
    }

    /// `allocatedResources` of a container's status.
    pub(super) fn allocated(&self) -> Option<BTreeMap<String, Quantity>> {
        whole(&self.requests)
    }
}
