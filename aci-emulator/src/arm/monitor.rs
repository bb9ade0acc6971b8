//! `Microsoft.Insights/metrics` of a container group: averages of minutes, as Azure Monitor answers them (Microsoft Learn,
//! "Metrics - List" and "Container Instances monitoring data reference").
//!
//! Unlike Azure, which is some minutes behind, the minute under way has a figure already.

use axum::{Json, response::IntoResponse};
use chrono::{DateTime, DurationRound, SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};

use super::{Answer, Call, errors::ApiError, lifecycle::ContainerLife, lifecycle::Phase};
use crate::clock::Time;

/// `api-version`s of the metrics API.
const VERSIONS: [&str; 5] = [
    "2024-02-01",
    "2023-10-01",
    "2021-05-01",
    "2019-07-01",
    "2018-01-01",
];
const DIMENSION: &str = "containerName";
/// Points of one answer: a day of minutes.
const POINTS: i64 = 1440;

/// What a running container uses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Usage {
    pub(crate) millicores: f64,
    pub(crate) bytes: f64,
}

impl Default for Usage {
    fn default() -> Self {
        Self {
            millicores: 5.0,
            bytes: 20_000_000.0,
        }
    }
}

/// One metric: its name, its unit, and what a container adds to it.
struct Metric {
    name: &'static str,
    unit: &'static str,
    by_container: bool,
    of: fn(Usage) -> f64,
}

const METRICS: [Metric; 4] = [
    Metric {
        name: "CpuUsage",
        unit: "Count",
        by_container: true,
        of: |usage| usage.millicores,
    },
    Metric {
        name: "MemoryUsage",
        unit: "Bytes",
        by_container: true,
        of: |usage| usage.bytes,
    },
    Metric {
        name: "NetworkBytesReceivedPerSecond",
        unit: "Bytes",
        by_container: false,
        of: |_| 1000.0,
    },
    Metric {
        name: "NetworkBytesTransmittedPerSecond",
        unit: "Bytes",
        by_container: false,
        of: |_| 100.0,
    },
];

fn bad(message: String) -> ApiError {
    ApiError::bad("BadRequest", message)
}

/// `GET …/containerGroups/{name}/providers/Microsoft.Insights/metrics`.
pub(crate) fn metrics(call: &Call<'_>, resource_group: &str, name: &str) -> Answer {
    call.version(&VERSIONS)?;
    let wanted = wanted(call)?;
    let by_container = filter(call, &wanted)?;
    let (from, until) = timespan(call)?;
    if call
        .parameter("interval")
        .is_some_and(|interval| interval != "PT1M")
    {
        return Err(bad("The emulator knows the interval PT1M only.".to_owned()));
    }
    let average = call.parameter("aggregation").is_none_or(|all| {
        all.split(',')
            .any(|one| one.trim().eq_ignore_ascii_case("average"))
    });
    let mut world = call.shared.world.lock();
    let group = world.existing(resource_group, name, call.now)?;
    let lives: Vec<&ContainerLife> = group.life.containers.iter().collect();
    let until = until.min(call.now);
    let value: Vec<Value> = wanted
        .iter()
        .map(|metric| {
            let series: Vec<Value> = if by_container {
                let lives = lives.iter().filter(|life| life.usage.is_some());
                lives
                    .map(|life| series(metric, std::slice::from_ref(life), Some(&life.name), from, until, average))
                    .collect()
            } else {
                vec![series(metric, &lives, None, from, until, average)]
            };
            json!({
                "id": format!("{}/providers/Microsoft.Insights/metrics/{}", call.path.trim_end_matches("/providers/Microsoft.Insights/metrics"), metric.name),
                "type": "Microsoft.Insights/metrics",
                "name": {"value": metric.name, "localizedValue": metric.name},
                "unit": metric.unit,
                "timeseries": series,
                "errorCode": "Success",
            })
        })
        .collect();
    Ok(Json(json!({
        "cost": 0,
        "timespan": format!("{}/{}", text(from), text(until)),
        "interval": "PT1M",
        "value": value,
        "namespace": "Microsoft.ContainerInstance/containerGroups",
        "resourceregion": group.location,
    }))
    .into_response())
}

