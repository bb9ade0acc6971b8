//! Requests to a container, as a kubelet sends them: any certificate will do, no proxy, no connection is kept, and an answer
//! may lead on within the same host.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use reqwest::Response;
use reqwest::header::{ACCEPT, HeaderMap, HeaderName, HeaderValue, LOCATION};
use reqwest::redirect::{Attempt, Policy};

use super::tcp::{NoConnection, connect};
use super::{ProbeAnswer, USER_AGENT};
use crate::causes::{causes, chain};

/// Redirects that are followed.
const REDIRECTS: usize = 10;
/// A pod that has not answered in time gets this long to show that it is there at all.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);

const LATE: &str = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";

/// Sends requests to containers.
#[derive(Debug, Clone)]
pub(in crate::provider) struct Client(Result<reqwest::Client, String>);

/// Why no answer came.
pub(in crate::provider) enum NoAnswer {
    /// Not in time.
    Late,
    /// The system made no connection.
    NoConnection {
        why: String,
        error: io::Error,
    },
    Broken(String),
}

impl NoAnswer {
    fn of(error: reqwest::Error) -> Self {
        if error.is_timeout() {
            return Self::Late;
        }
        let os_error = error.is_connect().then(|| os_error(&error)).flatten();
        let why = chain(&error.without_url());
        match os_error {
            Some(error) => Self::NoConnection { why, error },
            None => Self::Broken(why),
        }
    }
}

/// The error of the system that led to `error`.
fn os_error(error: &reqwest::Error) -> Option<io::Error> {
    let mut codes =
        causes(error).filter_map(|cause| cause.downcast_ref::<io::Error>()?.raw_os_error());
    codes.next().map(io::Error::from_raw_os_error)
}

impl Client {
    pub(in crate::provider) fn new() -> Self {
        let built = reqwest::Client::builder()
            .no_proxy()
            .redirect(Policy::custom(within_the_host))
            .tls_danger_accept_invalid_certs(true)
            .pool_max_idle_per_host(0)
            .http1_only()
            .user_agent(USER_AGENT)
            .build();
        Self(built.map_err(|error| chain(&error)))
    }

    /// A GET of `url`, which ends within `time`.
    pub(in crate::provider) async fn get<'h>(
        &self,
        url: &str,
        headers: impl Iterator<Item = (&'h str, &'h str)>,
        time: Duration,
    ) -> Result<Response, NoAnswer> {
        let client = self.0.as_ref();
        let client = client.map_err(|why| NoAnswer::Broken(why.clone()))?;
        let mut all = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("*/*"))]);
        for (name, value) in headers {
            let bad = |error: &dyn Error| NoAnswer::Broken(error.to_string());
            let name = HeaderName::try_from(name).map_err(|error| bad(&error))?;
            let value = HeaderValue::try_from(value).map_err(|error| bad(&error))?;
            all.insert(name, value);
        }
        let request = client.get(url).headers(all).timeout(time);
        request.send().await.map_err(NoAnswer::of)
    }

    /// Whether the container answers with 200 to 399.
    pub(super) async fn probe(
        &self,
        address: SocketAddr,
        https: bool,
        path: &str,
        headers: &[(Box<str>, Box<str>)],
        time: Duration,
    ) -> ProbeAnswer {
        let scheme = if https { "https" } else { "http" };
        let url = format!("{scheme}://{address}{path}");
        let headers = headers.iter().map(|(name, value)| (&**name, &**value));
        let told = |why: &str| format!("Get \"{url}\": {why}");
        let answer = match self.get(&url, headers, time).await {
            Ok(answer) => answer,
            Err(NoAnswer::Late) => {
                let text = told(LATE);
                return match connect(address, time.min(SIGN_OF_LIFE)).await {
                    Ok(_) => ProbeAnswer::Failure(text),
                    Err(none) => none.answer(|_| text),
                };
            }
            Err(NoAnswer::NoConnection { error, .. }) => {
                return NoConnection::of(&error, address).answer(told);
            }
            Err(NoAnswer::Broken(why)) => return ProbeAnswer::Failure(told(&why)),
        };
        let status = answer.status();
        if status.is_redirection() && answer.headers().contains_key(LOCATION) {
            ProbeAnswer::Warning("Probe terminated redirects".to_owned())
        } else if status.is_success() || status.is_redirection() {
            ProbeAnswer::Success
        } else {
            let status = status.as_u16();
            ProbeAnswer::Failure(format!("HTTP probe failed with statuscode: {status}"))
        }
    }
}

/// Follows what leads on within the same host, as a kubelet does.
fn within_the_host(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let from = attempt.previous().first();
    let same = from.is_some_and(|from| from.host() == attempt.url().host());
    if same && attempt.previous().len() <= REDIRECTS {
        attempt.follow()
    } else {
        attempt.stop()
    }
}
