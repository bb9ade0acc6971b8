//! Who we are to Azure, and how a token is had for it.

mod assertion;
mod certificate;
pub(super) mod metadata;
mod pkcs12;
mod refusal;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use azure_core::cloud::{CloudConfiguration, CustomConfiguration};
use azure_core::credentials::{AccessToken, Secret, TokenCredential, TokenRequestOptions};
use azure_core::error::ErrorKind;
use azure_core::http::{ClientOptions, HttpClient, RetryOptions, Transport};
use azure_identity::{
    AzureCliCredential, AzureCliCredentialOptions, ClientAssertionCredential,
    ClientAssertionCredentialOptions, ClientSecretCredential, ClientSecretCredentialOptions,
    ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId,
};
use parking_lot::Mutex;

use super::cloud::Endpoints;
use super::error::{AzureError, ErrorClass};
use super::model::SecretText;
use crate::causes::chain;
use assertion::{Sent, TokenFile};
use certificate::{Signer, SigningKey};
use refusal::ReadRefusal;

pub use certificate::{Certificate, CertificateError};
pub use metadata::{MetadataHost, NotLocal};

/// Longest wait for a token, whatever the call it is for.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(20);
/// A refused credential is not shown to Entra ID again before this; a new credential is at once.
const REFUSAL_REMEMBERED: Duration = Duration::from_secs(10);

/// An identity in Entra ID. `Debug` shows no secret.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Credential {
    /// An application with a client secret.
    ServicePrincipalSecret {
        /// Directory (tenant) ID or domain.
        tenant_id: String,
        /// Application (client) ID.
        client_id: String,
        /// Value of the client secret.
        secret: SecretText,
    },
    /// An application with a certificate.
    ServicePrincipalCertificate {
        /// Directory (tenant) ID or domain.
        tenant_id: String,
        /// Application (client) ID.
        client_id: String,
        /// Certificate and private key.
        pem: SecretText,
    },
    /// An application or user-assigned identity that trusts the cluster's service account tokens.
    WorkloadIdentity {
        /// Directory (tenant) ID or domain.
        tenant_id: String,
        /// Application (client) ID.
        client_id: String,
        /// The federated token, read at each exchange: the kubelet renews it.
        token_file: PathBuf,
    },
    /// An identity of the machine that we run on, from Azure's instance metadata service.
    ManagedIdentity {
        /// Client ID of a user-assigned identity; without it the system-assigned one.
        client_id: Option<String>,
        /// Where that service is.
        metadata: MetadataHost,
    },
    /// Whoever is logged in to the Azure CLI on this machine: for commands that a person runs, never for the operator.
    AzureCli {
        /// The subscription whose tenant is asked; without it the CLI's own choice.
        subscription: Option<String>,
    },
}

impl Credential {
    /// A stable name of the principal, without secrets: ARM counts requests per subscription and principal.
    pub fn principal(&self) -> String {
        match self {
            // The same application, however it proves itself, is the same principal.
            Self::ServicePrincipalSecret {
                tenant_id,
                client_id,
                ..
            }
            | Self::ServicePrincipalCertificate {
                tenant_id,
                client_id,
                ..
            }
            | Self::WorkloadIdentity {
                tenant_id,
                client_id,
                ..
            } => {
                format!(
                    "sp/{}/{}",
                    tenant_id.trim().to_ascii_lowercase(),
                    client_id.trim().to_ascii_lowercase()
                )
            }
            Self::ManagedIdentity { client_id, .. } => match client_id {
                Some(client_id) => format!("mi/{}", client_id.trim().to_ascii_lowercase()),
                None => "mi/system-assigned".to_owned(),
            },
            Self::AzureCli { .. } => "azure-cli".to_owned(),
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ServicePrincipalSecret {
                tenant_id,
                client_id,
                ..
            } => f
                .debug_struct("ServicePrincipalSecret")
                .field("tenant_id", tenant_id)
                .field("client_id", client_id)
                .finish_non_exhaustive(),
            Self::ServicePrincipalCertificate {
                tenant_id,
                client_id,
                ..
            } => f
                .debug_struct("ServicePrincipalCertificate")
                .field("tenant_id", tenant_id)
                .field("client_id", client_id)
                .finish_non_exhaustive(),
            Self::WorkloadIdentity {
                tenant_id,
                client_id,
                token_file,
            } => f
                .debug_struct("WorkloadIdentity")
                .field("tenant_id", tenant_id)
                .field("client_id", client_id)
                .field("token_file", token_file)
                .finish(),
            Self::ManagedIdentity {
                client_id,
                metadata,
            } => f
                .debug_struct("ManagedIdentity")
                .field("client_id", client_id)
                .field("metadata", metadata)
                .finish(),
            Self::AzureCli { subscription } => f
                .debug_struct("AzureCli")
                .field("subscription", subscription)
                .finish(),
        }
    }
}

/// Gets tokens, each within [`TOKEN_TIMEOUT`], and remembers a refusal for a moment so that many callers with a wrong
/// secret do not knock on Entra ID's door together. Errors it returns wrap an [`AzureError`].
#[derive(Debug)]
pub(super) struct TokenSource {
    inner: Arc<dyn TokenCredential>,
    /// What was last shown to the token service, to keep it out of errors.
    sent: Sent,
    refused: Mutex<Option<(Instant, AzureError)>>,
}

