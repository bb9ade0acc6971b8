//! Who we are to Azure, and how a token is had for it.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use azure_core::cloud::{CloudConfiguration, CustomConfiguration};
use azure_core::credentials::{AccessToken, Secret, TokenCredential, TokenRequestOptions};
use azure_core::error::ErrorKind;
use azure_core::http::policies::{Policy, PolicyResult};
use azure_core::http::{ClientOptions, Context, HttpClient, Request, RetryOptions, Transport};
use azure_identity::{ClientSecretCredential, ClientSecretCredentialOptions};
use parking_lot::Mutex;

use super::cloud::Endpoints;
use super::error::{AzureError, ErrorClass, chain, entra};
use super::model::SecretText;

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
}

impl Credential {
    /// A stable name of the principal, without secrets: ARM counts requests per subscription and principal.
    pub fn principal(&self) -> String {
        match self {
            Self::ServicePrincipalSecret {
                tenant_id,
                client_id,
                ..
            } => {
                format!(
                    "sp/{}/{}",
                    tenant_id.to_ascii_lowercase(),
                    client_id.to_ascii_lowercase()
                )
            }
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
        }
    }
}

/// Gets tokens, each within [`TOKEN_TIMEOUT`], and remembers a refusal for a moment so that many callers with a wrong
/// secret do not knock on Entra ID's door together. Errors it returns wrap an [`AzureError`].
#[derive(Debug)]
pub(super) struct TokenSource {
    inner: Arc<dyn TokenCredential>,
    secret: SecretText,
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
            per_try_policies: vec![Arc::new(ReadRefusal)],
            transport: Some(Transport::new(transport)),
            ..ClientOptions::default()
        };
        let Credential::ServicePrincipalSecret {
            tenant_id,
            client_id,
            secret,
        } = credential;
        // A value out of a file often ends in a line break, and none of the three ever does by itself.
        let inner: Arc<dyn TokenCredential> = ClientSecretCredential::new(
            tenant_id.trim(),
            client_id.trim().to_owned(),
            Secret::new(secret.expose().trim().to_owned()),
            Some(ClientSecretCredentialOptions { client_options }),
        )
        .map_err(|error| {
            AzureError::local(
                ErrorClass::BadCredentials,
                "UnusableCredential",
                &chain(&error),
            )
        })?;
        Ok(Arc::new(Self {
            inner,
            secret: secret.clone(),
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
        // Never empty: an empty secret makes no credential.
        error.message = error
            .message
            .replace(self.secret.expose().trim(), "[redacted]");
        if error.class == ErrorClass::BadCredentials {
            *self.refused.lock() = Some((Instant::now(), error.clone()));
        }
        Err(azure_core::Error::new(ErrorKind::Credential, error))
    }
}

/// Turns a refusal of the token service into an [`AzureError`] before the identity library parses it: that parser
/// fails on a description with an escaped line break, and the code would be lost.
#[derive(Debug)]
struct ReadRefusal;

#[async_trait]
impl Policy for ReadRefusal {
    async fn send(
        &self,
        ctx: &Context,
        request: &mut Request,
        next: &[Arc<dyn Policy>],
    ) -> PolicyResult {
        let Some((first, rest)) = next.split_first() else {
            return Err(azure_core::Error::with_message(
                ErrorKind::Other,
                "the pipeline has no transport",
            ));
        };
        let response = first.send(ctx, request, rest).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        let refusal = entra::from_answer(&response.try_into_raw_response().await?);
        Err(azure_core::Error::new(ErrorKind::Credential, refusal))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential() -> Credential {
        Credential::ServicePrincipalSecret {
            tenant_id: "Tenant".to_owned(),
            client_id: "CLIENT".to_owned(),
            secret: SecretText::new("hush".to_owned()),
        }
    }

    #[test]
    fn debug_and_principal_hold_no_secret() {
        let shown = format!("{:?} {}", credential(), credential().principal());
        assert!(!shown.contains("hush"), "{shown}");
        assert_eq!(credential().principal(), "sp/tenant/client");
    }
}
