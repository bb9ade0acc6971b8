//! What an emulator is started with, and the part of it that can be changed while it runs.

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use crate::registry::Image;

/// Start-up configuration. [`Config::default`] is a complete, useful one.
#[derive(Clone)]
pub struct Config {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where the metadata service of the machine listens, over plain HTTP; port 0 takes a free one.
    pub metadata_listen: SocketAddr,
    /// Entra tenant that issues tokens.
    pub tenant_id: String,
    /// Application (client) id of the one service principal known from the start.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
    /// Federated credentials `(issuer, subject)` accepted as client assertion; when empty, any
    /// unexpired assertion for the audience `api://AzureADTokenExchange` is accepted. Their signatures
    /// are not checked.
    pub federated: Vec<(String, String)>,
    /// The one subscription.
    pub subscription_id: String,
    /// Resource groups: name and location.
    pub resource_groups: Vec<(String, String)>,
    /// Regions the provider serves, in the short form (`eastus`).
    pub regions: Vec<String>,
    /// `registrationState` of `Microsoft.ContainerInstance`.
    pub provider_state: String,
    /// Added to every ARM call.
    pub latency: Duration,
    /// From the PUT to running containers.
    pub start_delay: Duration,
    /// How long a new token is valid.
    pub token_lifetime: Duration,
    /// Items in one page of a LIST.
    pub page_size: usize,
    /// Whether ARM's token buckets and the provider's counters are on.
    pub throttle: bool,
    /// Provider counter: PUT and DELETE in five minutes; 0 switches it off.
    pub provider_requests_5m: u32,
    /// Provider counter: PUT and DELETE in one hour; 0 switches it off.
    pub provider_requests_1h: u32,
    /// Container groups allowed in one region.
    pub quota_groups: u32,
    /// Cores allowed in one region.
    pub quota_cores: f64,
    /// Smallest cpu sum of a group.
    pub min_group_cpu: f64,
    /// Smallest memory sum of a group, in GB.
    pub min_group_memory: f64,
    /// Whether a running group with TCP ports answers HTTP on its own loopback address.
    pub serve_pages: bool,
    /// Images of the registry.
    pub images: Vec<Image>,
    /// Whether exec runs its command really: on this machine, as the emulator's user, on a terminal. For tests of
    /// clients that need a shell as it is; otherwise a small one is played.
    pub host_shell: bool,
    /// Whether Linux groups are run for real, and with which images; needs root, runc and a state directory.
    pub run: Option<crate::run::Run>,
    /// Where `ca.pem` is written at the start.
    pub state_dir: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            metadata_listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            tenant_id: "72f988bf-0000-4000-8000-2d7cd011db47".to_owned(),
            client_id: "11111111-1111-4111-8111-111111111111".to_owned(),
            client_secret: "emulator-secret".to_owned(),
            federated: Vec::new(),
            subscription_id: "00000000-0000-4000-8000-000000000001".to_owned(),
            resource_groups: vec![("aci-rg".to_owned(), "eastus".to_owned())],
            regions: [
                "eastus",
                "eastus2",
                "westus",
                "westus2",
                "westus3",
                "centralus",
                "northeurope",
                "westeurope",
                "uksouth",
                "swedencentral",
                "germanywestcentral",
                "southeastasia",
                "australiaeast",
                "japaneast",
            ]
            .map(str::to_owned)
            .to_vec(),
            provider_state: "Registered".to_owned(),
            latency: Duration::ZERO,
            start_delay: Duration::from_secs(1),
            token_lifetime: Duration::from_hours(1),
            page_size: 50,
            throttle: true,
            provider_requests_5m: 100,
            provider_requests_1h: 300,
            quota_groups: 100,
            quota_cores: 100.0,
            min_group_cpu: 1.0,
            min_group_memory: 1.0,
            serve_pages: true,
            images: vec![Image::hello()],
            host_shell: false,
            run: None,
            state_dir: None,
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("listen", &self.listen)
            .field("tenant_id", &self.tenant_id)
            .field("client_id", &self.client_id)
            .field("subscription_id", &self.subscription_id)
            .field("resource_groups", &self.resource_groups)
            .field("regions", &self.regions)
            .finish_non_exhaustive()
    }
}

