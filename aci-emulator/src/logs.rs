//! A container's log: lines with times, cut as the service cuts it.

use chrono::SecondsFormat;

use crate::clock::Time;

/// What the service keeps of a running container's log.
pub(crate) const RUNNING_BYTES: usize = 4 * 1024 * 1024;
/// What it keeps of a stopped container's log: 16 KB or 1000 lines.
pub(crate) const STOPPED_BYTES: usize = 16 * 1024;
const STOPPED_LINES: usize = 1000;

/// Lines of one run of a container.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log {
    /// Each with its newline, if it has one.
    lines: Vec<(Time, String)>,
    bytes: usize,
    /// Lines forgotten at the front.
    dropped: usize,
}

impl Log {
    /// A new run's log; the log of the run before is not available any more.
    pub(crate) fn started(container: &str, image: &str, at: Time) -> Self {
        let mut log = Self::default();
        log.append(at, &format!("{container} started from {image}"));
        log
    }

    /// Appends lines, the last of which ends as the others do.
    pub(crate) fn append(&mut self, at: Time, text: &str) {
        for line in text.lines() {
            self.write(at, &format!("{line}\n"));
        }
    }

    /// Appends what a program has written: its last line may have no end.
    pub(crate) fn write(&mut self, at: Time, text: &str) {
        for line in text.split_inclusive('\n') {
            self.bytes += line.len();
            self.lines.push((at, line.to_owned()));
        }
        if self.bytes > 2 * RUNNING_BYTES {
            self.cut();
        }
    }

    /// Forgets what no answer can hold any more.
    fn cut(&mut self) {
        let mut kept = 0;
        let keep = self
            .lines
            .iter()
            .rev()
            .take_while(|(_, line)| {
                kept += line.len();
                kept <= RUNNING_BYTES
            })
            .count();
        let drop = self.lines.len() - keep;
        self.dropped += drop;
        self.lines.drain(..drop);
        self.bytes = self.lines.iter().map(|(_, line)| line.len()).sum();
    }

    /// Lines after the first `seen` ones, and how many there are in all. A log with fewer lines is
    /// that of another run and is given whole.
    pub(crate) fn after(&self, seen: usize) -> (String, usize) {
        let total = self.dropped + self.lines.len();
        let skip = if seen > total {
            0
        } else {
            seen.saturating_sub(self.dropped)
        };
        (
            self.lines
                .iter()
                .skip(skip)
                .map(|(_, line)| line.as_str())
                .collect(),
            total,
        )
    }

    /// `content` of the logs answer.
    pub(crate) fn content(&self, tail: Option<usize>, timestamps: bool, stopped: bool) -> String {
        let (max_bytes, max_lines) = if stopped {
            (STOPPED_BYTES, STOPPED_LINES)
        } else {
            (RUNNING_BYTES, usize::MAX)
        };
        let wanted = tail
            .unwrap_or(usize::MAX)
            .min(max_lines)
            .min(self.lines.len());
        let mut parts: Vec<String> = Vec::new();
        let mut bytes = 0;
        for (at, line) in self.lines.iter().rev().take(wanted) {
            let line = if timestamps {
                format!("{} {line}", at.to_rfc3339_opts(SecondsFormat::Nanos, true))
            } else {
                line.clone()
            };
            bytes += line.len();
            if bytes > max_bytes {
                break;
            }
            parts.push(line);
        }
        parts.reverse();
        parts.concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(lines: usize, width: usize) -> Log {
        let mut log = Log::default();
        for n in 0..lines {
            log.append(
                "2026-01-02T03:04:05.678Z".parse().unwrap(),
                &format!("{n:0width$}"),
            );
        }
        log
    }

    #[test]
    fn tail_and_timestamps() {
        let log = log(3, 1);
        assert_eq!(log.content(None, false, false), "0\n1\n2\n");
        assert_eq!(log.content(Some(2), false, false), "1\n2\n");
        assert_eq!(log.content(Some(0), false, false), "");
        assert_eq!(
            log.content(Some(1), true, false),
            "2026-01-02T03:04:05.678000000Z 2\n"
        );
    }

    #[test]
    fn a_line_may_have_no_end() {
        let mut log = log(1, 1);
        log.write("2026-01-02T03:04:05Z".parse().unwrap(), "a\nb");
        assert_eq!(log.content(None, false, true), "0\na\nb");
        assert_eq!(log.after(1), ("a\nb".to_owned(), 3));
    }

    #[test]
    fn a_running_log_is_cut_at_4_mb_and_a_stopped_one_at_16_kb_or_1000_lines() {
        let long = log(9000, 1023);
        let running = long.content(None, false, false);
        assert!(running.len() <= RUNNING_BYTES && running.len() > RUNNING_BYTES - 2048);
        assert!(running.ends_with("8999\n"));
        let stopped = long.content(None, false, true);
        assert_eq!(stopped.len(), STOPPED_BYTES);
        assert_eq!(
            log(2000, 1).content(None, false, true).lines().count(),
            1000
        );
        assert!(long.bytes <= 2 * RUNNING_BYTES);
    }
}
