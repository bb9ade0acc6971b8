//! The ARM client of one subscription and credential.
//!
//! Calls go through the Azure SDK's pipeline (request IDs, bearer tokens) on our own transport. The SDK's retry is
//! off, because it sleeps as long as a server asks; a 429 or 5xx comes back as an [`AzureError`] with `retry_after`
//! and the reconciler decides. Only GETs are repeated here, twice at most and within two seconds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use azure_core::credentials::TokenCredential;
use azure_core::http::policies::auth::BearerTokenAuthorizationPolicy;
use azure_core::http::{
    ClientOptions, Context, HttpClient, Method, Pipeline, PipelineSendOptions, RawResponse,
    Request, RetryOptions, Transport, Url,
};
use parking_lot::RwLock;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::time::Instant;

use super::cloud::Endpoints;
use super::credential::{Credential, TokenSource};
use super::error::{AzureError, ErrorClass, body};
use super::health::{Health, Record};
use super::throttle::{Class, Limiter, Limiters, Observed, QUEUED};
use super::transport::HttpTransport;
use crate::causes::chain;
use crate::fence::Fence;

mod call;
mod exec;
mod fenced;
mod logs;
mod monitor;
mod operations;
mod preflight;

use call::Call;
use fenced::Gate;
pub use operations::Deletion;

/// A GET or DELETE that has no answer by then has failed.
const SHORT_CALL: Duration = Duration::from_secs(30);
/// A PUT, PATCH or POST that has no answer by then may or may not have happened.
const LONG_CALL: Duration = Duration::from_mins(1);
/// Longest wait for a turn in the budget; who has to wait longer is told so and comes back.
const TURN_TIMEOUT: Duration = Duration::from_secs(10);
/// A GET is sent at most this many times.
const GET_ATTEMPTS: u32 = 3;
/// No further GET is started after this.
const GET_RETRY_WINDOW: Duration = Duration::from_secs(2);
/// A refused token is renewed at most this often.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(30);

