//! PKCS#12 files (RFC 7292) to PEM, as Azure Key Vault, Windows and `openssl pkcs12 -export` write them, today's and the
//! older kinds. PURE.
//!
//! A file is somebody else's: its size, its depth and the rounds of all its key derivations together are bounded.

mod ciphers;
mod der;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use zeroize::Zeroizing;

use crate::azure::model::SecretText;
use ciphers::{Budget, Password};
use der::{CONTEXT_0, Der, OCTET_STRING, OID, SEQUENCE};

/// Longest file that is read; a key with a chain of certificates has less than 16 KiB.
const MAX_BYTES: usize = 128 << 10;
/// Keys and certificates in one file, together.
const MAX_BAGS: usize = 64;

// Object identifiers in DER, without tag and length: PKCS #7, #9 and #12.
const DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01];
const ENCRYPTED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x06];
const KEY_BAG: &[u8] = &[
    0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x0a, 0x01, 0x01,
];
const SHROUDED_KEY_BAG: &[u8] = &[
    0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x0a, 0x01, 0x02,
];
const CERTIFICATE_BAG: &[u8] = &[
    0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x0a, 0x01, 0x03,
];
const X509_CERTIFICATE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x16, 0x01];

/// Why a PKCS#12 file does not open. No message has anything of its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Pkcs12Error {
    /// Not what RFC 7292 says.
    #[error("is PKCS#12 that cannot be read")]
    Malformed,
    /// Too long, or too many parts.
    #[error("is PKCS#12 with more than a key and a chain of certificates")]
    TooLarge,
    /// More rounds of key derivation than a person would ask for.
    #[error(
        "is PKCS#12 with more than four million rounds of key derivation; export it with fewer"
    )]
    TooCostly,
    /// The integrity check failed.
    #[error(
        "is PKCS#12 and does not open with the password under key AZURE_CLIENT_CERTIFICATE_PASSWORD"
    )]
    WrongPassword,
    /// An algorithm that none of the usual tools takes.
    #[error(
        "is PKCS#12 with an algorithm that is not read; convert it with: openssl pkcs12 -in FILE.pfx -nodes -out FILE.pem"
    )]
    Unsupported,
}

/// Whether `bytes` begin as a PKCS#12 file: a SEQUENCE with version 3.
pub(super) fn looks_like(bytes: &[u8]) -> bool {
    let version = || Der::new(bytes).take(SEQUENCE)?.integer();
    version() == Ok(3)
}

/// The keys and certificates of `file`, in PEM.
pub(super) fn to_pem(file: &[u8], password: &str) -> Result<SecretText, Pkcs12Error> {
    if file.len() > MAX_BYTES {
        return Err(Pkcs12Error::TooLarge);
    }
    let mut reader = Reader {
        budget: Budget::default(),
        password: Password::new(password),
        bags: 0,
        pem: Zeroizing::new(String::new()),
    };
    let mut pfx = Der::new(file).take(SEQUENCE)?;
    if pfx.integer()? != 3 {
        return Err(Pkcs12Error::Malformed);
    }
    let mut content = pfx.take(SEQUENCE)?;
    if content.bytes(OID)? != DATA {
        // Signed instead of with a password: nobody does.
        return Err(Pkcs12Error::Unsupported);
    }
    let safe = content.take(CONTEXT_0)?.bytes(OCTET_STRING)?;
    // Without a check nothing tells a wrong password from a broken file but the content itself.
    if !pfx.is_empty() {
        reader.verify(safe, pfx.take(SEQUENCE)?)?;
    }
    let mut parts = Der::new(safe).take(SEQUENCE)?;
    while !parts.is_empty() {
        reader.part(parts.take(SEQUENCE)?)?;
    }
    Ok(SecretText::new(std::mem::take(&mut *reader.pem)))
}

struct Reader {
    budget: Budget,
    password: Password,
    bags: usize,
    pem: Zeroizing<String>,
}

