//! Client assertions: a federated token, or one that the client has signed with a certificate.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{
    RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm,
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::directory::{Client, Proof};
use super::{OAuthError, directory};
use crate::clock::Time;

/// How far a clock may be off.
const SKEW_SECONDS: i64 = 300;

/// A certificate that a client may sign with.
pub(super) struct Certificate {
    /// `x5t#S256`.
    sha256: String,
    public_key: Vec<u8>,
    not_after: i64,
}

impl Certificate {
    /// All certificates in `pem`; `None` when there is none, or something that is none.
    pub(super) fn read(pem: &str) -> Option<Vec<Self>> {
        let mut certificates = Vec::new();
        for block in x509_parser::pem::Pem::iter_from_buffer(pem.as_bytes()) {
            let block = block.ok()?;
            if block.label != "CERTIFICATE" {
                continue;
            }
            let parsed = block.parse_x509().ok()?;
            certificates.push(Self {
                sha256: URL_SAFE_NO_PAD.encode(Sha256::digest(&block.contents)),
                public_key: parsed.public_key().subject_public_key.data.to_vec(),
                not_after: parsed.validity().not_after.timestamp(),
            });
        }
        (!certificates.is_empty()).then_some(certificates)
    }
}

struct Jwt<'a> {
    /// What is signed.
    text: &'a str,
    header: Value,
    claims: Value,
    signature: Vec<u8>,
}

fn refuse(code: u32, text: impl Into<String>) -> OAuthError {
    OAuthError::new(401, "invalid_client", code, text)
}

fn parse(assertion: &str) -> Option<Jwt<'_>> {
    let (text, signature) = assertion.rsplit_once('.')?;
    let (header, claims) = text.split_once('.')?;
    let json = |part: &str| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok();
    Some(Jwt {
        text,
        header: json(header)?,
        claims: json(claims)?,
        signature: URL_SAFE_NO_PAD.decode(signature).unwrap_or_default(),
    })
}

impl Jwt<'_> {
    fn text(&self, name: &str) -> &str {
        self.claims
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    fn is_for(&self, audience: &str) -> bool {
        match self.claims.get("aud") {
            Some(Value::Array(all)) => all.iter().any(|one| one == audience),
            Some(one) => one == audience,
            None => false,
        }
    }

    fn in_time(&self, now: Time, skew: i64) -> Result<(), OAuthError> {
        let time = |name: &str| self.claims.get(name).and_then(Value::as_i64);
        let at = now.timestamp();
        let begun = time("nbf").is_none_or(|from| from <= at + SKEW_SECONDS);
        if begun && time("exp").is_some_and(|until| until + skew > at) {
            return Ok(());
        }
        Err(refuse(
            700_024,
            "Client assertion is not within its valid time range.",
        ))
    }
}

/// An assertion with the thumbprint of a certificate is one that the client has signed; any other is a federated token.
/// `endpoint` is the address of the tenant.
pub(super) fn check(
    client: &mut Client,
    client_id: &str,
    endpoint: &str,
    federated: &[(String, String)],
    assertion: &str,
    now: Time,
) -> Result<directory::Proof, OAuthError> {
    // A token file often ends in a newline, which clients send along.
    let jwt = parse(assertion.trim())
        .ok_or_else(|| refuse(50_027, "JWT token is invalid or malformed."))?;
    let thumbprint = jwt.header.get("x5t#S256").or_else(|| jwt.header.get("x5t"));
    match thumbprint.and_then(Value::as_str) {
        Some(thumbprint) => {
            let thumbprint = thumbprint.to_owned();
            signed(client, client_id, endpoint, &thumbprint, &jwt, now).map(|()| Proof::Certificate)
        }
        None => trusted(federated, &jwt, now).map(|()| Proof::Federated),
    }
}

/// Microsoft's page "Microsoft identity platform application authentication certificate credentials".
fn signed(
    client: &mut Client,
    client_id: &str,
    endpoint: &str,
    thumbprint: &str,
    jwt: &Jwt<'_>,
    now: Time,
) -> Result<(), OAuthError> {
    let unregistered = |reason: &str| {
        refuse(
            700_027,
            format!(
                "The certificate with identifier used to sign the client assertion is not registered on application. [Reason - {reason}, Thumbprint of key used by client: '{thumbprint}', Please visit the Azure Portal, Graph Explorer or directly use MS Graph to see configured keys for app Id '{client_id}'.]"
            ),
        )
    };
    let Some(certificate) = client
        .certificates
        .iter()
        .find(|one| one.sha256 == thumbprint)
    else {
        return Err(unregistered("The key was not found."));
    };
    let algorithm: &dyn VerificationAlgorithm = match jwt.header.get("alg").and_then(Value::as_str)
    {
        Some("PS256") => &RSA_PSS_2048_8192_SHA256,
        Some("RS256") => &RSA_PKCS1_2048_8192_SHA256,
        _ => return Err(refuse(50_027, "JWT token is invalid or malformed.")),
    };
    UnparsedPublicKey::new(algorithm, &certificate.public_key)
        .verify(jwt.text.as_bytes(), &jwt.signature)
        .map_err(|_| {
            unregistered("The key was found, but use of the key to verify the signature failed.")
        })?;
    if certificate.not_after <= now.timestamp() {
        return Err(refuse(
            1_000_502,
            "The provided certificate is not within its specified validity period.",
        ));
    }
    if jwt.text("iss") != client_id || jwt.text("sub") != client_id {
        return Err(refuse(
            700_021,
            "Client assertion application identifier doesn't match 'client_id' parameter.",
        ));
    }
    if !jwt.is_for(&format!("{endpoint}/oauth2/v2.0/token"))
        && !jwt.is_for(&format!("{endpoint}/v2.0"))
    {
        return Err(refuse(
            700_023,
            "Client assertion audience claim does not match Realm issuer.",
        ));
    }
    jwt.in_time(now, SKEW_SECONDS)?;
    let jti = jwt.text("jti");
    if jti.is_empty() {
        return Err(refuse(50_027, "JWT token is invalid or malformed."));
    }
    if client.is_used(jti) {
        return Err(refuse(50_013, "Assertion failed: it was used before."));
    }
    Ok(())
}

/// A federated token: shape, audience, time and, when configured, issuer and subject. Its signature is not checked.
fn trusted(federated: &[(String, String)], jwt: &Jwt<'_>, now: Time) -> Result<(), OAuthError> {
    if !jwt.is_for("api://AzureADTokenExchange") {
        return Err(refuse(
            700_212,
            "No matching federated identity record found for presented assertion audience.",
        ));
    }
    jwt.in_time(now, 0)?;
    let (issuer, subject) = (jwt.text("iss"), jwt.text("sub"));
    if federated.is_empty()
        || federated
            .iter()
            .any(|(iss, sub)| iss == issuer && sub == subject)
    {
        return Ok(());
    }
    Err(refuse(
        700_213,
        format!(
            "No matching federated identity record found for presented assertion subject '{subject}'."
        ),
    ))
}
