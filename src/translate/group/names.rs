//! Names as ACI takes them (naming rules of `Microsoft.ContainerInstance`).

use crate::translate::identity::{hash_hex, sanitise};

/// Shortest and longest name of a volume.
const VOLUME_LENGTH: std::ops::RangeInclusive<usize> = 5..=63;

/// ACI's name for the volume `name` of a pod: the same when ACI takes it, else a readable part and a hash of it.
pub(super) fn volume(name: &str) -> String {
    if VOLUME_LENGTH.contains(&name.len()) && sanitise(name, name.len()) == name {
        return name.to_owned();
    }
    let readable = sanitise(name, 48);
    let separator = if readable.is_empty() { "" } else { "-" };
    format!("v-{readable}{separator}{}", hash_hex(&[name], 10))
}

/// Whether ACI takes a container of this name: 1-63 lower-case letters, digits and hyphens, the last not at an end.
pub(super) fn is_container(name: &str) -> bool {
    let outer = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = name.as_bytes();
    bytes.len() <= 63
        && outer(bytes.first())
        && outer(bytes.last())
        && bytes
            .iter()
            .all(|&b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// Whether ACI takes an environment variable of this name: 1-63 letters, digits and `_`, the first no digit. The length is of
/// the naming rules, the rest of what the service says (`InvalidContainerEnvironmentVariable`): "must start with alphabetic
/// character or '_', followed by a string of alphanumeric characters or '_'".
pub(super) fn is_env(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let first = name.as_bytes().first();
    name.len() <= 63
        && first.is_some_and(|first| !first.is_ascii_digit())
        && name.bytes().all(inner)
}

/// Whether Kubernetes takes an environment variable of this name (KEP-4369): printable ASCII without an equals sign.
pub(super) fn is_env_of_kubernetes(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| matches!(b, b' '..=b'~') && b != b'=')
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::{is_env, volume};

    #[test]
    fn volume_names() {
        assert_eq!(volume("kube-api-access-x7k2p"), "kube-api-access-x7k2p");
        assert_eq!(volume("cache"), "cache");
        let mapped: HashSet<String> = ["data", "d", "a--b-long", "a-b-long-", ""]
            .into_iter()
            .map(volume)
            .collect();
        assert_eq!(mapped.len(), 5);
        assert!(volume("data").starts_with("v-data-"));
    }

    #[test]
    fn env_names() {
        for good in [
            "A",
            "a",
            "A_B",
            "A__B",
            "X9",
            "_A",
            "A_",
            "_",
            &"x".repeat(63),
        ] {
            assert!(is_env(good), "{good}");
        }
        for bad in [
            "",
            "9A",
            "3SCALE_URL",
            "A.B",
            "A-B",
            "É",
            "A B",
            &"x".repeat(64),
        ] {
            assert!(!is_env(bad), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_kubernetes_volume_name_becomes_legal(name in "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?") {
            let mapped = volume(&name);
            prop_assert!((5..=63).contains(&mapped.len()), "{}", mapped);
            prop_assert!(!mapped.contains("--") && !mapped.starts_with('-') && !mapped.ends_with('-'), "{}", mapped);
            prop_assert!(mapped.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'));
        }
    }
}