/// Told about every call, for metrics.
pub trait Observer: Send + Sync {
    /// One HTTP exchange: `status` is `None` when there was no answer.
    fn call(&self, operation: &'static str, status: Option<u16>, elapsed: Duration);
    /// A call waited for its turn, or was given up after this wait.
    fn throttled(&self, class: &'static str, wait: Duration);
}

impl Observer for () {
    fn call(&self, _: &'static str, _: Option<u16>, _: Duration) {}
    fn throttled(&self, _: &'static str, _: Duration) {}
}

/// ARM for one subscription under one credential, which can be replaced while calls run. Share it in an [`Arc`].
pub struct ArmClient {
    endpoints: Endpoints,
    base: Url,
    subscription_id: String,
    transport: Arc<dyn HttpClient>,
    sockets: Arc<HttpTransport>,
    limiters: Limiters,
    observer: Arc<dyn Observer>,
    session: RwLock<Arc<Session>>,
    /// Which of those that share a limiter this is.
    tenant: u64,
    gate: Gate,
    health: Record,
}

/// Clients made so far.
static CLIENTS: AtomicU64 = AtomicU64::new(0);

impl std::fmt::Debug for ArmClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ArmClient")
            .field("resource_manager", &self.endpoints.resource_manager)
            .field("subscription_id", &self.subscription_id)
            .field("credential", &self.session().credential)
            .finish_non_exhaustive()
    }
}

/// One credential and the tokens it has brought. Replaced as a whole, so that no token outlives its credential.
struct Session {
    credential: Credential,
    tokens: Arc<TokenSource>,
    pipeline: Pipeline,
    limiter: Arc<Limiter>,
    /// When it was made because ARM refused the token of the one before.
    renewed: Option<Instant>,
}

impl ArmClient {
    /// A client that has not called anybody yet. Needs rustls' process-wide TLS provider.
    ///
    /// # Errors
    /// [`ErrorClass::BadCredentials`] for a credential that cannot be one, [`ErrorClass::Invalid`] for endpoints or a
    /// subscription that cannot be used.
    pub fn new(
        endpoints: Endpoints,
        mut subscription_id: String,
        credential: Credential,
        limiters: &Limiters,
        observer: Arc<dyn Observer>,
    ) -> Result<Self, AzureError> {
        let invalid = |text: &str| AzureError::local(ErrorClass::Invalid, "UnusableEndpoint", text);
        let base =
            Url::parse(&endpoints.resource_manager).map_err(|error| invalid(&chain(&error)))?;
        if base.scheme() != "https" || base.cannot_be_a_base() {
            return Err(invalid(
                "the address of Azure Resource Manager must start with https://",
            ));
        }
        subscription_id.retain(|c| !c.is_whitespace());
        if subscription_id.is_empty() {
            return Err(AzureError::local(
                ErrorClass::Invalid,
                "NoSubscription",
                "the subscription ID is empty",
            ));
        }
        let sockets = limiters.transport(endpoints.ca_bundle_pem.as_deref())?;
        let transport: Arc<dyn HttpClient> = Arc::<HttpTransport>::clone(&sockets);
        let limiter = limiters.get(&subscription_id, &credential.principal());
        let gate = Gate::default();
        let session = Session::new(credential, &endpoints, &transport, limiter, &gate, None)?;
        Ok(Self {
            endpoints,
            base,
            subscription_id,
            transport,
            sockets,
            limiters: limiters.clone(),
            observer,
            session: RwLock::new(Arc::new(session)),
            tenant: CLIENTS.fetch_add(1, Ordering::Relaxed),
            gate,
            health: Record::default(),
        })
    }

    /// The same client, which asks `fence` before each request that is no GET. It cannot be given another one.
    #[must_use]
    pub fn fenced(self, fence: Arc<dyn Fence>) -> Self {
        self.gate.close_with(fence);
        self
    }

    /// Uses `credential` from the next call on; the old token is dropped. Calls under way end as they began.
    ///
    /// # Errors
    /// [`ErrorClass::BadCredentials`] when it cannot be one; the old credential then stays.
    pub fn replace_credential(&self, credential: Credential) -> Result<(), AzureError> {
        let limiter = self
            .limiters
            .get(&self.subscription_id, &credential.principal());
        let session = Session::new(
            credential,
            &self.endpoints,
            &self.transport,
            limiter,
            &self.gate,
            None,
        )?;
        *self.session.write() = Arc::new(session);
        Ok(())
    }

    /// The subscription all calls are for.
    pub fn subscription_id(&self) -> &str {
        &self.subscription_id
    }

    /// PEM certificates that are trusted besides the platform's own.
    pub fn ca_bundle_pem(&self) -> Option<&[u8]> {
        self.endpoints.ca_bundle_pem.as_deref()
    }

    /// Gets a token, or uses the one at hand: says whether Entra ID accepts the credential, nothing about ARM.
    pub async fn check_token(&self) -> Result<(), AzureError> {
        let session = self.session();
        let scopes = [self.endpoints.scope.as_str()];
        let asked = session.tokens.get_token(&scopes, None);
        let result = match tokio::time::timeout(SHORT_CALL, asked).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => Err(AzureError::from_pipeline(&error)),
            Err(_) => Err(AzureError::timeout("the request for a token", SHORT_CALL)),
        };
        self.health.note(&result);
        result
    }

    /// Whether Azure answers, as all calls of this client see it.
    pub fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    fn session(&self) -> Arc<Session> {
        Arc::clone(&self.session.read())
    }

    /// Sends `call` and returns any answer whose status is 2xx.
    async fn send(&self, call: &Call) -> Result<RawResponse, AzureError> {
        let limit = if matches!(call.method, Method::Put | Method::Patch | Method::Post) {
            LONG_CALL
        } else {
            SHORT_CALL
        };
        let started = Instant::now();
        let mut attempt = 1;
        loop {
            let result = self.send_with_fresh_token(call, started + limit).await;
            self.health.note(&result);
            let error = match result {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            let pause = retry_pause(attempt);
            let worth_it = call.method == Method::Get
                && attempt < GET_ATTEMPTS
                && matches!(
                    (error.class, error.status),
                    (ErrorClass::Connection, _) | (_, Some(503))
                )
                && error.retry_after.unwrap_or_default().max(pause) + started.elapsed()
                    <= GET_RETRY_WINDOW;
            if !worth_it {
                return Err(error);
            }
            tokio::time::sleep(error.retry_after.unwrap_or_default().max(pause)).await;
            attempt += 1;
        }
    }

    /// Sends `call`; when ARM refuses the token, once more with a new one.
    async fn send_with_fresh_token(
        &self,
        call: &Call,
        deadline: Instant,
    ) -> Result<RawResponse, AzureError> {
        let session = self.session();
        match self.send_once(&session, call, deadline).await {
            Err(error)
                if error.status == Some(401) && error.class == ErrorClass::Unauthenticated =>
            {
                match self.renew(&session)? {
                    Some(session) => self.send_once(&session, call, deadline).await,
                    None => Err(error),
                }
            }
            other => other,
        }
    }

    /// The session after `refused`: the current one if somebody has replaced it already, else a new one. `None` when
    /// the refused token was new itself. A new session is needed because the SDK caches tokens twice and clears only
    /// one cache on a 401.
    fn renew(&self, refused: &Arc<Session>) -> Result<Option<Arc<Session>>, AzureError> {
        let mut current = self.session.write();
        if !Arc::ptr_eq(&current, refused) {
            return Ok(Some(Arc::clone(&current)));
        }
        if refused
            .renewed
            .is_some_and(|at| at.elapsed() < RENEWAL_INTERVAL)
        {
            return Ok(None);
        }
        let limiter = Arc::clone(&refused.limiter);
        let credential = refused.credential.clone();
        let session = Arc::new(Session::new(
            credential,
            &self.endpoints,
            &self.transport,
            limiter,
            &self.gate,
            Some(Instant::now()),
        )?);
        *current = Arc::clone(&session);
        Ok(Some(session))
    }

    /// One turn of the budget, one HTTP exchange.
    async fn send_once(
        &self,
        session: &Session,
        call: &Call,
        deadline: Instant,
    ) -> Result<RawResponse, AzureError> {
        let asked = Instant::now();
        let turn = session
            .limiter
            .acquire(
                call.permit_request(self.tenant),
                deadline.min(asked + TURN_TIMEOUT),
            )
            .await;
        let waited = match &turn {
            Ok(permit) => permit.waited(),
            // It waits on, and is counted when it has its turn.
            Err(error) if error.code == QUEUED => Duration::ZERO,
            Err(_) => asked.elapsed(),
        };
        if !waited.is_zero() {
            self.observer.throttled(call.class.name(), waited);
        }
        let permit = turn?;
        self.gate.allow(call.method)?;

        let mut request = Request::new(call.url.clone(), call.method);
        request.insert_header("accept", "application/json");
        if let Some(body) = &call.body {
            request.insert_header("content-type", "application/json");
            request.set_body(body.clone());
        }
        let context = Context::new();
        let options = PipelineSendOptions {
            skip_checks: true,
            ..PipelineSendOptions::default()
        };
        let sent = Instant::now();
        let answer = tokio::time::timeout_at(
            deadline,
            session.pipeline.send(&context, &mut request, Some(options)),
        )
        .await;
        let status = answer
            .as_ref()
            .ok()
            .and_then(|a| a.as_ref().ok())
            .map(|a| u16::from(a.status()));
        if let Ok(Err(error)) = &answer
            && let Some(refused) = fenced::refusal(error)
        {
            return Err(refused);
        }
        self.observer.call(call.operation, status, sent.elapsed());
        let response = match answer {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(AzureError::from_pipeline(&error)),
            Err(_) => return Err(AzureError::timeout(call.operation, sent.elapsed())),
        };
        permit.observe(&observed(call.class, &response));
        if response.status().is_success() {
            return Ok(response);
        }
        let sent = call.body.as_deref().unwrap_or_default();
        let error = body::from_response(&response, sent, chrono::Utc::now());
        tracing::debug!(
            operation = call.operation,
            status,
            code = error.code,
            request_id = error.request_id,
            "ARM refused a call"
        );
        Err(error)
    }
}

impl Session {
    fn new(
        credential: Credential,
        endpoints: &Endpoints,
        transport: &Arc<dyn HttpClient>,
        limiter: Arc<Limiter>,
        gate: &Gate,
        renewed: Option<Instant>,
    ) -> Result<Self, AzureError> {
        let tokens = TokenSource::new(&credential, endpoints, Arc::clone(transport))?;
        let as_credential: Arc<dyn TokenCredential> = Arc::<TokenSource>::clone(&tokens);
        let bearer = BearerTokenAuthorizationPolicy::new(as_credential, [endpoints.scope.as_str()]);
        let options = ClientOptions {
            retry: RetryOptions::none(),
            transport: Some(Transport::new(Arc::clone(transport))),
            ..ClientOptions::default()
        };
        let version = option_env!("CARGO_PKG_VERSION");
        let pipeline = Pipeline::new(
            Some("vkc"),
            version,
            options,
            Vec::new(),
            vec![Arc::new(bearer), gate.policy()],
            None,
        );
        Ok(Self {
            credential,
            tokens,
            pipeline,
            limiter,
            renewed,
        })
    }
}

/// What the answer's headers say about the budget (ARM: "Request limits and throttling"; the last two are ACI's own).
fn observed(class: Class, response: &RawResponse) -> Observed {
    let headers = response.headers();
    let number =
        |name: &str| body::header(headers, name).and_then(|value| value.trim().parse().ok());
    let bucket = match class {
        Class::Read => "x-ms-ratelimit-remaining-subscription-reads",
        Class::Create | Class::Write => "x-ms-ratelimit-remaining-subscription-writes",
        Class::Delete => "x-ms-ratelimit-remaining-subscription-deletes",
    };
    Observed {
        throttled: u16::from(response.status()) == 429,
        retry_after: body::retry_after(headers, chrono::Utc::now()),
        remaining: number(bucket),
        remaining_5m: number("x-ms-ratelimit-remaining-subscription-resource-requests-pt5m"),
        remaining_1h: number("x-ms-ratelimit-remaining-subscription-resource-requests-pt1h"),
    }
}

/// The body of a successful answer as `T`.
fn parse<T: DeserializeOwned>(response: &RawResponse) -> Result<T, AzureError> {
    let status = u16::from(response.status());
    serde_json::from_slice(response.body()).map_err(|error| {
        // The position helps; the text of the error could quote the body.
        let text = format!(
            "the answer cannot be read (line {}, column {}, {:?} error)",
            error.line(),
            error.column(),
            error.classify()
        );
        let request_id =
            body::header(response.headers(), "x-ms-request-id").map(super::error::one_line);
        AzureError {
            request_id,
            ..AzureError::protocol(Some(status), &text)
        }
    })
}

/// 0.1 to 0.2 s before the second attempt, 0.3 to 0.6 s before the third: all together stay below two seconds.
fn retry_pause(attempt: u32) -> Duration {
    let base = Duration::from_millis(if attempt == 1 { 100 } else { 300 });
    base.mul_f64(1.0 + fastrand::f64())
}
