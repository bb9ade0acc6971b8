//! What Azure says about a connector: token, resource provider, resource group, subnet, quota.
//!
//! The judgement is pure ([`Report`] to [`Finding`]); [`ask`] is the only function that calls Azure.

pub(super) mod credentials;
mod quota;
mod subnet;

use chrono::{DateTime, Utc};

use crate::api::conditions::{
    PROVIDER_REGISTERED, QUOTA_SUFFICIENT, RESOURCE_GROUP_READY, SUBNET_READY, Status, Wanted,
    reason,
};
use crate::azure::{ArmClient, AzureError, ErrorClass, Provider, ResourceGroup, SubnetPath, Usage};

/// What a check found, in the terms of a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Type of the condition.
    pub condition: &'static str,
    /// Its status.
    pub status: Status,
    /// Its reason.
    pub reason: &'static str,
    /// Its message.
    pub message: String,
    /// Whether it keeps the connector from being Ready.
    pub blocks: bool,
    /// Whether only a person can cure it.
    pub stalled: bool,
}

impl Finding {
    fn good(condition: &'static str, reason: &'static str, message: String) -> Self {
        Self {
            condition,
            status: Status::True,
            reason,
            message,
            blocks: false,
            stalled: false,
        }
    }

    /// Somebody has to change something.
    fn bad(condition: &'static str, reason: &'static str, message: String) -> Self {
        Self {
            condition,
            status: Status::False,
            reason,
            message,
            blocks: true,
            stalled: true,
        }
    }

    /// It may pass; we ask again.
    fn later(condition: &'static str, reason: &'static str, message: String) -> Self {
        Self {
            condition,
            status: Status::Unknown,
            reason,
            message,
            blocks: true,
            stalled: false,
        }
    }

    /// Not asked, because an earlier check failed; that one blocks.
    fn skipped(condition: &'static str, why: &str) -> Self {
        Self {
            blocks: false,
            ..Self::later(condition, reason::PENDING, why.to_owned())
        }
    }

    /// The condition to write.
    pub fn wanted(&self) -> Wanted {
        Wanted::new(
            self.condition,
            self.status,
            self.reason,
            self.message.clone(),
        )
    }
}

/// Who asks, for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Kind and client ID of the identity.
    pub who: String,
    /// Where it is set: `Secret <namespace>/<name>`.
    pub source: String,
    /// When its certificate expires.
    pub expires: Option<DateTime<Utc>>,
    /// Client ID of the identity; empty for a system-assigned one.
    pub client: String,
    /// Subscription.
    pub subscription: String,
    /// Region.
    pub region: String,
    /// Resource group.
    pub resource_group: String,
    /// ARM ID of the subnet, where there is one.
    pub subnet: Option<String>,
}

/// Answers of Azure. An answer is absent when the question was not asked.
#[derive(Debug, Clone)]
pub struct Report {
    token: Result<(), AzureError>,
    provider: Option<Result<Provider, AzureError>>,
    resource_group: Option<Result<Option<ResourceGroup>, AzureError>>,
    usages: Option<Result<Vec<Usage>, AzureError>>,
    subnet: Option<subnet::Answers>,
}

/// Asks Azure, in at most six calls; each has its own time-out in the client.
pub async fn ask(arm: &ArmClient, subject: &Subject) -> Report {
    let token = arm.check_token().await;
    if token.is_err() {
        return Report {
            token,
            provider: None,
            resource_group: None,
            usages: None,
            subnet: None,
        };
    }
    let subnet = async {
        let path = SubnetPath::parse(subject.subnet.as_deref()?)?;
        let (subnet, network) = tokio::join!(arm.subnet(&path), arm.virtual_network(&path));
        Some(subnet::Answers { subnet, network })
    };
    let (provider, resource_group, usages, subnet) = tokio::join!(
        arm.provider(),
        arm.resource_group(&subject.resource_group),
        arm.usages(&subject.region),
        subnet,
    );
    Report {
        token,
        provider: Some(provider),
        resource_group: Some(resource_group),
        usages: Some(usages),
        subnet,
    }
}

/// The findings, in the order in which a person should cure them.
pub fn judge(report: &Report, subject: &Subject, now: DateTime<Utc>) -> Vec<Finding> {
    let waiting = "waits for the credentials";
    let provider = report.provider.as_ref();
    let group = report.resource_group.as_ref();
    let registered = provider.map_or_else(
        || Finding::skipped(PROVIDER_REGISTERED, waiting),
        |answer| registration(answer, subject),
    );
    // Without the provider, or outside its regions, there are no quotas.
    let usages = match (&report.usages, registered.blocks) {
        (None, _) => Finding::skipped(QUOTA_SUFFICIENT, waiting),
        (Some(_), true) => Finding::skipped(QUOTA_SUFFICIENT, "waits for the resource provider"),
        (Some(answer), false) => quota::judge(answer, subject),
    };
    let subnet =
        subject
            .subnet
            .as_deref()
            .map(|id| match (&report.subnet, SubnetPath::parse(id)) {
                (Some(answers), Some(path)) => subnet::judge(answers, id, &path, subject),
                _ => Finding::skipped(SUBNET_READY, waiting),
            });
    let mut findings = vec![
        credentials::judge(&report.token, provider, subject, now),
        registered,
        group.map_or_else(
            || Finding::skipped(RESOURCE_GROUP_READY, waiting),
            |answer| existence(answer, subject),
        ),
    ];
    findings.extend(subnet);
    findings.push(usages);
    findings
}

