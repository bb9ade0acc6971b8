//! Which identity a connector has towards Azure: what the spec names, with its Secret or the environment of the
//! operator's pod. One identity is chosen, and nothing falls back to another. PURE.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use k8s_openapi::api::core::v1::Secret;

use super::trust::AllowedAuthorities;
use super::validate::{Problem, value};
use crate::api::conditions::reason;
use crate::api::names::secret_keys::{
    AUTHORITY_HOST as AUTHORITY, CLIENT_CERTIFICATE as CERTIFICATE,
    CLIENT_CERTIFICATE_PASSWORD as PASSWORD, CLIENT_ID as CLIENT, CLIENT_SECRET as SECRET,
    RESOURCE_MANAGER_ENDPOINT as RESOURCE_MANAGER, SUBSCRIPTION_ID as SUBSCRIPTION,
    TENANT_ID as TENANT,
};
use crate::api::{Credentials, CredentialsType, IdentityStatus};
use crate::azure::model::SecretText;
use crate::azure::{Certificate, CertificateError, Credential, MetadataHost};

const TOKEN_FILE: &str = "AZURE_FEDERATED_TOKEN_FILE";
const METADATA: &str = "AZURE_POD_IDENTITY_AUTHORITY_HOST";
/// Where credentials of the operator's own come from, for messages.
const OWN: &str = "the operator's environment";

/// What the environment of the operator's pod says of identities, under the names of Azure's SDKs and of the workload
/// identity webhook. An empty variable counts as missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment {
    pub(crate) tenant_id: Option<String>,
    pub(crate) client_id: Option<String>,
    pub(crate) client_secret: Option<SecretText>,
    token_file: Option<PathBuf>,
    metadata: Option<String>,
    pub(crate) subscription_id: Option<String>,
    /// Hosts outside of Azure's own clouds that may be shown credentials.
    pub(super) allowed: AllowedAuthorities,
}

impl Environment {
    /// Reads it through `variable`.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let text = |name: &str| {
            let value = variable(name)?.trim().to_owned();
            (!value.is_empty()).then_some(value)
        };
        Self {
            tenant_id: text(TENANT),
            client_id: text(CLIENT),
            client_secret: text(SECRET).map(SecretText::new),
            token_file: text(TOKEN_FILE).map(PathBuf::from),
            metadata: text(METADATA),
            subscription_id: text(SUBSCRIPTION),
            allowed: AllowedAuthorities::default(),
        }
    }

    /// The same where the operator's flags allow these hosts.
    #[must_use]
    pub fn with_allowed(self, allowed: AllowedAuthorities) -> Self {
        Self { allowed, ..self }
    }
}

/// Who has given a credential, and so says who may see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    /// The operator's pod or its node: whoever installed it.
    Operator,
    Secret(NamedBySecret),
}

/// What a Secret says of where it may be shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct NamedBySecret {
    /// The authority that may have its credentials.
    pub(super) authority: Option<String>,
    /// The ARM endpoint that may have any token got with them.
    pub(super) resource_manager: Option<String>,
}

/// An identity that was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) credential: Credential,
    pub(super) status: IdentityStatus,
    pub(super) origin: Origin,
    /// Kind and client ID, for messages.
    pub(super) who: String,
    /// Where it is set, for messages: `Secret <namespace>/<name>`.
    pub(super) source: String,
    /// When its certificate expires.
    pub(super) expires: Option<DateTime<Utc>>,
    /// The subscription that came with it.
    pub(super) subscription: Option<String>,
    /// Where the subscription can be set besides the spec.
    pub(super) subscription_key: String,
}

fn missing(message: String) -> Problem {
    Problem::credentials(reason::IDENTITY_MISSING, message)
}

