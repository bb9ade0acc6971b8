//! Azure, asked before anything is written: what the operator would find out later.

use std::sync::Arc;

use chrono::Utc;
use k8s_openapi::api::core::v1::Secret;

use super::facts::Login;
use super::identity::Choice;
use super::plan::{Plan, Principal};
use crate::api::conditions::{Status, reason};
use crate::azure::{ArmClient, AzureError, Credential, Endpoints, Limiters};
use crate::connector::identity::Environment;
use crate::connector::preflight::{ConditionUpdate, Register, Subject, ask, evaluate};
use crate::connector::validate::{Problem, Resolved, SecretState, resolve};

/// What Azure objects to. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub(super) enum AzureRefusal {
    #[error("{}", .0.message)]
    Problem(Problem),
    #[error(transparent)]
    Client(#[from] AzureError),
    #[error("{}", .0.join("\n"))]
    Findings(Vec<String>),
}

/// Who reads the cluster: the person at the Azure CLI, who may commonly see more, else the service principal.
///
/// # Errors
/// Endpoints or a credential that cannot be used.
pub(super) fn reader(
    endpoints: &Endpoints,
    login: Option<&Login>,
    principal: Option<&Principal>,
    tenant: Option<&str>,
    subscription: Option<&str>,
) -> Result<Option<ArmClient>, AzureError> {
    let by_principal =
        principal
            .zip(tenant)
            .map(|(principal, tenant)| Credential::ServicePrincipalSecret {
                tenant_id: tenant.to_owned(),
                client_id: principal.client_id.clone(),
                secret: principal.secret.clone(),
            });
    let by_login = login.map(|login| Credential::AzureCli {
        subscription: Some(login.id.clone()),
    });
    let named = [
        Endpoints::public(),
        Endpoints::us_government(),
        Endpoints::china(),
    ];
    // The Azure CLI is logged in to one of the named clouds; its tokens are nobody else's.
    let credential = if named.contains(endpoints) {
        by_login.or(by_principal)
    } else {
        by_principal
    };
    let subscription = subscription.or(login.map(|login| login.id.as_str()));
    let Some((credential, subscription)) = credential.zip(subscription) else {
        return Ok(None);
    };
    client(endpoints.clone(), subscription.to_owned(), credential).map(Some)
}

fn client(
    endpoints: Endpoints,
    subscription: String,
    credential: Credential,
) -> Result<ArmClient, AzureError> {
    let limiters = Limiters::new();
    ArmClient::new(endpoints, subscription, credential, &limiters, Arc::new(()))
}

/// Asks Azure as the operator would, with the Secret's credentials.
///
/// # Errors
/// All that keeps the connector from being ready.
pub(super) async fn check(plan: &Plan, secret: &Secret) -> Result<Vec<String>, AzureRefusal> {
    let state = SecretState::Found(Box::new(secret.clone()));
    let resolved = resolve(&plan.spec, &state, &plan.namespace, &Environment::default())
        .map_err(AzureRefusal::Problem)?;
    let arm = client(
        resolved.endpoints.clone(),
        resolved.subscription.clone(),
        resolved.credential.clone(),
    )?;
    let findings = findings(plan, &arm, &resolved).await;
    let (bad, good): (Vec<_>, Vec<_>) = findings.into_iter().partition(|finding| finding.blocks);
    if !bad.is_empty() {
        return Err(AzureRefusal::Findings(sentences(bad)));
    }
    let notable = good
        .into_iter()
        .filter(|finding| finding.status != Status::True);
    Ok(sentences(notable))
}

/// Asks Azure in the name of who runs the command, about what is the same for everybody: the identity that the operator will
/// have is not here.
///
/// # Errors
/// A region, resource group, provider or subnet that cannot be used.
pub(super) async fn check_as(
    plan: &Plan,
    arm: &ArmClient,
    endpoints: &Endpoints,
    choice: &Choice,
) -> Result<(), AzureRefusal> {
    let client_id = match choice {
        Choice::Managed(client) => client.clone(),
        Choice::Workload(client) => Some(client.clone()),
        _ => None,
    };
    let resolved = Resolved {
        endpoints: endpoints.clone(),
        subscription: arm.subscription_id().to_owned(),
        credential: Credential::AzureCli { subscription: None },
        identity: crate::api::IdentityStatus {
            client_id,
            ..crate::api::IdentityStatus::default()
        },
        who: "who is logged in to the Azure CLI".to_owned(),
        source: "az login".to_owned(),
        expires: None,
    };
    let same_for_all = [
        reason::NOT_REGISTERED,
        reason::REGION_NOT_AVAILABLE,
        reason::RESOURCE_GROUP_NOT_FOUND,
        reason::SUBSCRIPTION_NOT_FOUND,
        reason::SUBNET_NOT_FOUND,
        reason::SUBNET_NOT_DELEGATED,
    ];
    let mut findings = findings(plan, arm, &resolved).await;
    findings.retain(|finding| finding.blocks && same_for_all.contains(&finding.reason));
    if findings.is_empty() {
        Ok(())
    } else {
        Err(AzureRefusal::Findings(sentences(findings)))
    }
}

async fn findings(plan: &Plan, arm: &ArmClient, resolved: &Resolved) -> Vec<ConditionUpdate> {
    let subject = Subject::new(&plan.spec, resolved, Register::No);
    evaluate(&ask(arm, &subject).await, &subject, Utc::now())
}

fn sentences(findings: impl IntoIterator<Item = ConditionUpdate>) -> Vec<String> {
    let sentence = |finding: ConditionUpdate| format!("{}: {}", finding.reason, finding.message);
    findings.into_iter().map(sentence).collect()
}
