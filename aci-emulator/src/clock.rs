//! The emulator's clock: wall-clock time that never jumps, because it is counted from one reading.

use std::time::{Duration, Instant};

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

/// A point in time as ARM writes it.
pub(crate) type Time = DateTime<Utc>;

/// Steady UTC clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    base: Instant,
    utc: Time,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self {
            base: Instant::now(),
            utc: Utc::now(),
        }
    }

    pub(crate) fn now(&self) -> Time {
        plus(self.utc, self.base.elapsed())
    }
}

/// `time + by`, staying at `time` when the sum cannot be represented.
pub(crate) fn plus(time: Time, by: Duration) -> Time {
    TimeDelta::from_std(by)
        .ok()
        .and_then(|delta| time.checked_add_signed(delta))
        .unwrap_or(time)
}

/// `time - by`, staying at `time` when the difference cannot be represented.
pub(crate) fn minus(time: Time, by: Duration) -> Time {
    TimeDelta::from_std(by)
        .ok()
        .and_then(|delta| time.checked_sub_signed(delta))
        .unwrap_or(time)
}

/// From `earlier` to `later`, zero when they are the wrong way round.
pub(crate) fn between(earlier: Time, later: Time) -> Duration {
    (later - earlier).to_std().unwrap_or_default()
}

/// A state's time as ACI writes it: milliseconds without trailing zeros (recorded answers have 0, 2
/// and 3 digits).
pub(crate) fn stamp(time: Time) -> String {
    let text = time.to_rfc3339_opts(SecondsFormat::Millis, true);
    match text.trim_end_matches('Z').split_once('.') {
        None => text,
        Some((whole, fraction)) => match fraction.trim_end_matches('0') {
            "" => format!("{whole}Z"),
            digits => format!("{whole}.{digits}Z"),
        },
    }
}

/// An event's time: whole seconds.
pub(crate) fn stamp_seconds(time: Time) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// An operation's time: seven digits, as .NET writes a tick.
pub(crate) fn stamp_ticks(time: Time) -> String {
    let nanos = time.to_rfc3339_opts(SecondsFormat::Nanos, true);
    let cut = nanos.len().saturating_sub(3);
    format!("{}Z", nanos.get(..cut).unwrap_or(&nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_have_the_digits_of_the_recordings() {
        let time = |text: &str| text.parse::<Time>().unwrap();
        assert_eq!(
            stamp(time("2023-05-01T16:57:05.780Z")),
            "2023-05-01T16:57:05.78Z"
        );
        assert_eq!(
            stamp(time("2023-05-01T16:57:10.133Z")),
            "2023-05-01T16:57:10.133Z"
        );
        assert_eq!(stamp(time("2023-05-01T16:57:10Z")), "2023-05-01T16:57:10Z");
        assert_eq!(stamp(time("2023-05-01T16:57:00Z")), "2023-05-01T16:57:00Z");
        assert_eq!(
            stamp_seconds(time("2019-10-21T11:43:03.5Z")),
            "2019-10-21T11:43:03Z"
        );
        assert_eq!(
            stamp_ticks(time("2023-05-01T16:56:48.7805315Z")),
            "2023-05-01T16:56:48.7805315Z"
        );
    }
}
