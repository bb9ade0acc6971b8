//! What is asked of a log: the query of `/containerLogs`. PURE.
//!
//! The names, their meaning and what is refused are those of `PodLogOptions` (Kubernetes API reference).

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::super::api_error::ApiError;
use http::StatusCode;

/// The options of one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Goes on until the container ends.
    pub follow: bool,
    /// The log of the run before.
    pub previous: bool,
    /// A time before each line.
    pub timestamps: bool,
    /// Only lines from then on.
    pub since: Option<Timestamp>,
    /// Only so many last lines.
    pub tail: Option<u64>,
    /// No more than so many bytes.
    pub limit_bytes: Option<u64>,
}

/// Reads a query. Keys that it does not know are ignored, as a kubelet ignores them.
///
/// # Errors
/// 400 for what cannot be read, 422 for what cannot be meant.
pub fn parse(query: &str, now: Timestamp) -> Result<Options, ApiError> {
    let unreadable = || ApiError::bad_request(r#"{"message": "Unable to decode query."}"#);
    let invalid = || {
        ApiError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            r#"{"message": "Invalid request."}"#,
        )
    };
    let value = |name: &str| {
        pairs(query)
            .find(|(key, _)| key == name)
            .map(|(_, value)| value)
    };
    let number = |name: &str| {
        value(name)
            .map(|text| text.parse::<i64>().map_err(|_| unreadable()))
            .transpose()
    };
    let flag = |name: &str| {
        value(name).is_some_and(|text| !matches!(text.to_ascii_lowercase().as_str(), "false" | "0"))
    };
    let since_seconds = number("sinceSeconds")?;
    let since_time = value("sinceTime")
        .filter(|text| !text.is_empty())
        .map(|text| text.parse::<Timestamp>().map_err(|_| unreadable()))
        .transpose()?;
    let tail = number("tailLines")?;
    let limit = number("limitBytes")?;
    if since_seconds.is_some() && since_time.is_some()
        || since_seconds.is_some_and(|n| n < 1)
        || tail.is_some_and(|n| n < 0)
        || limit.is_some_and(|n| n < 1)
    {
        return Err(invalid());
    }
    if value("stream").is_some_and(|stream| !matches!(stream.as_str(), "" | "All")) {
        return Err(ApiError::bad_request(
            "Azure Container Instances keeps one log for stdout and stderr: only stream=All can be had",
        ));
    }
    let back = |seconds| now.saturating_sub(SignedDuration::from_secs(seconds));
    let since = match since_seconds {
        Some(seconds) => Some(back(seconds).unwrap_or(Timestamp::MIN)),
        None => since_time,
    };
    let unsigned = |n: i64| u64::try_from(n).unwrap_or_default();
    Ok(Options {
        follow: flag("follow"),
        previous: flag("previous"),
        timestamps: flag("timestamps"),
        since,
        tail: tail.map(unsigned),
        limit_bytes: limit.map(unsigned),
    })
}

/// Keys and values of a query, percent-decoded, `+` as a blank.
fn pairs(query: &str) -> impl Iterator<Item = (String, String)> + '_ {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key), decode(value))
        })
}

fn decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let byte = hex.and_then(|two| u8::from_str_radix(two, 16).ok());
        match (first, byte) {
            (b'%', Some(byte)) => {
                out.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            (b'+', _) => {
                out.push(b' ');
                rest = after;
            }
            _ => {
                out.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn queries() {
        let now = at("2026-01-02T03:04:05Z");
        let none = Options::default();
        for (query, expected) in [
            ("", none.clone()),
            (
                "container=x&insecureSkipTLSVerifyBackend=true&stream=All",
                none.clone(),
            ),
            (
                "follow=true&previous=1&timestamps",
                Options {
                    follow: true,
                    previous: true,
                    timestamps: true,
                    ..none.clone()
                },
            ),
            ("follow=false&previous=0&timestamps=False", none.clone()),
            (
                "tailLines=0&limitBytes=1",
                Options {
                    tail: Some(0),
                    limit_bytes: Some(1),
                    ..none.clone()
                },
            ),
            (
                "sinceSeconds=65",
                Options {
                    since: Some(at("2026-01-02T03:03:00Z")),
                    ..none.clone()
                },
            ),
            (
                "sinceSeconds=9223372036854775807",
                Options {
                    since: Some(Timestamp::MIN),
                    ..none.clone()
                },
            ),
            (
                "sinceTime=2026-01-02T03%3A04%3A05.5%2B01:00",
                Options {
                    since: Some(at("2026-01-02T02:04:05.5Z")),
                    ..none.clone()
                },
            ),
            ("sinceTime=", none.clone()),
            (
                "tailLines=5&tailLines=7",
                Options {
                    tail: Some(5),
                    ..none
                },
            ),
        ] {
            assert_eq!(parse(query, now), Ok(expected), "{query}");
        }
    }

    #[test]
    fn what_cannot_be_read_or_meant() {
        let now = Timestamp::UNIX_EPOCH;
        for (query, status) in [
            ("tailLines=x", 400),
            ("tailLines=", 400),
            ("limitBytes=1.5", 400),
            ("sinceTime=yesterday", 400),
            ("sinceSeconds=99999999999999999999", 400),
            ("stream=Stderr", 400),
            ("tailLines=-1", 422),
            ("limitBytes=0", 422),
            ("sinceSeconds=0", 422),
            ("sinceSeconds=-5", 422),
            ("sinceSeconds=5&sinceTime=2026-01-02T03:04:05Z", 422),
        ] {
            let refusal = parse(query, now).unwrap_err();
            assert_eq!(refusal.status.as_u16(), status, "{query}");
        }
    }
}
