//! Samples, what is said about them, and the rows of the result.

use serde::Serialize;

/// One line of the result: what was measured, in which unit, with all its samples.
#[derive(Debug, Clone)]
pub(super) struct Row {
    /// What is measured. Rows of the same name of repeated runs are put together.
    pub(super) name: String,
    /// Unit of every sample.
    pub(super) unit: &'static str,
    /// In the order they were taken.
    pub(super) samples: Vec<f64>,
    /// The value that no sample may be above, where there is one.
    pub(super) aim: Option<f64>,
    /// The Go provider's figure, measured elsewhere: see `docs/benchmarks.md`.
    pub(super) peer: Option<&'static str>,
}

impl Row {
    pub(super) fn new(
        name: impl Into<String>,
        unit: &'static str,
        samples: impl IntoIterator<Item = f64>,
    ) -> Self {
        Self {
            name: name.into(),
            unit,
            samples: samples.into_iter().collect(),
            aim: None,
            peer: None,
        }
    }

    pub(super) fn one(name: impl Into<String>, unit: &'static str, value: f64) -> Self {
        Self::new(name, unit, [value])
    }

    pub(super) fn aim(self, aim: f64) -> Self {
        Self {
            aim: Some(aim),
            ..self
        }
    }

    pub(super) fn peer(self, peer: &'static str) -> Self {
        Self {
            peer: Some(peer),
            ..self
        }
    }
}

/// Puts the rows of a repeated run to those before.
pub(super) fn merge(rows: &mut Vec<Row>, more: Vec<Row>) {
    for row in more {
        match rows.iter_mut().find(|known| known.name == row.name) {
            Some(known) => known.samples.extend(row.samples),
            None => rows.push(row),
        }
    }
}

/// What is said about samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Summary {
    pub(super) n: usize,
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) max: f64,
}

/// `None` without samples. A percentile is the smallest sample that at least so many are not above (nearest rank).
pub(super) fn summary(samples: &[f64]) -> Option<Summary> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |percent: usize| {
        let rank = (sorted.len() * percent).div_ceil(100);
        sorted.get(rank.saturating_sub(1)).copied()
    };
    Some(Summary {
        n: sorted.len(),
        p50: at(50)?,
        p99: at(99)?,
        max: *sorted.last()?,
    })
}

/// A count as a number to reckon with.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts here are far below 2^52, where every one of them is exact"
)]
pub(super) fn number(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples() {
        assert_eq!(summary(&[]), None);
        let of = |count: usize| {
            let samples: Vec<f64> = (1..=count).rev().map(number).collect();
            let said = summary(&samples).unwrap();
            (said.n, said.p50, said.p99, said.max)
        };
        assert_eq!(of(1), (1, 1.0, 1.0, 1.0));
        assert_eq!(of(20), (20, 10.0, 20.0, 20.0));
        assert_eq!(of(200), (200, 100.0, 198.0, 200.0));
    }

    #[test]
    fn repeated_rows_are_put_together() {
        let mut rows = vec![Row::one("a", "s", 1.0)];
        let more = vec![Row::one("b", "s", 2.0), Row::one("a", "s", 3.0)];
        merge(&mut rows, more);
        let all: Vec<_> = rows
            .iter()
            .map(|row| (row.name.as_str(), row.samples.clone()))
            .collect();
        assert_eq!(all, [("a", vec![1.0, 3.0]), ("b", vec![2.0])]);
    }
}
