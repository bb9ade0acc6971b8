//! Azure Resource Manager: from a path to an answer.

pub(crate) mod clusters;
pub(crate) mod driver;
pub(crate) mod errors;
pub(crate) mod groups;
pub(crate) mod lifecycle;
pub(crate) mod locations;
pub(crate) mod monitor;
pub(crate) mod network;
pub(crate) mod resources;
pub(crate) mod rights;
pub(crate) mod rules;
pub(crate) mod schema;
pub(crate) mod streams;
pub(crate) mod view;
pub(crate) mod world;

#[cfg(test)]
mod lifecycle_tests;

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::Value;

use crate::{clock::Time, shared::Shared, throttle::ProviderRemaining};
use errors::ApiError;

/// `api-version`s of the container group types.
pub(crate) const GROUP_VERSIONS: [&str; 13] = [
    "2026-07-01",
    "2025-09-01",
    "2024-11-01-preview",
    "2024-10-01-preview",
    "2024-05-01-preview",
    "2023-05-01",
    "2022-09-01",
    "2021-10-01",
    "2021-09-01",
    "2021-07-01",
    "2021-03-01",
    "2019-12-01",
    "2018-10-01",
];

/// `api-version`s of resource groups and providers.
const RESOURCE_VERSIONS: [&str; 8] = [
    "2025-04-01",
    "2024-11-01",
    "2024-03-01",
    "2022-12-01",
    "2022-09-01",
    "2021-04-01",
    "2020-06-01",
    "2018-05-01",
];

/// One authenticated call.
pub(crate) struct Call<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) principal: &'a str,
    pub(crate) method: &'a Method,
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
    pub(crate) body: &'a Bytes,
    pub(crate) now: Time,
    /// Number of the caller's token.
    pub(crate) token: u64,
    /// Set by calls the provider counts.
    pub(crate) provider: Option<ProviderRemaining>,
}

/// Result of a call.
pub(crate) type Answer = Result<Response, ApiError>;

impl Call<'_> {
    /// A query parameter, decoded; names are case-insensitive.
    pub(crate) fn parameter(&self, name: &str) -> Option<String> {
        parameter(self.query, name)
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Result<Value, ApiError> {
        serde_json::from_slice(self.body).map_err(|error| {
            // The parser's text names a position, never a value.
            ApiError::content(&format!(
                "Unexpected JSON at line {}, position {}",
                error.line(),
                error.column()
            ))
        })
    }

    /// Refuses a call at subscription scope when the principal has rights on resource groups only.
    fn subscription_scope(&self, action: &str) -> Result<(), ApiError> {
        if self.shared.settings().group_scoped {
            return Err(ApiError::authorization_failed(
                self.principal,
                action,
                self.path,
            ));
        }
        Ok(())
    }

    fn version(&self, supported: &[&str]) -> Result<String, ApiError> {
        let version = self.any_version()?;
        if supported.contains(&version.as_str()) {
            return Ok(version);
        }
        Err(ApiError::bad(
            "InvalidApiVersionParameter",
            format!(
                "The api-version '{version}' is invalid. The supported versions are '{}'.",
                supported.join(",")
            ),
        ))
    }

    fn any_version(&self) -> Result<String, ApiError> {
        self.parameter("api-version")
            .filter(|version| !version.is_empty())
            .ok_or_else(|| {
                ApiError::bad(
                    "MissingApiVersionParameter",
                    "The api-version query parameter (?api-version=) is required for all requests.",
                )
            })
    }

    /// The api-version of a call to the container instance provider.
    fn group_version(&self) -> Result<String, ApiError> {
        let version = self.any_version()?;
        if GROUP_VERSIONS.contains(&version.as_str()) {
            return Ok(version);
        }
        let regions = &self.shared.config.regions;
        Err(ApiError::bad(
            "NoRegisteredProviderFound",
            format!(
                "No registered resource provider found for location '{}' and API version '{version}' for type 'containerGroups'. The supported api-versions are '{}'. The supported locations are '{}'.",
                regions.first().map_or("", String::as_str),
                GROUP_VERSIONS.join(", "),
                regions.join(", ")
            ),
        ))
    }

    /// The path is none that ARM knows.
    fn unknown(&self) -> ApiError {
        ApiError::new(
            404,
            "InvalidResourceType",
            format!(
                "The resource type could not be found for '{} {}'.",
                self.method, self.path
            ),
        )
    }
}

