//! Names of images, as container runtimes read them: `nginx`, `team/app:1`, `registry.example.com:5000/app@sha256:…`.
//!
//! The grammar is that of the OCI distribution specification; Docker's own registry and its folder `library` are what a
//! name without a host means. PURE.

use super::digest::Digest;
use super::error::RegistryError;

/// Docker's own registry, as names have it, and the host that serves it.
const DOCKER_NAMES: [&str; 2] = ["docker.io", "index.docker.io"];
const DOCKER_HOST: &str = "registry-1.docker.io";
/// Folder of Docker's own images.
const DOCKER_LIBRARY: &str = "library/";
const MAX_REPOSITORY: usize = 255;
const MAX_TAG: usize = 128;
const DEFAULT_TAG: &str = "latest";

/// An image in a registry. Every part holds only characters that stand for themselves in a URL.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ImageReference {
    /// Host of the registry, with its port if the name has one.
    pub host: String,
    pub repository: String,
    /// Which image of the repository.
    pub version: Version,
}

/// Which image of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Version {
    /// A name that may be given to another image at any time.
    Tag(String),
    /// The image with this digest, for ever.
    Digest(Digest),
}

impl ImageReference {
    /// Reads the name of an image. A digest wins over a tag, as with container runtimes.
    ///
    /// # Errors
    /// [`RegistryError::Reference`] for what is no name, or names a digest of an unknown algorithm.
    pub fn parse(text: &str) -> Result<Self, RegistryError> {
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => {
                let why = "its digest is neither sha256 nor sha512 in lower-case hexadecimal";
                let digest = Digest::parse(digest).ok_or(RegistryError::Reference(why))?;
                (name, Some(digest))
            }
            None => (text, None),
        };
        let (host, path) = match name.split_once('/') {
            Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => {
                (first, rest)
            }
            _ => (DOCKER_HOST, name),
        };
        // Behind the host a colon can only be that of the tag.
        let (path, tag) = match path.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (path, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            let why = "its tag is not 1-128 letters, digits, '_', '.' and '-', the first neither '.' nor '-'";
            return Err(RegistryError::Reference(why));
        }
        let docker = host == DOCKER_HOST || DOCKER_NAMES.contains(&host);
        let repository = if docker && !path.contains('/') {
            format!("{DOCKER_LIBRARY}{path}")
        } else {
            path.to_owned()
        };
        if repository.len() > MAX_REPOSITORY || !repository.split('/').all(is_component) {
            let why = "its repository is not lower-case letters and digits, divided by '.', '_', '-' and '/'";
            return Err(RegistryError::Reference(why));
        }
        if !is_host(host) {
            let why = "what stands before the first '/' is no host";
            return Err(RegistryError::Reference(why));
        }
        let tag = tag.unwrap_or(DEFAULT_TAG).to_owned();
        Ok(Self {
            host: if docker { DOCKER_HOST } else { host }.to_ascii_lowercase(),
            repository,
            version: digest.map_or(Version::Tag(tag), Version::Digest),
        })
    }
}

