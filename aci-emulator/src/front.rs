//! The way of every request: fault, latency, token or registry, throttle, route; then headers and the record.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, header, request::Parts};

use crate::{
    admin,
    arm::{self, Call, errors::ApiError},
    exec,
    faults::{Echo, Fault},
    record, registry,
    shared::Shared,
    throttle::{Class, ProviderRemaining, Remaining},
    token,
};

/// ARM's limit of a request body.
const BODY_BYTES: usize = 4 * 1024 * 1024;
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Marks an answer that must not be sent: the connection is closed instead.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DropConnection;

/// The number of the token that a call came with.
#[derive(Debug, Clone, Copy)]
struct Token(u64);

/// Marks a request that came without TLS: the machine's metadata service, nothing else.
#[derive(Debug, Clone, Copy)]
struct Plain;

/// All there is on the listener of the metadata service.
pub(crate) fn metadata_router(shared: Arc<Shared>) -> Router {
    Router::new().fallback(metadata_entry).with_state(shared)
}

async fn metadata_entry(shared: State<Arc<Shared>>, mut request: Request) -> Response {
    if !token::is_metadata_path(request.uri().path()) {
        return StatusCode::NOT_FOUND.into_response();
    }
    request.extensions_mut().insert(Plain);
    entry(shared, request).await
}

/// All there is on the listener.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .nest("/_emulator", admin::router())
        .route("/execstream/sessionId/{id}", get(exec::exec_stream))
        .route("/attachstream/sessionId/{id}", get(exec::attach_stream))
        .fallback(entry)
        .with_state(shared)
}

async fn entry(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let correlation = correlation_id(&parts);
    let is_token =
        parts.extensions.get::<Plain>().is_some() || token::is_token_path(parts.uri.path());
    let class = if is_token {
        "token"
    } else if registry::is_registry_path(parts.uri.path()) {
        "registry"
    } else {
        Class::of(&parts.method).name()
    };

    let fault = shared.faults.take(parts.method.as_str(), parts.uri.path());
    let mut response = match fault {
        None => effect(&shared, &parts, body, is_token).await,
        Some(fault) => faulty(&shared, &parts, body, is_token, fault).await,
    };

    let dropped = response.extensions().get::<DropConnection>().is_some();
    shared.record.lock().push(record::Request {
        at: shared.clock.now(),
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        status: if dropped {
            0
        } else {
            response.status().as_u16()
        },
        correlation_id: correlation.clone(),
        class,
        token: response.extensions().get::<Token>().map(|token| token.0),
    });
    common_headers(&parts, &mut response, &correlation);
    response
}

/// A request hit by a fault.
async fn faulty(
    shared: &Shared,
    parts: &Parts,
    body: Body,
    is_token: bool,
    mut fault: Fault,
) -> Response {
    let mut body = Some(body);
    let mut response = None;
    let mut echo = String::new();
    if fault.echo.is_some() {
        let read = axum::body::to_bytes(body.take().unwrap_or_default(), BODY_BYTES).await;
        let read = read.unwrap_or_default();
        echo = format!(" {}", String::from_utf8_lossy(&read));
        body = Some(Body::from(read));
    }
    if fault.after_effect {
        response = Some(effect(shared, parts, body.take().unwrap_or_default(), is_token).await);
    }
    if let Some(hang) = fault.hang {
        tokio::select! {
            () = tokio::time::sleep(hang) => {}
            () = shared.stop.cancelled() => {}
        }
    }
    if fault.drop_connection {
        let mut response = StatusCode::INTERNAL_SERVER_ERROR.into_response();
        response.extensions_mut().insert(DropConnection);
        return response;
    }
    if fault.status == 0 {
        return match response {
            Some(response) => response,
            None => effect(shared, parts, body.unwrap_or_default(), is_token).await,
        };
    }
    if fault.echo == Some(Echo::Broken) {
        let status = StatusCode::from_u16(fault.status).unwrap_or(StatusCode::BAD_GATEWAY);
        let body = format!(
            "{{\"error\": {{\"code\": \"{}\", \"message\": \"{}{echo}",
            fault.code, fault.message
        );
        return (status, [(header::CONTENT_TYPE, "application/json")], body).into_response();
    }
    if is_token && fault.body.is_none() {
        return token::faulty(&fault, &echo);
    }
    fault.message.push_str(&echo);
    answer(fault)
}

