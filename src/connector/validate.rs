//! Spec and Secret to what the next steps need, or the sentence that says what is missing. PURE.

use std::fmt;

use chrono::{DateTime, Utc};
use k8s_openapi::api::core::v1::Secret;

use super::identity::{self, Environment};
use super::trust;
use crate::api::conditions::{CREDENTIALS_READY, READY, reason};
use crate::api::{
    Cloud, CredentialsType, CustomCloud, IdentityStatus, SecretReference,
    VirtualKubeletConnectorSpec, is_guid, subnet_problem, validate,
};
use crate::azure::{Credential, Endpoints};

/// What became of reading `spec.credentials.secretRef`.
#[derive(Clone, PartialEq)]
pub enum SecretState {
    /// The spec names none.
    NotNamed,
    Found(Box<Secret>),
    /// It does not exist.
    Missing,
    /// RBAC does not let the operator read it.
    Forbidden,
    /// The API server did not give it, for a reason that passes.
    Unreadable(String),
}

/// Without the Secret's values.
impl fmt::Debug for SecretState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotNamed => f.write_str("NotNamed"),
            Self::Found(secret) => f.debug_tuple("Found").field(&secret.metadata.name).finish(),
            Self::Missing => f.write_str("Missing"),
            Self::Forbidden => f.write_str("Forbidden"),
            Self::Unreadable(why) => f.debug_tuple("Unreadable").field(why).finish(),
        }
    }
}

/// Everything that the steps towards Azure need.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolved {
    /// Where ARM and Entra ID are.
    pub endpoints: Endpoints,
    /// Subscription of the container groups.
    pub subscription: String,
    pub credential: Credential,
    /// The same for the status, without secrets.
    pub identity: IdentityStatus,
    /// Kind and client ID of the identity, for messages.
    pub who: String,
    /// Where the identity is set, for messages: `Secret <namespace>/<name>`.
    pub source: String,
    /// When the identity's certificate expires, if it has one.
    pub expires: Option<DateTime<Utc>>,
}

/// Why a connector cannot be acted on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The condition it belongs to: `Ready` when there is none of its own.
    pub condition: &'static str,
    /// One of [`reason`].
    pub reason: &'static str,
    /// What is wrong, on what, and what to do.
    pub message: String,
    /// No retry will cure it.
    pub stalled: bool,
}

impl Problem {
    pub(super) fn spec(message: impl Into<String>) -> Self {
        Self {
            condition: READY,
            reason: reason::INVALID_SPEC,
            message: message.into(),
            stalled: true,
        }
    }

    pub(super) fn credentials(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            condition: CREDENTIALS_READY,
            reason,
            message: message.into(),
            stalled: true,
        }
    }
}

/// Namespace and name of the Secret that a spec names; the namespace defaults to the operator's.
pub fn secret_reference(
    spec: &VirtualKubeletConnectorSpec,
    operator_namespace: &str,
) -> Option<(String, String)> {
    let reference = spec.credentials.as_ref()?.secret_ref.as_ref()?;
    Some(named(reference, operator_namespace))
}

/// Namespace and name of `reference`.
pub(super) fn named(reference: &SecretReference, operator_namespace: &str) -> (String, String) {
    let namespace = reference.namespace.as_deref().unwrap_or(operator_namespace);
    (namespace.to_owned(), reference.name.clone())
}

/// Brings spec, Secret and the operator's environment together.
///
/// # Errors
/// The first thing that a person has to put right.
pub fn resolve(
    spec: &VirtualKubeletConnectorSpec,
    secret: &SecretState,
    operator_namespace: &str,
    environment: &Environment,
) -> Result<Resolved, Problem> {
    let problems: Vec<String> = validate(spec).iter().map(ToString::to_string).collect();
    if !problems.is_empty() {
        return Err(Problem::spec(problems.join("; ")));
    }
    let endpoints = endpoints(spec.cloud, spec.custom_cloud.as_ref())?
        .with_api_version(&spec.container_instance_api_version);
    let chosen = match &spec.credentials {
        None => identity::own(environment)?,
        Some(credentials) if credentials.type_ == CredentialsType::ServicePrincipal => {
            let Some((namespace, name)) = secret_reference(spec, operator_namespace) else {
                return Err(Problem::spec(
                    "spec.credentials.secretRef is required for type ServicePrincipal",
                ));
            };
            let title = format!("Secret {namespace}/{name}");
            let wanted = Wanted {
                condition: CREDENTIALS_READY,
                title: &title,
                create: " with the keys AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET and AZURE_SUBSCRIPTION_ID",
                or_else: ", or give the operator's service account a Role with get and watch on that Secret",
                waits: "",
            };
            let secret = wanted.found(secret, operator_namespace)?;
            identity::service_principal(credentials, secret, title)?
        }
        Some(credentials) => identity::named(credentials, environment)?,
    };
    trust::check(
        &endpoints,
        &chosen.origin,
        &environment.allowed,
        &chosen.who,
        &chosen.source,
    )?;
    let subscription = subscription(spec, &chosen)?;
    Ok(Resolved {
        endpoints,
        subscription,
        credential: chosen.credential,
        identity: chosen.status,
        who: chosen.who,
        source: chosen.source,
        expires: chosen.expires,
    })
}

