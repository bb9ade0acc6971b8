//! From an answer of ARM to an [`AzureError`]. PURE.
//!
//! ARM's form is `{"error":{"code","message","details"}}` (Resource Provider Contract); old services, gateways and
//! proxies answer in others, and those must not be taken for ARM's word.

use std::time::Duration;

use azure_core::http::RawResponse;
use azure_core::http::headers::{HeaderName, Headers};
use chrono::{DateTime, Utc};
use serde_json::Value;

use super::super::redact::Secrets;
use super::codes::classify;
use super::{AzureError, ErrorClass, MAX_RETRY_AFTER, one_line};

/// An answer whose status is not one of success, to a request with the body `sent`.
pub(in crate::azure) fn from_response(
    response: &RawResponse,
    sent: &[u8],
    now: DateTime<Utc>,
) -> AzureError {
    let status = u16::from(response.status());
    let headers = response.headers();
    let said = read(
        response.body(),
        header(headers, "content-type").unwrap_or_default(),
    );
    let by_header = header(headers, "x-ms-error-code").unwrap_or_default();
    let mut code = if said.code.is_empty() {
        by_header.to_owned()
    } else {
        said.code
    };
    let mut class = classify(status, &code, &said.message);
    if matches!(class, ErrorClass::Invalid | ErrorClass::Conflict)
        && let Some(detail) = said.detail_code
    {
        let by_detail = classify(status, &detail, &said.message);
        if by_detail != ErrorClass::Invalid {
            class = by_detail;
            code = detail;
        }
    }
    // A page is not ARM's word: what it refuses is not the request.
    if !said.is_json && matches!(class, ErrorClass::Invalid | ErrorClass::Conflict) {
        class = ErrorClass::Protocol;
    }
    let message = if said.message.is_empty() {
        format!("HTTP {status} without a message")
    } else {
        Secrets::of(sent).hide(&said.message)
    };
    AzureError {
        class,
        status: Some(status),
        code: if code.is_empty() {
            format!("Http{status}")
        } else {
            one_line(&code)
        },
        message: one_line(&message),
        retry_after: retry_after(headers, now),
        request_id: header(headers, "x-ms-request-id")
            .or_else(|| header(headers, "x-ms-correlation-request-id"))
            .map(one_line),
    }
}

/// Code, message and the first detail's code of an error body.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    /// Whether there was no body, or one of JSON.
    is_json: bool,
    code: String,
    message: String,
    detail_code: Option<String>,
}

fn read(body: &[u8], content_type: &str) -> Said {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Said {
            is_json: true,
            ..Said::default()
        };
    }
    // A byte order mark is legal to send and illegal to parse.
    let json = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let Ok(value) = serde_json::from_slice::<Value>(json) else {
        let content_type = if content_type.is_empty() {
            "no content type"
        } else {
            content_type
        };
        let message =
            format!("the answer is not JSON ({content_type}); a proxy or gateway may have sent it");
        return Said {
            message,
            ..Said::default()
        };
    };
    match member(&value, "error") {
        Some(Value::String(code)) => Said {
            is_json: true,
            code: code.clone(),
            message: text(&value, &["error_description", "message"]),
            detail_code: None,
        },
        Some(error @ Value::Object(_)) => from_object(error),
        _ => from_object(&value),
    }
}

fn from_object(error: &Value) -> Said {
    let detail = match member(error, "details") {
        Some(Value::Array(details)) => details.first(),
        Some(detail @ Value::Object(_)) => Some(detail),
        _ => None,
    };
    let mut message = text(error, &["message"]);
    if message.is_empty() {
        message = detail.map(|d| text(d, &["message"])).unwrap_or_default();
    }
    let detail_code = detail
        .map(|d| text(d, &["code"]))
        .filter(|code| !code.is_empty());
    Said {
        is_json: true,
        code: text(error, &["code"]),
        message,
        detail_code,
    }
}

/// The first of `names` that is a text, without regard to case.
fn text(value: &Value, names: &[&str]) -> String {
    let found = names
        .iter()
        .find_map(|name| member(value, name).and_then(Value::as_str));
    found.unwrap_or_default().to_owned()
}

fn member<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
    value
        .as_object()?
        .iter()
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
}

/// What the server asks to wait: milliseconds, seconds or an HTTP date, at most [`MAX_RETRY_AFTER`].
pub(in crate::azure) fn retry_after(headers: &Headers, now: DateTime<Utc>) -> Option<Duration> {
    let milliseconds = ["x-ms-retry-after-ms", "retry-after-ms"]
        .iter()
        .find_map(|name| header(headers, name)?.trim().parse().ok())
        .map(Duration::from_millis);
    let asked = milliseconds.or_else(|| {
        let value = header(headers, "retry-after")?.trim();
        if let Ok(seconds) = value.parse() {
            return Some(Duration::from_secs(seconds));
        }
        let date = DateTime::parse_from_rfc2822(value).ok()?;
        Some((date.to_utc() - now).to_std().unwrap_or_default())
    })?;
    Some(asked.min(MAX_RETRY_AFTER))
}

/// A header by its lower-case name.
pub(in crate::azure) fn header<'h>(headers: &'h Headers, name: &str) -> Option<&'h str> {
    headers.get_optional_str(&HeaderName::from(name.to_owned()))
}

#[cfg(test)]
mod tests;
