//! From a request to an answer: who calls, may he, and what is there.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{MatchedPath, Path, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use http::request::Parts;
use http::{StatusCode, header};
use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

use super::api_error::ApiError;
use super::authn::{Authenticator, AuthnError, User};
use super::authz::{self, Authorizer};
use super::exec_routes;
use super::listener::Peer;
use super::logs::{Logs, Target, options};
use super::pods::{self, Pods};
use super::server::Observer;
use super::stats::{Stats, resource, summary};
use super::stream_slots::{Full, StreamSlot, StreamSlots};
use super::upgrade::SessionTracker;
use crate::pods::ProbeCounts;
use crate::pods::snapshot::{NodePods, Receiver};
use crate::provider::Containers;

/// What the routes of one node share.
pub struct Kubelet {
    pub node: String,
    /// Its address.
    pub ip: IpAddr,
    pub authenticator: Authenticator,
    pub authorizer: Authorizer,
    /// The pods of the node.
    pub pods: Pods,
    /// Those that run, as the pods' loop has them.
    pub node_pods: Receiver,
    /// How their probes go.
    pub probes: ProbeCounts,
    /// Logs of their containers.
    pub logs: Logs,
    pub stats: Stats,
    pub containers: Arc<dyn Containers>,
    /// Exec and attach sessions, and forwarded ports.
    pub sessions: SessionTracker,
    /// Bounds what goes on at once.
    pub streams: StreamSlots,
    pub observer: Arc<dyn Observer>,
}

impl Kubelet {
    /// The pods that run.
    fn running(&self) -> Arc<NodePods> {
        self.node_pods.borrow().clone()
    }
}

type Shared = State<Arc<Kubelet>>;

/// Every route of the kubelet API. Each request is authenticated and authorized before anything else is looked at.
pub fn router(kubelet: Arc<Kubelet>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/pods", get(list))
        .route("/pods/", get(list))
        .route("/runningpods", get(running))
        .route("/runningpods/", get(running))
        .route("/stats/summary", get(stats_summary))
        .route("/stats/summary/", get(stats_summary))
        .route("/metrics", get(metrics))
        .route("/metrics/resource", get(metrics_resource))
        .route("/metrics/resource/", get(metrics_resource))
        .route("/metrics/probes", get(metrics_probes))
        .route("/containerLogs/{namespace}/{pod}/{container}", get(logs))
        .merge(exec_routes::router())
        .fallback(|| async { ApiError::not_found("404 page not found") })
        .layer(middleware::from_fn_with_state(kubelet.clone(), guard))
        .with_state(kubelet)
}

/// Lets a request through whose caller is known and allowed.
async fn guard(
    State(kubelet): Shared,
    Extension(peer): Extension<Peer>,
    path: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let (mut parts, body) = request.into_parts();
    let response = match admit(&kubelet, &peer, &parts).await {
        Ok((user, caller)) => {
            peer.prove();
            parts.extensions.insert(caller);
            tracing::debug!(user = user.name, method = %parts.method, path = parts.uri.path(), "a request to the kubelet API");
            next.run(Request::from_parts(parts, body)).await
        }
        Err(refusal) => refusal.into_response(),
    };
    let route = path.as_ref().map_or("unknown", |path| route(path.as_str()));
    kubelet
        .observer
        .request(route, response.status().as_u16(), started.elapsed());
    response
}

/// A bounded word for a route, for metrics.
fn route(path: &str) -> &'static str {
    const ROUTES: [&str; 10] = [
        "healthz",
        "pods",
        "runningpods",
        "containerLogs",
        "exec",
        "attach",
        "portForward",
        "stats",
        "metrics",
        "configz",
    ];
    let first = path
        .trim_start_matches('/')
        .split('/')
        .next()
        .unwrap_or_default();
    ROUTES
        .into_iter()
        .find(|route| *route == first)
        .unwrap_or("unknown")
}

/// For whom a request is: somebody who has come himself, with a token, or whomever somebody with a certificate of the cluster
/// brings, as the API server does.
#[derive(Debug, Clone, Default)]
pub(super) struct Caller(Option<Arc<str>>);

