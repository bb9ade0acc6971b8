//! Where Azure's instance metadata service is. PURE.

use std::fmt;

use azure_core::http::Url;

/// Azure's own: Microsoft's page "Azure Instance Metadata Service".
const AZURE: &str = "169.254.169.254";
/// The path for tokens, the only one that is asked.
const TOKEN_PATH: &str = "/metadata/identity/oauth2/token";

/// The address of an instance metadata service: plain HTTP, and never off this machine. The default is Azure's own,
/// `http://169.254.169.254`.
#[derive(Clone, PartialEq, Eq)]
pub struct MetadataHost {
    host: String,
    port: Option<u16>,
}

/// Why an address is none of an instance metadata service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be http:// and a loopback or link-local address, with a port if need be: tokens do not leave the machine in the clear"
)]
pub struct NotLocal;

impl MetadataHost {
    /// Reads an address as Azure's SDKs take it from `AZURE_POD_IDENTITY_AUTHORITY_HOST`, with or without a slash at the
    /// end.
    ///
    /// # Errors
    /// [`NotLocal`] for anything but `http://` and a loopback or link-local address.
    pub fn parse(text: &str) -> Result<Self, NotLocal> {
        let url = Url::parse(text.trim()).map_err(|_| NotLocal)?;
        let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        let anonymous = url.username().is_empty() && url.password().is_none();
        if !(bare && anonymous && is_local(&url)) {
            return Err(NotLocal);
        }
        Ok(Self {
            host: url.host_str().unwrap_or_default().to_owned(),
            port: url.port(),
        })
    }

    /// Turns `url`, which asks Azure's own service, to this one.
    pub(super) fn turn(&self, url: &mut Url) -> Result<(), NotLocal> {
        url.set_host(Some(&self.host)).map_err(|_| NotLocal)?;
        url.set_port(self.port).map_err(|()| NotLocal)
    }
}

impl Default for MetadataHost {
    fn default() -> Self {
        Self {
            host: AZURE.to_owned(),
            port: None,
        }
    }
}

/// Without the scheme, for messages.
impl fmt::Display for MetadataHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for MetadataHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whether `url` asks a metadata service on this machine for a token: the one request that may go without TLS.
pub(in crate::azure) fn is_token_request(url: &Url) -> bool {
    is_local(url) && url.path() == TOKEN_PATH
}

/// Plain HTTP to an address that no router passes on.
fn is_local(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let local = match bare.parse() {
        Ok(std::net::IpAddr::V4(ip)) => ip.is_loopback() || ip.is_link_local(),
        Ok(std::net::IpAddr::V6(ip)) => ip.is_loopback() || ip.is_unicast_link_local(),
        Err(_) => host == "localhost",
    };
    url.scheme() == "http" && local
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_asked_without_tls() {
        for (text, wanted) in [
            ("http://169.254.169.254", Some("169.254.169.254")),
            (" http://169.254.169.254/\n", Some("169.254.169.254")),
            ("http://127.0.0.1:2579", Some("127.0.0.1:2579")),
            ("http://localhost:40342/", Some("localhost:40342")),
            ("http://[::1]:9", Some("[::1]:9")),
            ("https://127.0.0.1:2579", None),
            ("http://10.0.0.1", None),
            ("http://169.254.169.254.example.com", None),
            ("http://localhost.example.com", None),
            ("http://127.0.0.1/metadata", None),
            ("http://user@127.0.0.1", None),
            ("http://127.0.0.1/?a", None),
            ("127.0.0.1", None),
            ("", None),
        ] {
            let read = MetadataHost::parse(text);
            assert_eq!(
                read.ok().map(|host| host.to_string()).as_deref(),
                wanted,
                "{text}"
            );
        }
    }

    #[test]
    fn only_the_request_for_a_token_goes_without_tls() {
        let mut url =
            Url::parse("http://169.254.169.254/metadata/identity/oauth2/token?a=b").unwrap();
        assert!(is_token_request(&url));
        let there = MetadataHost::parse("http://127.0.0.1:2579").unwrap();
        there.turn(&mut url).unwrap();
        assert_eq!(
            url.as_str(),
            "http://127.0.0.1:2579/metadata/identity/oauth2/token?a=b"
        );
        assert!(is_token_request(&url));
        MetadataHost::default().turn(&mut url).unwrap();
        assert_eq!(
            url.as_str(),
            "http://169.254.169.254/metadata/identity/oauth2/token?a=b"
        );
        for other in [
            "http://169.254.169.254/metadata/instance",
            "https://169.254.169.254/metadata/identity/oauth2/token",
            "http://example.com/metadata/identity/oauth2/token",
        ] {
            assert!(!is_token_request(&Url::parse(other).unwrap()), "{other}");
        }
    }
}
