//! One call to ARM: where it goes, what it is, and how it counts.

use azure_core::http::{Method, Url};
use bytes::Bytes;
use serde::Serialize;
use zeroize::Zeroizing;

use super::ArmClient;
use crate::azure::error::{AzureError, ErrorClass};
use crate::azure::json::json_length;
use crate::azure::throttle::{CallPriority, Class, PermitRequest};

/// Namespace of the resource provider.
pub(super) const CONTAINER_INSTANCE: &str = "Microsoft.ContainerInstance";

/// One call, the same however often it is sent.
pub(super) struct Call {
    pub(super) operation: &'static str,
    pub(super) class: Class,
    pub(super) priority: CallPriority,
    asked_by: Option<u64>,
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) body: Option<Bytes>,
}

impl Call {
    fn new(operation: &'static str, class: Class, method: Method, url: Url) -> Self {
        Self {
            operation,
            class,
            priority: CallPriority::default(),
            asked_by: None,
            method,
            url,
            body: None,
        }
    }

    pub(super) fn get(operation: &'static str, url: Url) -> Self {
        Self::new(operation, Class::Read, Method::Get, url)
    }

    /// A PUT of a container group.
    pub(super) fn put(operation: &'static str, url: Url) -> Self {
        Self::new(operation, Class::Create, Method::Put, url)
    }

    pub(super) fn patch(operation: &'static str, url: Url) -> Self {
        Self::new(operation, Class::Write, Method::Patch, url)
    }

    pub(super) fn post(operation: &'static str, url: Url) -> Self {
        Self::new(operation, Class::Write, Method::Post, url)
    }

    /// A DELETE of a container group.
    pub(super) fn delete(operation: &'static str, url: Url) -> Self {
        Self::new(operation, Class::Delete, Method::Delete, url)
    }

    /// The same call with a body.
    pub(super) fn with<T: Serialize>(mut self, body: &T) -> Result<Self, AzureError> {
        let body = written(body).map_err(|error| {
            let text = format!(
                "the request cannot be written as JSON ({:?} error)",
                error.classify()
            );
            AzureError::local(ErrorClass::Invalid, "UnwritableRequest", &text)
        })?;
        self.body = Some(Bytes::from_owner(body));
        Ok(self)
    }

    /// The same call with another priority.
    pub(super) fn at(mut self, priority: CallPriority) -> Self {
        self.priority = priority;
        self
    }

    /// The same call, asked for by somebody in the namespace with this number.
    pub(super) fn asked_by(mut self, namespace: Option<u64>) -> Self {
        self.asked_by = namespace;
        self
    }

    /// What the limiter has to know. The path of a container group is its name there.
    pub(super) fn permit_request(&self, tenant: u64) -> PermitRequest<'_> {
        PermitRequest {
            class: self.class,
            tenant,
            priority: self.priority,
            asked_by: self.asked_by,
            group: self.url.path(),
        }
    }
}

/// `body` as JSON, which may hold Secrets: it is cleared when it is dropped, and was never copied to a larger place.
fn written<T: Serialize>(body: &T) -> serde_json::Result<Zeroizing<Vec<u8>>> {
    let mut text = Zeroizing::new(Vec::with_capacity(json_length(body)));
    serde_json::to_writer(&mut *text, body)?;
    Ok(text)
}

impl ArmClient {
    /// The address of a container group, of something below it, or with no `path` of the collection.
    pub(super) fn group_url(&self, rg: &str, path: &[&str]) -> Result<Url, AzureError> {
        self.group_url_in(self.api_version(), rg, path)
    }

    pub(super) fn group_url_in(
        &self,
        version: &str,
        rg: &str,
        path: &[&str],
    ) -> Result<Url, AzureError> {
        let collection = [
            "resourceGroups",
            rg,
            "providers",
            CONTAINER_INSTANCE,
            "containerGroups",
        ];
        self.subscription_url(&[&collection, path].concat(), version)
    }

    /// `path` below the subscription.
    pub(super) fn subscription_url(
        &self,
        path: &[&str],
        api_version: &str,
    ) -> Result<Url, AzureError> {
        let subscription = ["subscriptions", self.subscription_id()];
        self.url(&[&subscription, path].concat(), api_version)
    }

    /// `path` below the base address, each segment percent-encoded.
    pub(super) fn url(&self, path: &[&str], api_version: &str) -> Result<Url, AzureError> {
        // The URL type leaves out dot segments: a DELETE would then go to the parent.
        if let Some(bad) = path
            .iter()
            .find(|segment| matches!(**segment, "" | "." | ".."))
        {
            let text = format!("{bad:?} cannot be a name in an Azure resource ID");
            return Err(AzureError::local(ErrorClass::Invalid, "InvalidName", &text));
        }
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url.query_pairs_mut()
            .append_pair("api-version", api_version);
        Ok(url)
    }

    /// The version of the container instance API that is spoken.
    pub(super) fn api_version(&self) -> &str {
        &self.endpoints.api_version
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_body_of_a_request_is_written_once() {
        let body = json!({"secureValue": "hush\n".repeat(1_000), "n": [1, 2.5, null]});
        let text = written(&body).unwrap();
        assert_eq!(*text, serde_json::to_vec(&body).unwrap());
        assert_eq!(text.capacity(), text.len(), "it has not grown");
    }
}
