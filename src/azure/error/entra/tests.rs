use azure_core::http::headers::Headers;

use super::*;

fn answer(status: u16, body: &str) -> AzureError {
    let answer = RawResponse::from_bytes(status.into(), Headers::new(), body.to_owned());
    from_answer(&answer, b"")
}

fn refusal(error: &str, number: u32, text: &str) -> String {
    let description =
        format!("AADSTS{number}: {text}\r\nTrace ID: 0\r\nCorrelation ID: 1\r\nTimestamp: now");
    serde_json::json!({"error": error, "error_description": description, "error_codes": [number]})
        .to_string()
}

#[test]
fn a_refused_credential_says_what_to_change() {
    for (status, number, word) in [
        (401, 7_000_215, "AZURE_CLIENT_SECRET"),
        (401, 7_000_222, "expired"),
        (400, 700_016, "AZURE_CLIENT_ID"),
        (400, 90_002, "AZURE_TENANT_ID"),
        (400, 900_023, "AZURE_TENANT_ID"),
        (400, 53_003, "Access has been blocked"),
    ] {
        let error = answer(
            status,
            &refusal("invalid_client", number, "Access has been blocked."),
        );
        assert_eq!(error.class, ErrorClass::BadCredentials, "{number}");
        assert_eq!(error.code, format!("AADSTS{number}"));
        assert!(error.message.contains(word), "{}", error.message);
        assert!(!error.message.contains("Trace ID"), "{}", error.message);
        assert!(
            !error.is_retryable() && !error.may_have_taken_effect(),
            "{number}"
        );
    }
}

#[test]
fn the_number_is_found_in_the_text_alone() {
    let body = r#"{"error":"unauthorized_client","error_description":"AADSTS700016: no such app. Trace ID: 7"}"#;
    assert_eq!(answer(400, body).code, "AADSTS700016");
}

#[test]
fn a_failing_token_service_is_not_a_bad_credential() {
    for (status, body) in [
        (
            503,
            refusal(
                "temporarily_unavailable",
                90_033,
                "A transient error has occurred.",
            ),
        ),
        (429, refusal("invalid_request", 90_055, "Throttled.")),
        (
            400,
            refusal("temporarily_unavailable", 90_033, "A transient error."),
        ),
        (502, "<html>Bad gateway</html>".to_owned()),
        (404, String::new()),
    ] {
        let error = answer(status, &body);
        assert_eq!(error.class, ErrorClass::Identity, "{status} {body}");
        assert!(error.is_retryable(), "{status}");
        assert!(!error.message.contains('<'), "{}", error.message);
    }
}

#[test]
fn a_bare_oauth_refusal_is_a_bad_credential() {
    let error = answer(401, r#"{"error":"invalid_client"}"#);
    assert_eq!(error.class, ErrorClass::BadCredentials);
    assert!(
        error.message.contains("invalid_client"),
        "{}",
        error.message
    );
}