fn is_tag(tag: &str) -> bool {
    tag.len() <= MAX_TAG
        && tag.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && tag
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// One component of a repository: words of letters and digits between `.`, `_`, `__` or any number of `-`.
fn is_component(component: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    let ends = bytes.first().zip(bytes.last());
    ends.is_some_and(|(first, last)| word(*first) && word(*last))
        && bytes.split(|b| word(*b)).all(|between| match between {
            [] | b"." | b"_" | b"__" => true,
            other => other.iter().all(|b| *b == b'-'),
        })
}

/// A DNS name or an address, IPv6 in brackets, and perhaps a port.
fn is_host(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) => {
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return false;
            }
            ("v6", port)
        }
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let port_fits = match port.strip_prefix(':') {
        Some(digits) => {
            digits.bytes().all(|b| b.is_ascii_digit())
                && digits.parse::<u16>().is_ok_and(|port| port > 0)
        }
        None => port.is_empty(),
    };
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    port_fits && name.len() <= 253 && name.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn names_as_container_runtimes_read_them() {
        for (text, host, repository, version) in [
            ("nginx", DOCKER_HOST, "library/nginx", "latest"),
            (
                "nginx:1.27-alpine",
                DOCKER_HOST,
                "library/nginx",
                "1.27-alpine",
            ),
            ("team/app", DOCKER_HOST, "team/app", "latest"),
            ("docker.io/nginx", DOCKER_HOST, "library/nginx", "latest"),
            (
                "index.docker.io/library/nginx",
                DOCKER_HOST,
                "library/nginx",
                "latest",
            ),
            (
                "registry-1.docker.io/library/nginx",
                DOCKER_HOST,
                "library/nginx",
                "latest",
            ),
            ("docker.io/team/app:2", DOCKER_HOST, "team/app", "2"),
            ("localhost/app", "localhost", "app", "latest"),
            ("localhost:5000/app:1", "localhost:5000", "app", "1"),
            ("127.0.0.1:5000/a/b/c", "127.0.0.1:5000", "a/b/c", "latest"),
            ("[::1]:5000/a", "[::1]:5000", "a", "latest"),
            (
                "Reg.Azurecr.IO/a_b/c__d/e--f:_T",
                "reg.azurecr.io",
                "a_b/c__d/e--f",
                "_T",
            ),
            (
                "mcr.microsoft.com/azuredocs/aci-helloworld",
                "mcr.microsoft.com",
                "azuredocs/aci-helloworld",
                "latest",
            ),
        ] {
            let read = ImageReference::parse(text).unwrap();
            assert_eq!(
                (read.host.as_str(), read.repository.as_str()),
                (host, repository),
                "{text}"
            );
            assert_eq!(read.version, Version::Tag(version.to_owned()), "{text}");
        }
        for text in ["r.io/a@", "r.io/a:1@"] {
            let read = ImageReference::parse(&format!("{text}sha256:{HEX}")).unwrap();
            assert_eq!(
                (read.host.as_str(), read.repository.as_str()),
                ("r.io", "a")
            );
            assert!(matches!(read.version, Version::Digest(_)), "{text}");
        }
    }

    proptest::proptest! {
        /// Whatever a pod calls an image, the request stays within the repository of a registry.
        #[test]
        fn a_name_that_is_read_is_nothing_else_in_a_url(text in "([a-z0-9.:-]{1,12}/)?[A-Za-z0-9._:/@%?#\\[\\]\\\\-]{0,24}") {
            if let Ok(read) = ImageReference::parse(&text) {
                let Version::Tag(tag) = &read.version else { return Ok(()) };
                let path = format!("/v2/{}/manifests/{tag}", read.repository);
                if let Ok(url) = reqwest::Url::parse(&format!("https://{}{path}", read.host)) {
                    assert_eq!(url.path(), path);
                    assert_eq!((url.username(), url.password(), url.query(), url.fragment()), ("", None, None, None));
                }
            }
        }
    }

    #[test]
    fn what_is_no_name_goes_nowhere() {
        let long = format!("r.io/{}", "a".repeat(256));
        let tag = format!("a:{}", "t".repeat(129));
        let digest = format!("a@sha256:{}", HEX.to_uppercase());
        for text in [
            "",
            "/",
            "a/",
            "/a",
            "a//b",
            "A",
            "a b",
            "a/../b",
            "a/./b",
            "a..b",
            "a___b",
            "-a",
            "a-",
            "https://r.io/a",
            "user@r.io/a",
            "user:pass@r.io/a",
            "r.io:/a",
            "r.io:0/a",
            "r.io:65536/a",
            "r.io:+5/a",
            "-r.io/a",
            "r..io/a",
            "r.io/a?b",
            "r.io/a#b",
            "r.io/a%2e",
            "r.io/a\\b",
            "[::1/a.b",
            "[::g]:1/a",
            "a:",
            "a:.t",
            "a:t/x",
            "a@sha256:abc",
            "a@md5:d41d8cd98f00b204e9800998ecf8427e",
            "a@",
            &long,
            &tag,
            &digest,
        ] {
            let read = ImageReference::parse(text);
            assert!(
                matches!(read, Err(RegistryError::Reference(_))),
                "{text:?}: {read:?}"
            );
        }
    }
}
