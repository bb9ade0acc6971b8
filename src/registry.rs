//! What an image says about itself, read from its registry (OCI distribution specification 1.1, Docker's registry v2).
//!
//! Azure Container Instances needs the entry point of an image as soon as a container has arguments of its own, because
//! its `command` replaces both; it knows no directory to start in, and does not look whether the image's user is root. So
//! for containers that say something of these, and for no other, the configuration of the image is read: a manifest, for
//! most images a second one, and a small blob. Nothing in here knows Kubernetes.
//!
//! A look ends within 30 s, and a few run at a time. What was read counts for five minutes when it was asked for by tag
//! and for an hour when by digest, a failure for some seconds, each for those with the same credentials only.

mod breaker;
mod cache;
mod challenge;
mod digest;
mod error;
mod manifest;
mod queue;
mod reference;
mod resolver;
mod session;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use self::breaker::Breaker;
use self::cache::Cache;
use self::manifest::Next;
use self::queue::{Full, Queue};
use self::resolver::Resolver;
use self::session::{Session, Wanted};
use crate::azure::error::AzureError;
use crate::azure::model::SecretText;
use crate::azure::transport;
use crate::causes::chain;
use crate::net::Networks;

pub use self::digest::Digest;
pub use self::error::RegistryError;
pub use self::manifest::{Configuration, Platform};
pub use self::reference::{ImageReference, Version};

/// Any bytes as the name of an image, as a challenge and as a manifest.
///
/// # Panics
/// When a password might be sent somewhere unsafe.
#[cfg(any(test, fuzzing))]
pub fn any_bytes(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _ = ImageReference::parse(&text);
    if let Some(challenge::Challenge::Bearer { realm, .. }) =
        challenge::Challenge::best(text.lines())
    {
        assert!(challenge::is_safe(&realm), "{realm}");
    }
    for platform in [Platform::Linux, Platform::Windows] {
        let _ = manifest::next(bytes, platform, "r");
        let _ = manifest::configuration(bytes, platform, "r");
    }
}

/// A look that is not over by then has failed, the wait for its permit included.
const LOOK: Duration = Duration::from_secs(30);
/// An index may lead to an index, and that to the manifest.
const MAX_MANIFESTS: usize = 3;
const MANIFEST: Wanted = Wanted {
    what: "a manifest",
    accept: manifest::ACCEPT,
    limit: 4 << 20,
};
const CONFIG: Wanted = Wanted {
    what: "an image configuration",
    accept: "*/*",
    limit: 4 << 20,
};
/// How long what was read counts: a tag may move, a digest may not, but rights may be taken away.
const TAG_COUNTS: Duration = Duration::from_mins(5);
const DIGEST_COUNTS: Duration = Duration::from_hours(1);
/// How long a failure counts, so that a burst of pods does not use up what the registry allows.
const FAILURE_COUNTS: Duration = Duration::from_secs(30);
const PASSING_FAILURE_COUNTS: Duration = Duration::from_secs(3);

/// A user of a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    pub username: String,
    /// Password or access token.
    pub password: SecretText,
}

impl Login {
    /// Tells logins apart without keeping them.
    fn fingerprint(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.username.len().to_le_bytes());
        hash.update(&self.username);
        hash.update(self.password.expose());
        hash.finalize().into()
    }
}

/// Told about every look that asked a registry, for metrics.
pub trait Observer: Send + Sync {
    /// `outcome` is `ok` or [`RegistryError::outcome`].
    fn look(&self, outcome: &'static str);
}

impl Observer for () {
    fn look(&self, _: &'static str) {}
}

/// The registries as seen with one set of trust anchors. Share it in an [`Arc`].
pub struct Registry {
    http: reqwest::Client,
    networks: Networks,
    queue: Queue,
    breaker: Breaker,
    epoch: Instant,
    looks: Cache<Key, Result<Arc<Configuration>, RegistryError>>,
    observer: Arc<dyn Observer>,
}

type Key = (ImageReference, Platform, Option<[u8; 32]>);

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}

impl Registry {
    /// A reader that trusts the platform's roots and, when given, the certificates of `ca_bundle_pem`, and asks no hosts but
    /// those of `networks`. Needs rustls' process-wide TLS provider.
    ///
    /// # Errors
    /// The certificates cannot be used, or there is no TLS provider.
    pub fn new(
        ca_bundle_pem: Option<&[u8]>,
        networks: Networks,
        observer: Arc<dyn Observer>,
    ) -> Result<Self, AzureError> {
        let resolver = Arc::new(Resolver(networks.clone()));
        Ok(Self {
            http: transport::client(ca_bundle_pem, |builder| builder.dns_resolver(resolver))?,
            networks,
            queue: Queue::default(),
            breaker: Breaker::default(),
            epoch: Instant::now(),
            looks: Cache::default(),
            observer,
        })
    }

