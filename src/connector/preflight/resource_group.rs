//! Whether the resource group is there for us. PURE.

use super::{ConditionUpdate, Grant, Subject, lacking, lacks, trouble};
use crate::api::conditions::{RESOURCE_GROUP_READY, reason};
use crate::azure::{AzureError, ErrorClass, Permission, ResourceGroup};

/// Without these no pod runs, or none can be removed.
const NEEDED: [&str; 3] = [
    "Microsoft.ContainerInstance/containerGroups/read",
    "Microsoft.ContainerInstance/containerGroups/write",
    "Microsoft.ContainerInstance/containerGroups/delete",
];

/// The finding from the answer. Permissions that ARM does not tell are taken to be there.
pub(super) fn evaluate(
    answer: &Result<Option<ResourceGroup>, AzureError>,
    permissions: Option<&Result<Vec<Permission>, AzureError>>,
    subject: &Subject,
) -> ConditionUpdate {
    let Subject {
        subscription,
        region,
        resource_group,
        ..
    } = subject;
    let grant = Grant {
        what: &format!("resource group {resource_group}"),
        scope: &format!("/subscriptions/{subscription}/resourceGroups/{resource_group}"),
        role: "Contributor",
    };
    let missing = permissions.and_then(|it| missing(it.as_deref().ok()?));
    match (answer, missing) {
        (Ok(Some(_)), Some(missing)) => ConditionUpdate::bad(
            RESOURCE_GROUP_READY,
            reason::RESOURCE_GROUP_FORBIDDEN,
            lacks(&missing, &grant, subject),
        ),
        (Ok(Some(_)), None) => ConditionUpdate::good(
            RESOURCE_GROUP_READY,
            reason::RESOURCE_GROUP_FOUND,
            format!("resource group {resource_group} exists"),
        ),
        (Ok(None), _) => ConditionUpdate::bad(
            RESOURCE_GROUP_READY,
            reason::RESOURCE_GROUP_NOT_FOUND,
            format!(
                "resource group {resource_group} does not exist in subscription {subscription}; run: az group create --name {resource_group} --location {region} --subscription {subscription}"
            ),
        ),
        (Err(error), _) if error.class == ErrorClass::Forbidden => {
            let action = "Microsoft.Resources/subscriptions/resourceGroups/read";
            ConditionUpdate::bad(
                RESOURCE_GROUP_READY,
                reason::RESOURCE_GROUP_FORBIDDEN,
                lacking(error, action, &grant, subject),
            )
        }
        (Err(error), _) if error.class == ErrorClass::SubscriptionNotFound => ConditionUpdate {
            blocks: false,
            ..ConditionUpdate::bad(
                RESOURCE_GROUP_READY,
                reason::SUBSCRIPTION_NOT_FOUND,
                format!("subscription {subscription} was not found"),
            )
        },
        (Err(error), _) => trouble(RESOURCE_GROUP_READY, error),
    }
}

/// The needed actions that no assignment permits. Who has no assignment at all cannot have been told the group, so that
/// an empty list says nothing.
fn missing(permissions: &[Permission]) -> Option<String> {
    let lacks = |action: &&str| !permissions.iter().any(|it| it.permits(action));
    let missing: Vec<&str> = NEEDED.into_iter().filter(lacks).collect();
    (!permissions.is_empty() && !missing.is_empty()).then(|| missing.join(" and "))
}
