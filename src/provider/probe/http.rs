//! Requests to a container, as a kubelet sends them: any certificate will do, no proxy, no connection is kept, and an answer
//! may lead on within the same host.

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::header::{ACCEPT, HeaderMap, HeaderName, HeaderValue, LOCATION};
use reqwest::redirect::{Attempt, Policy};

use super::ProbeAnswer;
use super::tcp::connect;
use crate::azure::error::chain;

/// What a kubelet calls itself towards containers; some tell probes from users by it.
const USER_AGENT: &str = "kube-probe/1.36";
/// Redirects that are followed.
const REDIRECTS: usize = 10;
/// A pod that has not answered in time gets this long to show that it is there at all.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);

/// Sends requests to containers.
#[derive(Debug, Clone)]
pub(in crate::provider) struct Client(Result<reqwest::Client, String>);

/// What came back.
pub(in crate::provider) enum Got {
    Status(reqwest::StatusCode, HeaderMap),
    /// No answer in time.
    Nothing,
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
    ) -> Result<Got, String> {
        let client = self.0.as_ref().map_err(Clone::clone)?;
        let mut all = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("*/*"))]);
        for (name, value) in headers {
            let name = HeaderName::try_from(name).map_err(|error| error.to_string())?;
            let value = HeaderValue::try_from(value).map_err(|error| error.to_string())?;
            all.insert(name, value);
        }
        match client.get(url).headers(all).timeout(time).send().await {
            Ok(answer) => Ok(Got::Status(answer.status(), answer.headers().clone())),
            Err(error) if error.is_timeout() => Ok(Got::Nothing),
            Err(error) => Err(chain(&error.without_url())),
        }
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
        match self.get(&url, headers, time).await {
            Ok(Got::Status(status, _)) if status.is_success() => ProbeAnswer::Success,
            Ok(Got::Status(status, headers)) if status.is_redirection() => {
                if headers.contains_key(LOCATION) {
                    ProbeAnswer::Warning("Probe terminated redirects".to_owned())
                } else {
                    ProbeAnswer::Success
                }
            }
            Ok(Got::Status(status, _)) => ProbeAnswer::Failure(format!(
                "HTTP probe failed with statuscode: {}",
                status.as_u16()
            )),
            Ok(Got::Nothing) => {
                let why =
                    "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
                let text = format!("Get \"{url}\": {why}");
                match connect(address, time.min(SIGN_OF_LIFE)).await {
                    Ok(_) => ProbeAnswer::Failure(text),
                    Err(none) => none.answer(text),
                }
            }
            Err(why) => {
                // What stands in the way of the connection is known better, and in shorter words.
                match connect(address, time.min(SIGN_OF_LIFE)).await {
                    Ok(_) => ProbeAnswer::Failure(format!("Get \"{url}\": {why}")),
                    Err(none) => {
                        let text = format!("Get \"{url}\": {}", none.why);
                        none.answer(text)
                    }
                }
            }
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
