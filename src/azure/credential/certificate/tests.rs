use super::*;
use ring::signature::{RSA_PSS_2048_8192_SHA256, UnparsedPublicKey};
use serde_json::Value;

/// Key (PKCS#8) and certificate, made for this test with `openssl req -x509 -newkey rsa:2048 -nodes -days 36500`.
const GOOD: &str = include_str!("good.pem");
/// The same key as PKCS#1.
const PKCS1: &str = include_str!("pkcs1.key.pem");
/// A certificate of another key.
const OTHER: &str = include_str!("other.pem");
/// As `openssl dgst -sha256` has it.
const THUMBPRINT: &str = "ciEKbYqvYmQTgG4_yhEsMGHYVvxcuN1A_87Z4j9j4Iw";

fn read(text: &str) -> Result<SigningKey, CertificateError> {
    SigningKey::read(&SecretText::new(text.to_owned()))
}

fn certificate_only() -> &'static str {
    GOOD.find("-----BEGIN CERTIFICATE")
        .map(|start| &GOOD[start..])
        .unwrap()
}

#[test]
fn the_certificate_of_the_key_is_found_among_others() {
    let orders = [
        GOOD.to_owned(),
        format!("{OTHER}{GOOD}"),
        format!("{}{OTHER}{PKCS1}", certificate_only()),
    ];
    for text in orders {
        let certificate = read(&text).unwrap();
        assert_eq!(certificate.thumbprint, THUMBPRINT);
        assert_eq!(
            certificate.not_after.to_rfc3339(),
            "2126-10-30T11:55:22+00:00"
        );
        let shown = format!("{certificate:?}");
        assert!(shown.len() < 200 && !shown.contains("key"), "{shown}");
    }
}

#[test]
fn what_cannot_be_used_says_why() {
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA==\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let ec = rcgen::KeyPair::generate().unwrap().serialize_pem();
    for (text, wanted) in [
        ("MIIKFAIBAzCC".to_owned(), CertificateError::Unknown),
        (
            format!("{encrypted}{}", certificate_only()),
            CertificateError::Encrypted,
        ),
        (certificate_only().to_owned(), CertificateError::NoKey),
        (
            format!("{ec}{}", certificate_only()),
            CertificateError::NotRsa,
        ),
        (PKCS1.to_owned(), CertificateError::NoCertificate),
        (format!("{PKCS1}{OTHER}"), CertificateError::NoCertificate),
    ] {
        assert_eq!(read(&text).unwrap_err(), wanted);
    }
}

#[test]
fn an_assertion_is_signed_for_one_endpoint_and_a_short_time() {
    let certificate = read(GOOD).unwrap();
    let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
    let jwt = certificate.assertion("c", "https://a/t/oauth2/v2.0/token", now);
    let jwt = jwt.unwrap();
    let parts: Vec<&str> = jwt.split('.').collect();
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).unwrap();
    let header: Value = serde_json::from_slice(&decode(parts[0])).unwrap();
    assert_eq!(
        header,
        json!({"alg": "PS256", "typ": "JWT", "x5t#S256": THUMBPRINT})
    );
    let mut claims: Value = serde_json::from_slice(&decode(parts[1])).unwrap();
    let id = claims["jti"].take();
    assert_eq!(
        claims,
        json!({
            "aud": "https://a/t/oauth2/v2.0/token", "iss": "c", "sub": "c", "jti": null,
            "nbf": 1_799_999_700, "iat": 1_800_000_000, "exp": 1_800_000_600,
        })
    );
    let again = certificate.assertion("c", "a", now).unwrap();
    let again: Value = serde_json::from_slice(&decode(again.split('.').nth(1).unwrap())).unwrap();
    assert_ne!(again["jti"], id, "each assertion is used once");
    // Believed by who has only the certificate.
    let der = CertificateDer::from_pem_slice(GOOD.as_bytes()).unwrap();
    let (_, parsed) = x509_parser::parse_x509_certificate(&der).unwrap();
    let public = parsed.public_key().subject_public_key.data.clone();
    let signed = format!("{}.{}", parts[0], parts[1]);
    UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, public)
        .verify(signed.as_bytes(), &decode(parts[2]))
        .unwrap();
}
