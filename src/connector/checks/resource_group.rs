//! Whether the resource group is there for us. PURE.

use super::{Finding, Grant, Subject, lacking, trouble};
use crate::api::conditions::{RESOURCE_GROUP_READY, reason};
use crate::azure::{AzureError, ErrorClass, ResourceGroup};

/// The finding from the answer.
pub(super) fn judge(
    answer: &Result<Option<ResourceGroup>, AzureError>,
    subject: &Subject,
) -> Finding {
    let Subject {
        subscription,
        region,
        resource_group,
        ..
    } = subject;
    match answer {
        Ok(Some(_)) => Finding::good(
            RESOURCE_GROUP_READY,
            reason::RESOURCE_GROUP_FOUND,
            format!("resource group {resource_group} exists"),
        ),
        Ok(None) => Finding::bad(
            RESOURCE_GROUP_READY,
            reason::RESOURCE_GROUP_NOT_FOUND,
            format!(
                "resource group {resource_group} does not exist in subscription {subscription}; run: az group create --name {resource_group} --location {region} --subscription {subscription}"
            ),
        ),
        Err(error) if error.class == ErrorClass::Forbidden => {
            let grant = Grant {
                what: &format!("resource group {resource_group}"),
                scope: &format!("/subscriptions/{subscription}/resourceGroups/{resource_group}"),
                role: "Contributor",
            };
            let action = "Microsoft.Resources/subscriptions/resourceGroups/read";
            Finding::bad(
                RESOURCE_GROUP_READY,
                reason::RESOURCE_GROUP_FORBIDDEN,
                lacking(error, action, &grant, subject),
            )
        }
        Err(error) if error.class == ErrorClass::SubscriptionNotFound => Finding {
            blocks: false,
            ..Finding::bad(
                RESOURCE_GROUP_READY,
                reason::SUBSCRIPTION_NOT_FOUND,
                format!("subscription {subscription} was not found"),
            )
        },
        Err(error) => trouble(RESOURCE_GROUP_READY, error),
    }
}