/// A query parameter, percent-decoded.
pub(crate) fn parameter(query: &str, name: &str) -> Option<String> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        decode(key)
            .eq_ignore_ascii_case(name)
            .then(|| decode(value))
    })
}

/// Percent-decoding with `+` as blank; what cannot be decoded stays as it is.
pub(crate) fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&first, after)) = rest.split_first() {
        let pair = after
            .get(..2)
            .and_then(|pair| std::str::from_utf8(pair).ok());
        match (
            first,
            pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()),
        ) {
            (b'%', Some(byte)) => {
                out.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            (b'+', _) => {
                out.push(b' ');
                rest = after;
            }
            _ => {
                out.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Routes a call. ARM's paths are case-insensitive.
pub(crate) fn route(call: &mut Call<'_>) -> Answer {
    let decoded: Vec<String> = call
        .path
        .split('/')
        .filter(|part| !part.is_empty())
        .map(decode)
        .collect();
    let lower: Vec<String> = decoded.iter().map(|part| part.to_lowercase()).collect();
    let given: Vec<&str> = decoded.iter().map(String::as_str).collect();
    let words: Vec<&str> = lower.iter().map(String::as_str).collect();
    let [_, subscription, ..] = given.as_slice() else {
        return Err(call.unknown());
    };
    if words.first() != Some(&"subscriptions") {
        return Err(call.unknown());
    }
    if !subscription.eq_ignore_ascii_case(&call.shared.config.subscription_id) {
        call.any_version()?;
        return Err(ApiError::subscription_not_found(subscription));
    }
    let (rest, given) = (
        words.get(2..).unwrap_or_default(),
        given.get(2..).unwrap_or_default(),
    );
    rights::check(call, rest)?;
    match (rest, given) {
        ([], _) => resources::subscription(call),
        (["resourcegroups"], _) => resources::list(call),
        (["resourcegroups", _], [_, name]) => resources::resource_group(call, name),
        (
            [
                "resourcegroups",
                _,
                "providers",
                "microsoft.containerinstance",
                "containergroups",
                _,
                "providers",
                "microsoft.insights",
                "metrics",
            ],
            [_, group, _, _, _, name, ..],
        ) if *call.method == Method::GET => monitor::metrics(call, group, name),
        (
            [
                "resourcegroups",
                _,
                "providers",
                "microsoft.containerinstance",
                "containergroups",
                ..,
            ],
            [_, group, _, _, _, names @ ..],
        ) => groups::route(call, group, names),
        (["providers", "microsoft.containerinstance"], _) => resources::provider(call),
        (["providers", "microsoft.containerinstance", "register"], _) => {
            resources::register(call, true)
        }
        (["providers", "microsoft.containerinstance", "unregister"], _) => {
            resources::register(call, false)
        }
        (
            [
                "providers",
                "microsoft.containerinstance",
                "containergroups",
            ],
            _,
        ) => groups::list_subscription(call),
        (
            [
                "providers",
                "microsoft.containerinstance",
                "locations",
                location,
                what @ ..,
            ],
            _,
        ) => locations::route(call, location, what),
        (["resourcegroups", _, "providers", provider, of @ ..], [_, group, _, _, given @ ..]) => {
            others(call, provider, (of, given), group)
        }
        _ => Err(call.unknown()),
    }
}

/// What other providers have in a resource group: its path below the provider, lower-cased and as given.
fn others(call: &Call<'_>, provider: &str, (of, given): (&[&str], &[&str]), group: &str) -> Answer {
    match (call.method.as_str(), provider, of, given) {
        ("GET", "microsoft.authorization", ["permissions"], _) => rights::permissions(call, group),
        ("GET", "microsoft.containerservice", ["managedclusters", _], [_, cluster]) => {
            clusters::get(call, group, cluster)
        }
        ("GET", "microsoft.network", ["virtualnetworks", _], [_, network]) => {
            network::get(call, group, network, None)
        }
        (
            "GET",
            "microsoft.network",
            ["virtualnetworks", _, "subnets", _],
            [_, network, _, subnet],
        ) => network::get(call, group, network, Some(subnet)),
        ("DELETE", "microsoft.network", [.., "serviceassociationlinks", "default"], _) => {
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        _ => Err(call.unknown()),
    }
}
