//! Azure Monitor's metrics of a container group, as its answer tells them. PURE.
//!
//! Source: Microsoft Learn, "Metrics - List" and "Container Instances monitoring data reference": `CpuUsage` in
//! millicores and `MemoryUsage` in bytes, both by the dimension `containerName`; the network's bytes per second have no
//! dimension. All are averages of whole minutes, known some minutes later.

use chrono::DateTime;
use serde::Deserialize;

use super::model::null_as_default;

/// A metric of a container group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Metric {
    /// Thousandths of a core.
    CpuUsage,
    /// Bytes.
    MemoryUsage,
    /// Bytes a second, of the whole group.
    NetworkReceived,
    /// Bytes a second, of the whole group.
    NetworkTransmitted,
}

impl Metric {
    pub const ALL: [Self; 4] = [
        Self::CpuUsage,
        Self::MemoryUsage,
        Self::NetworkReceived,
        Self::NetworkTransmitted,
    ];

    /// Its name in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CpuUsage => "CpuUsage",
            Self::MemoryUsage => "MemoryUsage",
            Self::NetworkReceived => "NetworkBytesReceivedPerSecond",
            Self::NetworkTransmitted => "NetworkBytesTransmittedPerSecond",
        }
    }
}

/// The average of one minute.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// The minute's beginning, in seconds of the epoch.
    pub at: i64,
    pub average: f64,
}

/// One metric, of one container where it has that dimension.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    pub metric: Metric,
    /// Of which container; `None` for the whole group.
    pub container: Option<String>,
    /// Oldest first; minutes without a figure are left out.
    pub points: Vec<Point>,
}

#[derive(Deserialize)]
pub(super) struct Answer {
    #[serde(default, deserialize_with = "null_as_default")]
    value: Vec<Measured>,
}

#[derive(Deserialize)]
struct Measured {
    name: Name,
    #[serde(default, deserialize_with = "null_as_default")]
    timeseries: Vec<TimeSeries>,
}

#[derive(Deserialize)]
struct Name {
    value: String,
}

#[derive(Deserialize)]
struct TimeSeries {
    #[serde(default, deserialize_with = "null_as_default")]
    metadatavalues: Vec<Metadata>,
    #[serde(default, deserialize_with = "null_as_default")]
    data: Vec<Datum>,
}

#[derive(Deserialize)]
struct Metadata {
    name: Name,
    value: String,
}

#[derive(Deserialize)]
struct Datum {
    #[serde(rename = "timeStamp")]
    at: String,
    #[serde(default)]
    average: Option<f64>,
}

impl Answer {
    /// The series in it. What cannot be read is left out: a figure is not worth an error.
    pub(super) fn series(self) -> Vec<Series> {
        let measured = self.value.into_iter().filter_map(|measured| {
            let known = |metric: &Metric| metric.name().eq_ignore_ascii_case(&measured.name.value);
            let metric = Metric::ALL.into_iter().find(known)?;
            Some((metric, measured.timeseries))
        });
        measured
            .flat_map(|(metric, all)| all.into_iter().map(move |one| one.series(metric)))
            .collect()
    }
}

impl TimeSeries {
    fn series(self, metric: Metric) -> Series {
        let named = |data: &Metadata| data.name.value.eq_ignore_ascii_case("containerName");
        let container = self.metadatavalues.into_iter().find(named);
        let mut points: Vec<Point> = self.data.iter().filter_map(Datum::point).collect();
        points.sort_by_key(|point| point.at);
        Series {
            metric,
            container: container.map(|data| data.value),
            points,
        }
    }
}

impl Datum {
    fn point(&self) -> Option<Point> {
        let average = self
            .average
            .filter(|value| value.is_finite() && *value >= 0.0)?;
        let at = DateTime::parse_from_rfc3339(&self.at).ok()?.timestamp();
        Some(Point { at, average })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_becomes_series() {
        let answer: Answer = serde_json::from_str(
            r#"{"cost": 0, "interval": "PT1M", "value": [
                {"name": {"value": "CpuUsage"}, "unit": "Count", "timeseries": [
                    {"metadatavalues": [{"name": {"value": "containername"}, "value": "main"}], "data": [
                        {"timeStamp": "2026-01-02T03:05:00Z", "average": 20.5},
                        {"timeStamp": "2026-01-02T03:04:00Z", "average": 10},
                        {"timeStamp": "2026-01-02T03:06:00Z"},
                        {"timeStamp": "2026-01-02T03:07:00Z", "average": null},
                        {"timeStamp": "then", "average": 1},
                        {"timeStamp": "2026-01-02T03:08:00Z", "average": -1}]}]},
                {"name": {"value": "networkBytesReceivedPerSecond"}, "timeseries": [{"data": null}]},
                {"name": {"value": "MemoryUsage"}, "timeseries": null},
                {"name": {"value": "Unheard"}, "timeseries": [{}]}]}"#,
        )
        .unwrap();
        let series = answer.series();
        assert_eq!(series.len(), 2);
        let at = DateTime::parse_from_rfc3339("2026-01-02T03:04:00Z")
            .unwrap()
            .timestamp();
        assert_eq!(
            series[0],
            Series {
                metric: Metric::CpuUsage,
                container: Some("main".into()),
                points: vec![
                    Point { at, average: 10.0 },
                    Point {
                        at: at + 60,
                        average: 20.5
                    }
                ],
            }
        );
        assert_eq!(
            (series[1].metric, series[1].points.len()),
            (Metric::NetworkReceived, 0)
        );
    }
}