/// The operator's own identity, for a spec without credentials: workload identity when there is a token file, else a
/// service principal when there is a secret, else the managed identity of the node.
///
/// # Errors
/// Variables of one kind of identity that lack another variable.
pub(super) fn own(environment: &Environment) -> Result<Chosen, Problem> {
    let Environment {
        tenant_id,
        client_id,
        client_secret,
        token_file,
        ..
    } = environment;
    let need = |value: &Option<String>, name: &str, given: &str| {
        value.clone().ok_or_else(|| {
            missing(format!(
                "{OWN} has {given} and no {name}; set {name} too, or set spec.credentials"
            ))
        })
    };
    let (type_, who, credential) = if let Some(file) = token_file {
        let tenant_id = need(tenant_id, TENANT, TOKEN_FILE)?;
        let client_id = need(client_id, CLIENT, TOKEN_FILE)?;
        workload_identity(tenant_id, client_id, file.clone())
    } else if let Some(secret) = client_secret {
        let tenant_id = need(tenant_id, TENANT, SECRET)?;
        let client_id = need(client_id, CLIENT, SECRET)?;
        let who = format!("service principal {client_id}");
        let credential = Credential::ServicePrincipalSecret {
            tenant_id,
            client_id,
            secret: secret.clone(),
        };
        (CredentialsType::ServicePrincipal, who, credential)
    } else {
        managed_identity(client_id.clone(), environment)?
    };
    Ok(chosen(type_, who, credential, OWN.to_owned(), environment))
}

/// The identity that the spec names, of a kind without a Secret.
///
/// # Errors
/// Something that the spec or the operator's pod lacks.
pub(super) fn named(
    credentials: &Credentials,
    environment: &Environment,
) -> Result<Chosen, Problem> {
    let (type_, who, credential) = if credentials.type_ == CredentialsType::ManagedIdentity {
        managed_identity(credentials.client_id.clone(), environment)?
    } else {
        let (Some(tenant_id), Some(client_id)) = (&credentials.tenant_id, &credentials.client_id)
        else {
            return Err(Problem::spec(
                "spec.credentials.clientID and tenantID are required for type WorkloadIdentity",
            ));
        };
        let Some(file) = &environment.token_file else {
            return Err(missing(format!(
                "{OWN} has no {TOKEN_FILE}: label the operator's pods azure.workload.identity/use=\"true\" where the workload identity webhook is installed, or mount a service account token for the audience api://AzureADTokenExchange and set {TOKEN_FILE} to its path"
            )));
        };
        workload_identity(tenant_id.clone(), client_id.clone(), file.clone())
    };
    Ok(chosen(
        type_,
        who,
        credential,
        "spec.credentials".to_owned(),
        environment,
    ))
}

fn workload_identity(
    tenant_id: String,
    client_id: String,
    token_file: PathBuf,
) -> (CredentialsType, String, Credential) {
    let who = format!("workload identity {client_id}");
    let credential = Credential::WorkloadIdentity {
        tenant_id,
        client_id,
        token_file,
    };
    (CredentialsType::WorkloadIdentity, who, credential)
}

fn managed_identity(
    client_id: Option<String>,
    environment: &Environment,
) -> Result<(CredentialsType, String, Credential), Problem> {
    let who = match &client_id {
        Some(client_id) => format!("managed identity {client_id}"),
        None => "system-assigned managed identity".to_owned(),
    };
    let metadata = match &environment.metadata {
        Some(address) => MetadataHost::parse(address).map_err(|error| {
            missing(format!("{METADATA} in {OWN} {error}; correct or unset it"))
        })?,
        None => MetadataHost::default(),
    };
    let credential = Credential::ManagedIdentity {
        client_id,
        metadata,
    };
    Ok((CredentialsType::ManagedIdentity, who, credential))
}

