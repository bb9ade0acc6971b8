//! Digests of the OCI image specification: what a registry says that something is, to be held against what it sends. PURE.

use std::fmt;

use sha2::{Digest as _, Sha256, Sha512};

/// `sha256:` or `sha512:` with its hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Digest(String);

impl Digest {
    /// Reads a digest; `None` for anything but the two algorithms of the specification in their one spelling.
    pub fn parse(text: &str) -> Option<Self> {
        let (algorithm, hex) = text.split_once(':')?;
        let length = match algorithm {
            "sha256" => 64,
            "sha512" => 128,
            _ => return None,
        };
        let digits = hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        (hex.len() == length && digits).then(|| Self(text.to_owned()))
    }

    /// Whether it is the digest of `bytes`.
    pub fn is_of(&self, bytes: &[u8]) -> bool {
        let computed = if self.0.starts_with("sha512:") {
            format!("sha512:{:x}", Sha512::digest(bytes))
        } else {
            format!("sha256:{:x}", Sha256::digest(bytes))
        };
        computed == self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Of nothing, FIPS 180-4.
    const SHA256: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const SHA512: &str = "sha512:cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e";

    #[test]
    fn a_digest_is_of_one_content() {
        for text in [SHA256, SHA512] {
            let digest = Digest::parse(text).unwrap();
            assert!(digest.is_of(b"") && !digest.is_of(b"x"));
            assert_eq!(digest.to_string(), text);
        }
        for text in [
            "",
            "sha256",
            "sha256:",
            "sha1:da39a3ee5e6b4b0d3255bfef95601890afd80709",
        ] {
            assert_eq!(Digest::parse(text), None, "{text}");
        }
        assert_eq!(Digest::parse(&SHA256.to_uppercase()), None);
        assert_eq!(Digest::parse(&SHA256.replace("sha256", "sha512")), None);
    }
}