/// What a fault has somebody answer.
fn answer(fault: Fault) -> Response {
    let mut error = ApiError::new(fault.status, &fault.code, fault.message);
    error.retry_after = fault.retry_after;
    let mut response = error.into_response();
    if let Some(body) = fault.body {
        let html = HeaderValue::from_static("text/html");
        response.headers_mut().insert(header::CONTENT_TYPE, html);
        response.headers_mut().remove(header::CONTENT_LENGTH);
        *response.body_mut() = Body::from(body);
    }
    for (name, value) in fault.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// What the request does when no fault is in its way.
async fn effect(shared: &Shared, parts: &Parts, body: Body, is_token: bool) -> Response {
    let collected =
        tokio::time::timeout(BODY_TIMEOUT, axum::body::to_bytes(body, BODY_BYTES)).await;
    let body = match collected {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => {
            return ApiError::new(
                413,
                "RequestContentTooLarge",
                "The request content size exceeds the maximum size of 4 MB.",
            )
            .into_response();
        }
        Err(_) => {
            return ApiError::new(
                408,
                "RequestTimeout",
                "The request content did not arrive in time.",
            )
            .into_response();
        }
    };
    let query = parts.uri.query().unwrap_or_default();
    if is_token
        && let Some(response) = token::route(shared, parts.uri.path(), query, &parts.headers, &body)
    {
        return response;
    }
    let latency = shared.settings().latency;
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    if registry::is_registry_path(parts.uri.path()) {
        return registry::answer(shared, parts);
    }
    arm_call(shared, parts, query, &body)
}

fn arm_call(shared: &Shared, parts: &Parts, query: &str, body: &Bytes) -> Response {
    let now = shared.clock.now();
    let caller = match token::authenticate(shared, &parts.headers, now) {
        Ok(caller) => caller,
        Err(error) => return error.into_response(),
    };
    let principal = caller.principal;
    let mut remaining = None;
    if shared.settings().throttle {
        let class = Class::of(&parts.method);
        let taken = shared.throttle.lock().take(
            &shared.config.subscription_id,
            &principal,
            class,
            std::time::Instant::now(),
        );
        match taken {
            Ok(left) => remaining = Some(left),
            Err(error) => return error.into_response(),
        }
    }
    let mut call = Call {
        shared,
        principal: &principal,
        method: &parts.method,
        path: parts.uri.path(),
        query,
        body,
        now,
        token: caller.token,
        provider: None,
    };
    let answer = arm::route(&mut call);
    let provider = call.provider;
    let mut response = answer.unwrap_or_else(ApiError::into_response);
    throttle_headers(&mut response, remaining, provider);
    if parts.method == Method::HEAD {
        *response.body_mut() = Body::empty();
    }
    response.extensions_mut().insert(Token(caller.token));
    response
}

fn throttle_headers(
    response: &mut Response,
    remaining: Option<Remaining>,
    provider: Option<ProviderRemaining>,
) {
    let headers = response.headers_mut();
    if let Some(left) = remaining {
        let (own, global) = match left.class {
            Class::Read => (
                "x-ms-ratelimit-remaining-subscription-reads",
                "x-ms-ratelimit-remaining-subscription-global-reads",
            ),
            Class::Write => (
                "x-ms-ratelimit-remaining-subscription-writes",
                "x-ms-ratelimit-remaining-subscription-global-writes",
            ),
            Class::Delete => (
                "x-ms-ratelimit-remaining-subscription-deletes",
                "x-ms-ratelimit-remaining-subscription-global-deletes",
            ),
        };
        headers.insert(
            HeaderName::from_static(own),
            HeaderValue::from(left.principal),
        );
        headers.insert(
            HeaderName::from_static(global),
            HeaderValue::from(left.global),
        );
    }
    let counters = provider.map(|left| (left.hour, left.five_minutes));
    if let Some(left) = counters.and_then(|(hour, _)| hour) {
        headers.insert(
            HeaderName::from_static("x-ms-ratelimit-remaining-subscription-resource-requests-pt1h"),
            HeaderValue::from(left),
        );
    }
    if let Some(left) = counters.and_then(|(_, five)| five) {
        headers.insert(
            HeaderName::from_static("x-ms-ratelimit-remaining-subscription-resource-requests-pt5m"),
            HeaderValue::from(left),
        );
    }
}

/// The caller's correlation id, or a new one.
fn correlation_id(parts: &Parts) -> String {
    let given = parts
        .headers
        .get("x-ms-correlation-request-id")
        .and_then(|value| value.to_str().ok());
    given
        .filter(|id| !id.is_empty() && id.len() <= 64)
        .map_or_else(|| uuid::Uuid::new_v4().to_string(), str::to_owned)
}

fn common_headers(parts: &Parts, response: &mut Response, correlation: &str) {
    let request_id = uuid::Uuid::new_v4().to_string();
    let headers = response.headers_mut();
    for (name, value) in [
        ("x-ms-request-id", request_id.as_str()),
        ("x-ms-correlation-request-id", correlation),
    ] {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-cache"));
    if headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind == "application/json")
    {
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json; charset=utf-8"),
        );
    }
    let wanted = parts
        .headers
        .get("x-ms-return-client-request-id")
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true"));
    if let Some(id) = parts
        .headers
        .get("x-ms-client-request-id")
        .filter(|_| wanted)
    {
        headers.insert(
            HeaderName::from_static("x-ms-client-request-id"),
            id.clone(),
        );
    }
}
