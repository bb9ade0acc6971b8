//! Who calls: by a client certificate of the cluster's CA, or by a bearer token that the API server knows. Nobody is
//! anonymous.
//!
//! Source: Kubernetes' pages "Authenticating" (X.509 client certificates: the common name is the user, organisations are
//! groups) and "Kubelet authentication/authorization".

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared, WeakShared};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use kube::api::PostParams;
use kube::{Api, Client};
use parking_lot::Mutex;
use rustls::pki_types::{CertificateDer, UnixTime};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::cache::Cache;
use super::client_ca::{self, ClientCas};
use crate::kube::call::{KubeError, TIMEOUT, call};
use crate::shares::Shares;

/// A kubelet's own life of an answer (`--authentication-token-webhook-cache-ttl`).
const KNOWN: Duration = Duration::from_mins(2);
/// A token that is not known now may be soon.
const UNKNOWN: Duration = Duration::from_secs(10);
const ANSWERS: usize = 1024;
/// Questions to the API server at once.
const QUESTIONS: usize = 16;
/// Requests that wait for an answer of the API server, and those of one address among them: who has shown nothing yet must
/// not fill the line of those who will.
const WAITING: usize = 64;
const WAITING_OF_ONE: usize = 8;
/// New tokens of one address that turn out to be nobody's are reviewed as fast as this: so many at once, and so many a second.
const UNKNOWN_AT_ONCE: f64 = 20.0;
const UNKNOWN_A_SECOND: f64 = 2.0;
/// Addresses that this is known of.
const ADDRESSES: usize = 1024;
/// Whoever brings more has his answer after this: otherwise he would only come again at once.
const PENALTY: Duration = Duration::from_secs(2);
/// Longest token that is looked at; the API server's own limit for headers is near.
const LONGEST_TOKEN: usize = 64 << 10;
/// The group of everybody who is known.
const AUTHENTICATED: &str = "system:authenticated";

/// A caller, as the API server's reviews name him.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct User {
    pub name: String,
    /// UID, where there is one.
    pub uid: Option<String>,
    pub groups: Vec<String>,
    /// What else an authenticator said.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// Why it is not known who calls.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthnError {
    /// Too many wait to be told who they are.
    #[error("too many tokens are being reviewed; try again")]
    Busy,
    /// The API server could not be asked.
    #[error(transparent)]
    Kube(#[from] KubeError),
}

/// A question that somebody waits for.
type Asking = Shared<Review>;
type Review = BoxFuture<'static, Result<Option<User>, KubeError>>;

/// Finds out who calls.
pub struct Authenticator {
    cas: ClientCas,
    client: Client,
    epoch: Instant,
    /// By the SHA-256 of the token: the token itself is not kept.
    answers: Mutex<Cache<[u8; 32], Option<User>>>,
    questions: Arc<Semaphore>,
    /// Questions on their way, by the same key: equal ones are asked once.
    asking: Mutex<HashMap<[u8; 32], WeakShared<Review>>>,
    /// Those who wait, by address.
    waiting: Shares<IpAddr>,
    unknown: Mutex<Unknown>,
}

/// How many reviews are left to addresses whose tokens were nobody's.
#[derive(Default)]
struct Unknown(HashMap<IpAddr, (f64, Duration)>);

impl Unknown {
    fn left(&self, network: IpAddr, now: Duration) -> f64 {
        let known = self.0.get(&network);
        known.map_or(UNKNOWN_AT_ONCE, |known| left(*known, now))
    }

    /// A token of this address was nobody's.
    fn note(&mut self, network: IpAddr, now: Duration) {
        if self.0.len() >= ADDRESSES && !self.0.contains_key(&network) {
            self.0
                .retain(|_, known| left(*known, now) < UNKNOWN_AT_ONCE);
            // That many do it at once: all begin anew.
            if self.0.len() >= ADDRESSES {
                self.0.clear();
            }
        }
        let left = self.left(network, now) - 1.0;
        self.0.insert(network, (left, now));
    }
}

/// What is left `now` of what was left at a time.
fn left((left, at): (f64, Duration), now: Duration) -> f64 {
    let more = now.saturating_sub(at).as_secs_f64() * UNKNOWN_A_SECOND;
    (left + more).min(UNKNOWN_AT_ONCE)
}

impl Authenticator {
    /// Certificates are checked against `cas`; `client` may create `tokenreviews`.
    pub fn new(cas: ClientCas, client: Client) -> Self {
        Self {
            cas,
            client,
            epoch: Instant::now(),
            answers: Mutex::new(Cache::new(ANSWERS)),
            questions: Arc::new(Semaphore::new(QUESTIONS)),
            asking: Mutex::default(),
            waiting: Shares::new(WAITING, WAITING_OF_ONE),
            unknown: Mutex::default(),
        }
    }