/// The subscription of the spec, else the one that came with the identity.
fn subscription(
    spec: &VirtualKubeletConnectorSpec,
    chosen: &identity::Chosen,
) -> Result<String, Problem> {
    let key = &chosen.subscription_key;
    let subscription = spec
        .subscription_id
        .clone()
        .or_else(|| chosen.subscription.clone());
    let Some(subscription) = subscription else {
        return Err(Problem::credentials(
            reason::SUBSCRIPTION_UNKNOWN,
            format!("the subscription is not known; set spec.subscriptionID or {key}"),
        ));
    };
    // It becomes a part of URLs.
    if !is_guid(&subscription) {
        return Err(Problem::credentials(
            reason::SECRET_INVALID,
            format!(
                "{key} is not a subscription ID; it is a GUID, like 11111111-2222-3333-4444-555555555555"
            ),
        ));
    }
    match subnet_problem(spec, &subscription) {
        Some(problem) => Err(Problem::spec(problem.to_string())),
        None => Ok(subscription),
    }
}

/// Where a cloud is reached.
///
/// # Errors
/// What is wrong with the endpoints of a custom one.
pub fn endpoints(cloud: Cloud, custom: Option<&CustomCloud>) -> Result<Endpoints, Problem> {
    match (cloud, custom) {
        (Cloud::AzurePublicCloud, _) => Ok(Endpoints::public()),
        (Cloud::AzureUSGovernmentCloud, _) => Ok(Endpoints::us_government()),
        (Cloud::AzureChinaCloud, _) => Ok(Endpoints::china()),
        (Cloud::Custom, None) => Err(Problem::spec(
            "spec.customCloud is required for cloud Custom",
        )),
        (Cloud::Custom, Some(custom)) => Endpoints::custom(
            &custom.resource_manager_endpoint,
            &custom.authority_host,
            custom.audience.as_deref(),
            custom.ca_bundle.as_deref(),
        )
        .map_err(|error| Problem::spec(format!("spec.customCloud: {error}"))),
    }
}

/// A Secret that has to be there, and what is told of it when it is not.
pub(super) struct Wanted<'a> {
    pub(super) condition: &'static str,
    /// What it is called.
    pub(super) title: &'a str,
    /// As what it is to be created.
    pub(super) create: &'a str,
    /// What helps besides another namespace when the operator may not read it.
    pub(super) or_else: &'a str,
    /// What waits for it.
    pub(super) waits: &'a str,
}

impl Wanted<'_> {
    /// # Errors
    /// It is not there.
    pub(super) fn found<'s>(
        &self,
        state: &'s SecretState,
        operator_namespace: &str,
    ) -> Result<&'s Secret, Problem> {
        let Self {
            title,
            create,
            or_else,
            waits,
            ..
        } = self;
        let (reason, message) = match state {
            SecretState::Found(secret) => return Ok(secret),
            SecretState::Missing | SecretState::NotNamed => (
                reason::SECRET_NOT_FOUND,
                format!("{title} does not exist; create it{create}{waits}"),
            ),
            SecretState::Forbidden => (
                reason::SECRET_FORBIDDEN,
                format!(
                    "the operator may not read {title}; put it into namespace {operator_namespace}{or_else}{waits}"
                ),
            ),
            SecretState::Unreadable(why) => (
                reason::API_SERVER_ERROR,
                format!("{title} could not be read: {why}"),
            ),
        };
        let stalled = !matches!(state, SecretState::Unreadable(_));
        Err(self.problem(reason, message, stalled))
    }

    /// What is wrong with it.
    pub(super) fn invalid(&self, message: String) -> Problem {
        self.problem(reason::SECRET_INVALID, message, true)
    }

    fn problem(&self, reason: &'static str, message: String, stalled: bool) -> Problem {
        Problem {
            condition: self.condition,
            reason,
            message,
            stalled,
        }
    }
}

