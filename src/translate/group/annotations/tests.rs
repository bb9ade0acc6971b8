use std::collections::HashSet;

use super::{ANNOTATIONS, BILLED, FQDN, NOT_ENFORCED, PREFIXES, page};
use crate::translate::testing::is_written;

#[test]
fn every_name_is_there_once_and_under_a_known_prefix() {
    let mut seen = HashSet::from([BILLED, FQDN, NOT_ENFORCED]);
    for row in ANNOTATIONS {
        for name in std::iter::once(&row.key).chain(row.aliases) {
            assert!(seen.insert(name), "{name} twice");
            assert!(
                PREFIXES.iter().any(|prefix| name.starts_with(prefix)),
                "{name}"
            );
        }
        assert!(row.key.starts_with("virtual-kubelet.io/"), "{}", row.key);
    }
}

#[test]
fn annotations_page() {
    is_written("annotations.md", &page(), "annotations_page");
}
