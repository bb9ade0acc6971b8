//! An application that proves itself with a certificate: Microsoft's page "Microsoft identity platform application
//! authentication certificate credentials".

use std::fmt;

use async_trait::async_trait;
use azure_core::error::ErrorKind;
use azure_core::http::ClientMethodOptions;
use azure_identity::ClientAssertion;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use ring::rand::SystemRandom;
use ring::signature::{KeyPair as _, RSA_PSS_SHA256, RsaKeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use zeroize::{Zeroize as _, Zeroizing};

use super::assertion::Sent;
use super::pkcs12::{self, Pkcs12Error};
use crate::azure::model::SecretText;

/// How long an assertion may be used.
const LIFETIME_SECONDS: i64 = 600;
/// Entra ID refuses an assertion of the future: the clock of this machine may be ahead by so much.
const CLOCK_SLACK_SECONDS: i64 = 300;

/// Why a certificate cannot be used. No message has anything of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    #[error("is neither PEM nor PKCS#12")]
    Unknown,
    /// PKCS#12 that does not open.
    #[error(transparent)]
    Pkcs12(#[from] Pkcs12Error),
    /// The key has a password.
    #[error("has a key with a password; remove it with: openssl pkey -in FILE.pem -out KEY.pem")]
    Encrypted,
    #[error("has no private key; put the certificate and its key into one value")]
    NoKey,
    /// A key that Entra ID does not take.
    #[error("has a key that is not RSA with 2048 to 4096 bits")]
    NotRsa,
    /// No certificate, or none of this key.
    #[error("has no certificate that belongs to its private key")]
    NoCertificate,
}

/// A certificate with its key, as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Both in PEM, the key without a password.
    pub pem: SecretText,
    /// When the certificate, the one that belongs to the key, expires.
    pub not_after: DateTime<Utc>,
}

impl Certificate {
    /// Reads PEM, or PKCS#12 with `password`; PKCS#12 may be in base64, as Azure Key Vault gives it out.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn open(bytes: &[u8], password: &str) -> Result<Self, CertificateError> {
        let pem = match std::str::from_utf8(bytes) {
            Ok(text) if text.contains("-----BEGIN ") => SecretText::new(text.to_owned()),
            text => {
                // The first byte of every PKCS#12 file, a SEQUENCE, is no letter of base64.
                let compact = text.unwrap_or_default().split_whitespace();
                let compact = Zeroizing::new(compact.collect::<String>());
                let decoded = STANDARD.decode(compact.as_bytes()).map(Zeroizing::new);
                let bytes = match &decoded {
                    Ok(decoded) if !decoded.is_empty() => decoded.as_slice(),
                    _ => bytes,
                };
                if !pkcs12::looks_like(bytes) {
                    return Err(CertificateError::Unknown);
                }
                pkcs12::to_pem(bytes, password)?
            }
        };
        let not_after = SigningKey::read(&pem)?.not_after;
        Ok(Self { pem, not_after })
    }
}

/// What signs assertions: the key of a certificate.
pub(super) struct SigningKey {
    key: RsaKeyPair,
    /// `x5t#S256`.
    thumbprint: String,
    not_after: DateTime<Utc>,
}

/// Without the key.
impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("thumbprint", &self.thumbprint)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

impl SigningKey {
    /// Reads certificate and key, in any order and with other certificates among them.
    pub(super) fn read(pem: &SecretText) -> Result<Self, CertificateError> {
        let text = pem.expose();
        if !text.contains("-----BEGIN ") {
            return Err(CertificateError::Unknown);
        }
        if text.contains("ENCRYPTED") {
            return Err(CertificateError::Encrypted);
        }
        let mut der =
            PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_| CertificateError::NoKey)?;
        let key = match &der {
            PrivateKeyDer::Pkcs8(key) => RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()),
            PrivateKeyDer::Pkcs1(key) => RsaKeyPair::from_der(key.secret_pkcs1_der()),
            _ => return Err(CertificateError::NotRsa),
        };
        der.zeroize();
        let key = key.map_err(|_| CertificateError::NotRsa)?;
        CertificateDer::pem_slice_iter(text.as_bytes())
            .filter_map(Result::ok)
            .find_map(|der| {
                let (_, parsed) = x509_parser::parse_x509_certificate(&der).ok()?;
                let public = &parsed.public_key().subject_public_key.data;
                (public.as_ref() == key.public_key().as_ref()).then(|| {
                    let not_after = parsed.validity().not_after.timestamp();
                    let thumbprint = URL_SAFE_NO_PAD.encode(Sha256::digest(&der));
                    (thumbprint, not_after)
                })
            })
            .and_then(|(thumbprint, not_after)| {
                Some((thumbprint, DateTime::from_timestamp(not_after, 0)?))
            })
            .map(|(thumbprint, not_after)| Self {
                key,
                thumbprint,
                not_after,
            })
            .ok_or(CertificateError::NoCertificate)
    }

    /// A signed assertion that `client_id` shows to the token endpoint `audience`.
    fn assertion(&self, client_id: &str, audience: &str, now: DateTime<Utc>) -> Option<String> {
        let at = now.timestamp();
        let random = SystemRandom::new();
        let id: [u8; 16] = ring::rand::generate(&random).ok()?.expose();
        let header = json!({"alg": "PS256", "typ": "JWT", "x5t#S256": self.thumbprint});
        let claims = json!({
            "aud": audience, "iss": client_id, "sub": client_id, "jti": URL_SAFE_NO_PAD.encode(id),
            "nbf": at - CLOCK_SLACK_SECONDS, "iat": at, "exp": at + LIFETIME_SECONDS,
        });
        let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", part(&header), part(&claims));
        let mut signature = vec![0; self.key.public().modulus_len()];
        self.key
            .sign(&RSA_PSS_SHA256, &random, text.as_bytes(), &mut signature)
            .ok()?;
        Some(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// Signs a new assertion for each exchange.
#[derive(Debug)]
pub(super) struct Signer {
    pub(super) key: SigningKey,
    pub(super) client_id: String,
    pub(super) audience: String,
    pub(super) sent: Sent,
}

#[async_trait]
impl ClientAssertion for Signer {
    async fn secret(&self, _: Option<ClientMethodOptions<'_>>) -> azure_core::Result<String> {
        let signed = self
            .key
            .assertion(&self.client_id, &self.audience, Utc::now());
        let Some(assertion) = signed else {
            let text = "the client assertion could not be signed";
            return Err(azure_core::Error::with_message(ErrorKind::Credential, text));
        };
        self.sent.set(SecretText::new(assertion.clone()));
        Ok(assertion)
    }
}

#[cfg(test)]
mod tests;
