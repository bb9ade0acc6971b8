//! Microsoft Entra ID: the token endpoint, and the check of a bearer token.

mod assertion;
mod bearer;
mod directory;
mod metadata;

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use base64::Engine as _;
use http::{HeaderMap, StatusCode, header};
use serde_json::{Value, json};

use crate::{
    arm::parameter,
    clock::{Time, plus},
    faults::Fault,
    shared::Shared,
};

pub(crate) use bearer::authenticate;
pub(crate) use directory::Entra;
use directory::Issued;
pub use directory::{Exchange, Proof};
pub(crate) use metadata::is_metadata_path;

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// Resources tokens are issued for besides this emulator's own address.
const RESOURCES: [&str; 5] = [
    "https://management.azure.com",
    "https://management.core.windows.net",
    "https://vault.azure.net",
    "https://storage.azure.com",
    "https://graph.microsoft.com",
];

/// An OAuth error as Entra writes it.
struct OAuthError {
    status: StatusCode,
    error: &'static str,
    code: u32,
    text: String,
}

impl OAuthError {
    fn new(status: u16, error: &'static str, code: u32, text: impl Into<String>) -> Self {
        Self {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST),
            error,
            code,
            text: text.into(),
        }
    }

    fn answer(self, now: Time) -> Response {
        let trace = uuid::Uuid::new_v4().to_string();
        let at = now.format("%Y-%m-%d %H:%M:%SZ").to_string();
        let body = json!({
            "error": self.error,
            "error_description": format!("AADSTS{}: {} Trace ID: {trace} Correlation ID: {trace} Timestamp: {at}", self.code, self.text),
            "error_codes": [self.code],
            "timestamp": at,
            "trace_id": trace,
            "correlation_id": trace,
            "error_uri": format!("https://login.microsoftonline.com/error?code={}", self.code),
        });
        (self.status, Json(body)).into_response()
    }
}