/// The knobs that can be turned while the emulator runs. Durations are seconds on the wire.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Settings {
    /// Added to every ARM call.
    #[serde(with = "seconds")]
    pub latency: Duration,
    /// From the PUT to running containers; holds for groups put afterwards.
    #[serde(with = "seconds")]
    pub start_delay: Duration,
    /// How long a token issued from now on is valid.
    #[serde(with = "seconds")]
    pub token_lifetime: Duration,
    /// Items in one page of a LIST.
    pub page_size: usize,
    /// Whether anything is throttled at all; the ratelimit headers come and go with it.
    pub throttle: bool,
    /// Provider counter: PUT and DELETE in five minutes; 0 is off.
    pub provider_requests_5m: u32,
    /// Provider counter: PUT and DELETE in one hour; 0 is off.
    pub provider_requests_1h: u32,
    /// Container groups allowed in one region.
    pub quota_groups: u32,
    /// Cores allowed in one region.
    pub quota_cores: f64,
    /// Smallest cpu sum of a group.
    pub min_group_cpu: f64,
    /// Smallest memory sum of a group, in GB.
    pub min_group_memory: f64,
    /// When not zero, DELETE answers 202 and the group is gone this much later.
    #[serde(with = "seconds")]
    pub delete_delay: Duration,
    /// Whether DELETE is accepted while an operation runs (otherwise 409).
    pub delete_while_transitioning: bool,
    /// First pause before a container is started again; doubles up to 300 s.
    #[serde(with = "seconds")]
    pub crash_backoff: Duration,
    /// How long a container of an image with `/exit:N` in its path runs.
    #[serde(with = "seconds")]
    pub exit_after: Duration,
    /// From the register call to `Registered`.
    #[serde(with = "seconds")]
    pub register_delay: Duration,
    /// Container groups that others have in each region.
    pub others_groups: u32,
    /// Cores that they use there.
    pub others_cores: f64,
    /// Largest cpu sum of a group, which the capabilities of a region tell.
    pub max_group_cpu: f64,
    /// Largest memory sum of a group, in GB.
    pub max_group_memory: f64,
    /// Actions that the principal has no right to, such as `Microsoft.ContainerInstance/containerGroups/write`.
    pub denied_actions: Vec<String>,
    /// Whether the principal has rights on resource groups only: everything at subscription scope
    /// (operations, provider, usages) answers 403.
    pub group_scoped: bool,
}

impl From<&Config> for Settings {
    fn from(config: &Config) -> Self {
        Self {
            latency: config.latency,
            start_delay: config.start_delay,
            token_lifetime: config.token_lifetime,
            page_size: config.page_size,
            throttle: config.throttle,
            provider_requests_5m: config.provider_requests_5m,
            provider_requests_1h: config.provider_requests_1h,
            quota_groups: config.quota_groups,
            quota_cores: config.quota_cores,
            min_group_cpu: config.min_group_cpu,
            min_group_memory: config.min_group_memory,
            delete_delay: Duration::ZERO,
            delete_while_transitioning: true,
            crash_backoff: Duration::from_secs(10),
            exit_after: Duration::from_millis(500),
            register_delay: Duration::from_secs(2),
            others_groups: 0,
            others_cores: 0.0,
            max_group_cpu: 31.0,
            max_group_memory: 240.0,
            denied_actions: Vec::new(),
            group_scoped: false,
        }
    }
}

/// Durations as seconds with a fraction.
pub(crate) mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    // The signature is what serde's `with` calls.
    #[allow(clippy::trivially_copy_pass_by_ref)]
    pub(crate) fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(value.as_secs_f64())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let seconds = f64::deserialize(from)?;
        Duration::try_from_secs_f64(seconds).map_err(D::Error::custom)
    }
}

/// The same for an optional duration.
pub(crate) mod optional_seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    // The signature is what serde's `with` calls.
    #[allow(clippy::ref_option, clippy::trivially_copy_pass_by_ref)]
    pub(crate) fn serialize<S: Serializer>(
        value: &Option<Duration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => to.serialize_f64(value.as_secs_f64()),
            None => to.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Duration>, D::Error> {
        Option::<f64>::deserialize(from)?
            .map(|seconds| Duration::try_from_secs_f64(seconds).map_err(D::Error::custom))
            .transpose()
    }
}