impl Reader {
    /// `MacData`: an HMAC over the content, with a key from the password.
    fn verify(&mut self, content: &[u8], mut mac: Der<'_>) -> Result<(), Pkcs12Error> {
        let mut digest_info = mac.take(SEQUENCE)?;
        let digest = ciphers::Digest::of(digest_info.take(SEQUENCE)?.bytes(OID)?)?;
        let expected = digest_info.bytes(OCTET_STRING)?;
        let salt = mac.bytes(OCTET_STRING)?;
        let rounds = if mac.is_empty() { 1 } else { mac.integer()? };
        // No password is sometimes written as none at all and sometimes as an empty one.
        for password in self.password.variants() {
            let key = ciphers::derive(
                &digest,
                ciphers::FOR_MAC,
                &password,
                salt,
                rounds,
                digest.len(),
                &mut self.budget,
            )?;
            let key = hmac::Key::new(digest.hmac(), &key);
            if hmac::verify(&key, content, expected).is_ok() {
                self.password.settle(password);
                return Ok(());
            }
        }
        Err(Pkcs12Error::WrongPassword)
    }

    /// One `ContentInfo` of the `AuthenticatedSafe`.
    fn part(&mut self, mut content: Der<'_>) -> Result<(), Pkcs12Error> {
        let kind = content.bytes(OID)?;
        let mut content = content.take(CONTEXT_0)?;
        if kind == DATA {
            return self.safe(content.bytes(OCTET_STRING)?);
        }
        if kind != ENCRYPTED_DATA {
            return Err(Pkcs12Error::Unsupported);
        }
        let mut encrypted = content.take(SEQUENCE)?;
        encrypted.integer()?;
        let mut info = encrypted.take(SEQUENCE)?;
        if info.bytes(OID)? != DATA {
            return Err(Pkcs12Error::Unsupported);
        }
        let algorithm = info.take(SEQUENCE)?;
        let cipher = info.bytes(der::CONTEXT_0_PRIMITIVE)?;
        let plain = ciphers::decrypt(algorithm, cipher, &self.password, &mut self.budget)?;
        self.safe(&plain)
    }

    /// `SafeContents`: keys and certificates.
    fn safe(&mut self, contents: &[u8]) -> Result<(), Pkcs12Error> {
        let mut bags = Der::new(contents).take(SEQUENCE)?;
        while !bags.is_empty() {
            self.bags += 1;
            if self.bags > MAX_BAGS {
                return Err(Pkcs12Error::TooLarge);
            }
            let mut bag = bags.take(SEQUENCE)?;
            let kind = bag.bytes(OID)?;
            let mut value = bag.take(CONTEXT_0)?;
            if kind == KEY_BAG {
                self.write("PRIVATE KEY", value.whole(SEQUENCE)?);
            } else if kind == SHROUDED_KEY_BAG {
                let mut shrouded = value.take(SEQUENCE)?;
                let algorithm = shrouded.take(SEQUENCE)?;
                let cipher = shrouded.bytes(OCTET_STRING)?;
                let key = ciphers::decrypt(algorithm, cipher, &self.password, &mut self.budget)?;
                self.write("PRIVATE KEY", &key);
            } else if kind == CERTIFICATE_BAG {
                let mut certificate = value.take(SEQUENCE)?;
                if certificate.bytes(OID)? == X509_CERTIFICATE {
                    let der = certificate.take(CONTEXT_0)?.bytes(OCTET_STRING)?;
                    self.write("CERTIFICATE", der);
                }
            }
        }
        Ok(())
    }

    /// RFC 7468.
    fn write(&mut self, label: &str, der: &[u8]) {
        let text = Zeroizing::new(STANDARD.encode(der));
        self.pem.push_str("-----BEGIN ");
        self.pem.push_str(label);
        self.pem.push_str("-----\n");
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let (line, next) = rest.split_at_checked(64).unwrap_or((rest, ""));
            self.pem.push_str(line);
            self.pem.push('\n');
            rest = next;
        }
        self.pem.push_str("-----END ");
        self.pem.push_str(label);
        self.pem.push_str("-----\n");
    }
}

#[cfg(test)]
mod tests;
