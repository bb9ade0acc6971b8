use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn no_body_is_too_strange(status in 100_u16..600, body in prop::collection::vec(any::<u8>(), 0..200)) {
        let answer = RawResponse::from_bytes(status.into(), Headers::new(), body);
        let error = from_response(&answer, b"", now());
        prop_assert!(error.class != ErrorClass::NotFound);
        prop_assert!(!error.code.is_empty() && !error.message.is_empty());
    }
}

fn response(status: u16, headers: &[(&'static str, &'static str)], body: &str) -> RawResponse {
    let mut map = Headers::new();
    for (name, value) in headers {
        map.insert(*name, *value);
    }
    RawResponse::from_bytes(status.into(), map, body.to_owned())
}

fn arm(code: &str, message: &str) -> String {
    serde_json::json!({"error": {"code": code, "message": message}}).to_string()
}

fn now() -> DateTime<Utc> {
    DateTime::parse_from_rfc3339("2026-03-01T12:00:00Z")
        .unwrap()
        .to_utc()
}

fn read_error(status: u16, body: &str) -> AzureError {
    from_response(&response(status, &[], body), b"", now())
}

/// Status, code, class and whether a later try may help, as documented or seen.
const CODES: &[(u16, &str, ErrorClass, bool)] = &[
    (400, "ContainerGroupQuotaReached", ErrorClass::Quota, true),
    (
        400,
        "ContainerLimitGreaterThanContainerGroupTotalRequest",
        ErrorClass::Invalid,
        false,
    ),
    (400, "InaccessibleImage", ErrorClass::Image, true),
    (400, "InvalidOsType", ErrorClass::Invalid, false),
    (400, "InvalidRequestContent", ErrorClass::Invalid, false),
    (400, "OsVersionNotSupported", ErrorClass::Image, true),
    (
        400,
        "ImageOsTypeNotMatchContainerGroup",
        ErrorClass::Image,
        true,
    ),
    (403, "ContainerGroupQuotaReached", ErrorClass::Quota, true),
    (409, "ContainerGroupQuotaReached", ErrorClass::Quota, true),
    (409, "InsufficientCapacity", ErrorClass::Capacity, true),
    (409, "InsufficientCapacity.", ErrorClass::Capacity, true),
    (
        409,
        "ReadOnlyDisabledSubscription",
        ErrorClass::SubscriptionDisabled,
        false,
    ),
    (
        409,
        "ResourceGroupBeingDeleted",
        ErrorClass::ResourceGroupDeleting,
        false,
    ),
    (
        400,
        "LocationNotAvailableForResourceType",
        ErrorClass::RegionUnavailable,
        false,
    ),
    (
        400,
        "NoRegisteredProviderFound",
        ErrorClass::RegionUnavailable,
        false,
    ),
    (
        401,
        "AuthenticationFailed",
        ErrorClass::Unauthenticated,
        false,
    ),
    (
        429,
        "ContainerGroupQuotaReached",
        ErrorClass::Throttled,
        true,
    ),
    (
        400,
        "ResourceRequestsNotSpecified",
        ErrorClass::Invalid,
        false,
    ),
    (
        400,
        "SubnetMissingRequiredDelegation",
        ErrorClass::Subnet,
        false,
    ),
    (
        401,
        "ExpiredAuthenticationToken",
        ErrorClass::Unauthenticated,
        false,
    ),
    (
        401,
        "InvalidAuthenticationToken",
        ErrorClass::Unauthenticated,
        false,
    ),
    (403, "AuthorizationFailed", ErrorClass::Forbidden, false),
    (
        403,
        "LinkedAuthorizationFailed",
        ErrorClass::Forbidden,
        false,
    ),
    (403, "RequestDisallowedByPolicy", ErrorClass::Policy, false),
    (
        404,
        "ContainerLogNotAvailable",
        ErrorClass::Transitioning,
        true,
    ),
    (
        404,
        "ResourceGroupNotFound",
        ErrorClass::ResourceGroupNotFound,
        false,
    ),
    (404, "ResourceNotFound", ErrorClass::NotFound, false),
    (
        404,
        "SubscriptionNotFound",
        ErrorClass::SubscriptionNotFound,
        false,
    ),
    (404, "NotFound", ErrorClass::Invalid, false),
    (
        409,
        "ContainerGroupTransitioning",
        ErrorClass::Transitioning,
        true,
    ),
    (
        409,
        "MissingSubscriptionRegistration",
        ErrorClass::ProviderNotRegistered,
        false,
    ),
    (409, "RegistryErrorResponse", ErrorClass::Registry, true),
    (409, "ServiceUnavailable", ErrorClass::Capacity, true),
    (409, "ScopeLocked", ErrorClass::Locked, false),
    (
        409,
        "AnotherOperationInProgress",
        ErrorClass::Conflict,
        true,
    ),
    (412, "PreconditionFailed", ErrorClass::Invalid, false),
    (
        429,
        "SubscriptionRequestsThrottled",
        ErrorClass::Throttled,
        true,
    ),
    (429, "TooManyRequests", ErrorClass::Throttled, true),
    (500, "InternalServerError", ErrorClass::Unavailable, true),
    (503, "ServerTimeout", ErrorClass::Unavailable, true),
    (503, "ServiceUnavailable", ErrorClass::Unavailable, true),
    (504, "GatewayTimeout", ErrorClass::Unavailable, true),
];

