//! From Azure Monitor's averages of minutes to the counters that readers of a kubelet expect. PURE.
//!
//! Azure tells how many millicores were used on average in a minute; a kubelet tells how many core-seconds were used in
//! all. The counter here is the sum of average times length over the minutes that Azure has told about since somebody
//! first asked. It begins at almost nothing, like that of a process that has just begun, and a minute without a figure
//! adds nothing. What it can be used for is its rate, which is Azure's average.

use std::collections::BTreeMap;

use crate::azure::monitor::{Metric, Point, Series};

/// Length of what a point is the average of, in seconds.
const MINUTE: i64 = 60;
/// Readers take a counter of zero for a missing one (metrics-server): it begins at a microsecond, or a byte.
const BEGINNING: f64 = 1e-6;
/// A figure that is older than this (in seconds) is not told any more.
const OLD: i64 = 600;

/// A rate, summed up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Counter {
    pub total: f64,
    pub rate: f64,
    /// Up to when it is summed, in seconds of the epoch: the time of the figure.
    pub at: i64,
}

impl Counter {
    /// A counter that begins at `begin`.
    fn new(begin: i64) -> Self {
        Self {
            total: BEGINNING,
            rate: 0.0,
            at: begin,
        }
    }

    /// Adds what `points` tell about the time after [`Counter::at`] and before `now`. True when there was something.
    fn add(&mut self, points: &[Point], now: i64) -> bool {
        let before = self.at;
        for point in points {
            let from = point.at.max(self.at);
            let until = point.at.saturating_add(MINUTE).min(now);
            if until > from {
                let seconds = i32::try_from(until - from).unwrap_or(i32::MAX);
                self.total += point.average * f64::from(seconds);
                self.rate = point.average;
                self.at = until;
            }
        }
        self.at > before
    }
}

/// A value and when it was so.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Level {
    pub value: f64,
    /// In seconds of the epoch.
    pub at: i64,
}

/// What is known of one run of a container.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerUsage {
    /// When the run began, in seconds of the epoch.
    pub started: i64,
    /// Core-seconds.
    pub cpu: Option<Counter>,
    /// Bytes.
    pub memory: Option<Level>,
}

/// What is known of one pod.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PodUsage {
    pub containers: BTreeMap<String, ContainerUsage>,
    /// Bytes received.
    pub received: Option<Counter>,
    /// Bytes sent.
    pub transmitted: Option<Counter>,
}

impl PodUsage {
    /// Takes an answer of Azure's at `now`. `running`: the containers that run, and since when. Returns the core-seconds
    /// that were added.
    pub fn take(&mut self, series: &[Series], running: &BTreeMap<String, i64>, now: i64) -> f64 {
        // A new run is a new counter.
        self.containers
            .retain(|name, usage| running.get(name) == Some(&usage.started));
        let mut added = 0.0;
        for one in series {
            let container = one.container.as_deref().and_then(|name| {
                let started = *running.get(name)?;
                let fresh = || ContainerUsage {
                    started,
                    cpu: None,
                    memory: None,
                };
                Some(self.containers.entry(name.to_owned()).or_insert_with(fresh))
            });
            match (one.metric, container) {
                (Metric::CpuUsage, Some(usage)) => {
                    let before = usage.cpu.map_or(0.0, |cpu| cpu.total);
                    let cores: Vec<Point> = one.points.iter().map(cores).collect();
                    count(&mut usage.cpu, &cores, usage.started, now);
                    added += usage.cpu.map_or(0.0, |cpu| cpu.total) - before;
                }
                (Metric::MemoryUsage, Some(usage)) => {
                    let since = usage.started - MINUTE;
                    let newest = one.points.iter().rev().find(|point| point.at > since);
                    if let Some(point) = newest {
                        let at = point.at.saturating_add(MINUTE).min(now);
                        usage.memory = Some(Level {
                            value: point.average,
                            at,
                        });
                    }
                }
                (Metric::NetworkReceived, _) => count(&mut self.received, &one.points, 0, now),
                (Metric::NetworkTransmitted, _) => {
                    count(&mut self.transmitted, &one.points, 0, now);
                }
                (Metric::CpuUsage | Metric::MemoryUsage, None) => {}
            }
        }
        added
    }

    /// The container's figures at `now`, without those that are too old.
    pub fn container(&self, name: &str, now: i64) -> Option<ContainerUsage> {
        let fresh = |at: i64| now.saturating_sub(at) <= OLD;
        let usage = self.containers.get(name)?;
        Some(ContainerUsage {
            started: usage.started,
            cpu: usage.cpu.filter(|cpu| fresh(cpu.at)),
            memory: usage.memory.filter(|memory| fresh(memory.at)),
        })
    }

