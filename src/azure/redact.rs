//! Services quote requests in their errors. What was secret in a request is taken out of what is said about it. PURE.

use azure_core::http::Url;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use zeroize::Zeroizing;

/// What stands in place of a secret.
const REDACTED: &str = "[redacted]";
/// Shorter values are parts of ordinary words, and no secrets.
const MIN_LENGTH: usize = 4;
/// Members of a form that are secret (RFC 6749, section 2.3.1; RFC 7521, section 4.2).
const FORM: [&str; 2] = ["client_secret", "client_assertion"];
/// Members of a container group whose text is secret.
const TEXTS: [&str; 4] = [
    "secureValue",
    "password",
    "workspaceKey",
    "storageAccountKey",
];
/// The member of a volume that maps file names to content.
const FILES: &str = "secret";

/// The secrets of one request, in every form in which a service may quote them.
pub(super) struct Secrets(Vec<Zeroizing<String>>);

impl Secrets {
    /// Those in the body of a request to ARM or to the token endpoint.
    pub(super) fn of(body: &[u8]) -> Self {
        let mut secrets = Self(Vec::new());
        match serde_json::from_slice(body) {
            Ok(json) => secrets.walk(&json),
            Err(_) => secrets.form(body),
        }
        // A secret that has another one inside goes first.
        secrets
            .0
            .sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.0.dedup();
        secrets
    }

    /// `text` without any of them.
    pub(super) fn hide(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.0 {
            if text.contains(secret.as_str()) {
                text = text.replace(secret.as_str(), REDACTED);
            }
        }
        text
    }

    fn add(&mut self, secret: &str) {
        if secret.chars().count() >= MIN_LENGTH {
            self.0.push(Zeroizing::new(secret.to_owned()));
        }
    }

    /// A text of a JSON document, also as it stands there.
    fn text(&mut self, secret: &str) {
        self.add(secret);
        let quoted = Zeroizing::new(Value::from(secret).to_string());
        if let Some(quoted) = quoted.get(1..quoted.len() - 1)
            && quoted != secret
        {
            self.add(quoted);
        }
    }

    fn walk(&mut self, json: &Value) {
        match json {
            Value::Object(members) => {
                for (name, value) in members {
                    match value {
                        Value::String(text) if TEXTS.contains(&name.as_str()) => self.text(text),
                        Value::Object(files) if name == FILES => {
                            files
                                .values()
                                .filter_map(Value::as_str)
                                .for_each(|file| self.file(file));
                        }
                        other => self.walk(other),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.walk(item)),
            _ => {}
        }
    }

    fn file(&mut self, base64: &str) {
        self.add(base64);
        let content = STANDARD.decode(base64).map(Zeroizing::new);
        if let Some(text) = content
            .ok()
            .as_deref()
            .and_then(|c| std::str::from_utf8(c).ok())
        {
            self.text(text);
        }
    }

    fn form(&mut self, body: &[u8]) {
        let Ok(body) = std::str::from_utf8(body) else {
            return;
        };
        let member = |pair: &str| pair.split_once('=').map(|(name, _)| FORM.contains(&name));
        for pair in body.split('&').filter(|pair| member(pair) == Some(true)) {
            self.add(pair.split_once('=').map_or(pair, |(_, value)| value));
            // The URL's parser knows how to read a form.
            let url = Zeroizing::new(format!("https://form/?{pair}"));
            if let Ok(url) = Url::parse(&url) {
                url.query_pairs().for_each(|(_, value)| self.text(&value));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_was_secret_in_a_request_is_not_quoted() {
        let group = json!({"properties": {
            "containers": [{"properties": {"environmentVariables": [
                {"name": "A", "value": "plain"}, {"name": "B", "secureValue": "line\n\"two\""}, {"name": "C", "secureValue": "abc"},
            ]}}],
            "imageRegistryCredentials": [{"server": "s", "username": "user", "password": "pass-word"}],
            "volumes": [{"name": "v", "secret": {"file": STANDARD.encode("in the file")}}, {"name": "w", "azureFile": {"storageAccountKey": "key=="}}],
            "diagnostics": {"logAnalytics": {"workspaceId": "id", "workspaceKey": "of-the-workspace"}},
        }})
        .to_string();
        let form = "client_id=me&client_secret=a%2Bb+c%25&client_assertion=eyJ.x.y&scope=s";
        for (body, said, wanted) in [
            (group.as_str(), group.as_str(), ""),
            (
                &group,
                "line\n\"two\" pass-word in the file",
                "[redacted] [redacted] [redacted]",
            ),
            (
                &group,
                "key== of-the-workspace abc plain user",
                "[redacted] [redacted] abc plain user",
            ),
            (
                form,
                form,
                "client_id=me&client_secret=[redacted]&client_assertion=[redacted]&scope=s",
            ),
            (
                form,
                "the secret 'a+b c%' of me",
                "the secret '[redacted]' of me",
            ),
            ("", "nothing was sent", "nothing was sent"),
        ] {
            let hidden = Secrets::of(body.as_bytes()).hide(said);
            if wanted.is_empty() {
                for secret in ["two", "pass-word", "aW4g", "key==", "of-the-workspace"] {
                    assert!(!hidden.contains(secret), "{secret}: {hidden}");
                }
                assert!(hidden.contains("plain") && hidden.contains("imageRegistryCredentials"));
            } else {
                assert_eq!(hidden, wanted);
            }
        }
    }
}