async fn admit(
    kubelet: &Kubelet,
    peer: &Peer,
    request: &Parts,
) -> Result<(User, Caller), ApiError> {
    let known = kubelet.authenticator.by_certificate(&peer.certificates);
    let (user, caller) = if let Some(user) = known {
        (user, Caller::default())
    } else {
        let user = by_token(kubelet, peer, request).await?;
        let caller = Caller(Some(user.name.as_str().into()));
        (user, caller)
    };
    review(kubelet, &user, request).await?;
    Ok((user, caller))
}

async fn by_token(kubelet: &Kubelet, peer: &Peer, request: &Parts) -> Result<User, ApiError> {
    let authorization = request.headers.get(header::AUTHORIZATION);
    let authorization = authorization.and_then(|value| value.to_str().ok());
    let user = kubelet
        .authenticator
        .authenticate(peer.network, &[], authorization)
        .await;
    user.map_err(|error| match error {
        AuthnError::Busy => ApiError {
            retry_after: Some(1),
            ..ApiError::new(StatusCode::TOO_MANY_REQUESTS, error.to_string())
        },
        AuthnError::Kube(error) => ApiError::kube(&error),
    })?
    .ok_or_else(|| ApiError::new(StatusCode::UNAUTHORIZED, "Unauthorized"))
}

/// Whether he may.
async fn review(kubelet: &Kubelet, user: &User, request: &Parts) -> Result<(), ApiError> {
    let verb = authz::verb(&request.method, request.uri.path());
    let subresources = authz::subresources(request.uri.path());
    let about = || {
        format!(
            "(user={}, verb={verb}, resource=nodes, subresource={})",
            user.name,
            subresources.join(",")
        )
    };
    match kubelet.authorizer.allows(user, verb, subresources).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(ApiError::new(
            StatusCode::FORBIDDEN,
            format!("Forbidden {}", about()),
        )),
        Err(error) => {
            tracing::warn!(node = kubelet.node, %error, "access to the kubelet API could not be reviewed");
            Err(ApiError::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("Authorization error {}", about()),
            ))
        }
    }
}

async fn list(State(kubelet): Shared) -> Result<Response, ApiError> {
    let list = kubelet.pods.list().await;
    list.map_err(|error| ApiError::kube(&error))
}

async fn running(State(kubelet): Shared) -> Response {
    pods::running_answer(&kubelet.running())
}

async fn stats_summary(State(kubelet): Shared, request: Request) -> Response {
    let query = request.uri().query().unwrap_or_default();
    let only_cpu_and_memory = query
        .split('&')
        .any(|pair| pair == "only_cpu_and_memory=true");
    let snapshot = kubelet.stats.snapshot(!only_cpu_and_memory).await;
    Json(summary::summary(&snapshot)).into_response()
}

async fn metrics_resource(State(kubelet): Shared) -> Response {
    let snapshot = kubelet.stats.snapshot(false).await;
    prometheus(resource::text(&snapshot))
}

async fn metrics(State(kubelet): Shared) -> Response {
    prometheus(resource::own(&kubelet.node, &kubelet.running()))
}

async fn metrics_probes(State(kubelet): Shared) -> Response {
    prometheus(kubelet.probes.text())
}

fn prometheus(text: String) -> Response {
    ([(header::CONTENT_TYPE, resource::CONTENT_TYPE)], text).into_response()
}

async fn logs(
    State(kubelet): Shared,
    Path((namespace, pod, container)): Path<(String, String, String)>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, ApiError> {
    let options = options::parse(request.uri().query().unwrap_or_default(), Timestamp::now())?;
    let slot = slot(&kubelet, (&namespace, &pod), &caller)?;
    let target = Target {
        namespace,
        pod,
        container,
    };
    kubelet.logs.answer(target, options, slot).await
}

/// A place among the streams of the node, for a pod of `namespace`.
pub(super) fn slot(
    kubelet: &Kubelet,
    (namespace, pod): (&str, &str),
    caller: &Caller,
) -> Result<StreamSlot, ApiError> {
    let slot = kubelet.streams.take(namespace, pod, caller.0.as_deref());
    slot.map_err(|full| {
        let whose = match full {
            Full::Node => "this node",
            Full::Namespace => "this namespace on this node",
            Full::Pod => "this pod",
            Full::User => "this user on this node",
        };
        let text = format!("too many logs, exec sessions and forwarded ports of {whose} at once");
        ApiError {
            retry_after: Some(5),
            ..ApiError::new(StatusCode::TOO_MANY_REQUESTS, text)
        }
    })
}

#[cfg(test)]
mod tests;
