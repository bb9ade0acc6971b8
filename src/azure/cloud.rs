//! Where a cloud is reached: ARM, the token service and the private CA of both. PURE.
//!
//! The addresses of the named clouds are those of Microsoft's own tables (`az cloud list`).

use azure_core::http::Url;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// Version of the container instance API that is spoken unless a connector says else: every cloud and region has it.
pub const API_VERSION: &str = "2023-05-01";

/// The addresses of one cloud, and the version of its container instance API. Addresses have no trailing slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    /// Base address of ARM, `https://management.azure.com`.
    pub resource_manager: String,
    /// Base address of the token service, `https://login.microsoftonline.com`.
    pub authority_host: String,
    /// What a token is asked for: the audience with `/.default`.
    pub scope: String,
    /// PEM certificates trusted besides the platform's own.
    pub ca_bundle_pem: Option<Vec<u8>>,
    /// `api-version` of calls to `Microsoft.ContainerInstance`.
    pub api_version: String,
}

/// Why the addresses of a custom cloud cannot be used. Each message says what to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CloudError {
    /// Not a URL at all.
    #[error("{what} {value:?} is not a URL: {reason}")]
    NotAUrl {
        what: &'static str,
        value: String,
        /// What the parser says.
        reason: String,
    },
    /// A URL, but not one that can be used here.
    #[error("{what} {rule}")]
    Refused {
        what: &'static str,
        /// The rule it breaks.
        rule: &'static str,
    },
    /// The CA bundle cannot be read.
    #[error("caBundle {0}")]
    CaBundle(&'static str),
}

impl Endpoints {
    pub fn public() -> Self {
        Self::known(
            "https://management.azure.com",
            "https://login.microsoftonline.com",
        )
    }

    pub fn us_government() -> Self {
        Self::known(
            "https://management.usgovcloudapi.net",
            "https://login.microsoftonline.us",
        )
    }

    /// Azure operated by 21Vianet.
    pub fn china() -> Self {
        Self::known(
            "https://management.chinacloudapi.cn",
            "https://login.chinacloudapi.cn",
        )
    }

    /// Any other ARM: Azure Stack Hub, an emulator.
    ///
    /// `audience` defaults to the address of ARM; it may be a URL, a GUID or `api://…`, with or without `/.default`.
    /// `ca_bundle_base64` is base64 of PEM with at least one certificate; white space in the base64 is ignored.
    ///
    /// # Errors
    /// [`CloudError`] for an address that is not plain https or a bundle without a usable certificate.
    pub fn custom(
        resource_manager: &str,
        authority_host: &str,
        audience: Option<&str>,
        ca_bundle_base64: Option<&str>,
    ) -> Result<Self, CloudError> {
        let resource_manager = base_address("resourceManagerEndpoint", resource_manager)?;
        let authority_host = base_address("authorityHost", authority_host)?;
        // The identity library joins the tenant to the host and would drop a path without a word.
        if Url::parse(&authority_host).is_ok_and(|url| url.path() != "/") {
            return Err(CloudError::Refused {
                what: "authorityHost",
                rule: "must not have a path",
            });
        }
        let audience = audience
            .map(str::trim)
            .filter(|a| !a.is_empty())
            .unwrap_or(&resource_manager);
        if audience
            .chars()
            .any(|c| c.is_whitespace() || c.is_control())
        {
            return Err(CloudError::Refused {
                what: "audience",
                rule: "must not contain white space",
            });
        }
        let audience = audience.trim_end_matches('/');
        let audience = audience
            .strip_suffix("/.default")
            .unwrap_or(audience)
            .trim_end_matches('/');
        let scope = format!("{audience}/.default");
        let ca_bundle_pem = ca_bundle_base64.map(ca_bundle).transpose()?;
        Ok(Self {
            resource_manager,
            authority_host,
            scope,
            ca_bundle_pem,
            api_version: API_VERSION.to_owned(),
        })
    }

    /// The same cloud in another version of the container instance API. ARM refuses one that it does not know.
    #[must_use]
    pub fn with_api_version(self, api_version: &str) -> Self {
        Self {
            api_version: api_version.to_owned(),
            ..self
        }
    }

    fn known(resource_manager: &str, authority_host: &str) -> Self {
        Self {
            resource_manager: resource_manager.to_owned(),
            authority_host: authority_host.to_owned(),
            scope: format!("{resource_manager}/.default"),
            ca_bundle_pem: None,
            api_version: API_VERSION.to_owned(),
        }
    }
}

fn base_address(what: &'static str, value: &str) -> Result<String, CloudError> {
    let value = value.trim();
    let url = Url::parse(value).map_err(|error| CloudError::NotAUrl {
        what,
        value: value.chars().take(200).collect(),
        reason: error.to_string(),
    })?;
    let refused = |rule| Err(CloudError::Refused { what, rule });
    if url.scheme() != "https" {
        return refused("must start with https://: tokens are never sent in the clear");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return refused("must not contain a user name or password");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return refused("must not have a query or a fragment");
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

fn ca_bundle(base64: &str) -> Result<Vec<u8>, CloudError> {
    let compact: String = base64.split_whitespace().collect();
    let pem = STANDARD
        .decode(compact)
        .map_err(|_| CloudError::CaBundle("is not base64 (encode the PEM file as it is)"))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate =
            certificate.map_err(|_| CloudError::CaBundle("is not PEM inside the base64"))?;
        roots
            .add(certificate)
            .map_err(|_| CloudError::CaBundle("holds a certificate that cannot be read"))?;
    }
    if roots.is_empty() {
        return Err(CloudError::CaBundle(
            "holds no PEM certificate (-----BEGIN CERTIFICATE-----)",
        ));
    }
    Ok(pem)
}

#[cfg(test)]
mod tests;
