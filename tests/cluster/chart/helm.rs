//! helm as a user has it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use serde_json::Value;
use xtask::control_plane::{Assets, stderr_progress};

pub(crate) const NAMESPACE: &str = "vkc-system";
pub(crate) const NEW: &str = "1.36.3";
pub(crate) const OLD: &str = "1.35.4";

static ASSETS: LazyLock<Assets> = LazyLock::new(|| Assets::resolve(stderr_progress).unwrap());
static HELM: LazyLock<PathBuf> = LazyLock::new(|| ASSETS.helm(stderr_progress).unwrap());
/// helm's cache and configuration.
static HOME: LazyLock<tempfile::TempDir> = LazyLock::new(|| tempfile::tempdir().unwrap());

pub(crate) fn path(relative: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(relative)
        .display()
        .to_string()
}

pub(crate) fn chart() -> String {
    path("charts/virtual-kubelet-connector")
}

/// Standard output, or both outputs of a command that failed.
pub(crate) type Ran = Result<String, String>;

fn run(command: &mut Command) -> Ran {
    let output = command.output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        Ok(stdout)
    } else {
        Err(stdout + &String::from_utf8_lossy(&output.stderr))
    }
}

/// `helm <args>`, with a cluster or without one.
pub(crate) fn helm(kubeconfig: Option<&Path>, args: &[&str]) -> Ran {
    let nowhere = HOME.path().join("no-kubeconfig");
    let mut command = Command::new(&*HELM);
    command
        .args(args)
        .env("HOME", HOME.path())
        .env("KUBECONFIG", kubeconfig.unwrap_or(&nowhere));
    run(&mut command)
}

/// `kubectl kustomize <folder>`.
pub(crate) fn kustomize(folder: &str) -> Vec<Value> {
    let mut command = Command::new(ASSETS.program("kubectl"));
    let text = run(command
        .args(["kustomize", &path(folder)])
        .env("HOME", HOME.path()));
    serde_saphyr::from_multiple(&text.unwrap()).unwrap()
}

/// A file with values, which are there as long as it is.
pub(crate) fn file(values: &Value) -> tempfile::NamedTempFile {
    let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    std::fs::write(file.path(), values.to_string()).unwrap();
    file
}

/// `helm template vkc` in the namespace of `config/`, as text.
pub(crate) fn text(values: &Value, kubernetes: &str, more: &[&str]) -> Ran {
    let values = file(values);
    let values = values.path().display().to_string();
    let chart = chart();
    let mut args = vec!["template", "vkc", &chart, "--namespace", NAMESPACE];
    args.extend(["--kube-version", kubernetes, "--values", &values]);
    args.extend(more);
    helm(None, &args)
}

/// The objects of that.
pub(crate) fn objects(values: &Value, kubernetes: &str) -> Vec<Value> {
    let text = text(values, kubernetes, &[]).unwrap_or_else(|error| panic!("{values}: {error}"));
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{error}:\n{text}"));
    documents
        .into_iter()
        .filter(|document| !document.is_null())
        .collect()
}

/// `Kind/name` of an object.
pub(crate) fn name(object: &Value) -> String {
    format!(
        "{}/{}",
        object["kind"].as_str().unwrap_or_default(),
        object["metadata"]["name"].as_str().unwrap_or_default()
    )
}

pub(crate) fn find<'a>(objects: &'a [Value], wanted: &str) -> Option<&'a Value> {
    objects.iter().find(|object| name(object) == wanted)
}

pub(crate) fn get<'a>(objects: &'a [Value], wanted: &str) -> &'a Value {
    find(objects, wanted).unwrap_or_else(|| {
        let names: Vec<_> = objects.iter().map(name).collect();
        panic!("no {wanted} among {names:?}")
    })
}
