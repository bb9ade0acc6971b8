//! Counting the operator's requests in the API server's audit log.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use chrono::{DateTime, Utc};
use serde::Deserialize;

/// Requests by who acted and what was asked, for example `node patch pods/status`; those that were forbidden apart.
pub(super) type Counts = BTreeMap<String, usize>;

/// Behind what was asked for in vain. The Node authorizer learns of a pod a little later than its node does, which then asks
/// again.
const FORBIDDEN: &str = " (forbidden)";

/// When a request came, and what it was: see [`Counts`].
pub(super) type Request = (DateTime<Utc>, String);

/// Reads the log from the place where it was made.
pub(super) struct Audit {
    path: PathBuf,
    from: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    /// `ResponseStarted` or `ResponseComplete`.
    stage: String,
    verb: String,
    request_received_timestamp: DateTime<Utc>,
    user: User,
    impersonated_user: Option<User>,
    object_ref: Option<Object>,
    response_status: Option<Answer>,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    code: u16,
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

    /// The requests of `user`, whether as itself (`operator`) or as one of its nodes (`node`).
    pub(super) fn counts(&self, user: &str) -> Result<Counts> {
        Ok(count(&self.requests(user)?, |_| true))
    }

    /// The same, each with its time, in the order in which they were answered.
    pub(super) fn requests(&self, user: &str) -> Result<Vec<Request>> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.from))?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        Ok(parse(&text, user))
    }
}

/// How many there were of each kind, of those that came at a time that `when` takes.
pub(super) fn count(requests: &[Request], when: impl Fn(DateTime<Utc>) -> bool) -> Counts {
    let mut counts = Counts::new();
    for (_, what) in requests.iter().filter(|(at, _)| when(*at)) {
        *counts.entry(what.clone()).or_default() += 1;
    }
    counts
}

fn parse(text: &str, user: &str) -> Vec<Request> {
    let mut requests = Vec::new();
    for line in text.lines() {
        // The last line may be half-written.
        let Ok(record) = serde_json::from_str::<Record>(line) else {
            continue;
        };
        // A watch is there twice: when it is answered, where it counts, and when it has ended.
        let started = record.stage == "ResponseStarted";
        if record.user.username != user || started != (record.verb == "watch") {
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
        let forbidden = record.response_status.is_some_and(|it| it.code == 403);
        let forbidden = if forbidden { FORBIDDEN } else { "" };
        let what = format!("{who} {} {what}{forbidden}", record.verb);
        requests.push((record.request_received_timestamp, what));
    }
    requests
}

/// Whether a request reads what is stored.
pub(super) fn is_read(request: &str) -> bool {
    let verb = request.split(' ').nth(1).unwrap_or_default();
    ["get", "list", "watch"].contains(&verb)
}

/// Whether a request changes something. Asking for a token or a review is a `create` that stores nothing.
pub(super) fn is_write(request: &str) -> bool {
    let verb = request.split(' ').nth(1).unwrap_or_default();
    ["create", "update", "patch", "delete", "deletecollection"].contains(&verb)
        && !request.ends_with(FORBIDDEN)
        && !request.ends_with("reviews")
        && !request.ends_with("serviceaccounts/token")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line of the log: the second, the stage, the verb, and what else there is.
    fn line(second: u32, stage: &str, verb: &str, rest: &str) -> String {
        format!(
            r#"{{"requestReceivedTimestamp":"2026-01-01T00:00:{second:02}.000001Z","stage":"{stage}","verb":"{verb}",{rest}}}"#
        ) + "\n"
    }

    #[test]
    fn requests_are_counted_by_who_and_what() {
        let patch = r#""user":{"username":"sa"},"impersonatedUser":{"username":"system:node:n"},"objectRef":{"resource":"pods","subresource":"status"}"#;
        let pods = r#""user":{"username":"sa"},"objectRef":{"resource":"pods"}"#;
        let of_another = r#""user":{"username":"somebody"},"objectRef":{"resource":"pods"}"#;
        let answered = |code: u16| format!(r#"{patch},"responseStatus":{{"code":{code}}}"#);
        let log = [
            line(1, "ResponseComplete", "patch", patch),
            line(2, "ResponseComplete", "patch", patch),
            line(3, "ResponseComplete", "get", pods),
            line(3, "ResponseComplete", "get", of_another),
            line(4, "ResponseStarted", "watch", pods),
            line(4, "ResponseComplete", "watch", pods),
            line(5, "ResponseComplete", "get", r#""user":{"username":"sa"}"#),
            line(6, "ResponseComplete", "patch", &answered(200)),
            line(6, "ResponseComplete", "patch", &answered(403)),
            r#"{"verb":"ge"#.to_owned(),
        ];
        let requests = parse(&log.concat(), "sa");
        let counted: Vec<_> = count(&requests, |_| true).into_iter().collect();
        assert_eq!(
            counted,
            [
                ("node patch pods/status".to_owned(), 3),
                ("node patch pods/status (forbidden)".to_owned(), 1),
                ("operator get other".to_owned(), 1),
                ("operator get pods".to_owned(), 1),
                ("operator watch pods".to_owned(), 1),
            ]
        );
        let until: DateTime<Utc> = "2026-01-01T00:00:02Z".parse().unwrap();
        let counted: Vec<_> = count(&requests, |at| at < until).into_iter().collect();
        assert_eq!(counted, [("node patch pods/status".to_owned(), 1)]);
    }

    #[test]
    fn writes_are_what_is_stored_and_reads_what_asks_for_it() {
        assert!(is_write("node patch pods/status"));
        assert!(is_write("node create events"));
        assert!(!is_write("node create events (forbidden)"));
        assert!(!is_write("node get pods"));
        assert!(!is_write("node create serviceaccounts/token"));
        assert!(!is_write("node create selfsubjectreviews"));
        assert!(is_read("node watch pods"));
        assert!(!is_read("node create tokenreviews"));
    }
}
