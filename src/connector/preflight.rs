//! What Azure says about a connector: token, resource provider, resource group, subnet, quota.
//!
//! The judgement is pure ([`Report`] to [`ConditionUpdate`]); [`ask`] is the only function that calls Azure.

pub(super) mod credentials;
mod provider;
mod quota;
mod resource_group;
mod subnet;

use chrono::{DateTime, Utc};

use super::validate::Resolved;
use crate::api::conditions::{
    PROVIDER_REGISTERED, QUOTA_SUFFICIENT, RESOURCE_GROUP_READY, SUBNET_READY, Status, Wanted,
    reason,
};
use crate::api::{CapacitySource, Priority, VirtualKubeletConnectorSpec};
use crate::azure::model::{Container, ContainerGroup, ContainerProperties, GroupProperties};
use crate::azure::{
    ArmClient, AzureError, Capability, ErrorClass, Permission, Provider, ResourceGroup, SubnetPath,
    Usage,
};

/// What a check found, in the terms of a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConditionUpdate {
    /// Type of the condition.
    pub condition: &'static str,
    pub status: Status,
    pub reason: &'static str,
    pub message: String,
    /// Whether it keeps the connector from being Ready.
    pub blocks: bool,
    /// Whether only a person can cure it.
    pub stalled: bool,
}

impl ConditionUpdate {
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
    pub subscription: String,
    pub region: String,
    pub resource_group: String,
    /// ARM ID of the subnet, where there is one.
    pub subnet: Option<String>,
    /// Version of the container instance API.
    pub api_version: String,
    /// Whether we are to register the resource provider.
    pub register: Register,
    /// The container groups are Spot ones, which have a quota of their own.
    pub spot: bool,
    /// The nodes' capacity follows the quota, so that our own container groups have to be told from those of others.
    pub follows_quota: bool,
}

impl Subject {
    /// The one of a connector with this spec.
    pub fn new(
        spec: &VirtualKubeletConnectorSpec,
        resolved: &Resolved,
        register: Register,
    ) -> Self {
        Self {
            who: resolved.who.clone(),
            source: resolved.source.clone(),
            expires: resolved.expires,
            client: resolved.identity.client_id.clone().unwrap_or_default(),
            subscription: resolved.subscription.clone(),
            region: spec.region.clone(),
            resource_group: spec.aci_resource_group.clone(),
            subnet: spec.subnet_id.clone(),
            api_version: spec.container_instance_api_version.clone(),
            register,
            spot: spec
                .operating_systems()
                .iter()
                .all(|os| spec.on(*os).container_group.priority == Priority::Spot),
            follows_quota: spec.node.capacity_source == CapacitySource::Quota,
        }
    }

    /// Whom a role is assigned to; a system-assigned identity has no client ID that is known here.
    fn assignee(&self) -> &str {
        if self.client.is_empty() {
            "PRINCIPAL-ID"
        } else {
            &self.client
        }
    }
}

/// What is done about a resource provider that nobody has registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Register {
    /// Nothing but saying so.
    No,
    Yes,
    /// It was, a moment ago, and ARM has not noticed yet.
    Asked,
}

impl Register {
    /// What the spec asks for.
    pub fn of(spec: &VirtualKubeletConnectorSpec) -> Self {
        if spec.register_provider {
            Self::Yes
        } else {
            Self::No
        }
    }
}

/// Answers of Azure. An answer is absent when the question was not asked.
#[derive(Debug, Clone)]
pub struct Report {
    token: Result<(), AzureError>,
    provider: Option<Result<Provider, AzureError>>,
    /// What became of registering it.
    registration: Option<Result<Provider, AzureError>>,
    resource_group: Option<Result<Option<ResourceGroup>, AzureError>>,
    /// What we may do there.
    permissions: Option<Result<Vec<Permission>, AzureError>>,
    usages: Option<Result<Vec<Usage>, AzureError>>,
    capabilities: Option<Result<Vec<Capability>, AzureError>>,
    subnet: Option<subnet::Answers>,
    /// Every container group of the resource group.
    groups: Option<Result<Vec<ContainerGroup>, AzureError>>,
}

impl Report {
    fn without_token(error: AzureError) -> Self {
        Self {
            token: Err(error),
            provider: None,
            registration: None,
            resource_group: None,
            permissions: None,
            usages: None,
            capabilities: None,
            subnet: None,
            groups: None,
        }
    }

    /// Quotas of the region.
    pub fn usages(&self) -> Option<&Result<Vec<Usage>, AzureError>> {
        self.usages.as_ref()
    }

    /// How large a container group may be in the region; `None` when that is not known.
    pub fn capabilities(&self) -> Option<&[Capability]> {
        self.capabilities.as_ref()?.as_deref().ok()
    }

    /// The container groups of the resource group, read before the quotas; `None` when they are not known.
    pub fn groups(&self) -> Option<&[ContainerGroup]> {
        self.groups.as_ref()?.as_deref().ok()
    }

    /// Whether ARM took our registration of the resource provider.
    pub fn has_registered(&self) -> bool {
        matches!(self.registration, Some(Ok(_)))
    }
}

