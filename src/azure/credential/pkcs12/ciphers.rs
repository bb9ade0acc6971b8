//! Key derivation and decryption of PKCS#12: RFC 7292, appendices B and C, and PBES2 of RFC 8018.

use std::num::NonZeroU32;

use aes::{Aes128, Aes192, Aes256};
use cbc::Decryptor;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{
    BlockCipherDecrypt, BlockModeDecrypt as _, InnerIvInit as _, KeyInit, KeyIvInit,
};
use des::{TdesEde2, TdesEde3};
use rc2::Rc2;
use ring::{digest, hmac, pbkdf2};
use zeroize::Zeroizing;

use super::Pkcs12Error;
use super::der::{Der, INTEGER, OCTET_STRING, OID, SEQUENCE};

/// Rounds of all key derivations of one file together: far above what tools ask for, a second at most.
const MAX_ROUNDS: u32 = 4_000_000;

// What a key is derived for (RFC 7292, appendix B.3).
const FOR_KEY: u8 = 1;
const FOR_IV: u8 = 2;
pub(super) const FOR_MAC: u8 = 3;

// Object identifiers in DER, without tag and length.
const SHA1: &[u8] = &[0x2b, 0x0e, 0x03, 0x02, 0x1a];
const SHA256: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];
const SHA384: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02];
const SHA512: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03];
const PBES2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0d];
const PBKDF2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0c];
/// `hmacWithSHA…`: the last number is the digest.
const HMAC: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x02];
/// `aes…-CBC-PAD`: the last number is the length of the key.
const AES: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01];
const TRIPLE_DES: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x03, 0x07];
/// `pbeWithSHAAnd…`: the last number is the cipher.
const PKCS12_PBE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x01];

/// What is left of [`MAX_ROUNDS`].
#[derive(Debug)]
pub(super) struct Budget(u32);

impl Default for Budget {
    fn default() -> Self {
        Self(MAX_ROUNDS)
    }
}

impl Budget {
    fn spend(&mut self, rounds: u32, times: usize) -> Result<NonZeroU32, Pkcs12Error> {
        let spent = u32::try_from(times)
            .ok()
            .and_then(|times| rounds.checked_mul(times));
        self.0 = spent
            .and_then(|spent| self.0.checked_sub(spent))
            .ok_or(Pkcs12Error::TooCostly)?;
        NonZeroU32::new(rounds).ok_or(Pkcs12Error::Malformed)
    }
}

/// A password, in both of its forms.
pub(super) struct Password {
    utf8: Zeroizing<Vec<u8>>,
    /// UTF-16 with the end that RFC 7292 wants.
    utf16: Zeroizing<Vec<u8>>,
}

impl Password {
    pub(super) fn new(text: &str) -> Self {
        let ended = text.encode_utf16().chain([0]);
        Self {
            utf8: Zeroizing::new(text.as_bytes().to_vec()),
            utf16: Zeroizing::new(ended.flat_map(u16::to_be_bytes).collect()),
        }
    }

    /// What an integrity check may have been made with.
    pub(super) fn variants(&self) -> Vec<Zeroizing<Vec<u8>>> {
        let mut variants = vec![self.utf16.clone()];
        if self.utf8.is_empty() {
            variants.push(Zeroizing::default());
        }
        variants
    }

    /// The integrity check was made with `utf16`.
    pub(super) fn settle(&mut self, utf16: Zeroizing<Vec<u8>>) {
        self.utf16 = utf16;
    }
}

/// A digest of the older derivation.
pub(super) struct Digest {
    digest: &'static digest::Algorithm,
    hmac: hmac::Algorithm,
}

impl Digest {
    /// By its object identifier.
    pub(super) fn of(oid: &[u8]) -> Result<Self, Pkcs12Error> {
        let (digest, hmac) = match oid {
            SHA1 => (
                &digest::SHA1_FOR_LEGACY_USE_ONLY,
                hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            ),
            SHA256 => (&digest::SHA256, hmac::HMAC_SHA256),
            SHA384 => (&digest::SHA384, hmac::HMAC_SHA384),
            SHA512 => (&digest::SHA512, hmac::HMAC_SHA512),
            _ => return Err(Pkcs12Error::Unsupported),
        };
        Ok(Self { digest, hmac })
    }

