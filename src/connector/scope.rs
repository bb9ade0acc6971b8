//! Where the container groups of a connector are, pinned at the first success. PURE.
//!
//! A Secret or an edit that leads to another cloud, tenant or subscription is a mistake or another connector: followed, it
//! would make every pod again there and leave the groups that run here to nobody. The pin stands in the status, because
//! only the operator may write that, it is seen beside the identity that it goes with, and it lives as long as the object
//! whose groups it is about.

use super::validate::{Problem, Resolved};
use crate::api::conditions::{CREDENTIALS_READY, READY, reason};
use crate::api::{AzureScope, VirtualKubeletConnectorSpec};

/// What is pinned for what was resolved.
pub(super) fn scope(resolved: &Resolved) -> AzureScope {
    AzureScope {
        resource_manager_endpoint: resolved.endpoints.resource_manager.clone(),
        authority_host: resolved.endpoints.authority_host.clone(),
        tenant_id: resolved.identity.tenant_id.clone(),
        subscription_id: resolved.subscription.clone(),
    }
}

/// What leads somewhere else than is pinned, if so.
pub(super) fn moved(
    pinned: &AzureScope,
    resolved: &Resolved,
    spec: &VirtualKubeletConnectorSpec,
) -> Option<Problem> {
    let now = scope(resolved);
    let same = |a: &str, b: &str| a.eq_ignore_ascii_case(b);
    let stalled = |condition, reason, what: &str, is: &str, was: &str, cure: &str| {
        let message = format!(
            "{what} is {is} now, and the container groups are in {was}: nothing is moved, and what runs goes on; {cure}, or delete this connector and create another one"
        );
        Some(Problem {
            condition,
            reason,
            message,
            stalled: true,
        })
    };
    for (what, is, was) in [
        (
            "the endpoint of Azure Resource Manager",
            &now.resource_manager_endpoint,
            &pinned.resource_manager_endpoint,
        ),
        (
            "the authority host",
            &now.authority_host,
            &pinned.authority_host,
        ),
    ] {
        if !same(is, was) {
            let cure = "set spec.cloud and spec.customCloud back";
            return stalled(READY, reason::CLOUD_CHANGED, what, is, was, cure);
        }
    }
    let from = |field: &str, set: bool| {
        if set {
            format!("set spec.{field} back")
        } else {
            format!("put the former one back into {}", resolved.source)
        }
    };
    if !same(&now.subscription_id, &pinned.subscription_id) {
        let cure = from("subscriptionID", spec.subscription_id.is_some());
        let (is, was) = (&now.subscription_id, &pinned.subscription_id);
        return stalled(
            CREDENTIALS_READY,
            reason::SUBSCRIPTION_CHANGED,
            "the subscription",
            is,
            was,
            &cure,
        );
    }
    // A managed identity does not say its tenant.
    if let (Some(is), Some(was)) = (&now.tenant_id, &pinned.tenant_id)
        && !same(is, was)
    {
        let set = spec
            .credentials
            .as_ref()
            .is_some_and(|credentials| credentials.tenant_id.is_some());
        let cure = from("credentials.tenantID", set);
        return stalled(
            CREDENTIALS_READY,
            reason::TENANT_CHANGED,
            "the tenant",
            is,
            was,
            &cure,
        );
    }
    None
}

/// The same identity, where the container groups are: for agents that have to start while `moved` stands. `None` where
/// that would show a credential to another cloud than it is meant for.
pub(super) fn stay(pinned: &AzureScope, resolved: &Resolved) -> Option<Resolved> {
    let endpoints = &resolved.endpoints;
    let same_cloud = endpoints
        .resource_manager
        .eq_ignore_ascii_case(&pinned.resource_manager_endpoint)
        && endpoints
            .authority_host
            .eq_ignore_ascii_case(&pinned.authority_host);
    same_cloud.then(|| Resolved {
        subscription: pinned.subscription_id.clone(),
        ..resolved.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::super::identity::Environment;
    use super::super::validate::resolve;
    use super::super::validate::tests::{secret, spec};
    use super::*;
    use serde_json::json;

    fn resolved(more: &serde_json::Value) -> (Resolved, VirtualKubeletConnectorSpec) {
        let spec = spec(more);
        let environment = Environment::default();
        let resolved = resolve(&spec, &secret(""), "vkc-system", &environment).unwrap();
        (resolved, spec)
    }

    #[test]
    fn the_same_place_is_no_move_however_it_is_written() {
        let (resolved, spec) = resolved(&json!({}));
        let mut pinned = scope(&resolved);
        assert_eq!(moved(&pinned, &resolved, &spec), None);
        pinned.subscription_id = pinned.subscription_id.to_uppercase();
        pinned.tenant_id = None;
        assert_eq!(
            moved(&pinned, &resolved, &spec),
            None,
            "a tenant that was not known"
        );
    }

    #[test]
    fn another_subscription_tenant_or_cloud_is_stalled_and_says_what_to_put_back() {
        let (resolved, spec) = resolved(&json!({}));
        let other = |change: fn(&mut AzureScope)| {
            let mut pinned = scope(&resolved);
            change(&mut pinned);
            let problem = moved(&pinned, &resolved, &spec).unwrap();
            assert!(problem.stalled && problem.message.contains("nothing is moved"));
            (problem.reason, problem.message, stay(&pinned, &resolved))
        };
        let (word, message, stay) = other(|it| it.subscription_id = "other".to_owned());
        assert_eq!(word, "SubscriptionChanged");
        assert!(
            message.contains("put the former one back into Secret vkc-system/sp"),
            "{message}"
        );
        assert_eq!(stay.unwrap().subscription, "other");
        let (word, _, _) = other(|it| it.tenant_id = Some("other".to_owned()));
        assert_eq!(word, "TenantChanged");
        let (word, message, stay) =
            other(|it| it.resource_manager_endpoint = "https://arm.example.com".to_owned());
        assert_eq!(
            (word, stay),
            ("CloudChanged", None),
            "no credential goes to another cloud"
        );
        assert!(
            message.contains("set spec.cloud and spec.customCloud back"),
            "{message}"
        );
        let (word, _, stay) =
            other(|it| it.authority_host = "https://login.example.com".to_owned());
        assert_eq!((word, stay), ("CloudChanged", None));
    }
}
