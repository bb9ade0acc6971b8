//! The requests of one look at an image: who is asked, with which credentials, and how much of the answer is read.
//!
//! Registries, token services and blob stores are named by strangers. So: https only, bounded time and size, few
//! redirects; the credentials go to the registry that they are for and to the token service that this registry names,
//! and nowhere a redirect leads.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{
    ACCEPT, AUTHORIZATION, HeaderValue, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE,
};
use reqwest::{Client, Response, StatusCode, Url};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::challenge::{Challenge, is_safe};
use super::error::RegistryError;
use super::reference::ImageReference;
use super::resolver::{NotAsked, permits_literal};
use super::{Login, chain};
use crate::azure::model::SecretText;
use crate::net::Networks;

/// One exchange, its body included.
const REQUEST: Duration = Duration::from_secs(10);
/// Hops from a registry to where it keeps its blobs.
const MAX_REDIRECTS: usize = 3;
/// Longest wait that a registry's `Retry-After` can ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);
/// Longest answer of a token service.
const MAX_TOKEN_ANSWER: usize = 256 << 10;
const TOKEN: &str = "the answer of a token service";

/// Requests about one image.
pub(super) struct Session<'a> {
    http: &'a Client,
    networks: &'a Networks,
    image: &'a ImageReference,
    login: Option<&'a Login>,
    /// What the registry accepts, once it has asked for it.
    authorization: Option<HeaderValue>,
}

/// What is read, how it is named in an error, and how much of it.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    pub(super) what: &'static str,
    pub(super) accept: &'static str,
    pub(super) limit: usize,
}

enum Answer {
    Success(Response),
    /// The registry itself wants credentials.
    Challenged(Option<Challenge>),
}

impl<'a> Session<'a> {
    pub(super) fn new(
        http: &'a Client,
        networks: &'a Networks,
        image: &'a ImageReference,
        login: Option<&'a Login>,
    ) -> Self {
        Self {
            http,
            networks,
            image,
            login,
            authorization: None,
        }
    }

    /// GET of `path` below the repository.
    pub(super) async fn get(
        &mut self,
        path: &str,
        wanted: Wanted,
    ) -> Result<Vec<u8>, RegistryError> {
        let ImageReference {
            host, repository, ..
        } = self.image;
        let url = Url::parse(&format!("https://{host}/v2/{repository}/{path}"))
            .map_err(|_| RegistryError::Reference("what stands before the first '/' is no host"))?;
        let challenge = match self.follow(&url, wanted.accept).await? {
            Answer::Success(response) => return self.read(response, wanted).await,
            // What was accepted for the manifest is not accepted for the configuration.
            Answer::Challenged(_) if self.authorization.is_some() => {
                return Err(self.unauthorized(host));
            }
            Answer::Challenged(challenge) => challenge,
        };
        self.authorization = Some(self.authorize(challenge).await?);
        match self.follow(&url, wanted.accept).await? {
            Answer::Success(response) => self.read(response, wanted).await,
            Answer::Challenged(_) => Err(self.unauthorized(host)),
        }
    }

    /// Asks `start`, which is the registry's, and follows its redirects. Another host never sees our credentials, nor
    /// does the registry after it.
    async fn follow(&self, start: &Url, accept: &str) -> Result<Answer, RegistryError> {
        let mut url = start.clone();
        let mut at_home = true;
        for _ in 0..=MAX_REDIRECTS {
            let mut request = self.request(&url)?.header(ACCEPT, accept);
            if at_home && let Some(authorization) = &self.authorization {
                request = request.header(AUTHORIZATION, authorization.clone());
            }
            let host = host_of(&url);
            let response = self.send(request, &host).await?;
            match response.status() {
                status if status.is_success() => return Ok(Answer::Success(response)),
                StatusCode::UNAUTHORIZED if at_home => {
                    let headers = response.headers().get_all(WWW_AUTHENTICATE).into_iter();
                    let texts = headers.filter_map(|header| header.to_str().ok());
                    return Ok(Answer::Challenged(Challenge::best(texts)));
                }
                StatusCode::MOVED_PERMANENTLY
                | StatusCode::FOUND
                | StatusCode::SEE_OTHER
                | StatusCode::TEMPORARY_REDIRECT
                | StatusCode::PERMANENT_REDIRECT => {
                    let location = response.headers().get(LOCATION);
                    let next = location
                        .and_then(|location| location.to_str().ok())
                        .and_then(|location| url.join(location).ok())
                        .filter(is_safe)
                        .ok_or(RegistryError::Malformed {
                            host,
                            what: "a redirect to where nothing can be read safely",
                        })?;
                    at_home = at_home && next.origin() == start.origin();
                    url = next;
                }
                _ => return Err(self.refusal(&host, &response)),
            }
        }
        Err(RegistryError::Malformed {
            host: host_of(&url),
            what: "too many redirects",
        })
    }

    /// What to send to the registry after its challenge.
    async fn authorize(&self, challenge: Option<Challenge>) -> Result<HeaderValue, RegistryError> {
        match (challenge, self.login) {
            (
                Some(Challenge::Bearer {
                    realm,
                    service,
                    scope,
                }),
                _,
            ) => self.token(realm, service, scope).await,
            (Some(Challenge::Basic), Some(login)) => Ok(basic(login)),
            (_, _) => Err(self.unauthorized(&self.image.host)),
        }
    }

