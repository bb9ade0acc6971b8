//! Dependencies between the modules of `src` point one way. A new edge that goes up fails here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What each module may use. Modules that are not named as keys may be used by nobody but themselves.
const ALLOWED: &[(&str, &[&str])] = &[
    ("fence", &[]),
    ("causes", &[]),
    ("azure", &["causes", "fence"]),
    ("net", &[]),
    ("registry", &["azure", "causes", "net"]),
    ("api", &["azure"]),
    ("watched", &[]),
    ("kube", &["causes", "fence"]),
    ("tenure", &[]),
    ("ownership", &["fence", "kube", "tenure"]),
    ("places", &[]),
    ("process", &[]),
    ("shares", &[]),
    ("shutdown", &[]),
    ("telemetry", &[]),
    ("translate", &["api", "azure", "tenure"]),
    ("settings", &["api", "net", "telemetry", "translate"]),
    ("node", &["api", "kube", "watched"]),
    (
        "provider",
        &[
            "api",
            "azure",
            "causes",
            "net",
            "registry",
            "shares",
            "translate",
            "kube",
            "tenure",
        ],
    ),
    (
        "pods",
        &[
            "api",
            "azure",
            "translate",
            "provider",
            "kube",
            "shares",
            "watched",
            "tenure",
        ],
    ),
    (
        "kubelet",
        &[
            "azure",
            "translate",
            "provider",
            "places",
            "pods",
            "kube",
            "net",
            "shares",
        ],
    ),
    ("updates", &["kube", "pods", "provider", "translate"]),
    (
        "agent",
        &[
            "api",
            "azure",
            "registry",
            "translate",
            "provider",
            "pods",
            "updates",
            "node",
            "kube",
            "kubelet",
            "watched",
            "tenure",
        ],
    ),
    (
        "connector",
        &[
            "api",
            "azure",
            "translate",
            "node",
            "agent",
            "kube",
            "fence",
            "ownership",
            "pods",
            "tenure",
        ],
    ),
    ("install", &["api", "azure", "causes", "connector", "kube"]),
    (
        "metrics",
        &[
            "agent",
            "azure",
            "connector",
            "registry",
            "kube",
            "kubelet",
            "ownership",
            "pods",
        ],
    ),
    ("admin", &["kube", "kubelet", "metrics", "places"]),
    (
        "cli",
        &[
            "admin",
            "agent",
            "api",
            "azure",
            "connector",
            "fence",
            "install",
            "kube",
            "kubelet",
            "metrics",
            "net",
            "node",
            "ownership",
            "process",
            "registry",
            "settings",
            "shutdown",
            "telemetry",
            "translate",
        ],
    ),
    (
        "fuzzing",
        &[
            "azure",
            "kube",
            "kubelet",
            "provider",
            "registry",
            "translate",
        ],
    ),
    ("main", &["cli"]),
    ("lib", &[]),
];

/// Files that say PURE in their first lines hold rules only: no async, no clock of their own. A file below such a one, in
/// the folder of its name, is of the same kind. So are the rooms named here, whole.
const PURE_ROOMS: &[&str] = &["src/api", "src/translate", "src/pods/engine"];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The product's part of a file: what stands before its tests.
fn product(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    let tests = ["mod tests {", "pub(super) mod tests {"];
    let starts = tests.map(|tests| text.find(&format!("#[cfg(test)]\n{tests}")));
    let end = starts.into_iter().flatten().min().unwrap_or(text.len());
    text[..end].to_string()
}

fn is_test(path: &Path) -> bool {
    let name = path.file_stem().unwrap().to_string_lossy().into_owned();
    name.contains("test")
        || name == "simulation"
        || path.components().any(|part| part.as_os_str() == "tests")
}

fn module(root: &Path, path: &Path) -> String {
    let below = path.strip_prefix(root).unwrap();
    let first = below
        .components()
        .next()
        .unwrap()
        .as_os_str()
        .to_string_lossy()
        .into_owned();
    first.trim_end_matches(".rs").to_string()
}

/// Modules named by `crate::x`, also inside `use crate::{x, y}`.
fn used(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    let code: String = lines.collect::<Vec<_>>().join("\n");
    for after in code.split("crate::").skip(1) {
        if let Some(group) = after.strip_prefix('{') {
            let mut depth = 0;
            let mut word = String::new();
            for c in group.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => names.push(std::mem::take(&mut word)),
                    _ if depth == 0 => word.push(c),
                    _ => {}
                }
            }
            names.push(word);
        } else {
            names.push(after.to_string());
        }
    }
    names
        .iter()
        .map(|name| {
            name.trim()
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect::<String>()
        })
        .filter(|name| !name.is_empty())
        .collect()
}

#[test]
fn edges_point_one_way() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.iter().copied().collect();
    let mut wrong = Vec::new();
    for path in sources(&root) {
        if is_test(&path) {
            continue;
        }
        let from = module(&root, &path);
        let may = allowed
            .get(from.as_str())
            .unwrap_or_else(|| panic!("module {from} is not in the table"));
        for to in used(&product(&path)) {
            if to != from && allowed.contains_key(to.as_str()) && !may.contains(&to.as_str()) {
                wrong.push(format!("{}: {from} -> {to}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "edges that go up:\n{}", wrong.join("\n"));
}

#[test]
fn the_table_has_no_cycle() {
    let order: Vec<&str> = ALLOWED.iter().map(|(name, _)| *name).collect();
    for (index, (name, uses)) in ALLOWED.iter().enumerate() {
        for used in *uses {
            let place = order
                .iter()
                .position(|other| other == used)
                .expect("a known module");
            assert!(place < index, "{name} uses {used}, which stands above it");
        }
    }
}

/// Whether the documentation at the head of the file says PURE.
fn says_pure(path: &Path) -> bool {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .take_while(|line| line.starts_with("//!"))
        .any(|line| line.contains("PURE"))
}

/// Whether a file is to be pure: it says so, a file above it does, or its room is.
fn is_pure(root: &Path, path: &Path) -> bool {
    let below = path.strip_prefix(root).unwrap().with_extension("");
    PURE_ROOMS.iter().any(|room| below.starts_with(room))
        || below
            .ancestors()
            .take_while(|part| part.starts_with("src"))
            .any(|part| says_pure(&root.join(part.with_extension("rs"))))
}

#[test]
fn pure_modules_are_pure() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut wrong = Vec::new();
    let mut pure = 0;
    for path in sources(&root.join("src")) {
        if is_test(&path) || !is_pure(root, &path) {
            continue;
        }
        pure += 1;
        let text = product(&path);
        for taboo in [
            "async fn",
            ".await",
            "Instant::now",
            "Timestamp::now",
            "SystemTime",
            "Utc::now",
        ] {
            if text.contains(taboo) {
                let below = path.strip_prefix(root).unwrap();
                wrong.push(format!("{}: {taboo}", below.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(pure > 100, "only {pure} files are found to be pure");
}

#[test]
fn the_two_directions_of_the_translation_do_not_use_each_other() {
    let rooms = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/translate");
    for (room, other) in [("group", "status"), ("status", "group")] {
        let mut files = sources(&rooms.join(room));
        files.push(rooms.join(room).with_extension("rs"));
        for path in files.iter().filter(|path| !is_test(path)) {
            let text = product(path);
            let reaches = [format!("translate::{other}::"), format!("super::{other}::")];
            let found = reaches.iter().find(|way| text.contains(way.as_str()));
            assert!(found.is_none(), "{}: {found:?}", path.display());
        }
    }
}