    /// Bytes of a result.
    pub(super) fn len(&self) -> usize {
        self.digest.output_len()
    }

    pub(super) fn hmac(&self) -> hmac::Algorithm {
        self.hmac
    }
}

/// The derivation of RFC 7292, appendix B.2.
pub(super) fn derive(
    digest: &Digest,
    purpose: u8,
    password: &[u8],
    salt: &[u8],
    rounds: u32,
    length: usize,
    budget: &mut Budget,
) -> Result<Zeroizing<Vec<u8>>, Pkcs12Error> {
    let width = digest.digest.block_len();
    let blocks = length.div_ceil(digest.len());
    let rounds = budget.spend(rounds, blocks)?.get();
    let diversifier = vec![purpose; width];
    let fill = |text: &[u8]| -> Vec<u8> {
        let filled = text.len().div_ceil(width) * width;
        text.iter().copied().cycle().take(filled).collect()
    };
    let mut input = Zeroizing::new(fill(salt));
    input.extend(fill(password));
    let mut key = Zeroizing::new(Vec::with_capacity(blocks * digest.len()));
    for _ in 0..blocks {
        let mut context = digest::Context::new(digest.digest);
        context.update(&diversifier);
        context.update(&input);
        let mut hash = context.finish();
        for _ in 1..rounds {
            hash = digest::digest(digest.digest, hash.as_ref());
        }
        key.extend_from_slice(hash.as_ref());
        // Each block of the input becomes itself + the repeated hash + 1.
        let repeated: Vec<u8> = hash.as_ref().iter().copied().cycle().take(width).collect();
        for block in input.chunks_mut(width) {
            let mut carry = 1_u16;
            for (byte, add) in block.iter_mut().zip(&repeated).rev() {
                carry += u16::from(*byte) + u16::from(*add);
                let [high, low] = carry.to_be_bytes();
                *byte = low;
                carry = u16::from(high);
            }
        }
    }
    key.truncate(length);
    Ok(key)
}

/// Decrypts with the password, as `algorithm` (an `AlgorithmIdentifier`) says.
pub(super) fn decrypt(
    mut algorithm: Der<'_>,
    cipher: &[u8],
    password: &Password,
    budget: &mut Budget,
) -> Result<Zeroizing<Vec<u8>>, Pkcs12Error> {
    let oid = algorithm.bytes(OID)?;
    let parameters = algorithm.take(SEQUENCE)?;
    match oid {
        PBES2 => pbes2(parameters, cipher, password, budget),
        [family @ .., kind] if family == PKCS12_PBE => {
            pbe(*kind, parameters, cipher, password, budget)
        }
        _ => Err(Pkcs12Error::Unsupported),
    }
}

/// RFC 7292, appendix C: SHA-1, then triple DES or RC2.
fn pbe(
    kind: u8,
    mut parameters: Der<'_>,
    cipher: &[u8],
    password: &Password,
    budget: &mut Budget,
) -> Result<Zeroizing<Vec<u8>>, Pkcs12Error> {
    let salt = parameters.bytes(OCTET_STRING)?;
    let rounds = parameters.integer()?;
    let sha1 = Digest::of(SHA1)?;
    let mut derived = |purpose, length| {
        derive(
            &sha1,
            purpose,
            &password.utf16,
            salt,
            rounds,
            length,
            budget,
        )
    };
    let iv = derived(FOR_IV, 8)?;
    match kind {
        3 => cbc::<TdesEde3>(&derived(FOR_KEY, 24)?, &iv, cipher),
        4 => cbc::<TdesEde2>(&derived(FOR_KEY, 16)?, &iv, cipher),
        5 => rc2(&derived(FOR_KEY, 16)?, &iv, cipher),
        6 => rc2(&derived(FOR_KEY, 5)?, &iv, cipher),
        _ => Err(Pkcs12Error::Unsupported),
    }
}