/// What the quota is told by: where a container group is, whose, and how large. The rest of it is not kept.
fn for_quota(group: ContainerGroup) -> ContainerGroup {
    let slim = |container: Container| Container {
        properties: ContainerProperties {
            resources: container.properties.resources,
            ..ContainerProperties::default()
        },
        ..Container::default()
    };
    ContainerGroup {
        location: group.location,
        tags: group.tags,
        properties: GroupProperties {
            containers: group.properties.containers.into_iter().map(slim).collect(),
            ..GroupProperties::default()
        },
        ..ContainerGroup::default()
    }
}

/// Asks Azure, in at most ten calls; each has its own time-out in the client.
pub async fn ask(arm: &ArmClient, subject: &Subject) -> Report {
    let token = arm.check_token().await;
    if let Err(error) = token {
        return Report::without_token(error);
    }
    let provider = async {
        let provider = arm.provider().await;
        let registers = subject.register == Register::Yes
            && provider.as_ref().is_ok_and(Provider::is_unregistered);
        let registration = if registers {
            Some(arm.register_provider().await)
        } else {
            None
        };
        (provider, registration)
    };
    let subnet = async {
        let path = SubnetPath::parse(subject.subnet.as_deref()?)?;
        let (subnet, network) = tokio::join!(arm.subnet(&path), arm.virtual_network(&path));
        Some(subnet::Answers { subnet, network })
    };
    // One after the other: a group that is made between the two then counts as somebody else's, for this once.
    let usages = async {
        let groups = if subject.follows_quota {
            let keep = |group| Some(for_quota(group));
            Some(arm.list_groups(&subject.resource_group, keep).await)
        } else {
            None
        };
        (groups, arm.usages(&subject.region).await)
    };
    let (
        (provider, registration),
        resource_group,
        permissions,
        (groups, usages),
        capabilities,
        subnet,
    ) = tokio::join!(
        provider,
        arm.resource_group(&subject.resource_group),
        arm.permissions(&subject.resource_group),
        usages,
        arm.capabilities(&subject.region),
        subnet,
    );
    Report {
        token,
        provider: Some(provider),
        registration,
        resource_group: Some(resource_group),
        permissions: Some(permissions),
        usages: Some(usages),
        capabilities: Some(capabilities),
        subnet,
        groups,
    }
}

/// The findings, in the order in which a person should cure them.
pub fn evaluate(report: &Report, subject: &Subject, now: DateTime<Utc>) -> Vec<ConditionUpdate> {
    let waiting = "waits for the credentials";
    let provider = report.provider.as_ref();
    let group = report.resource_group.as_ref();
    let registered = provider.map_or_else(
        || ConditionUpdate::skipped(PROVIDER_REGISTERED, waiting),
        |answer| provider::evaluate(answer, report.registration.as_ref(), subject),
    );
    // Without the provider, or outside its regions, there are no quotas.
    let usages = match (&report.usages, registered.blocks) {
        (None, _) => ConditionUpdate::skipped(QUOTA_SUFFICIENT, waiting),
        (Some(_), true) => {
            ConditionUpdate::skipped(QUOTA_SUFFICIENT, "waits for the resource provider")
        }
        (Some(answer), false) => quota::evaluate(answer, subject),
    };
    let subnet =
        subject
            .subnet
            .as_deref()
            .map(|id| match (&report.subnet, SubnetPath::parse(id)) {
                (Some(answers), Some(path)) => subnet::evaluate(answers, id, &path, subject),
                _ => ConditionUpdate::skipped(SUBNET_READY, waiting),
            });
    let mut findings = vec![
        credentials::evaluate(&report.token, provider, subject, now),
        registered,
        group.map_or_else(
            || ConditionUpdate::skipped(RESOURCE_GROUP_READY, waiting),
            |answer| resource_group::evaluate(answer, report.permissions.as_ref(), subject),
        ),
    ];
    findings.extend(subnet);
    findings.push(usages);
    findings
}

/// The sentence about a missing right: what ARM says is lacking, else `action`, and the assignment that gives it.
fn lacking(error: &AzureError, action: &str, grant: &Grant, subject: &Subject) -> String {
    let lacking = error.lacking().map_or(action, |it| it.action);
    lacks(lacking, grant, subject)
}

/// The sentence about rights that are missing, and the assignment that gives them.
fn lacks(actions: &str, grant: &Grant, subject: &Subject) -> String {
    let Grant { what, scope, role } = grant;
    let client = subject.assignee();
    format!(
        "the identity lacks {actions} on {what}; run: az role assignment create --assignee {client} --role {role} --scope {scope}"
    )
}

/// A role on a scope.
struct Grant<'a> {
    /// The scope, in words.
    what: &'a str,
    scope: &'a str,
    /// A built-in role, quoted as a shell needs it.
    role: &'a str,
}

/// ARM has not answered the question.
fn trouble(condition: &'static str, error: &AzureError) -> ConditionUpdate {
    let what = match error.class {
        ErrorClass::Throttled => "Azure Resource Manager throttles requests, trying again",
        ErrorClass::Unavailable | ErrorClass::Timeout | ErrorClass::Connection => {
            "Azure Resource Manager could not be reached, trying again"
        }
        ErrorClass::Unauthenticated => "Azure Resource Manager refused the token",
        _ => "Azure Resource Manager answered unexpectedly, trying again",
    };
    let reason = reason_of(error).unwrap_or(reason::ARM_ERROR);
    ConditionUpdate::later(condition, reason, format!("{what}: {error}"))
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
