use std::collections::HashSet;

use super::{ANNOTATIONS, BILLED, FQDN, NOT_ENFORCED, PREFIXES, page};

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
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/annotations.md");
    let page = page();
    if std::env::var_os("VKC_UPDATE").is_some() {
        std::fs::write(path, &page).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        written == page,
        "docs/annotations.md is stale: VKC_UPDATE=1 cargo test --lib annotations_page"
    );
}