/// A value without the line end that `echo` and editors leave behind; an empty one counts as missing.
pub(super) fn value(secret: &Secret, key: &str) -> Option<String> {
    let bytes = &secret.data.as_ref()?.get(key)?.0;
    let text = std::str::from_utf8(bytes).ok()?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use k8s_openapi::ByteString;
    use serde_json::json;

    pub(in crate::connector) fn spec(more: &serde_json::Value) -> VirtualKubeletConnectorSpec {
        let mut base = json!({
            "osType": "Both", "region": "eastus", "aciResourceGroup": "rg",
            "credentials": {"type": "ServicePrincipal", "secretRef": {"name": "sp"}},
        });
        for (key, value) in more.as_object().unwrap() {
            base[key] = value.clone();
        }
        serde_json::from_value(base).unwrap()
    }

    pub(in crate::connector) fn secret(without: &str) -> SecretState {
        let data = [
            ("AZURE_TENANT_ID", "t"),
            ("AZURE_CLIENT_ID", "c"),
            ("AZURE_CLIENT_SECRET", "s3cr3t\n"),
            (
                "AZURE_SUBSCRIPTION_ID",
                "11111111-2222-3333-4444-555555555555",
            ),
        ];
        let data = data.iter().filter(|(key, _)| *key != without);
        SecretState::Found(Box::new(Secret {
            data: Some(
                data.map(|(k, v)| ((*k).to_owned(), ByteString(v.as_bytes().to_vec())))
                    .collect(),
            ),
            ..Secret::default()
        }))
    }

    const GUID: &str = "11111111-2222-3333-4444-555555555555";

    #[test]
    fn an_identity_without_a_secret_takes_the_subscription_of_the_spec() {
        let more = json!({"credentials": {"type": "ManagedIdentity"}, "subscriptionID": GUID});
        let none = Environment::default();
        let resolved = resolve(&spec(&more), &SecretState::NotNamed, "vkc-system", &none).unwrap();
        assert_eq!(resolved.subscription, GUID);
        assert_eq!(resolved.source, "spec.credentials");
        assert_eq!(resolved.who, "system-assigned managed identity");
    }

    #[test]
    fn a_good_secret_resolves_and_line_ends_are_cut() {
        let resolved = resolve(
            &spec(&json!({})),
            &secret(""),
            "vkc-system",
            &Environment::default(),
        )
        .unwrap();
        let Credential::ServicePrincipalSecret {
            secret, tenant_id, ..
        } = &resolved.credential
        else {
            panic!("{resolved:?}");
        };
        assert_eq!((secret.expose(), tenant_id.as_str()), ("s3cr3t", "t"));
        assert_eq!(resolved.source, "Secret vkc-system/sp");
        assert!(!format!("{resolved:?}").contains("s3cr3t"));
        let bytes = format!("{:?}", "s3cr3t".as_bytes());
        let state = format!("{:?}", super::tests::secret(""));
        assert!(!state.contains("s3cr3t") && !state.contains(bytes.trim_matches(['[', ']'])));
    }

    #[test]
    fn every_problem_says_what_to_do() {
        let ok = json!({});
        let cases: Vec<(serde_json::Value, SecretState, &str, &str, bool)> = vec![
            (
                ok.clone(),
                SecretState::Missing,
                reason::SECRET_NOT_FOUND,
                "Secret vkc-system/sp does not exist; create it",
                true,
            ),
            (
                ok.clone(),
                SecretState::Forbidden,
                reason::SECRET_FORBIDDEN,
                "may not read Secret vkc-system/sp",
                true,
            ),
            (
                ok.clone(),
                SecretState::Unreadable("x".to_owned()),
                reason::API_SERVER_ERROR,
                "could not be read: x",
                false,
            ),
            (
                ok.clone(),
                secret("AZURE_CLIENT_SECRET"),
                reason::SECRET_INVALID,
                "no value under key AZURE_CLIENT_SECRET",
                true,
            ),
            (
                ok.clone(),
                secret("AZURE_TENANT_ID"),
                reason::SECRET_INVALID,
                "spec.credentials.tenantID",
                true,
            ),
            (
                ok.clone(),
                secret("AZURE_CLIENT_ID"),
                reason::SECRET_INVALID,
                "spec.credentials.clientID",
                true,
            ),
            (
                ok,
                secret("AZURE_SUBSCRIPTION_ID"),
                reason::SUBSCRIPTION_UNKNOWN,
                "set spec.subscriptionID",
                true,
            ),
            (
                json!({"cloud": "Custom", "customCloud": {"resourceManagerEndpoint": "http://x", "authorityHost": "https://y"}}),
                secret(""),
                reason::INVALID_SPEC,
                "https",
                true,
            ),
            (
                json!({"credentials": {"type": "WorkloadIdentity", "clientID": GUID, "tenantID": GUID}}),
                SecretState::NotNamed,
                reason::IDENTITY_MISSING,
                "has no AZURE_FEDERATED_TOKEN_FILE",
                true,
            ),
            (
                json!({"credentials": null}),
                SecretState::NotNamed,
                reason::SUBSCRIPTION_UNKNOWN,
                "AZURE_SUBSCRIPTION_ID in the operator's environment",
                true,
            ),
        ];
        for (more, secret, reason, text, stalled) in cases {
            let problem =
                resolve(&spec(&more), &secret, "vkc-system", &Environment::default()).unwrap_err();
            assert_eq!(
                (problem.reason, problem.stalled),
                (reason, stalled),
                "{more} {problem:?}"
            );
            assert!(
                problem.message.contains(text),
                "{text:?} not in {:?}",
                problem.message
            );
        }
    }
}
