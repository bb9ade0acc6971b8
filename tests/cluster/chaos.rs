//! Half a minute of `cargo xtask chaos`; docs/chaos.md says what happens in it and what must be so at the end.

use std::path::Path;
use std::process::Command;

/// Builds one of the other programs of the workspace unless all of its tests are being run, which builds it.
fn program(dir: &Path, package: &str) {
    if dir.join(package).is_file() {
        return;
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--package", package, "--bin", package]);
    assert!(build.status().unwrap().success(), "cannot build {package}");
}

#[test]
fn all_is_well_after_half_a_minute_in_which_everything_goes_wrong() {
    let dir = Path::new(env!("CARGO_BIN_EXE_vkc")).parent().unwrap();
    for package in ["aci-emulator", "xtask"] {
        program(dir, package);
    }
    let ended = Command::new(dir.join("xtask"))
        .args(["chaos", "--minutes", "0.5", "--seed", "6"])
        .arg("--programs")
        .arg(dir)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ended.stdout);
    let complained = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{said}\n{complained}");
}
