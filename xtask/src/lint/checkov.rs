//! checkov, from the Python Package Index, in an environment of its own in the cache.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use xtask::control_plane::cache_root;
use xtask::workspace;

use super::call;

const VERSION: &str = "3.3.30";
/// What may be skipped, and why; the manifests say it, too.
///
/// * `CKV_K8S_15`, always pull: an image of a release is immutable, so that it would only make an outage of the registry ours.
/// * `CKV_K8S_43`, image by digest: a release pins it; a checkout cannot know it.
const SKIPPED: [&str; 2] = ["CKV_K8S_15", "CKV_K8S_43"];

/// The program, installed at the first call.
pub(super) fn program() -> Result<PathBuf> {
    let home = cache_root()?.join(format!("checkov-{VERSION}"));
    let program = home.join("bin/checkov");
    if program.is_file() {
        return Ok(program);
    }
    let python = workspace::on_path("python3").context("there is no python3")?;
    eprintln!("installing checkov {VERSION} into {}", home.display());
    call(Command::new(python).args(["-m", "venv"]).arg(&home))?;
    let package = format!("checkov=={VERSION}");
    call(
        Command::new(home.join("bin/python"))
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--timeout=30",
                "--retries=1",
                &package,
            ])
            .stdin(Stdio::null()),
    )?;
    ensure!(program.is_file(), "pip has not installed checkov");
    Ok(program)
}

/// Fails when a check does, and when one is skipped that may not be.
pub(super) fn check(program: &Path, framework: &str, path: &Path) -> Result<String> {
    let place = if path.is_dir() {
        "--directory"
    } else {
        "--file"
    };
    let output = Command::new(program)
        .args([
            "--framework",
            framework,
            "--output=json",
            "--compact",
            "--skip-download",
            place,
        ])
        .arg(path)
        .stdin(Stdio::null())
        .output()
        .context("cannot run checkov")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let report: Value = serde_json::from_str(&text).with_context(|| {
        format!(
            "checkov said {text}{}",
            String::from_utf8_lossy(&output.stderr)
        )
    })?;
    judge(&report)
}

fn judge(report: &Value) -> Result<String> {
    let list = |name: &str| -> Vec<(&str, &str)> {
        report
            .pointer(&format!("/results/{name}"))
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .map(|check| {
                let of = |key: &str| check.get(key).and_then(Value::as_str).unwrap_or_default();
                (of("check_id"), of("resource"))
            })
            .collect()
    };
    let count = |name: &str| {
        let summary = report.pointer("/summary").unwrap_or(report);
        summary.get(name).and_then(Value::as_u64)
    };
    let failed = list("failed_checks");
    ensure!(failed.is_empty(), "failed: {failed:?}");
    let skipped = list("skipped_checks");
    let unargued: Vec<_> = skipped
        .iter()
        .filter(|(id, _)| !SKIPPED.contains(id))
        .collect();
    ensure!(
        unargued.is_empty(),
        "skipped without a reason in this file: {unargued:?}"
    );
    let passed = count("passed").context("checkov has not said how many passed")?;
    Ok(format!(
        "{passed} passed, 0 failed, {} skipped ({})",
        skipped.len(),
        SKIPPED.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::judge;
    use serde_json::json;

    fn report(failed: &[&str], skipped: &[&str]) -> serde_json::Value {
        let list = |ids: &[&str]| -> Vec<_> {
            ids.iter()
                .map(|id| json!({"check_id": id, "resource": "Deployment.vkc"}))
                .collect()
        };
        json!({
            "results": {"failed_checks": list(failed), "skipped_checks": list(skipped)},
            "summary": {"passed": 7, "failed": failed.len(), "skipped": skipped.len()},
        })
    }

    #[test]
    fn failures_and_unargued_skips_are_errors() {
        let said = judge(&report(&[], &["CKV_K8S_15", "CKV_K8S_43"])).unwrap();
        assert!(said.starts_with("7 passed, 0 failed, 2 skipped"), "{said}");
        for (bad, word) in [
            (report(&["CKV_K8S_20"], &[]), "CKV_K8S_20"),
            (report(&[], &["CKV_K8S_38"]), "CKV_K8S_38"),
            (json!("nothing"), "has not said"),
        ] {
            let error = judge(&bad).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        // What checkov says when it has found nothing to look at.
        judge(&json!({"passed": 0, "failed": 0, "skipped": 0})).unwrap();
    }
}
