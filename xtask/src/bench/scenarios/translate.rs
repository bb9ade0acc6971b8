//! The translator by itself: `examples/bench_translate.rs`, which counts allocations.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;

use super::Bench;
use crate::bench::stats::Row;

pub(super) const METHOD: &str = "The pure translator on one core, over and over for two seconds: a pod of three containers, each with ten \
    variables, both probes, resources, a port and a mount, to the bytes of the PUT; and the bytes of a GET of its running \
    group to the patch of the pod's status. Allocations are counted by dhat in one more run of each.";

const DEADLINE: Duration = Duration::from_mins(1);

pub(super) async fn run(bench: &Bench) -> Result<Vec<Row>> {
    let program = bench.translate_bench();
    let output = tokio::time::timeout(DEADLINE, Command::new(&program).output())
        .await
        .context("not done in a minute")?
        .with_context(|| format!("cannot run {}", program.display()))?;
    ensure!(output.status.success(), "it ended with {}", output.status);
    String::from_utf8(output.stdout)?.lines().map(row).collect()
}

/// A line `value unit name`.
fn row(line: &str) -> Result<Row> {
    let (value, rest) = line.split_once(' ').context("a line without a unit")?;
    let (unit, name) = rest.split_once(' ').context("a line without a name")?;
    let unit = match unit {
        "/s" => "/s",
        "B" => "B",
        _ => "",
    };
    Ok(Row::one(name, unit, value.parse()?))
}
