//! The result as a table and as JSON.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::machine::Machine;
use super::scenarios::Scenario;
use super::stats::{Row, Summary, summary};

/// All that was measured so far.
pub(super) struct Report {
    machine: Machine,
    parts: Vec<Part>,
}

struct Part {
    scenario: Scenario,
    rows: Vec<Row>,
    /// Why it could not be measured, or not to its end.
    failure: Option<String>,
    load: String,
}

const HEAD: &str = "| what | p50 | p99 | max | n | unit | aim | Go provider |\n|---|---|---|---|---|---|---|---|\n";

impl Report {
    pub(super) fn begin(vkc: &Path) -> Result<Self> {
        Ok(Self {
            machine: Machine::here(vkc)?,
            parts: Vec::new(),
        })
    }

    pub(super) fn add(&mut self, scenario: Scenario, rows: Vec<Row>, failure: Option<String>) {
        self.parts.push(Part {
            scenario,
            rows,
            failure,
            load: super::machine::load(),
        });
    }

    /// Whether every scenario could be measured.
    pub(super) fn is_complete(&self) -> bool {
        self.parts.iter().all(|part| part.failure.is_none())
    }

    pub(super) fn print_last(&self) {
        if let Some(part) = self.parts.last() {
            print!("{}", table(part));
        }
    }

    /// The whole of it, as it goes into `docs/benchmarks.md`.
    pub(super) fn markdown(&self) -> String {
        let m = &self.machine;
        let mut text = format!(
            "{} cores ({}), {} GiB RAM; {}; Kubernetes {}; {}; load at the start {}.\n",
            m.cores, m.cpu, m.memory_gib, m.vkc, m.kubernetes, m.date, m.load
        );
        for part in &self.parts {
            let _ = write!(
                text,
                "\n### {}\n\n{}\n\nLoad average of the machine after it: {}.\n\n{}",
                part.scenario.name(),
                part.scenario.method(),
                part.load,
                table(part)
            );
        }
        text
    }

    pub(super) fn write(&self, file: &Path) -> Result<()> {
        let scenarios: Vec<Value> = self
            .parts
            .iter()
            .map(|part| {
                json!({
                    "name": part.scenario.name(),
                    "method": part.scenario.method(),
                    "failure": part.failure,
                    "loadAfter": part.load,
                    "rows": part.rows.iter().map(row_json).collect::<Vec<_>>(),
                })
            })
            .collect();
        let all = json!({ "machine": self.machine, "scenarios": scenarios });
        std::fs::write(file, serde_json::to_string_pretty(&all)? + "\n")
            .with_context(|| format!("cannot write {}", file.display()))
    }
}

fn row_json(row: &Row) -> Value {
    json!({
        "name": row.name,
        "unit": row.unit,
        "summary": summary(&row.samples),
        "aim": row.aim,
        "peer": row.peer,
        "samples": row.samples,
    })
}

fn table(part: &Part) -> String {
    let mut text = HEAD.to_owned();
    for row in &part.rows {
        let _ = writeln!(text, "{}", line(row));
    }
    if let Some(failure) = &part.failure {
        let _ = writeln!(text, "\nNot measured: {failure}");
    }
    text
}

fn line(row: &Row) -> String {
    let numbers = match summary(&row.samples) {
        None => "– | – | – | 0".to_owned(),
        Some(Summary { n: 1, max, .. }) => format!("{} | | | 1", short(max)),
        Some(said) => format!(
            "{} | {} | {} | {}",
            short(said.p50),
            short(said.p99),
            short(said.max),
            said.n
        ),
    };
    let aim = match (row.aim, summary(&row.samples)) {
        (Some(aim), Some(said)) if said.max > aim => format!("≤ {} **missed**", short(aim)),
        (Some(aim), _) => format!("≤ {}", short(aim)),
        (None, _) => String::new(),
    };
    let peer = row
        .peer
        .map_or_else(String::new, |peer| format!("[{peer}]"));
    format!(
        "| {} | {numbers} | {} | {aim} | {peer} |",
        row.name, row.unit
    )
}

/// A number with about three digits that say something.
fn short(value: f64) -> String {
    let size = value.abs();
    let text = if size >= 100.0 {
        format!("{value:.0}")
    } else if size >= 10.0 {
        format!("{value:.1}")
    } else if size >= 1.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.3}")
    };
    match text.split_once('.') {
        Some((whole, fraction)) => match fraction.trim_end_matches('0') {
            "" => whole.to_owned(),
            rest => format!("{whole}.{rest}"),
        },
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (0.1, "0.1"),
            (0.1234, "0.123"),
            (4.376, "4.38"),
            (20.0, "20"),
            (38.04, "38"),
            (29_100.4, "29100"),
        ] {
            assert_eq!(short(value), text);
        }
    }

    #[test]
    fn a_missed_aim_shows() {
        let row = Row::new("all Running", "s", [4.0, 6.0]).aim(5.0).peer("38");
        assert_eq!(
            line(&row),
            "| all Running | 4 | 6 | 6 | 2 | s | ≤ 5 **missed** | [38] |"
        );
        let row = Row::one("groups", "", 100.0);
        assert_eq!(line(&row), "| groups | 100 | | | 1 |  |  |  |");
    }
}