    /// What `image` says about itself on `platform`. `login` is for the registry of the image; without it the image must be
    /// there for everybody. `asker` is the namespace that wants to know: each has its share of the look-ups.
    pub async fn configuration(
        &self,
        asker: &str,
        image: &str,
        platform: Platform,
        login: Option<&Login>,
    ) -> Result<Arc<Configuration>, RegistryError> {
        let image = ImageReference::parse(image)?;
        let key = (image.clone(), platform, login.map(Login::fingerprint));
        self.looks
            .get(key, || async {
                if let Some(rest) = self.breaker.rest(&image.host, self.epoch.elapsed()) {
                    return (Err(left_alone(&image.host)), rest);
                }
                let look = self.look(asker, &image, platform, login);
                let result = match tokio::time::timeout(LOOK, look).await {
                    Ok(result) => result.map(Arc::new),
                    Err(_) => Err(RegistryError::Timeout {
                        host: image.host.clone(),
                        limit: LOOK,
                    }),
                };
                if let Err(error) = &result {
                    // Here, and nowhere that the pod's author reads: what the network says would tell him about ours.
                    tracing::info!(host = image.host, ?error, "an image could not be read");
                }
                let outcome = result
                    .as_ref()
                    .map_or_else(RegistryError::outcome, |_| "ok");
                self.observer.look(outcome);
                let counts = counts(&image, result.as_ref().err());
                (result, counts)
            })
            .await
    }

    async fn look(
        &self,
        asker: &str,
        image: &ImageReference,
        platform: Platform,
        login: Option<&Login>,
    ) -> Result<Configuration, RegistryError> {
        let host = image.host.as_str();
        let _permit = self
            .queue
            .permit(asker, host)
            .await
            .map_err(|Full| RegistryError::Busy {
                host: host.to_owned(),
            })?;
        // Another look at the same host may have failed meanwhile.
        if self.breaker.rest(host, self.epoch.elapsed()).is_some() {
            return Err(left_alone(host));
        }
        let result = self.ask(image, platform, login).await;
        let silent = matches!(
            result,
            Err(RegistryError::Unreachable { .. } | RegistryError::Timeout { .. })
        );
        self.breaker.note(host, !silent, self.epoch.elapsed());
        result
    }

    async fn ask(
        &self,
        image: &ImageReference,
        platform: Platform,
        login: Option<&Login>,
    ) -> Result<Configuration, RegistryError> {
        let host = image.host.as_str();
        let mut session = Session::new(&self.http, &self.networks, image, login);
        let mut wanted = image.version.clone();
        for _ in 0..MAX_MANIFESTS {
            let path = match &wanted {
                Version::Tag(tag) => format!("manifests/{tag}"),
                Version::Digest(digest) => format!("manifests/{digest}"),
            };
            let bytes = session.get(&path, MANIFEST).await?;
            if let Version::Digest(digest) = &wanted {
                check(digest, &bytes, host)?;
            }
            match manifest::next(&bytes, platform, host)? {
                Next::Manifest(digest) => wanted = Version::Digest(digest),
                Next::Config { size, .. } if size > CONFIG.limit as u64 => {
                    return Err(RegistryError::TooLarge {
                        host: host.to_owned(),
                        what: CONFIG.what,
                        limit: CONFIG.limit,
                    });
                }
                Next::Config { digest, .. } => {
                    let bytes = session.get(&format!("blobs/{digest}"), CONFIG).await?;
                    check(&digest, &bytes, host)?;
                    return manifest::configuration(&bytes, platform, host);
                }
            }
        }
        Err(RegistryError::Malformed {
            host: host.to_owned(),
            what: "indexes that lead to indexes",
        })
    }
}

/// The host has not answered several times, and is not asked now.
fn left_alone(host: &str) -> RegistryError {
    RegistryError::Unreachable {
        host: host.to_owned(),
        reason: "it has not answered several times in a row, and is left alone for a while"
            .to_owned(),
    }
}

fn check(digest: &Digest, bytes: &[u8], host: &str) -> Result<(), RegistryError> {
    if digest.is_of(bytes) {
        return Ok(());
    }
    Err(RegistryError::Malformed {
        host: host.to_owned(),
        what: "something else than what has the digest",
    })
}

fn counts(image: &ImageReference, error: Option<&RegistryError>) -> Duration {
    match (error, &image.version) {
        (None, Version::Tag(_)) => TAG_COUNTS,
        (None, Version::Digest(_)) => DIGEST_COUNTS,
        (Some(error), _) if error.is_transient() => {
            error.retry_after().unwrap_or(PASSING_FAILURE_COUNTS)
        }
        (Some(_), _) => FAILURE_COUNTS,
    }
}

/// One [`Registry`] per set of trust anchors, for the whole process. Cheap to clone.
#[derive(Clone)]
pub struct Registries {
    networks: Networks,
    observer: Arc<dyn Observer>,
    by_ca: Arc<Mutex<ByCa>>,
}

type ByCa = HashMap<Option<Vec<u8>>, Arc<Registry>>;

impl Registries {
    pub fn new(networks: Networks, observer: Arc<dyn Observer>) -> Self {
        Self {
            networks,
            observer,
            by_ca: Arc::default(),
        }
    }

    /// The one for these trust anchors. Those that nobody uses are dropped.
    ///
    /// # Errors
    /// As [`Registry::new`].
    pub fn get(&self, ca_bundle_pem: Option<&[u8]>) -> Result<Arc<Registry>, AzureError> {
        let key = ca_bundle_pem.map(<[u8]>::to_vec);
        let mut by_ca = self.by_ca.lock();
        by_ca.retain(|known, registry| *known == key || Arc::strong_count(registry) > 1);
        if let Some(registry) = by_ca.get(&key) {
            return Ok(Arc::clone(registry));
        }
        let (networks, observer) = (self.networks.clone(), Arc::clone(&self.observer));
        let registry = Arc::new(Registry::new(ca_bundle_pem, networks, observer)?);
        by_ca.insert(key, Arc::clone(&registry));
        Ok(registry)
    }
}
