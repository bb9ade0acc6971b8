//! How much may be built for one pod.
//!
//! A pod of a few kilobytes can ask for any amount: `$(A)$(A)` doubles with each variable, one Secret can be in any number of
//! volumes. Whatever multiplies is taken from here before it is built, and what would be more than Azure takes is refused.

use std::fmt;

/// Bytes that ARM takes as the body of a request: 4 MB (Azure Resource Manager, service limits).
pub const MAX_REQUEST: usize = 4 * 1024 * 1024;
/// Characters of base64 of them that the files of a group may have: the rest of the request needs room too.
const MAX_BASE64: usize = 3_500_000;
/// Variables of a group. Azure states no limit; this is what 60 containers have at most of services alone.
const MAX_VARIABLES: usize = 60_000;
/// Files of a group. Azure states no limit; a Secret or `ConfigMap` has 1 MB.
const MAX_FILES: usize = 10_000;
/// What a pod may refer to: each is a call to the API server, and is kept until the group is made.
const MAX_REFERENCES: usize = 1_000;

/// What a small pod's group has at most, of bytes and of variables.
const SMALL_REQUEST: usize = 256 * 1024;
const SMALL_VARIABLES: usize = 2_000;

/// An amount, and what of it the pod is the cause of itself. The rest is in what the pod refers to, and passes when that
/// changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Amount {
    pub(super) all: usize,
    own: usize,
}

impl Amount {
    /// All of it is written in the pod.
    pub(super) const fn own(all: usize) -> Self {
        Self { all, own: all }
    }

    /// All of it comes from what the pod refers to.
    pub(super) const fn foreign(all: usize) -> Self {
        Self { all, own: 0 }
    }

    pub(super) const fn and(self, more: Self) -> Self {
        Self {
            all: self.all.saturating_add(more.all),
            own: self.own.saturating_add(more.own),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    /// Bytes of the request.
    Bytes,
    /// Characters of base64 of it.
    Base64,
    /// Environment variables of all containers.
    Variables,
    /// Files in all volumes.
    Files,
    /// Objects that the pod refers to.
    References,
}

/// More than there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) struct Exceeded {
    of: Of,
    number: usize,
    most: usize,
    /// Whether there was still enough before.
    pub(super) first: bool,
    /// Whether it is so only because of what the pod refers to.
    pub(super) is_retryable: bool,
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, most, .. } = self;
        match self.of {
            Of::Bytes => write!(
                f,
                "over 4 MB, which is more than Azure takes in one request: {number} bytes of {most}"
            ),
            Of::Base64 => write!(
                f,
                "{number} characters of base64; Azure takes {most} in one request"
            ),
            Of::Variables => write!(
                f,
                "{number} variables; a container group gets {most} at most"
            ),
            Of::Files => write!(f, "{number} files; a container group gets {most} at most"),
            Of::References => write!(
                f,
                "{number} Secrets, ConfigMaps and the like; a pod can refer to {most} at most"
            ),
        }
    }
}

/// What was taken of one kind.
#[derive(Debug)]
struct Counter {
    taken: Amount,
    most: usize,
}

/// What is left for a pod.
#[derive(Debug)]
pub(super) struct Budget {
    bytes: Counter,
    base64: Counter,
    variables: Counter,
    files: Counter,
    references: Counter,
}

impl Budget {
    pub(super) fn full() -> Self {
        Self::of(MAX_REQUEST, MAX_VARIABLES)
    }

    /// What takes no time worth mentioning.
    pub(super) fn small() -> Self {
        Self::of(SMALL_REQUEST, SMALL_VARIABLES)
    }

    fn of(bytes: usize, variables: usize) -> Self {
        let counter = |most| Counter {
            taken: Amount::default(),
            most,
        };
        Self {
            bytes: counter(bytes),
            base64: counter(MAX_BASE64),
            variables: counter(variables),
            files: counter(MAX_FILES),
            references: counter(MAX_REFERENCES),
        }
    }

