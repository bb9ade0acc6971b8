//! Which identity a connector has towards Azure: what the spec names, with its Secret or the environment of the
//! operator's pod. One identity is chosen, and nothing falls back to another. PURE.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use k8s_openapi::api::core::v1::Secret;

use super::validate::{Problem, value};
use crate::api::conditions::reason;
use crate::api::{Credentials, CredentialsType, IdentityStatus};
use crate::azure::model::SecretText;
use crate::azure::{Credential, certificate_expiry};

const TENANT: &str = "AZURE_TENANT_ID";
const CLIENT: &str = "AZURE_CLIENT_ID";
const SECRET: &str = "AZURE_CLIENT_SECRET";
const CERTIFICATE: &str = "AZURE_CLIENT_CERTIFICATE";
const TOKEN_FILE: &str = "AZURE_FEDERATED_TOKEN_FILE";
const SUBSCRIPTION: &str = "AZURE_SUBSCRIPTION_ID";
/// Where credentials of the operator's own come from, for messages.
const OWN: &str = "the operator's environment";

/// What the environment of the operator's pod says of identities, under the names of Azure's SDKs and of the workload
/// identity webhook. An empty variable counts as missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment {
    tenant_id: Option<String>,
    client_id: Option<String>,
    client_secret: Option<SecretText>,
    token_file: Option<PathBuf>,
    subscription_id: Option<String>,
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
            subscription_id: text(SUBSCRIPTION),
        }
    }
}

/// An identity that was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) credential: Credential,
    pub(super) status: IdentityStatus,
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
        managed_identity(client_id.clone())
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
        managed_identity(credentials.client_id.clone())
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

fn managed_identity(client_id: Option<String>) -> (CredentialsType, String, Credential) {
    let who = match &client_id {
        Some(client_id) => format!("managed identity {client_id}"),
        None => "system-assigned managed identity".to_owned(),
    };
    let credential = Credential::ManagedIdentity { client_id };
    (CredentialsType::ManagedIdentity, who, credential)
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
        Credential::ManagedIdentity { client_id } => (None, client_id.clone()),
    };
    Chosen {
        credential,
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
    } else if let Some(pem) = certificate(secret) {
        let expires = certificate_expiry(&pem).map_err(|error| {
            let message = format!("key {CERTIFICATE} of {title} {error}");
            Problem::credentials(reason::SECRET_INVALID, message)
        })?;
        let credential = Credential::ServicePrincipalCertificate {
            tenant_id,
            client_id,
            pem,
        };
        (credential, Some(expires))
    } else {
        return Err(missing(
            SECRET,
            ", or a certificate with its key in PEM under AZURE_CLIENT_CERTIFICATE",
        ));
    };
    Ok(Chosen {
        credential,
        status,
        who,
        expires,
        subscription: value(secret, SUBSCRIPTION),
        subscription_key: format!("key {SUBSCRIPTION} of {title}"),
        source: title,
    })
}