fn chosen(
    type_: CredentialsType,
    who: String,
    credential: Credential,
    source: String,
    environment: &Environment,
) -> Chosen {
    let (tenant_id, client_id) = match &credential {
        Credential::ServicePrincipalSecret {
            tenant_id,
            client_id,
            ..
        }
        | Credential::ServicePrincipalCertificate {
            tenant_id,
            client_id,
            ..
        }
        | Credential::WorkloadIdentity {
            tenant_id,
            client_id,
            ..
        } => (Some(tenant_id.clone()), Some(client_id.clone())),
        Credential::ManagedIdentity { client_id, .. } => (None, client_id.clone()),
        Credential::AzureCli { .. } => (None, None),
    };
    Chosen {
        credential,
        origin: Origin::Operator,
        status: IdentityStatus {
            type_: Some(type_.as_str().to_owned()),
            client_id,
            tenant_id,
            secret_resource_version: None,
        },
        who,
        source,
        expires: None,
        subscription: environment.subscription_id.clone(),
        subscription_key: format!("{SUBSCRIPTION} in {OWN}"),
    }
}

/// A service principal out of its Secret, whose name for messages is `title`.
///
/// # Errors
/// The key that is missing.
pub(super) fn service_principal(
    credentials: &Credentials,
    secret: &Secret,
    title: String,
) -> Result<Chosen, Problem> {
    let missing = |key: &str, instead: &str| {
        Problem::credentials(
            reason::SECRET_INVALID,
            format!("{title} has no value under key {key}; add it{instead}"),
        )
    };
    let tenant_id = credentials.tenant_id.clone();
    let tenant_id = tenant_id
        .or_else(|| value(secret, TENANT))
        .ok_or_else(|| missing(TENANT, " or set spec.credentials.tenantID"))?;
    let client_id = credentials.client_id.clone();
    let client_id = client_id
        .or_else(|| value(secret, CLIENT))
        .ok_or_else(|| missing(CLIENT, " or set spec.credentials.clientID"))?;
    let status = IdentityStatus {
        type_: Some(CredentialsType::ServicePrincipal.as_str().to_owned()),
        client_id: Some(client_id.clone()),
        tenant_id: Some(tenant_id.clone()),
        secret_resource_version: secret.metadata.resource_version.clone(),
    };
    let who = format!("service principal {client_id}");
    // The secret goes first, as in the tools that these keys come from.
    let (credential, expires) = if let Some(secret) = value(secret, SECRET) {
        let credential = Credential::ServicePrincipalSecret {
            tenant_id,
            client_id,
            secret: SecretText::new(secret),
        };
        (credential, None)
    } else if let Some(certificate) = certificate(secret) {
        let certificate = certificate.map_err(|error| {
            let message = format!("key {CERTIFICATE} of {title} {error}");
            Problem::credentials(reason::SECRET_INVALID, message)
        })?;
        let credential = Credential::ServicePrincipalCertificate {
            tenant_id,
            client_id,
            pem: certificate.pem,
        };
        (credential, Some(certificate.not_after))
    } else {
        return Err(missing(
            SECRET,
            ", or a certificate with its key, in PEM or PKCS#12, under AZURE_CLIENT_CERTIFICATE",
        ));
    };
    let origin = Origin::Secret(NamedBySecret {
        authority: value(secret, AUTHORITY),
        resource_manager: value(secret, RESOURCE_MANAGER),
    });
    Ok(Chosen {
        credential,
        origin,
        status,
        who,
        expires,
        subscription: value(secret, SUBSCRIPTION),
        subscription_key: format!("key {SUBSCRIPTION} of {title}"),
        source: title,
    })
}

/// The certificate with its key; `None` where there is nothing under its key of the Secret.
fn certificate(secret: &Secret) -> Option<Result<Certificate, CertificateError>> {
    let bytes = &secret.data.as_ref()?.get(CERTIFICATE)?.0;
    let empty = bytes.iter().all(u8::is_ascii_whitespace);
    // A password may begin or end in a blank; a line end is the editor's.
    let password = secret.data.as_ref()?.get(PASSWORD);
    let password = password.and_then(|text| std::str::from_utf8(&text.0).ok());
    let password = password.unwrap_or_default().trim_end_matches(['\r', '\n']);
    (!empty).then(|| Certificate::open(bytes, password))
}

#[cfg(test)]
mod tests;