#[test]
fn every_known_code_has_its_class() {
    for (status, code, class, retryable) in CODES {
        let error = read_error(*status, &arm(code, "Please retry later."));
        assert_eq!(error.class, *class, "{status} {code}");
        assert_eq!(error.is_retryable(), *retryable, "{status} {code}");
        assert_eq!(
            error.may_have_taken_effect(),
            *status >= 500,
            "{status} {code}"
        );
        assert_eq!((error.status, error.code.as_str()), (Some(*status), *code));
        assert_eq!(error.message, "Please retry later.");
    }
    for (code, _) in crate::azure::error::codes::CODES {
        assert!(
            CODES.iter().any(|(_, tested, _, _)| tested == code)
                || [
                    "InvalidSubscriptionId",
                    "SubscriptionNotRegistered",
                    "ContainerGroupDeploymentNotReady"
                ]
                .contains(code),
            "{code} has no row here"
        );
    }
}

#[test]
fn capacity_and_quota_share_a_code() {
    let quota = "Resource type 'Microsoft.ContainerInstance/containerGroups' container group quota \
                 'ContainerGroups' exceeded in region 'westus'. Limit: '0', Usage: '0' Requested: '1'.";
    let capacity =
        "The requested resource is not available in the location 'westus' at this moment.";
    for (message, class) in [(quota, ErrorClass::Quota), (capacity, ErrorClass::Capacity)] {
        assert_eq!(
            read_error(409, &arm("ServiceUnavailable", message)).class,
            class
        );
    }
}

#[test]
fn other_forms_of_bodies_are_read() {
    use ErrorClass as C;
    for (status, body, class, code, message) in [
        (
            400,
            r#"{"Message":"The request is invalid."}"#,
            C::Invalid,
            "Http400",
            "The request is invalid.",
        ),
        (
            409,
            r#"{"code":"ContainerGroupTransitioning","message":"m"}"#,
            C::Transitioning,
            "ContainerGroupTransitioning",
            "m",
        ),
        (
            404,
            r#"{"Error":{"Code":"ResourceNotFound","Message":"gone"}}"#,
            C::NotFound,
            "ResourceNotFound",
            "gone",
        ),
        (
            400,
            r#"{"error":"invalid_request","error_description":"d"}"#,
            C::Invalid,
            "invalid_request",
            "d",
        ),
        (
            400,
            r#"{"error":{"code":"BadRequest","message":"m","details":[{"code":"InaccessibleImage"}]}}"#,
            C::Image,
            "InaccessibleImage",
            "m",
        ),
        (
            400,
            r#"{"error":{"code":"X","message":null,"details":[{"message":"inner"}]}}"#,
            C::Invalid,
            "X",
            "inner",
        ),
        (
            404,
            "",
            C::Protocol,
            "Http404",
            "HTTP 404 without a message",
        ),
        (
            500,
            "  \n",
            C::Unavailable,
            "Http500",
            "HTTP 500 without a message",
        ),
        (
            403,
            "null",
            C::Forbidden,
            "Http403",
            "HTTP 403 without a message",
        ),
        (
            400,
            "[]",
            C::Invalid,
            "Http400",
            "HTTP 400 without a message",
        ),
        (
            302,
            "",
            C::Protocol,
            "Http302",
            "HTTP 302 without a message",
        ),
        (
            409,
            "\u{feff}{\"error\":{\"code\":\"ScopeLocked\",\"message\":\"m\"}}",
            C::Locked,
            "ScopeLocked",
            "m",
        ),
    ] {
        let error = read_error(status, body);
        assert_eq!(
            (error.class, error.code.as_str(), error.message.as_str()),
            (class, code, message),
            "{body}"
        );
    }
}

#[test]
fn a_proxys_page_is_never_arms_word() {
    let page = "<html><head><title>404 ResourceNotFound</title></head></html>";
    for (status, class) in [
        (404, ErrorClass::Protocol),
        (400, ErrorClass::Protocol),
        (409, ErrorClass::Protocol),
        (502, ErrorClass::Unavailable),
        (403, ErrorClass::Forbidden),
    ] {
        let error = from_response(
            &response(status, &[("content-type", "text/html")], page),
            b"",
            now(),
        );
        assert_eq!(error.class, class, "{status}");
        assert!(error.message.contains("text/html"), "{}", error.message);
        assert!(!error.message.contains('<'), "{}", error.message);
    }
}

#[test]
fn the_code_may_come_in_a_header() {
    let error = from_response(
        &response(
            404,
            &[
                ("x-ms-error-code", "ResourceNotFound"),
                ("x-ms-request-id", "r-1"),
            ],
            "",
        ),
        b"",
        now(),
    );
    assert_eq!(error.class, ErrorClass::NotFound);
    assert_eq!(error.request_id.as_deref(), Some("r-1"));
}

#[test]
fn retry_after_is_read_in_every_form_and_capped() {
    let seconds = |s| Some(Duration::from_secs(s));
    for (name, value, expected) in [
        ("retry-after", "20", seconds(20)),
        ("retry-after", " 7 ", seconds(7)),
        ("retry-after", "1800", seconds(300)),
        ("retry-after", "0", seconds(0)),
        ("retry-after", "Sun, 01 Mar 2026 12:00:30 GMT", seconds(30)),
        ("retry-after", "Sun, 01 Mar 2026 11:00:00 GMT", seconds(0)),
        ("retry-after", "Sun, 01 Mar 2026 23:00:00 GMT", seconds(300)),
        ("retry-after", "soon", None),
        ("retry-after", "-5", None),
        ("retry-after-ms", "1500", Some(Duration::from_millis(1500))),
        (
            "x-ms-retry-after-ms",
            "250",
            Some(Duration::from_millis(250)),
        ),
        ("other", "5", None),
    ] {
        let headers = response(429, &[(name, value)], "");
        assert_eq!(
            retry_after(headers.headers(), now()),
            expected,
            "{name}: {value}"
        );
    }
}