    /// A token for the pull, with the user name and password if there are any, else for anybody.
    async fn token(
        &self,
        mut realm: Url,
        service: Option<String>,
        scope: Option<String>,
    ) -> Result<HeaderValue, RegistryError> {
        #[derive(Deserialize)]
        struct Token {
            #[serde(default)]
            token: SecretText,
            #[serde(default)]
            access_token: SecretText,
        }
        let scope = scope.unwrap_or_else(|| format!("repository:{}:pull", self.image.repository));
        {
            let mut query = realm.query_pairs_mut();
            if let Some(service) = &service {
                query.append_pair("service", service);
            }
            query.append_pair("scope", &scope);
        }
        let host = host_of(&realm);
        let mut request = self.request(&realm)?;
        if let Some(login) = self.login {
            request = request.header(AUTHORIZATION, basic(login));
        }
        let response = self.send(request, &host).await?;
        match response.status() {
            status if status.is_success() => {}
            // Token services say "no" in several ways.
            StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND => {
                return Err(self.unauthorized(&host));
            }
            _ => return Err(self.refusal(&host, &response)),
        }
        let malformed = || RegistryError::Malformed {
            host: host.clone(),
            what: "no token where one was asked for",
        };
        let wanted = Wanted {
            what: TOKEN,
            accept: "",
            limit: MAX_TOKEN_ANSWER,
        };
        let answer = Zeroizing::new(self.read(response, wanted).await?);
        let answer: Token = serde_json::from_slice(&answer).map_err(|_| malformed())?;
        let token = if answer.token.expose().is_empty() {
            &answer.access_token
        } else {
            &answer.token
        };
        if token.expose().is_empty() {
            return Err(malformed());
        }
        secret_header("Bearer ", token.expose()).ok_or_else(malformed)
    }

    /// A GET of `url`, unless its host is an address that is not asked.
    fn request(&self, url: &Url) -> Result<reqwest::RequestBuilder, RegistryError> {
        if permits_literal(self.networks, url) {
            return Ok(self.http.get(url.clone()));
        }
        Err(RegistryError::Unreachable {
            host: host_of(url),
            reason: NotAsked.to_string(),
        })
    }

    async fn send(
        &self,
        request: reqwest::RequestBuilder,
        host: &str,
    ) -> Result<Response, RegistryError> {
        let sent = request.timeout(REQUEST).send().await;
        sent.map_err(|error| unreachable(host, error))
    }

    /// The body of `response`, as far as it may be read.
    async fn read(&self, mut response: Response, wanted: Wanted) -> Result<Vec<u8>, RegistryError> {
        let host = host_of(response.url());
        let mut body = Vec::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| unreachable(&host, error))?
        {
            if body.len() + chunk.len() > wanted.limit {
                return Err(RegistryError::TooLarge {
                    host,
                    what: wanted.what,
                    limit: wanted.limit,
                });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn unauthorized(&self, host: &str) -> RegistryError {
        RegistryError::Unauthorized {
            host: host.to_owned(),
            login: self.login.is_some(),
        }
    }

    fn refusal(&self, host: &str, response: &Response) -> RegistryError {
        let host = host.to_owned();
        match response.status() {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => self.unauthorized(&host),
            StatusCode::NOT_FOUND | StatusCode::GONE => RegistryError::NotFound { host },
            status
                if status.is_server_error()
                    || status == StatusCode::TOO_MANY_REQUESTS
                    || status == StatusCode::REQUEST_TIMEOUT =>
            {
                let seconds = response.headers().get(RETRY_AFTER);
                let seconds = seconds.and_then(|value| value.to_str().ok()?.trim().parse().ok());
                RegistryError::Unavailable {
                    host,
                    status: status.as_u16(),
                    retry_after: seconds
                        .map(|seconds| Duration::from_secs(seconds).min(MAX_RETRY_AFTER)),
                }
            }
            status => RegistryError::Unexpected {
                host,
                status: status.as_u16(),
            },
        }
    }
}

fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// No answer, or half of one. An address is not told: that of a blob may hold a signature.
fn unreachable(host: &str, error: reqwest::Error) -> RegistryError {
    let host = host.to_owned();
    if error.is_timeout() {
        return RegistryError::Timeout {
            host,
            limit: REQUEST,
        };
    }
    RegistryError::Unreachable {
        host,
        reason: chain(&error.without_url()),
    }
}

fn basic(login: &Login) -> HeaderValue {
    let plain = Zeroizing::new(format!("{}:{}", login.username, login.password.expose()));
    let encoded = Zeroizing::new(STANDARD.encode(plain.as_bytes()));
    // Base64 is always fit for a header.
    secret_header("Basic ", &encoded).unwrap_or_else(|| HeaderValue::from_static(""))
}

/// A header that no log shows.
fn secret_header(scheme: &str, secret: &str) -> Option<HeaderValue> {
    let text = Zeroizing::new(format!("{scheme}{secret}"));
    let mut value = HeaderValue::from_str(&text).ok()?;
    value.set_sensitive(true);
    Some(value)
}