/// The certificate, or what stands in its place: PKCS#12 is not text.
fn certificate(secret: &Secret) -> Option<SecretText> {
    let bytes = &secret.data.as_ref()?.get(CERTIFICATE)?.0;
    let text = String::from_utf8_lossy(bytes);
    (!text.trim().is_empty()).then(|| SecretText::new(text.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn environment(given: &[(&str, &str)]) -> Environment {
        Environment::read(|name| {
            let found = given.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    const ALL: [(&str, &str); 5] = [
        (TENANT, "t"),
        (CLIENT, "c"),
        (SECRET, "hush\n"),
        (TOKEN_FILE, "/f"),
        (SUBSCRIPTION, "s"),
    ];

    #[test]
    fn the_operators_own_identity_is_chosen_from_its_environment() {
        let cases: [(&[&str], Result<&str, &str>); 9] = [
            (&[], Ok("workload identity c")),
            (&[SECRET], Ok("workload identity c")),
            (&[TOKEN_FILE], Ok("service principal c")),
            (&[TOKEN_FILE, SECRET], Ok("managed identity c")),
            (
                &[TOKEN_FILE, SECRET, CLIENT, TENANT],
                Ok("system-assigned managed identity"),
            ),
            (
                &[CLIENT],
                Err("has AZURE_FEDERATED_TOKEN_FILE and no AZURE_CLIENT_ID"),
            ),
            (
                &[TENANT],
                Err("has AZURE_FEDERATED_TOKEN_FILE and no AZURE_TENANT_ID"),
            ),
            (
                &[TOKEN_FILE, CLIENT],
                Err("has AZURE_CLIENT_SECRET and no AZURE_CLIENT_ID"),
            ),
            (
                &[TOKEN_FILE, TENANT],
                Err("has AZURE_CLIENT_SECRET and no AZURE_TENANT_ID"),
            ),
        ];
        for (without, wanted) in cases {
            // An empty variable is a missing one.
            let given =
                ALL.map(|(key, value)| (key, if without.contains(&key) { " " } else { value }));
            let environment = environment(&given);
            assert!(!format!("{environment:?}").contains("hush"));
            match (own(&environment), wanted) {
                (Ok(chosen), Ok(who)) => {
                    assert_eq!((chosen.who.as_str(), chosen.source.as_str()), (who, OWN));
                    assert_eq!(chosen.subscription.as_deref(), Some("s"));
                    assert!(!format!("{chosen:?}").contains("hush"));
                }
                (Err(problem), Err(text)) => {
                    assert_eq!(problem.reason, reason::IDENTITY_MISSING);
                    assert!(problem.message.contains(text), "{}", problem.message);
                }
                (got, wanted) => panic!("without {without:?}: {got:?}, not {wanted:?}"),
            }
        }
    }

    #[test]
    fn what_the_spec_names_is_what_is_used() {
        let credentials = |value| serde_json::from_value::<Credentials>(value).unwrap();
        let workload =
            credentials(json!({"type": "WorkloadIdentity", "clientID": "w", "tenantID": "x"}));
        let chosen = named(&workload, &environment(&ALL)).unwrap();
        let wanted = Credential::WorkloadIdentity {
            tenant_id: "x".to_owned(),
            client_id: "w".to_owned(),
            token_file: PathBuf::from("/f"),
        };
        assert_eq!(chosen.credential, wanted);
        assert_eq!(chosen.status.type_.as_deref(), Some("WorkloadIdentity"));
        assert_eq!(chosen.status.tenant_id.as_deref(), Some("x"));
        // A secret in the environment is nobody's substitute for the token.
        let problem = named(&workload, &environment(&[(SECRET, "hush")])).unwrap_err();
        assert_eq!(problem.reason, reason::IDENTITY_MISSING);
        assert!(problem.message.contains("azure.workload.identity/use"));

        for (spec, who, client_id) in [
            (
                json!({"type": "ManagedIdentity"}),
                "system-assigned managed identity",
                None,
            ),
            (
                json!({"type": "ManagedIdentity", "clientID": "m"}),
                "managed identity m",
                Some("m"),
            ),
        ] {
            let chosen = named(&credentials(spec), &environment(&ALL)).unwrap();
            let client_id = client_id.map(str::to_owned);
            assert_eq!(chosen.who, who);
            assert_eq!(chosen.status.client_id, client_id);
            assert_eq!(chosen.credential, Credential::ManagedIdentity { client_id });
        }
    }

    #[test]
    fn a_certificate_stands_in_for_a_secret() {
        const PEM: &str = include_str!("../azure/credential/certificate/good.pem");
        let spec: Credentials = serde_json::from_value(json!({
            "type": "ServicePrincipal", "clientID": "c", "tenantID": "t", "secretRef": {"name": "sp"},
        }))
        .unwrap();
        let read = |data: &[(&str, &[u8])]| {
            let data = data.iter();
            let secret = Secret {
                data: Some(
                    data.map(|(key, value)| {
                        ((*key).to_owned(), k8s_openapi::ByteString(value.to_vec()))
                    })
                    .collect(),
                ),
                ..Secret::default()
            };
            service_principal(&spec, &secret, "Secret ns/sp".to_owned())
        };
        let chosen = read(&[(CERTIFICATE, PEM.as_bytes())]).unwrap();
        let Credential::ServicePrincipalCertificate { pem, .. } = &chosen.credential else {
            panic!("{chosen:?}");
        };
        assert_eq!(pem.expose(), PEM);
        assert!(chosen.expires.is_some() && !format!("{chosen:?}").contains("BEGIN"));

        let both = read(&[(CERTIFICATE, PEM.as_bytes()), (SECRET, b"hush")]).unwrap();
        assert!(matches!(
            both.credential,
            Credential::ServicePrincipalSecret { .. }
        ));

        for (value, text) in [
            (
                &b"\x30\x82\x0a\xff"[..],
                "key AZURE_CLIENT_CERTIFICATE of Secret ns/sp is not PEM; convert",
            ),
            (&b" \n"[..], "or a certificate with its key in PEM"),
        ] {
            let problem = read(&[(CERTIFICATE, value)]).unwrap_err();
            assert_eq!(problem.reason, reason::SECRET_INVALID);
            assert!(problem.message.contains(text), "{}", problem.message);
        }
    }
}
