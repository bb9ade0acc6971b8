//! Every test that docs/reliability.md and docs/security-tests.md name is there, and every row names one or says that it is open.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Names of the functions that stand right behind an attribute `#[test]` or the like, in all files below `folder`.
fn tests(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tests(&path, found);
            continue;
        }
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let mut is_test = false;
        for line in text.lines().map(str::trim) {
            if line.starts_with("#[") || line.starts_with("//") {
                is_test |= line == "#[test]" || line.starts_with("#[tokio::test");
                continue;
            }
            let name = line.trim_start_matches("async ").strip_prefix("fn ");
            if let (true, Some(name)) = (is_test, name) {
                found.insert(name.split('(').next().unwrap().to_owned());
            }
            is_test = false;
        }
    }
}

/// The cells of each row of the table.
fn rows(page: &str) -> Vec<Vec<String>> {
    page.lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| #"))
        .map(|line| {
            let cells = line.trim_matches('|').split('|');
            cells.map(|cell| cell.trim().to_owned()).collect()
        })
        .collect()
}

/// The words between back-quotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// What is wrong with the table of a page that has so many rows.
fn wrong(page: &str, count: usize) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join(page)).unwrap();
    let mut known = BTreeSet::new();
    for folder in ["src", "tests", "aci-emulator", "xtask"] {
        tests(&root.join(folder), &mut known);
    }
    assert!(known.contains("every_promise_names_its_tests_and_they_exist"));
    let rows = rows(&page);
    assert_eq!(rows.len(), count);
    let mut wrong = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        let [number, what, promise, proof] = row.as_slice() else {
            panic!("not four cells: {row:?}");
        };
        assert_eq!(*number, (index + 1).to_string());
        assert!(!what.is_empty());
        // What is open may name conditions and the like.
        let (proof, open) = proof.split_once("*open").unwrap_or((proof, ""));
        let names: Vec<&str> = quoted(proof).collect();
        let missing = names.iter().filter(|name| !known.contains(**name));
        wrong.extend(missing.map(|name| format!("row {number}: there is no test {name}")));
        if names.is_empty() && open.is_empty() {
            wrong.push(format!("row {number} has no test and is not open"));
        }
        if promise.is_empty() != names.is_empty() {
            wrong.push(format!(
                "row {number}: a promise needs a test, and a test a promise"
            ));
        }
    }
    wrong
}

#[test]
fn every_promise_names_its_tests_and_they_exist() {
    assert_eq!(wrong("docs/reliability.md", 24), [""; 0]);
}

#[test]
fn whatever_somebody_may_try_has_a_test_that_exists() {
    assert_eq!(wrong("docs/security-tests.md", 37), [""; 0]);
}