/// A fault of the token endpoint, in the words that its clients understand: a message that begins with `AADSTS…` has its
/// number among the codes.
pub(crate) fn faulty(fault: &Fault, echo: &str) -> Response {
    let status = StatusCode::from_u16(fault.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let number = fault.message.strip_prefix("AADSTS").and_then(|rest| {
        let (number, _) = rest.split_once(':')?;
        number.parse::<u32>().ok()
    });
    let mut body =
        json!({"error": fault.code, "error_description": format!("{}{echo}", fault.message)});
    if let (Some(number), Some(body)) = (number, body.as_object_mut()) {
        body.insert("error_codes".to_owned(), json!([number]));
    }
    let mut response = (status, Json(body)).into_response();
    if let Some(seconds) = fault.retry_after {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

/// Answers what belongs to Entra (and IMDS), `None` for any other path.
pub(crate) fn route(
    shared: &Shared,
    path: &str,
    query: &str,
    headers: &HeaderMap,
    body: &[u8],
) -> Option<Response> {
    let now = shared.clock.now();
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match parts.as_slice() {
        [tenant, "oauth2", "v2.0", "token"] => {
            let form = String::from_utf8_lossy(body);
            Some(match token(shared, tenant, &form, now) {
                Ok(body) => (StatusCode::OK, [(header::CACHE_CONTROL, "no-store, no-cache")], Json(body)).into_response(),
                Err(error) => error.answer(now),
            })
        }
        ["metadata", ..] => Some(metadata::answer(shared, path, query, headers, now)),
        [tenant, "v2.0", ".well-known", "openid-configuration"] => Some(openid(shared, tenant)),
        ["common", "discovery", "instance"] => Some(
            Json(json!({
                "tenant_discovery_endpoint": format!("{}/{}/v2.0/.well-known/openid-configuration", shared.url, shared.config.tenant_id),
                "api-version": "1.1", "metadata": [],
            }))
            .into_response(),
        ),
        _ => None,
    }
}

/// Whether a path belongs to this module, for the request log.
pub(crate) fn is_token_path(path: &str) -> bool {
    path.ends_with("/oauth2/v2.0/token")
        || path.contains("/.well-known/")
        || path.contains("/discovery/instance")
}

fn openid(shared: &Shared, tenant: &str) -> Response {
    let (url, tenant) = (
        &shared.url,
        if tenant == "common" {
            &shared.config.tenant_id
        } else {
            tenant
        },
    );
    Json(json!({
        "issuer": format!("{url}/{tenant}/v2.0"), "token_endpoint": format!("{url}/{tenant}/oauth2/v2.0/token"),
        "authorization_endpoint": format!("{url}/{tenant}/oauth2/v2.0/authorize"), "jwks_uri": format!("{url}/{tenant}/discovery/v2.0/keys"),
        "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"], "response_types_supported": ["code"],
        "subject_types_supported": ["pairwise"], "id_token_signing_alg_values_supported": ["RS256"],
    }))
    .into_response()
}

fn token(shared: &Shared, tenant: &str, form: &str, now: Time) -> Result<Value, OAuthError> {
    let field = |name: &str| parameter(form, name).filter(|value| !value.is_empty());
    let tenant_id = &shared.config.tenant_id;
    if !tenant.eq_ignore_ascii_case(tenant_id) {
        return Err(OAuthError::new(
            400,
            "invalid_request",
            90002,
            format!(
                "Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud."
            ),
        ));
    }
    match field("grant_type").as_deref() {
        Some("client_credentials") => {}
        None => {
            return Err(OAuthError::new(
                400,
                "invalid_request",
                900_144,
                "The request body must contain the following parameter: 'grant_type'.",
            ));
        }
        Some(other) => {
            return Err(OAuthError::new(
                400,
                "unsupported_grant_type",
                70003,
                format!("The app requested an unsupported grant type '{other}'."),
            ));
        }
    }
    let Some(client_id) = field("client_id") else {
        return Err(OAuthError::new(
            400,
            "invalid_request",
            900_144,
            "The request body must contain the following parameter: 'client_id'.",
        ));
    };
    let audience = audience(shared, field("scope").as_deref())?;
    let mut entra = shared.entra.lock();
    entra.keep_body(form);
    let Some(client) = entra.client(&client_id) else {
        return Err(OAuthError::new(
            400,
            "unauthorized_client",
            700_016,
            format!(
                "Application with identifier '{client_id}' was not found in the directory '{tenant_id}'. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant."
            ),
        ));
    };
    let proof = match (field("client_secret"), field("client_assertion")) {
        (Some(secret), _) if client.has_secret(&secret) => Proof::Secret,
        (Some(_), _) => {
            return Err(OAuthError::new(
                401,
                "invalid_client",
                7_000_215,
                format!(
                    "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '{client_id}'."
                ),
            ));
        }
        (None, Some(assertion)) => {
            if field("client_assertion_type").as_deref() != Some(ASSERTION_TYPE) {
                return Err(OAuthError::new(
                    400,
                    "invalid_request",
                    900_144,
                    "The request body must contain the following parameter: 'client_assertion_type'.",
                ));
            }
            let endpoint = format!("{}/{tenant}", shared.url);
            assertion::check(
                client,
                &client_id,
                &endpoint,
                &shared.config.federated,
                &assertion,
                now,
            )?
        }
        (None, None) => {
            return Err(OAuthError::new(
                401,
                "invalid_client",
                7_000_216,
                "'client_assertion', 'client_secret' or 'request' is required for the 'client_credentials' grant type.",
            ));
        }
    };
    let object_id = client.object_id.clone();
    Ok(issue(
        shared, &mut entra, object_id, audience, &client_id, proof, now,
    ))
}

fn issue(
    shared: &Shared,
    entra: &mut Entra,
    object_id: String,
    audience: String,
    client_id: &str,
    proof: Proof,
    now: Time,
) -> Value {
    let lifetime = shared.settings().token_lifetime;
    let expires = plus(now, lifetime);
    let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let part = |value: &Value| engine.encode(value.to_string());
    let claims = json!({
        "aud": audience, "iss": format!("https://sts.windows.net/{}/", shared.config.tenant_id), "iat": now.timestamp(), "nbf": now.timestamp(),
        "exp": expires.timestamp(), "appid": client_id, "oid": object_id, "tid": shared.config.tenant_id, "ver": "1.0",
    });
    // Looks like a token; its last part is a random name, not a signature.
    let name = engine.encode(uuid::Uuid::new_v4().as_bytes());
    let token = format!(
        "{}.{}.{name}",
        part(&json!({"typ": "JWT", "alg": "RS256", "kid": "emulator"})),
        part(&claims)
    );
    entra.issue(
        token.clone(),
        Issued {
            object_id,
            audience,
            expires,
            number: 0,
        },
        client_id,
        proof,
        now,
    );
    let seconds = lifetime.as_secs();
    json!({"token_type": "Bearer", "expires_in": seconds, "ext_expires_in": seconds, "access_token": token})
}

/// The resource of a scope such as `https://management.azure.com/.default`.
fn audience(shared: &Shared, scope: Option<&str>) -> Result<String, OAuthError> {
    let Some(scope) = scope else {
        return Err(OAuthError::new(
            400,
            "invalid_request",
            900_144,
            "The request body must contain the following parameter: 'scope'.",
        ));
    };
    let Some(resource) = scope.strip_suffix("/.default") else {
        return Err(OAuthError::new(
            400,
            "invalid_scope",
            70011,
            format!(
                "The provided request must include a 'scope' input parameter. The provided value for the input parameter 'scope' is not valid. The scope {scope} is not valid."
            ),
        ));
    };
    let resource = resource.trim_end_matches('/');
    if RESOURCES.contains(&resource) || own(shared, resource) {
        return Ok(resource.to_owned());
    }
    Err(OAuthError::new(
        400,
        "invalid_resource",
        500_011,
        format!(
            "The resource principal named {resource} was not found in the tenant named {}.",
            shared.config.tenant_id
        ),
    ))
}

/// Whether this is the emulator's own address, by any of its names.
fn own(shared: &Shared, resource: &str) -> bool {
    let port = shared.url.rsplit(':').next().unwrap_or_default();
    let names = ["127.0.0.1", "localhost", "[::1]"];
    let mut names = names.iter().map(|host| format!("https://{host}:{port}"));
    resource == shared.url || names.any(|name| resource == name)
}
