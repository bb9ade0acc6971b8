//! Whether the resource provider is registered, serves the region and speaks the version. PURE.

use super::{ConditionUpdate, Grant, Register, Subject, lacking, trouble};
use crate::api::conditions::{PROVIDER_REGISTERED, reason};
use crate::azure::{AzureError, ErrorClass, Provider};

/// So many versions are named in a message, the newest first.
const VERSIONS_SHOWN: usize = 12;

/// The finding from the provider as ARM shows it, and from our registration of it, if there was one.
pub(super) fn evaluate(
    answer: &Result<Provider, AzureError>,
    registration: Option<&Result<Provider, AzureError>>,
    subject: &Subject,
) -> ConditionUpdate {
    let Subject {
        subscription,
        region,
        api_version,
        ..
    } = subject;
    let provider = match answer {
        Ok(provider) => provider,
        Err(error) => return unreadable(error, subject),
    };
    if provider.is_unregistered() {
        return match (registration, subject.register) {
            (Some(Err(error)), _) if error.class == ErrorClass::Forbidden => {
                let grant = Grant {
                    what: "the subscription, and spec.registerProvider asks for it",
                    scope: &format!("/subscriptions/{subscription}"),
                    role: "Contributor",
                };
                let action = "Microsoft.ContainerInstance/register/action";
                let why = lacking(error, action, &grant, subject);
                ConditionUpdate::bad(
                    PROVIDER_REGISTERED,
                    reason::NOT_REGISTERED,
                    format!("{}; {why}", state(provider, subscription)),
                )
            }
            (Some(Err(error)), _) => trouble(PROVIDER_REGISTERED, error),
            (Some(Ok(_)), _) | (None, Register::Asked) => registering(subscription),
            (None, _) => not_registered(provider, subscription),
        };
    }
    if provider
        .registration_state
        .eq_ignore_ascii_case("Registering")
    {
        return registering(subscription);
    }
    if !provider.is_registered() {
        return not_registered(provider, subscription);
    }
    if !provider.serves(region) {
        return ConditionUpdate::bad(
            PROVIDER_REGISTERED,
            reason::REGION_NOT_AVAILABLE,
            format!(
                "Azure Container Instances are not offered in region {region}; create a connector in another region and delete this one (list them with: az provider show --namespace Microsoft.ContainerInstance)"
            ),
        );
    }
    if !provider.answers(api_version) {
        let versions: Vec<&str> = provider.api_versions().take(VERSIONS_SHOWN).collect();
        return ConditionUpdate::bad(
            PROVIDER_REGISTERED,
            reason::API_VERSION_NOT_AVAILABLE,
            format!(
                "Azure does not answer version {api_version} of the container instance API; set spec.containerInstanceAPIVersion to one of {}",
                versions.join(", ")
            ),
        );
    }
    let message = format!("Microsoft.ContainerInstance is registered and serves {region}");
    ConditionUpdate::good(PROVIDER_REGISTERED, reason::REGISTERED, message)
}

fn unreadable(error: &AzureError, subject: &Subject) -> ConditionUpdate {
    let subscription = &subject.subscription;
    match error.class {
        ErrorClass::SubscriptionNotFound => ConditionUpdate::bad(
            PROVIDER_REGISTERED,
            reason::SUBSCRIPTION_NOT_FOUND,
            format!(
                "subscription {subscription} does not exist or the identity has no role in it; correct spec.subscriptionID or AZURE_SUBSCRIPTION_ID of the credentials, or give the identity a role"
            ),
        ),
        ErrorClass::ProviderNotRegistered => not_registered(&Provider::default(), subscription),
        // A role on the resource group alone does not let us look, and is enough for everything else.
        ErrorClass::Forbidden => {
            let grant = Grant {
                what: "the subscription",
                scope: &format!("/subscriptions/{subscription}"),
                role: "Reader",
            };
            let action = "Microsoft.Resources/subscriptions/providers/read";
            let why = lacking(error, action, &grant, subject);
            ConditionUpdate {
                blocks: false,
                ..ConditionUpdate::later(
                    PROVIDER_REGISTERED,
                    reason::ARM_ERROR,
                    format!(
                        "whether Microsoft.ContainerInstance is registered is not known, and pods run all the same if it is: {why}"
                    ),
                )
            }
        }
        _ => trouble(PROVIDER_REGISTERED, error),
    }
}

fn registering(subscription: &str) -> ConditionUpdate {
    ConditionUpdate::later(
        PROVIDER_REGISTERED,
        reason::REGISTERING,
        format!(
            "resource provider Microsoft.ContainerInstance is being registered in subscription {subscription}; this takes a few minutes"
        ),
    )
}

fn not_registered(provider: &Provider, subscription: &str) -> ConditionUpdate {
    let state = state(provider, subscription);
    ConditionUpdate::bad(
        PROVIDER_REGISTERED,
        reason::NOT_REGISTERED,
        format!(
            "{state}; run: az provider register --namespace Microsoft.ContainerInstance --subscription {subscription}"
        ),
    )
}

fn state(provider: &Provider, subscription: &str) -> String {
    let state = match provider.registration_state.as_str() {
        "" => "NotRegistered",
        state => state,
    };
    format!(
        "resource provider Microsoft.ContainerInstance is {state} in subscription {subscription}"
    )
}
