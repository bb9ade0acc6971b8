//! Counting the operator's requests in the API server's audit log.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde::Deserialize;

/// Requests by who acted and what was asked, for example `node patch pods/status`.
pub(super) type Counts = BTreeMap<String, usize>;

/// Reads the log from the place where it was made.
pub(super) struct Audit {
    path: PathBuf,
    from: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    verb: String,
    user: User,
    impersonated_user: Option<User>,
    object_ref: Option<Object>,
}

#[derive(Deserialize)]
struct User {
    #[serde(default)]
    username: String,
}

#[derive(Deserialize)]
struct Object {
    #[serde(default)]
    resource: String,
    #[serde(default)]
    subresource: String,
}

impl Audit {
    /// From the log's present end on.
    pub(super) fn from_now(path: PathBuf) -> Result<Self> {
        let from = std::fs::metadata(&path)
            .with_context(|| format!("no audit log {}", path.display()))?
            .len();
        Ok(Self { path, from })
    }

    /// The requests of `user`, whether as itself (`operator`) or as one of its nodes (`node`). A watch is in the log
    /// when it has ended.
    pub(super) fn counts(&self, user: &str) -> Result<Counts> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.from))?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        Ok(count(&text, user))
    }
}

fn count(text: &str, user: &str) -> Counts {
    let mut counts = Counts::new();
    for line in text.lines() {
        // The last line may be half-written.
        let Ok(record) = serde_json::from_str::<Record>(line) else {
            continue;
        };
        if record.user.username != user {
            continue;
        }
        let who = match record.impersonated_user {
            Some(node) if node.username.starts_with("system:node:") => "node",
            Some(_) => "other",
            None => "operator",
        };
        let what = match record.object_ref {
            Some(object) if object.subresource.is_empty() => object.resource,
            Some(object) => format!("{}/{}", object.resource, object.subresource),
            None => "other".to_owned(),
        };
        *counts
            .entry(format!("{who} {} {what}", record.verb))
            .or_default() += 1;
    }
    counts
}

/// Whether a request changes something. Asking for a token or a review is a `create` that stores nothing.
pub(super) fn is_write(request: &str) -> bool {
    let verb = request.split(' ').nth(1).unwrap_or_default();
    ["create", "update", "patch", "delete", "deletecollection"].contains(&verb)
        && !request.ends_with("reviews")
        && !request.ends_with("serviceaccounts/token")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_who_and_what() {
        let log = concat!(
            r#"{"verb":"patch","user":{"username":"sa"},"impersonatedUser":{"username":"system:node:n"},"objectRef":{"resource":"pods","subresource":"status"}}"#,
            "\n",
            r#"{"verb":"patch","user":{"username":"sa"},"impersonatedUser":{"username":"system:node:n"},"objectRef":{"resource":"pods","subresource":"status"}}"#,
            "\n",
            r#"{"verb":"get","user":{"username":"sa"},"objectRef":{"resource":"pods"}}"#,
            "\n",
            r#"{"verb":"get","user":{"username":"somebody"},"objectRef":{"resource":"pods"}}"#,
            "\n",
            r#"{"verb":"get","user":{"username":"sa"}}"#,
            "\n",
            r#"{"verb":"ge"#,
        );
        let counted: Vec<_> = count(log, "sa").into_iter().collect();
        assert_eq!(
            counted,
            [
                ("node patch pods/status".to_owned(), 2),
                ("operator get other".to_owned(), 1),
                ("operator get pods".to_owned(), 1),
            ]
        );
    }

    #[test]
    fn writes_are_what_is_stored() {
        assert!(is_write("node patch pods/status"));
        assert!(is_write("node create events"));
        assert!(!is_write("node get pods"));
        assert!(!is_write("node create serviceaccounts/token"));
        assert!(!is_write("node create selfsubjectreviews"));
    }
}