    /// From when on Azure has to be asked.
    pub fn since(&self, now: i64) -> i64 {
        let known = self
            .containers
            .values()
            .filter_map(|usage| usage.cpu)
            .map(|cpu| cpu.at);
        let oldest = known.min().unwrap_or(now - OLD).max(now - OLD);
        // The whole minute that the oldest counter stands in.
        oldest - oldest.rem_euclid(MINUTE)
    }
}

fn cores(point: &Point) -> Point {
    Point {
        average: point.average / 1000.0,
        ..*point
    }
}

/// Adds to a counter, which begins with the first minute that has a figure, not before `begin`.
fn count(counter: &mut Option<Counter>, points: &[Point], begin: i64, now: i64) {
    let Some(first) = points.first() else {
        return;
    };
    let mut sum = counter.unwrap_or_else(|| Counter::new(first.at.max(begin)));
    if sum.add(points, now) {
        *counter = Some(sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(metric: Metric, container: Option<&str>, points: &[(i64, f64)]) -> Series {
        Series {
            metric,
            container: container.map(str::to_owned),
            points: points
                .iter()
                .map(|(at, average)| Point {
                    at: *at,
                    average: *average,
                })
                .collect(),
        }
    }

    fn running(started: i64) -> BTreeMap<String, i64> {
        [("c".to_owned(), started)].into()
    }

    fn cpu(usage: &PodUsage) -> (f64, f64, i64) {
        let cpu = usage.containers["c"].cpu.unwrap();
        ((cpu.total * 1000.0).round() / 1000.0, cpu.rate, cpu.at)
    }

    #[test]
    fn averages_become_a_counter_that_never_counts_a_second_twice() {
        let mut usage = PodUsage::default();
        let of = |points: &[(i64, f64)]| [series(Metric::CpuUsage, Some("c"), points)];
        // Half a core for a minute, then a quarter for the twenty seconds so far.
        let added = usage.take(&of(&[(600, 500.0), (660, 250.0)]), &running(0), 680);
        assert_eq!(cpu(&usage), (35.0, 0.25, 680));
        assert!((added - 35.0).abs() < 0.001);
        let again = usage.take(&of(&[(600, 500.0), (660, 250.0)]), &running(0), 680);
        assert!(again.abs() < 1e-9);
        // The rest of that minute, and the next after a minute without a figure.
        usage.take(&of(&[(660, 250.0), (780, 100.0)]), &running(0), 900);
        assert_eq!(cpu(&usage), (35.0 + 10.0 + 6.0, 0.1, 840));
        assert_eq!(usage.since(900), 840);
    }

    #[test]
    fn a_run_counts_from_its_start_and_a_new_run_is_a_new_counter() {
        let mut usage = PodUsage::default();
        let all = [
            series(Metric::CpuUsage, Some("c"), &[(600, 1000.0)]),
            series(Metric::MemoryUsage, Some("c"), &[(540, 5.0), (600, 7.0)]),
            series(Metric::CpuUsage, Some("unknown"), &[(600, 1000.0)]),
        ];
        usage.take(&all, &running(650), 660);
        assert_eq!(cpu(&usage), (10.0, 1.0, 660));
        assert_eq!(
            usage.containers["c"].memory,
            Some(Level {
                value: 7.0,
                at: 660
            })
        );
        assert_eq!(usage.containers.len(), 1);
        usage.take(
            &[series(Metric::CpuUsage, Some("c"), &[(660, 1000.0)])],
            &running(700),
            720,
        );
        assert_eq!(cpu(&usage), (20.0, 1.0, 720));
        assert_eq!(usage.containers["c"].memory, None, "that of the old run");
        usage.take(&[], &BTreeMap::new(), 720);
        assert!(usage.containers.is_empty());
    }

    #[test]
    fn idle_is_not_missing_and_missing_is_not_idle() {
        let mut usage = PodUsage::default();
        usage.take(
            &[series(Metric::CpuUsage, Some("c"), &[])],
            &running(0),
            660,
        );
        assert_eq!(usage.containers["c"].cpu, None);
        usage.take(
            &[series(Metric::CpuUsage, Some("c"), &[(600, 0.0)])],
            &running(0),
            660,
        );
        let cpu = usage.containers["c"].cpu.unwrap();
        assert!(cpu.total > 0.0 && cpu.total < 0.001, "{cpu:?}");
        assert!(usage.container("c", 660 + OLD).unwrap().cpu.is_some());
        assert!(usage.container("c", 661 + OLD).unwrap().cpu.is_none());
        assert!(usage.container("d", 660).is_none());
    }

    #[test]
    fn the_network_is_the_groups() {
        let mut usage = PodUsage::default();
        let all = [
            series(Metric::NetworkReceived, None, &[(600, 100.0)]),
            series(Metric::NetworkTransmitted, None, &[(600, 10.0)]),
        ];
        usage.take(&all, &running(0), 660);
        let round = |counter: Option<Counter>| counter.map(|counter| counter.total.round());
        assert_eq!(
            (round(usage.received), round(usage.transmitted)),
            (Some(6000.0), Some(600.0))
        );
    }
}
