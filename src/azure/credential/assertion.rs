//! What an application shows to Entra ID instead of a client secret (RFC 7523).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use azure_core::error::ErrorKind;
use azure_core::http::ClientMethodOptions;
use azure_identity::ClientAssertion;
use parking_lot::Mutex;
use tokio::io::AsyncReadExt as _;
use zeroize::Zeroizing;

use crate::azure::error::{AzureError, ErrorClass};
use crate::azure::model::SecretText;

/// Longest token file that is read; a service account token has about 1 KiB.
const MAX_TOKEN_BYTES: u64 = 64 << 10;

/// The secret that was last sent, shared with whoever has to keep it out of messages.
#[derive(Debug, Clone, Default)]
pub(super) struct Sent(Arc<Mutex<SecretText>>);

impl Sent {
    pub(super) fn set(&self, secret: SecretText) {
        *self.0.lock() = secret;
    }

    /// `text` without the secret.
    pub(super) fn redact(&self, text: &str) -> String {
        let secret = self.0.lock();
        if secret.expose().is_empty() {
            return text.to_owned();
        }
        text.replace(secret.expose(), "[redacted]")
    }
}

/// A federated token in a file that somebody else renews: read, and trimmed, each time that a token is asked for.
#[derive(Debug)]
pub(super) struct TokenFile {
    path: PathBuf,
    sent: Sent,
}

impl TokenFile {
    pub(super) fn new(path: PathBuf, sent: Sent) -> Self {
        Self { path, sent }
    }
}

#[async_trait]
impl ClientAssertion for TokenFile {
    async fn secret(&self, _: Option<ClientMethodOptions<'_>>) -> azure_core::Result<String> {
        let token = read(&self.path).await.map_err(|why| {
            // It passes: the kubelet writes the file anew.
            let text = format!(
                "the federated token file {} {why}; the operator's pod needs a projected service account token there for \
                 the audience api://AzureADTokenExchange",
                self.path.display()
            );
            let error = AzureError::local(ErrorClass::Identity, "TokenFileUnreadable", &text);
            azure_core::Error::new(ErrorKind::Credential, error)
        })?;
        let text = token.expose().to_owned();
        self.sent.set(token);
        Ok(text)
    }
}

/// The trimmed content of the file, or what is wrong with it.
async fn read(path: &Path) -> Result<SecretText, String> {
    let unreadable = |error: std::io::Error| format!("cannot be read: {}", error.kind());
    let file = tokio::fs::File::open(path).await.map_err(unreadable)?;
    let mut text = Zeroizing::new(String::new());
    let length = file
        .take(MAX_TOKEN_BYTES + 1)
        .read_to_string(&mut text)
        .await
        .map_err(unreadable)?;
    if u64::try_from(length).unwrap_or(u64::MAX) > MAX_TOKEN_BYTES {
        return Err(format!("has more than {MAX_TOKEN_BYTES} bytes"));
    }
    match text.trim() {
        "" => Err("is empty".to_owned()),
        token => Ok(SecretText::new(token.to_owned())),
    }
}