    /// Takes `amount`. Once there is not enough of a kind, there never is again: what was refused counts as taken.
    pub(super) fn take(&mut self, of: Of, amount: Amount) -> Result<(), Exceeded> {
        let counter = match of {
            Of::Bytes => &mut self.bytes,
            Of::Base64 => &mut self.base64,
            Of::Variables => &mut self.variables,
            Of::Files => &mut self.files,
            Of::References => &mut self.references,
        };
        let first = counter.taken.all <= counter.most;
        counter.taken = counter.taken.and(amount);
        let (Amount { all, own }, most) = (counter.taken, counter.most);
        if all <= most {
            return Ok(());
        }
        Err(Exceeded {
            of,
            number: all,
            most,
            first,
            is_retryable: own <= most,
        })
    }

    /// Whether there was not enough of something.
    pub(super) fn is_exceeded(&self) -> bool {
        let Self {
            bytes,
            base64,
            variables,
            files,
            references,
        } = self;
        [bytes, base64, variables, files, references]
            .into_iter()
            .any(|counter| counter.taken.all > counter.most)
    }

    /// That the body of the request, which is built, has `bytes`.
    pub(super) fn whole(&self, bytes: usize) -> Result<(), Exceeded> {
        let Counter { taken, most } = &self.bytes;
        let (taken, most) = (*taken, *most);
        if bytes <= most {
            return Ok(());
        }
        let foreign = taken.all.saturating_sub(taken.own);
        Err(Exceeded {
            of: Of::Bytes,
            number: bytes,
            most,
            first: true,
            is_retryable: bytes.saturating_sub(foreign) <= most,
        })
    }
}

/// Bytes of `text` in the body of a request: JSON, as `serde_json` escapes it.
pub(super) fn written(text: &str) -> usize {
    let mut bytes = text.len();
    for byte in text.as_bytes() {
        match byte {
            b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => bytes += 1,
            0x00..=0x1f => bytes += 5,
            _ => {}
        }
    }
    bytes
}

/// Characters of base64 of so many bytes.
pub(super) fn base64(bytes: usize) -> usize {
    bytes.div_ceil(3).saturating_mul(4)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_left_is_taken_and_no_more() {
        let mut budget = Budget::full();
        assert_eq!(budget.take(Of::Bytes, Amount::own(MAX_REQUEST)), Ok(()));
        assert!(!budget.is_exceeded());
        let over = budget.take(Of::Bytes, Amount::own(1)).unwrap_err();
        assert_eq!(
            over.to_string(),
            "over 4 MB, which is more than Azure takes in one request: 4194305 bytes of 4194304"
        );
        assert!(over.first && budget.is_exceeded());
        let again = budget.take(Of::Bytes, Amount::default()).unwrap_err();
        assert!(!again.first);
        // Of another kind there is enough.
        assert_eq!(budget.take(Of::Files, Amount::own(1)), Ok(()));
    }

    #[test]
    fn it_heals_when_the_pod_alone_would_be_taken() {
        let over = |own: usize, foreign: usize| {
            let mut budget = Budget::full();
            let amount = Amount::own(own).and(Amount::foreign(foreign));
            budget
                .take(Of::Variables, amount)
                .map_err(|it| it.is_retryable)
        };
        assert_eq!(over(MAX_VARIABLES, 0), Ok(()));
        assert_eq!(over(MAX_VARIABLES, 1), Err(true));
        assert_eq!(over(MAX_VARIABLES + 1, 0), Err(false));
        assert_eq!(over(usize::MAX, usize::MAX), Err(false));
    }

    #[test]
    fn the_whole_is_what_counts_in_the_end() {
        let mut budget = Budget::full();
        budget.take(Of::Bytes, Amount::foreign(1_000)).unwrap();
        assert_eq!(budget.whole(MAX_REQUEST), Ok(()));
        let heals = |bytes| budget.whole(bytes).unwrap_err().is_retryable;
        assert!(heals(MAX_REQUEST + 1_000));
        assert!(!heals(MAX_REQUEST + 1_001));
    }

    proptest! {
        #[test]
        fn text_counts_as_it_is_written(text in "[\\x00-\\x7f\\u{80}-\\u{ffff}\"]{0,64}") {
            let json = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(written(&text) + 2, json.len());
        }

        #[test]
        fn base64_is_counted_before_it_is_made(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            prop_assert_eq!(base64(bytes.len()), STANDARD.encode(&bytes).len());
        }
    }
}