    /// Whose certificates are believed.
    pub fn cas(&self) -> ClientCas {
        self.cas.clone()
    }

    /// The caller, or `None` when he has shown nothing that proves who he is. `chain` is what he showed in the TLS
    /// handshake, where he proved that its key is his; whose word the certificate is gets decided here. `network` is
    /// where he is.
    ///
    /// # Errors
    /// The API server could not be asked about his token, or too many wait for that.
    pub async fn authenticate(
        &self,
        network: IpAddr,
        chain: &[CertificateDer<'static>],
        authorization: Option<&str>,
    ) -> Result<Option<User>, AuthnError> {
        if let Some(user) = self.by_certificate(chain) {
            return Ok(Some(user));
        }
        match authorization.and_then(bearer) {
            Some(token) => self.by_token(network, token).await,
            None => Ok(None),
        }
    }

    /// Whom a certificate of the client CA names: the API server, for whoever has sent it, or somebody with a key of the cluster.
    pub fn by_certificate(&self, chain: &[CertificateDer<'static>]) -> Option<User> {
        let own = chain.first()?;
        client_ca::vouches(&self.cas, chain, UnixTime::now())
            .then(|| user_of(own))
            .flatten()
    }

    async fn by_token(&self, network: IpAddr, token: &str) -> Result<Option<User>, AuthnError> {
        let key: [u8; 32] = Sha256::digest(token).into();
        if let Some(answer) = self.answers.lock().get(&key, self.epoch.elapsed()) {
            return Ok(answer);
        }
        let left = self.unknown.lock().left(network, self.epoch.elapsed());
        if left < 1.0 {
            tokio::time::sleep(PENALTY).await;
            return Err(AuthnError::Busy);
        }
        let _place = self.waiting.take(network).map_err(|_| AuthnError::Busy)?;
        let user = self.asking(key, token).await?;
        if user.is_none() {
            self.unknown.lock().note(network, self.epoch.elapsed());
        }
        let life = if user.is_some() { KNOWN } else { UNKNOWN };
        let now = self.epoch.elapsed();
        self.answers.lock().put(key, user.clone(), now, life);
        Ok(user)
    }

    /// The question about `token`: the one that is on its way, or a new one. It ends when nobody waits for it.
    fn asking(&self, key: [u8; 32], token: &str) -> Asking {
        let mut asking = self.asking.lock();
        if let Some(known) = asking.get(&key).and_then(WeakShared::upgrade) {
            return known;
        }
        asking.retain(|_, other| other.upgrade().is_some());
        let question = TokenReview {
            spec: TokenReviewSpec {
                token: token.to_owned(),
                audiences: None,
            },
            ..TokenReview::default()
        };
        let (client, questions) = (self.client.clone(), self.questions.clone());
        let ask = async move {
            // Only a closed semaphore fails, and this one is never closed.
            let _turn = questions.acquire().await.ok();
            let api = Api::<TokenReview>::all(client);
            api.create(&PostParams::default(), &question).await
        };
        let review = async move {
            let answer = call("review a token", TIMEOUT, ask).await?;
            Ok(answer
                .status
                .filter(|status| status.authenticated == Some(true))
                .and_then(|status| status.user)
                .and_then(of_review))
        };
        let review = review.boxed().shared();
        asking.extend(review.downgrade().map(|weak| (key, weak)));
        review
    }
}

/// The token of an `Authorization` header (RFC 6750: the scheme's case does not matter). PURE.
fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.trim().split_once(' ')?;
    let token = token.trim();
    let usable =
        scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() && token.len() <= LONGEST_TOKEN;
    usable.then_some(token)
}

/// The user that a certificate names, if it names one. PURE.
fn user_of(certificate: &CertificateDer<'_>) -> Option<User> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    let organizations = subject.iter_organization();
    let groups = organizations.filter_map(|group| group.as_str().ok().map(str::to_owned));
    (!name.is_empty()).then(|| User {
        name,
        groups: with_authenticated(groups.collect()),
        ..User::default()
    })
}

fn of_review(info: UserInfo) -> Option<User> {
    let name = info.username.filter(|name| !name.is_empty())?;
    Some(User {
        name,
        uid: info.uid.filter(|uid| !uid.is_empty()),
        groups: with_authenticated(info.groups.unwrap_or_default()),
        extra: info.extra.unwrap_or_default(),
    })
}

fn with_authenticated(mut groups: Vec<String>) -> Vec<String> {
    if !groups.iter().any(|group| group == AUTHENTICATED) {
        groups.push(AUTHENTICATED.to_owned());
    }
    groups
}

#[cfg(test)]
#[path = "authn/tests.rs"]
mod tests;
