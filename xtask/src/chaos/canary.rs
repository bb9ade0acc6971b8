//! Secrets that nobody may tell, and the search for them.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use anyhow::{Context as _, Result};

/// What is shown of the line before a secret.
const BEFORE: usize = 160;
/// The first bytes of a JWT's header `{"…` in base64: tokens of Entra ID and of service accounts alike.
const JWT: &str = "eyJ";

/// All secrets of a run.
#[derive(Debug, Clone)]
pub(super) struct Canaries {
    seed: u64,
    /// Client secrets, the last one is in use.
    clients: Vec<String>,
}

impl Canaries {
    pub(super) fn new(seed: u64) -> Self {
        let mut canaries = Self {
            seed,
            clients: Vec::new(),
        };
        canaries.rotate(0);
        canaries
    }

    /// A new client secret.
    pub(super) fn rotate(&mut self, number: u64) -> String {
        let secret = format!("Canary~client.{}.{number}", self.seed);
        self.clients.push(secret.clone());
        secret
    }

    /// The client secret in use.
    pub(super) fn client_secret(&self) -> String {
        self.clients.last().cloned().unwrap_or_default()
    }

    /// What pods have in their environment.
    pub(super) fn word(&self) -> String {
        format!("Canary~word.{}", self.seed)
    }

    /// What must not be found, in the ways to write it.
    fn needles(&self) -> Vec<String> {
        let plain = self.clients.iter().cloned().chain([self.word()]);
        plain
            .flat_map(|secret| {
                let value = k8s_openapi::ByteString(secret.clone().into_bytes());
                let base64 = serde_json::to_value(value).ok();
                let base64 = base64.and_then(|value| value.as_str().map(str::to_owned));
                // Three bytes of the end may mix with what follows.
                let base64 = base64.map(|text| text.chars().take(20).collect());
                [Some(secret.replace('~', "%7E")), Some(secret), base64]
            })
            .flatten()
            .collect()
    }

    /// The places in `text` where a secret or a token is told, as `place: what stands before`.
    pub(super) fn find(&self, place: &str, text: &str) -> Vec<String> {
        let needles = self.needles();
        text.lines()
            .filter_map(|line| {
                told(&needles, line).map(|before| format!("{place}: …{before}‹secret›"))
            })
            .collect()
    }

    /// The same for a file, which may be long.
    pub(super) fn find_in(&self, path: &Path) -> Result<Vec<String>> {
        let needles = self.needles();
        let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut found = Vec::new();
        for line in BufReader::new(file).split(b'\n') {
            let line = line?;
            let line = String::from_utf8_lossy(&line);
            found.extend(
                told(&needles, &line)
                    .map(|before| format!("{}: …{before}‹secret›", path.display())),
            );
        }
        Ok(found)
    }
}

/// What stands before the first secret of a line.
fn told(needles: &[String], line: &str) -> Option<String> {
    let at = needles.iter().find_map(|needle| line.find(needle.as_str()));
    let at = at.or_else(|| token(line))?;
    let from = line.floor_char_boundary(at.saturating_sub(BEFORE));
    line.get(from..at).map(str::to_owned)
}

/// Where a JWT begins: three long parts of base64 with dots between them.
fn token(line: &str) -> Option<usize> {
    let places = line.match_indices(JWT);
    places.map(|(at, _)| at).find(|at| {
        let word = line.get(*at..).unwrap_or_default();
        let end = word.find(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c)));
        let word = word.get(..end.unwrap_or(word.len())).unwrap_or_default();
        let parts: Vec<&str> = word.split('.').collect();
        parts.len() >= 3 && parts.iter().take(3).all(|part| part.len() > 10)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_found_in_every_way_to_write_them() {
        let mut canaries = Canaries::new(7);
        let old = canaries.client_secret();
        let new = canaries.rotate(1);
        assert_ne!(old, new);
        for secret in [old, new.replace('~', "%7E"), canaries.word()] {
            let found = canaries.find("log", &format!("fine\nerror: {secret} was wrong"));
            assert_eq!(found, ["log: …error: ‹secret›"]);
        }
        let base64 = serde_json::to_value(k8s_openapi::ByteString(new.into_bytes())).unwrap();
        assert_eq!(canaries.find("log", &base64.to_string()).len(), 1);
    }

    #[test]
    fn tokens_are_found_and_certificates_are_not() {
        let canaries = Canaries::new(7);
        let token = "eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJ4In0xxxx.c2lnbmF0dXJlc2ln";
        assert_eq!(
            canaries.find("log", &format!("Bearer {token}")),
            ["log: …Bearer ‹secret›"]
        );
        assert_eq!(
            canaries.find(
                "log",
                "eyJhbGciOiJSUzI1NiJ9 alone, and LS0tLS1CRUdJTi0tLS0t"
            ),
            [""; 0]
        );
        assert_eq!(canaries.find("log", "a client named canary"), [""; 0]);
    }

    #[test]
    fn a_file_is_read_line_by_line() {
        let canaries = Canaries::new(7);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("one\ntwo {}\n", canaries.word())).unwrap();
        assert_eq!(canaries.find_in(file.path()).unwrap().len(), 1);
    }
}