impl TokenSource {
    pub(super) fn new(
        credential: &Credential,
        endpoints: &Endpoints,
        transport: Arc<dyn HttpClient>,
    ) -> Result<Arc<Self>, AzureError> {
        let mut custom = CustomConfiguration::default();
        custom.authority_host.clone_from(&endpoints.authority_host);
        let client_options = ClientOptions {
            cloud: Some(Arc::new(CloudConfiguration::Custom(custom))),
            // The library's retry waits as long as the server asks; ours are above, with a cap.
            retry: RetryOptions::none(),
            per_try_policies: vec![Arc::new(ReadRefusal::of(credential))],
            transport: Some(Transport::new(transport)),
            ..ClientOptions::default()
        };
        let sent = Sent::default();
        let inner = inner(credential, endpoints, client_options, &sent).map_err(|error| {
            AzureError::local(
                ErrorClass::BadCredentials,
                "UnusableCredential",
                &chain(&error),
            )
        })?;
        Ok(Arc::new(Self {
            inner,
            sent,
            refused: Mutex::new(None),
        }))
    }

    fn recent_refusal(&self) -> Option<AzureError> {
        let refused = self.refused.lock();
        let (at, error) = refused.as_ref()?;
        (at.elapsed() < REFUSAL_REMEMBERED).then(|| error.clone())
    }
}

#[async_trait]
impl TokenCredential for TokenSource {
    async fn get_token(
        &self,
        scopes: &[&str],
        options: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        if let Some(error) = self.recent_refusal() {
            return Err(azure_core::Error::new(ErrorKind::Credential, error));
        }
        let mut error = match tokio::time::timeout(
            TOKEN_TIMEOUT,
            self.inner.get_token(scopes, options),
        )
        .await
        {
            Ok(Ok(token)) => return Ok(token),
            Ok(Err(error)) => AzureError::from_pipeline(&error),
            Err(_) => {
                let text = format!("no token within {} s", TOKEN_TIMEOUT.as_secs());
                AzureError::local(ErrorClass::Identity, "TokenTimeout", &text)
            }
        };
        error.message = self.sent.redact(&error.message);
        if error.class == ErrorClass::BadCredentials {
            *self.refused.lock() = Some((Instant::now(), error.clone()));
        }
        Err(azure_core::Error::new(ErrorKind::Credential, error))
    }
}

/// The identity library's credential of this kind.
fn inner(
    credential: &Credential,
    endpoints: &Endpoints,
    client_options: ClientOptions,
    sent: &Sent,
) -> azure_core::Result<Arc<dyn TokenCredential>> {
    // A value out of a file often ends in a line break, and none of these ever does by itself.
    Ok(match credential {
        Credential::ServicePrincipalSecret {
            tenant_id,
            client_id,
            secret,
        } => {
            let secret = secret.expose().trim();
            sent.set(SecretText::new(secret.to_owned()));
            ClientSecretCredential::new(
                tenant_id.trim(),
                client_id.trim().to_owned(),
                Secret::new(secret.to_owned()),
                Some(ClientSecretCredentialOptions { client_options }),
            )?
        }
        // The library's own certificate credential needs OpenSSL.
        Credential::ServicePrincipalCertificate {
            tenant_id,
            client_id,
            pem,
        } => {
            let (tenant_id, client_id) = (tenant_id.trim(), client_id.trim());
            let key = SigningKey::read(pem)
                .map_err(|error| azure_core::Error::new(ErrorKind::Credential, error))?;
            let signer = Signer {
                key,
                client_id: client_id.to_owned(),
                audience: format!("{}/{tenant_id}/oauth2/v2.0/token", endpoints.authority_host),
                sent: sent.clone(),
            };
            let options = ClientAssertionCredentialOptions { client_options };
            let (tenant_id, client_id) = (tenant_id.to_owned(), client_id.to_owned());
            ClientAssertionCredential::new(tenant_id, client_id, signer, Some(options))?
        }
        // The library's own workload identity keeps the file for ten minutes and does not trim it.
        Credential::WorkloadIdentity {
            tenant_id,
            client_id,
            token_file,
        } => ClientAssertionCredential::new(
            tenant_id.trim().to_owned(),
            client_id.trim().to_owned(),
            TokenFile::new(token_file.clone(), sent.clone()),
            Some(ClientAssertionCredentialOptions { client_options }),
        )?,
        Credential::ManagedIdentity { client_id, .. } => {
            let id = client_id.as_ref().map(|id| id.trim().to_owned());
            ManagedIdentityCredential::new(Some(ManagedIdentityCredentialOptions {
                user_assigned_id: id.map(UserAssignedId::ClientId),
                client_options,
            }))?
        }
        Credential::AzureCli { subscription } => {
            AzureCliCredential::new(Some(AzureCliCredentialOptions {
                subscription: subscription.clone(),
                ..AzureCliCredentialOptions::default()
            }))?
        }
    })
}

#[cfg(test)]
mod tests;