fn wanted(call: &Call<'_>) -> Result<Vec<&'static Metric>, ApiError> {
    let names = call
        .parameter("metricnames")
        .unwrap_or_else(|| "CpuUsage".to_owned());
    let find = |name: &str| {
        let metric = METRICS
            .iter()
            .find(|metric| metric.name.eq_ignore_ascii_case(name.trim()));
        metric.ok_or_else(|| {
            let valid: Vec<&str> = METRICS.iter().map(|metric| metric.name).collect();
            bad(format!(
                "Failed to find metric configuration for provider: Microsoft.ContainerInstance, resource Type: containerGroups, metric: {name}, Valid metrics: {}",
                valid.join(",")
            ))
        })
    };
    names.split(',').map(find).collect()
}

/// Whether the series are asked for by container.
fn filter(call: &Call<'_>, wanted: &[&Metric]) -> Result<bool, ApiError> {
    let Some(filter) = call.parameter("$filter") else {
        return Ok(false);
    };
    let words: Vec<&str> = filter.split_whitespace().collect();
    let understood = matches!(words.as_slice(), [name, eq, "'*'"]
        if name.eq_ignore_ascii_case(DIMENSION) && eq.eq_ignore_ascii_case("eq"));
    if !understood {
        return Err(bad(format!(
            "The emulator knows the filter \"{DIMENSION} eq '*'\" only."
        )));
    }
    match wanted.iter().find(|metric| !metric.by_container) {
        Some(metric) => Err(bad(format!(
            "Metric: {} does not support requested dimension combination: {DIMENSION}, supported ones are: ",
            metric.name
        ))),
        None => Ok(true),
    }
}

fn timespan(call: &Call<'_>) -> Result<(Time, Time), ApiError> {
    let Some(span) = call.parameter("timespan") else {
        return Ok((call.now - TimeDelta::hours(1), call.now));
    };
    let read = |text: &str| {
        let parsed = DateTime::parse_from_rfc3339(text);
        parsed.map(|time| time.with_timezone(&Utc)).ok()
    };
    let both = span
        .split_once('/')
        .and_then(|(from, until)| Some((read(from)?, read(until)?)));
    match both {
        Some((from, until)) if from < until => Ok((from, until)),
        _ => Err(bad(format!("Detected invalid time interval input: {span}"))),
    }
}

/// One series: the average over `lives` of each minute in which any of them ran; minutes in which none did have no
/// figure.
fn series(
    metric: &Metric,
    lives: &[&ContainerLife],
    container: Option<&str>,
    from: Time,
    until: Time,
    average: bool,
) -> Value {
    let minute = TimeDelta::minutes(1);
    let mut at = from.duration_trunc(minute).unwrap_or(from);
    let mut data = Vec::new();
    for _ in 0..POINTS {
        if at >= until {
            break;
        }
        let running = lives.iter().filter(|life| ran(life, at + minute));
        let values: Vec<f64> = running
            .filter_map(|life| life.usage)
            .map(metric.of)
            .collect();
        let count = f64::from(u32::try_from(values.len()).unwrap_or(u32::MAX));
        let mean = (average && !values.is_empty()).then(|| values.iter().sum::<f64>() / count);
        let datum = match mean {
            Some(mean) => json!({"timeStamp": text(at), "average": mean}),
            None => json!({"timeStamp": text(at)}),
        };
        data.push(datum);
        at += minute;
    }
    let metadata: Vec<Value> = container
        .map(|name| json!({"name": {"value": "containername", "localizedValue": "containername"}, "value": name}))
        .into_iter()
        .collect();
    json!({"metadatavalues": metadata, "data": data})
}

fn ran(life: &ContainerLife, before: Time) -> bool {
    matches!(life.phase, Phase::Running { since } if since < before)
}

fn text(time: Time) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}
