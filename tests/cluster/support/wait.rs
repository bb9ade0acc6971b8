//! Waiting for what is to become so, and reading of objects as JSON.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Time between two looks.
const INTERVAL: Duration = Duration::from_millis(40);

/// What a look has found, or why it is not so yet.
pub(crate) trait Look {
    type Found;

    fn found(self) -> Result<Self::Found, String>;
}

impl<T> Look for Result<T, String> {
    type Found = T;

    fn found(self) -> Self {
        self
    }
}

impl<T> Look for Option<T> {
    type Found = T;

    fn found(self) -> Result<T, String> {
        self.ok_or_else(|| "nothing".to_owned())
    }
}

impl Look for bool {
    type Found = ();

    fn found(self) -> Result<(), String> {
        self.then_some(()).ok_or_else(|| "false".to_owned())
    }
}

/// Looks until there is something, for at most `limit` seconds.
pub(crate) async fn eventually<F: Future<Output: Look>>(
    what: &str,
    limit: u64,
    mut look: impl FnMut() -> F,
) -> <F::Output as Look>::Found {
    let deadline = Instant::now() + Duration::from_secs(limit);
    loop {
        match look().await.found() {
            Ok(found) => return found,
            Err(why) => assert!(
                Instant::now() < deadline,
                "not within {limit} s: {what}; last seen: {why}"
            ),
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// RFC 7386: objects merge, null removes, all else replaces.
pub(crate) fn merge(target: &mut Value, patch: &Value) {
    let (Some(fields), Some(changes)) = (target.as_object_mut(), patch.as_object()) else {
        *target = patch.clone();
        return;
    };
    for (key, change) in changes {
        if change.is_null() {
            fields.remove(key);
        } else {
            merge(fields.entry(key).or_insert_with(|| json!({})), change);
        }
    }
}

/// The text, or an empty one.
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A condition of an object, or null.
pub(crate) fn condition<'a>(object: &'a Value, kind: &str) -> &'a Value {
    object["status"]["conditions"]
        .as_array()
        .and_then(|all| all.iter().find(|condition| condition["type"] == kind))
        .unwrap_or(&Value::Null)
}
