//! The metrics of a container group.

use azure_core::http::Url;
use chrono::{DateTime, SecondsFormat};

use super::call::Call;
use super::{ArmClient, parse};
use crate::azure::error::AzureError;
use crate::azure::monitor::{Answer, Metric, Series};
use crate::azure::throttle::CallPriority;

/// Version of the metrics API that is spoken.
const API_VERSION: &str = "2023-10-01";

impl ArmClient {
    /// The averages of each minute of `metrics` from `from` until `until` (seconds of the epoch); by container when
    /// `by_container`, which only CPU and memory can be asked by. Waits for a turn that [`ArmClient::plan_metrics`] has
    /// planned, and goes behind all other reads then.
    pub async fn metrics(
        &self,
        rg: &str,
        group: &str,
        metrics: &[Metric],
        by_container: bool,
        from: i64,
        until: i64,
    ) -> Result<Vec<Series>, AzureError> {
        let path = [group, "providers", "Microsoft.Insights", "metrics"];
        let mut url = self.group_url_in(API_VERSION, rg, &path)?;
        ask(&mut url, metrics, by_container, from, until);
        let call = Call::get("metrics", url).at(CallPriority::Metrics);
        let answer: Answer = parse(&self.send(&call).await?)?;
        Ok(answer.series())
    }
}

fn ask(url: &mut Url, metrics: &[Metric], by_container: bool, from: i64, until: i64) {
    let names: Vec<&str> = metrics.iter().map(|metric| metric.name()).collect();
    let mut query = url.query_pairs_mut();
    query
        .append_pair("metricnames", &names.join(","))
        .append_pair("timespan", &format!("{}/{}", time(from), time(until)))
        .append_pair("interval", "PT1M")
        .append_pair("aggregation", "average");
    if by_container {
        query.append_pair("$filter", "containerName eq '*'");
    }
}

fn time(seconds: i64) -> String {
    DateTime::from_timestamp(seconds, 0)
        .unwrap_or_default()
        .to_rfc3339_opts(SecondsFormat::Secs, true)
}