/// RFC 8018, section 6.2, with PBKDF2.
fn pbes2(
    mut parameters: Der<'_>,
    cipher: &[u8],
    password: &Password,
    budget: &mut Budget,
) -> Result<Zeroizing<Vec<u8>>, Pkcs12Error> {
    let mut derivation = parameters.take(SEQUENCE)?;
    let mut scheme = parameters.take(SEQUENCE)?;
    if derivation.bytes(OID)? != PBKDF2 {
        return Err(Pkcs12Error::Unsupported);
    }
    let mut derivation = derivation.take(SEQUENCE)?;
    let salt = derivation.bytes(OCTET_STRING)?;
    let rounds = derivation.integer()?;
    if derivation.is_next(INTEGER) {
        // The length of the key, which the cipher says too.
        derivation.integer()?;
    }
    let prf = if derivation.is_empty() {
        pbkdf2::PBKDF2_HMAC_SHA1
    } else {
        prf(derivation.take(SEQUENCE)?.bytes(OID)?)?
    };
    let scheme_oid = scheme.bytes(OID)?;
    let iv = scheme.bytes(OCTET_STRING)?;
    let mut key = |length: usize| {
        // A block of PBKDF2 has at least 20 bytes, and each round is two digests.
        let rounds = budget.spend(rounds, 2 * length.div_ceil(20))?;
        let mut key = Zeroizing::new(vec![0; length]);
        pbkdf2::derive(prf, rounds, salt, &password.utf8, &mut key);
        Ok::<_, Pkcs12Error>(key)
    };
    match scheme_oid {
        TRIPLE_DES => cbc::<TdesEde3>(&key(24)?, iv, cipher),
        [family @ .., 2] if family == AES => cbc::<Aes128>(&key(16)?, iv, cipher),
        [family @ .., 22] if family == AES => cbc::<Aes192>(&key(24)?, iv, cipher),
        [family @ .., 42] if family == AES => cbc::<Aes256>(&key(32)?, iv, cipher),
        _ => Err(Pkcs12Error::Unsupported),
    }
}

fn prf(oid: &[u8]) -> Result<pbkdf2::Algorithm, Pkcs12Error> {
    match oid {
        [family @ .., 7] if family == HMAC => Ok(pbkdf2::PBKDF2_HMAC_SHA1),
        [family @ .., 9] if family == HMAC => Ok(pbkdf2::PBKDF2_HMAC_SHA256),
        [family @ .., 10] if family == HMAC => Ok(pbkdf2::PBKDF2_HMAC_SHA384),
        [family @ .., 11] if family == HMAC => Ok(pbkdf2::PBKDF2_HMAC_SHA512),
        _ => Err(Pkcs12Error::Unsupported),
    }
}

fn cbc<C>(key: &[u8], iv: &[u8], cipher: &[u8]) -> Result<Zeroizing<Vec<u8>>, Pkcs12Error>
where
    C: BlockCipherDecrypt + KeyInit,
    Decryptor<C>: KeyIvInit,
{
    let decryptor = Decryptor::<C>::new_from_slices(key, iv).map_err(|_| Pkcs12Error::Malformed)?;
    open(decryptor, cipher)
}

/// The effective length of an RC2 key is the length of the key.
fn rc2(key: &[u8], iv: &[u8], cipher: &[u8]) -> Result<Zeroizing<Vec<u8>>, Pkcs12Error> {
    let key = Rc2::new_with_eff_key_len(key, key.len() * 8);
    let decryptor =
        Decryptor::<Rc2>::inner_iv_slice_init(key, iv).map_err(|_| Pkcs12Error::Malformed)?;
    open(decryptor, cipher)
}

/// A padding that is none is a wrong password, where the file has no integrity check.
fn open<C>(decryptor: Decryptor<C>, cipher: &[u8]) -> Result<Zeroizing<Vec<u8>>, Pkcs12Error>
where
    C: BlockCipherDecrypt,
{
    let mut plain = Zeroizing::new(cipher.to_vec());
    let length = decryptor
        .decrypt_padded::<Pkcs7>(&mut plain)
        .map_err(|_| Pkcs12Error::WrongPassword)?
        .len();
    plain.truncate(length);
    Ok(plain)
}