fn registration(answer: &Result<Provider, AzureError>, subject: &Subject) -> Finding {
    let Subject {
        subscription,
        region,
        ..
    } = subject;
    let register = format!(
        "az provider register --namespace Microsoft.ContainerInstance --subscription {subscription}"
    );
    let provider = match answer {
        Ok(provider) => provider,
        Err(error) => {
            return match error.class {
                ErrorClass::SubscriptionNotFound => Finding::bad(
                    PROVIDER_REGISTERED,
                    reason::SUBSCRIPTION_NOT_FOUND,
                    format!(
                        "subscription {subscription} does not exist or the identity has no role in it; correct spec.subscriptionID or AZURE_SUBSCRIPTION_ID of the credentials, or give the identity a role"
                    ),
                ),
                ErrorClass::ProviderNotRegistered => {
                    not_registered("NotRegistered", subscription, &register)
                }
                // A role on the resource group alone does not let us look, and is enough for everything else.
                ErrorClass::Forbidden => Finding {
                    blocks: false,
                    ..Finding::later(
                        PROVIDER_REGISTERED,
                        reason::ARM_ERROR,
                        format!(
                            "the identity may not read the resource providers of subscription {subscription}; whether Microsoft.ContainerInstance is registered is not known"
                        ),
                    )
                },
                _ => trouble(PROVIDER_REGISTERED, error),
            };
        }
    };
    if provider
        .registration_state
        .eq_ignore_ascii_case("Registering")
    {
        return Finding::later(
            PROVIDER_REGISTERED,
            reason::REGISTERING,
            format!(
                "resource provider Microsoft.ContainerInstance is being registered in subscription {subscription}; this takes a few minutes"
            ),
        );
    }
    if !provider.is_registered() {
        return not_registered(&provider.registration_state, subscription, &register);
    }
    if !provider.serves(region) {
        return Finding::bad(
            PROVIDER_REGISTERED,
            reason::REGION_NOT_AVAILABLE,
            format!(
                "Azure Container Instances are not offered in region {region}; create a connector in another region and delete this one (list them with: az provider show --namespace Microsoft.ContainerInstance)"
            ),
        );
    }
    let message = format!("Microsoft.ContainerInstance is registered and serves {region}");
    Finding::good(PROVIDER_REGISTERED, reason::REGISTERED, message)
}

fn not_registered(state: &str, subscription: &str, register: &str) -> Finding {
    let state = if state.is_empty() {
        "NotRegistered"
    } else {
        state
    };
    Finding::bad(
        PROVIDER_REGISTERED,
        reason::NOT_REGISTERED,
        format!(
            "resource provider Microsoft.ContainerInstance is {state} in subscription {subscription}; run: {register}"
        ),
    )
}

fn existence(answer: &Result<Option<ResourceGroup>, AzureError>, subject: &Subject) -> Finding {
    let Subject {
        subscription,
        region,
        resource_group,
        client,
        ..
    } = subject;
    let client = if client.is_empty() {
        "PRINCIPAL-ID"
    } else {
        client
    };
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
        Err(error) if error.class == ErrorClass::Forbidden => Finding::bad(
            RESOURCE_GROUP_READY,
            reason::RESOURCE_GROUP_FORBIDDEN,
            format!(
                "the identity has no role on resource group {resource_group}; run: az role assignment create --assignee {client} --role Contributor --scope /subscriptions/{subscription}/resourceGroups/{resource_group}"
            ),
        ),
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

/// ARM has not answered the question.
fn trouble(condition: &'static str, error: &AzureError) -> Finding {
    let what = match error.class {
        ErrorClass::Throttled => "Azure Resource Manager throttles requests, trying again",
        ErrorClass::Unavailable | ErrorClass::Timeout | ErrorClass::Connection => {
            "Azure Resource Manager could not be reached, trying again"
        }
        ErrorClass::Unauthenticated => "Azure Resource Manager refused the token",
        _ => "Azure Resource Manager answered unexpectedly, trying again",
    };
    let reason = reason_of(error).unwrap_or(reason::ARM_ERROR);
    Finding::later(condition, reason, format!("{what}: {error}"))
}

/// The reason of an error that is about ARM as a whole.
fn reason_of(error: &AzureError) -> Option<&'static str> {
    match error.class {
        ErrorClass::Throttled => Some(reason::ARM_THROTTLED),
        ErrorClass::Unavailable | ErrorClass::Timeout | ErrorClass::Connection => {
            Some(reason::ARM_UNREACHABLE)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
