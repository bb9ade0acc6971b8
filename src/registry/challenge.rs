//! `WWW-Authenticate` of registries (RFC 9110, section 11.6.1; Docker's token authentication). PURE.
//!
//! What a registry writes there says where credentials are sent, so it is read strictly: https, no user name in it,
//! nothing endless.

use reqwest::Url;

/// Longest header that is read.
const MAX_HEADER: usize = 8 << 10;
/// Longest address of a token service.
const MAX_REALM: usize = 2 << 10;

/// How a registry wants to be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// With a token, which `realm` gives out.
    Bearer {
        /// Token service: https, without user name and fragment.
        realm: Url,
        /// For whom the token is.
        service: Option<String>,
        scope: Option<String>,
    },
    /// With user name and password.
    Basic,
}

impl Challenge {
    /// The best of those in `headers`: a token before a password. `None` when there is none that can be met safely.
    pub(super) fn best<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Self> {
        let mut basic = None;
        for header in headers.filter(|header| header.len() <= MAX_HEADER) {
            for (scheme, parameters) in split(header) {
                let value = |name: &str| {
                    let found = parameters
                        .iter()
                        .find(|(key, _)| key.eq_ignore_ascii_case(name));
                    found.map(|(_, value)| value.clone())
                };
                if scheme.eq_ignore_ascii_case("Bearer") {
                    if let Some(realm) = value("realm").as_deref().and_then(realm) {
                        return Some(Self::Bearer {
                            realm,
                            service: value("service"),
                            scope: value("scope"),
                        });
                    }
                } else if scheme.eq_ignore_ascii_case("Basic") {
                    basic = Some(Self::Basic);
                }
            }
        }
        basic
    }
}

/// The address of a token service to which a password may be sent.
fn realm(text: &str) -> Option<Url> {
    if text.len() > MAX_REALM {
        return None;
    }
    let url = Url::parse(text).ok()?;
    is_safe(&url).then_some(url)
}

/// Whether `url`, which a registry named, may be asked at all: https, and no user name or password in it.
pub(super) fn is_safe(url: &Url) -> bool {
    url.scheme() == "https"
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.fragment().is_none()
}

type Parameters = Vec<(String, String)>;

/// The schemes of a header with their parameters; what does not follow the grammar ends it.
fn split(header: &str) -> Vec<(String, Parameters)> {
    let mut out: Vec<(String, Parameters)> = Vec::new();
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let length = rest.find(|c| !is_token(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(length);
        if word.is_empty() {
            return out;
        }
        let Some(value) = after.trim_start_matches([' ', '\t']).strip_prefix('=') else {
            out.push((word.to_owned(), Vec::new()));
            rest = after;
            continue;
        };
        let Some((value, after)) = self::value(value.trim_start_matches([' ', '\t'])) else {
            return out;
        };
        if let Some((_, parameters)) = out.last_mut() {
            parameters.push((word.to_owned(), value));
        }
        rest = after;
    }
}

/// A token or a quoted string, and what follows it.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let length = text.find(|c| !is_token(c)).unwrap_or(text.len());
        let (value, rest) = text.split_at(length);
        return Some((value.to_owned(), rest));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, quoted.get(at + 1..)?)),
            '\\' => value.push(chars.next()?.1),
            other => value.push(other),
        }
    }
    None
}

/// A character of a token.
fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn best(header: &str) -> Option<Challenge> {
        Challenge::best([header].into_iter())
    }

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer {
            realm: Url::parse(realm).unwrap(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
        }
    }

    #[test]
    fn challenges_of_registries() {
        let hub = r#"Bearer realm="https://auth.example/token",service="registry.example",scope="repository:library/a:pull""#;
        let full = bearer(
            "https://auth.example/token",
            Some("registry.example"),
            Some("repository:library/a:pull"),
        );
        assert_eq!(best(hub), Some(full.clone()));
        let spaced = r#"bearer REALM = "https://auth.example/token" , Service=registry.example,scope="repository:library/a:pull",error="x\"y""#;
        assert_eq!(best(spaced), Some(full));
        let both = r#"Basic realm="a, Bearer realm=https://evil.example", Bearer realm="https://auth.example/token?a=b""#;
        assert_eq!(
            best(both),
            Some(bearer("https://auth.example/token?a=b", None, None))
        );
        assert_eq!(best(r#"Basic realm="Registry""#), Some(Challenge::Basic));
        assert_eq!(best("basic"), Some(Challenge::Basic));
        let two = ["Negotiate", r#"Bearer realm="https://auth.example/token""#];
        assert_eq!(
            Challenge::best(two.into_iter()),
            Some(bearer("https://auth.example/token", None, None))
        );
    }

    #[test]
    fn a_realm_that_a_password_must_not_go_to_is_none() {
        let long = format!("https://auth.example/{}", "a".repeat(MAX_REALM));
        for realm in [
            "http://auth.example/token",
            "https://user@auth.example/token",
            "https://user:pass@auth.example/token",
            "https://auth.example/token#x",
            "ftp://auth.example",
            "data:text/plain,x",
            "file:///etc/passwd",
            "/token",
            "auth.example/token",
            "https://",
            "",
            &long,
        ] {
            assert_eq!(best(&format!(r#"Bearer realm="{realm}""#)), None, "{realm}");
        }
        // The password then goes to the registry itself, if that is what it asks for.
        let fallback = r#"Bearer realm="http://auth.example/token", Basic realm="r""#;
        assert_eq!(best(fallback), Some(Challenge::Basic));
    }

    proptest::proptest! {
        #[test]
        fn a_realm_is_always_safe(text in "(Bearer |Basic |realm=|\"|https://|http://|a@|,|=|\\\\|[a-z:/.# ]){0,20}") {
            if let Some(Challenge::Bearer { realm, .. }) = best(&text) {
                assert!(realm.scheme() == "https" && realm.username().is_empty(), "{realm}");
            }
        }
    }

    #[test]
    fn what_is_no_challenge_asks_for_nothing() {
        let endless = format!(r#"Basic realm="{}""#, "a".repeat(MAX_HEADER));
        for header in [
            "",
            ",,,",
            "=",
            "Bearer",
            r#"Bearer realm="https://auth.example"#,
            r#"realm="https://auth.example""#,
            "Bearer realm=",
            "Digest qop=auth",
            "Negotiate abc==",
            "\"",
            "Bearer realm=\"\\",
            &endless,
        ] {
            assert_eq!(best(header), None, "{header}");
        }
    }
}
