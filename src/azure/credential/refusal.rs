//! What a token service says no with, read before the identity library does.

use std::sync::Arc;

use async_trait::async_trait;
use azure_core::error::ErrorKind;
use azure_core::http::policies::{Policy, PolicyResult};
use azure_core::http::{Body, Context, Request};

use super::Credential;
use super::metadata::MetadataHost;
use crate::azure::error::{AzureError, ErrorClass, entra};
use crate::causes::chain;

/// Turns a refusal of the token service into an [`AzureError`] before the identity library parses it: that parser
/// fails on a description with an escaped line break, and the code would be lost. It also ends the library's own
/// repeats, which for a managed identity last longer than a token may take; ours are above, with a cap.
#[derive(Debug)]
pub(super) struct ReadRefusal {
    /// The instance metadata service that is asked instead of Entra ID.
    metadata: Option<MetadataHost>,
}

impl ReadRefusal {
    pub(super) fn of(credential: &Credential) -> Self {
        let metadata = match credential {
            Credential::ManagedIdentity { metadata, .. } => Some(metadata.clone()),
            _ => None,
        };
        Self { metadata }
    }
}

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
        // The identity library knows no other address than Azure's own.
        if let Some(host) = &self.metadata {
            host.turn(request.url_mut())
                .map_err(|error| azure_core::Error::new(ErrorKind::Credential, error))?;
        }
        let response = match first.send(ctx, request, rest).await {
            Ok(response) if response.status().is_success() => return Ok(response),
            Ok(response) => response,
            Err(error) => {
                return Err(match &self.metadata {
                    Some(host) => unreachable(host, &error),
                    None => error,
                });
            }
        };
        let response = response.try_into_raw_response().await?;
        let refusal = if self.metadata.is_some() {
            entra::from_metadata(&response)
        } else {
            let sent = match request.body() {
                Body::Bytes(bytes) => bytes.as_ref(),
                Body::SeekableStream(_) => &[],
            };
            entra::from_answer(&response, sent)
        };
        Err(azure_core::Error::new(ErrorKind::Credential, refusal))
    }
}

/// Nobody answers where Azure's machines have their metadata service.
fn unreachable(host: &MetadataHost, error: &azure_core::Error) -> azure_core::Error {
    let text = format!(
        "the instance metadata service at {host} could not be reached ({}): a managed identity needs nodes that \
         are Azure virtual machines, and no network policy between the operator and that address",
        chain(error)
    );
    let error = AzureError::local(ErrorClass::Identity, "MetadataUnreachable", &text);
    azure_core::Error::new(ErrorKind::Credential, error)
}
