//! Errors as ARM writes them: `{"error":{"code","message","details"?}}`.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

/// An error answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) status: u16,
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) retry_after: Option<u64>,
    pub(crate) challenge: Option<Box<str>>,
    pub(crate) details: Option<Box<Value>>,
}

impl ApiError {
    pub(crate) fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.to_owned(),
            message: message.into(),
            retry_after: None,
            challenge: None,
            details: None,
        }
    }

    pub(crate) fn bad(code: &str, message: impl Into<String>) -> Self {
        Self::new(400, code, message)
    }

    /// The request body does not have the shape of the resource.
    pub(crate) fn content(what: &str) -> Self {
        Self::bad(
            "InvalidRequestContent",
            format!("The request content was invalid and could not be deserialized: '{what}'."),
        )
    }

    pub(crate) fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    pub(crate) fn resource_not_found(resource_group: &str, name: &str) -> Self {
        Self::new(
            404,
            "ResourceNotFound",
            format!(
                "The Resource 'Microsoft.ContainerInstance/containerGroups/{name}' under resource group '{resource_group}' was not found. For more details please go to https://aka.ms/ARMResourceNotFoundFix"
            ),
        )
    }

    pub(crate) fn resource_group_not_found(name: &str) -> Self {
        Self::new(
            404,
            "ResourceGroupNotFound",
            format!("Resource group '{name}' could not be found."),
        )
    }

    pub(crate) fn subscription_not_found(id: &str) -> Self {
        Self::new(
            404,
            "SubscriptionNotFound",
            format!("The subscription '{id}' could not be found."),
        )
    }

    pub(crate) fn transitioning(name: &str) -> Self {
        Self::new(
            409,
            "ContainerGroupTransitioning",
            format!("The container group '{name}' is still transitioning, please retry later."),
        )
    }

    pub(crate) fn inaccessible_image(group: &str, image: &str) -> Self {
        Self::bad(
            "InaccessibleImage",
            format!(
                "The image '{image}' in container group '{group}' is not accessible. Please check the image and registry credential."
            ),
        )
    }

    pub(crate) fn not_registered() -> Self {
        let code = "MissingSubscriptionRegistration";
        let message = "The subscription is not registered to use namespace 'Microsoft.ContainerInstance'. See https://aka.ms/rps-not-found for how to register subscriptions.";
        let mut error = Self::new(409, code, message);
        error.details = Some(Box::new(
            json!([{"code": code, "target": "Microsoft.ContainerInstance", "message": message}]),
        ));
        error
    }

    pub(crate) fn authorization_failed(principal: &str, action: &str, scope: &str) -> Self {
        Self::new(
            403,
            "AuthorizationFailed",
            format!(
                "The client '{principal}' with object id '{principal}' does not have authorization to perform action '{action}' over scope '{scope}' or the scope is invalid. If access was recently granted, please refresh your credentials."
            ),
        )
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut error = json!({"code": self.code, "message": self.message});
        if let (Some(details), Some(map)) = (self.details, error.as_object_mut()) {
            map.insert("details".to_owned(), *details);
        }
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(json!({"error": error}))).into_response();
        if let Some(seconds) = self.retry_after {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(value) = self
            .challenge
            .and_then(|text| HeaderValue::from_str(&text).ok())
        {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, value);
        }
        response
    }
}
