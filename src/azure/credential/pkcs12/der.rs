//! As much of DER (X.690) as PKCS#12 has. Lengths are definite, depth is the caller's.

use super::Pkcs12Error;

pub(super) const INTEGER: u8 = 0x02;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OID: u8 = 0x06;
pub(super) const SEQUENCE: u8 = 0x30;
/// `[0]` around one value.
pub(super) const CONTEXT_0: u8 = 0xa0;
/// `[0]` in place of the tag of a string.
pub(super) const CONTEXT_0_PRIMITIVE: u8 = 0x80;

/// Values that follow each other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The values inside the next value, which has `tag`.
    pub(super) fn take(&mut self, tag: u8) -> Result<Der<'a>, Pkcs12Error> {
        self.bytes(tag).map(Der)
    }

    /// The content of the next value, which has `tag`.
    pub(super) fn bytes(&mut self, tag: u8) -> Result<&'a [u8], Pkcs12Error> {
        let (content, rest) = split(self.0, tag).ok_or(Pkcs12Error::Malformed)?;
        self.0 = rest;
        Ok(content)
    }

    /// The next value, which has `tag`, with its tag and length.
    pub(super) fn whole(&mut self, tag: u8) -> Result<&'a [u8], Pkcs12Error> {
        let all = self.0;
        self.bytes(tag)?;
        all.get(..all.len() - self.0.len())
            .ok_or(Pkcs12Error::Malformed)
    }

    /// Whether the next value has `tag`.
    pub(super) fn is_next(&self, tag: u8) -> bool {
        self.0.first() == Some(&tag)
    }

    /// A number that is not negative and not beyond 32 bits.
    pub(super) fn integer(&mut self) -> Result<u32, Pkcs12Error> {
        let bytes = self.bytes(INTEGER)?;
        if bytes.is_empty() || bytes.len() > 5 || bytes.first().is_some_and(|first| *first > 0x7f) {
            return Err(Pkcs12Error::Malformed);
        }
        let number = bytes
            .iter()
            .fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        u32::try_from(number).map_err(|_| Pkcs12Error::Malformed)
    }
}

/// Content of the first value, and what follows it.
fn split(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = bytes.split_first()?;
    if *first != tag {
        return None;
    }
    let (length, rest) = rest.split_first()?;
    let (length, rest) = if *length < 0x80 {
        (usize::from(*length), rest)
    } else {
        let (digits, rest) = rest.split_at_checked(usize::from(*length & 0x7f))?;
        // An indefinite length has no digits; no file of ours needs more than three.
        if digits.is_empty() || digits.len() > 3 {
            return None;
        }
        let length = digits
            .iter()
            .fold(0_usize, |length, digit| length << 8 | usize::from(*digit));
        (length, rest)
    };
    rest.split_at_checked(length)
}
