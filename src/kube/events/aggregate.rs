//! Which events are written, and when. PURE: time is an argument.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::jiff::Timestamp;

use super::{Event, EventType};

/// A series is written at most this often.
const SERIES_EVERY: Duration = Duration::from_mins(1);
/// A series that was silent for so long is over; the next event starts a new one (client-go's `finishTime`).
const SERIES_ENDS: Duration = Duration::from_mins(6);
const BURST: f64 = 25.0;
const REFILL: Duration = Duration::from_mins(5);
/// Series and buckets kept at most; the stalest go first.
const KEPT: usize = 4096;

/// What makes two events the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    object: String,
    reason: String,
    action: &'static str,
    note: String,
    kind: EventType,
    /// Of what others count.
    id: Option<String>,
}

impl Key {
    fn of(event: &Event) -> Self {
        Self {
            object: object(&event.regarding),
            reason: event.reason.clone(),
            action: event.action,
            note: event.note.clone(),
            kind: event.kind,
            id: event.origin.as_ref().map(|origin| origin.id.clone()),
        }
    }
}

fn object(reference: &ObjectReference) -> String {
    let part = |text: &Option<String>| text.clone().unwrap_or_default();
    let ObjectReference {
        kind,
        namespace,
        name,
        uid,
        ..
    } = reference;
    format!(
        "{}/{}/{}/{}",
        part(kind),
        part(namespace),
        part(name),
        part(uid)
    )
}

/// A write to the API server.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Write {
    /// A new Event object.
    Create { key: Key, event: Box<Event> },
    /// A new count on an existing one.
    Series {
        name: String,
        regarding: ObjectReference,
        count: i32,
        /// When it happened last; `None` for just now.
        last: Option<Timestamp>,
    },
}

#[derive(Debug)]
struct Series {
    /// Name of the Event object, once it was written.
    name: Option<String>,
    regarding: ObjectReference,
    count: i32,
    last: Option<Timestamp>,
    written_count: i32,
    written: Instant,
    seen: Instant,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

#[derive(Debug, Default)]
pub(super) struct Aggregator {
    series: HashMap<Key, Series>,
    buckets: HashMap<String, Bucket>,
    refused: u64,
}

impl Aggregator {
    /// Takes one event; at most one write follows at once.
    pub(super) fn take(&mut self, event: Event, now: Instant) -> Option<Write> {
        let key = Key::of(&event);
        if let Some(series) = self.series.get_mut(&key)
            && now.duration_since(series.seen) < SERIES_ENDS
        {
            series.count = match &event.origin {
                Some(origin) => series.count.max(origin.count),
                None => series.count.saturating_add(1),
            };
            series.last = event.origin.map(|origin| origin.last);
            series.seen = now;
            return series.write_if_due(now);
        }
        if !self.allowed(&key.object, now) {
            self.refused += 1;
            return None;
        }
        self.make_room(now);
        let count = event.origin.as_ref().map_or(1, |origin| origin.count);
        let series = Series {
            name: None,
            regarding: event.regarding.clone(),
            count,
            last: None,
            written_count: count,
            written: now,
            seen: now,
        };
        self.series.insert(key.clone(), series);
        Some(Write::Create {
            key,
            event: Box::new(event),
        })
    }

    /// The Event object of `key` exists under this name.
    pub(super) fn created(&mut self, key: &Key, name: String) {
        if let Some(series) = self.series.get_mut(key) {
            series.name = Some(name);
        }
    }

    /// The Event object of `key` could not be made: its next repeat tries again.
    pub(super) fn lost(&mut self, key: &Key) {
        self.series.remove(key);
    }

    /// The Event object is gone.
    pub(super) fn forget(&mut self, name: &str) {
        self.series
            .retain(|_, series| series.name.as_deref() != Some(name));
    }

    /// Counts to write now.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Write> {
        let writes = self
            .series
            .values_mut()
            .filter_map(|series| series.write_if_due(now))
            .collect();
        self.series
            .retain(|_, series| now.duration_since(series.seen) < SERIES_ENDS);
        writes
    }

    /// All counts not written yet: for the end.
    pub(super) fn rest(&mut self) -> Vec<Write> {
        self.series.values_mut().filter_map(Series::write).collect()
    }

    /// Events that the spam filter refused since the last call.
    pub(super) fn take_refused(&mut self) -> u64 {
        std::mem::take(&mut self.refused)
    }

    fn allowed(&mut self, object: &str, now: Instant) -> bool {
        if self.buckets.len() >= KEPT {
            self.buckets.retain(|_, bucket| bucket.level(now) < BURST);
            if self.buckets.len() >= KEPT {
                self.buckets.clear();
            }
        }
        let bucket = self.buckets.entry(object.to_owned()).or_insert(Bucket {
            tokens: BURST,
            at: now,
        });
        bucket.tokens = bucket.level(now);
        bucket.at = now;
        let allowed = bucket.tokens >= 1.0;
        if allowed {
            bucket.tokens -= 1.0;
        }
        allowed
    }

    fn make_room(&mut self, now: Instant) {
        if self.series.len() < KEPT {
            return;
        }
        self.series
            .retain(|_, series| now.duration_since(series.seen) < SERIES_EVERY);
        if self.series.len() >= KEPT
            && let Some(stalest) = self
                .series
                .iter()
                .min_by_key(|(_, series)| series.seen)
                .map(|(key, _)| key.clone())
        {
            self.series.remove(&stalest);
        }
    }
}

impl Series {
    fn write_if_due(&mut self, now: Instant) -> Option<Write> {
        if now.duration_since(self.written) < SERIES_EVERY {
            return None;
        }
        let write = self.write();
        if write.is_some() {
            self.written = now;
        }
        write
    }

    fn write(&mut self) -> Option<Write> {
        if self.count == self.written_count {
            return None;
        }
        let name = self.name.clone()?;
        self.written_count = self.count;
        Some(Write::Series {
            name,
            regarding: self.regarding.clone(),
            count: self.count,
            last: self.last,
        })
    }
}

impl Bucket {
    fn level(&self, now: Instant) -> f64 {
        let refill = now.duration_since(self.at).as_secs_f64() / REFILL.as_secs_f64();
        (self.tokens + refill).min(BURST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(object: &str, note: &str) -> Event {
        Event {
            regarding: ObjectReference {
                name: Some(object.to_owned()),
                ..ObjectReference::default()
            },
            related: None,
            reason: "Failed".to_owned(),
            action: "Create",
            note: note.to_owned(),
            kind: EventType::Warning,
            origin: None,
        }
    }

    fn create(aggregator: &mut Aggregator, now: Instant) {
        let Some(Write::Create { key, .. }) = aggregator.take(event("a", "x"), now) else {
            panic!("not a create")
        };
        aggregator.created(&key, "a.1".to_owned());
    }

    #[test]
    fn repeats_are_counted_once_a_minute() {
        let (mut aggregator, start) = (Aggregator::default(), Instant::now());
        create(&mut aggregator, start);
        for second in 1..=50 {
            assert_eq!(
                aggregator.take(event("a", "x"), start + Duration::from_secs(second)),
                None
            );
        }
        assert!(aggregator.due(start + Duration::from_secs(59)).is_empty());
        let due = aggregator.due(start + Duration::from_mins(1));
        assert!(
            matches!(due.as_slice(), [Write::Series { count: 51, .. }]),
            "{due:?}"
        );
        assert!(
            aggregator.due(start + Duration::from_secs(200)).is_empty(),
            "nothing new"
        );
        assert!(aggregator.rest().is_empty());
    }

    #[test]
    fn what_others_count_is_not_counted_again() {
        let (mut aggregator, start) = (Aggregator::default(), Instant::now());
        let at = |text: &str| -> Timestamp { text.parse().unwrap() };
        let told = |id: &str, count: i32, last: &str| {
            let origin = super::super::Origin {
                id: id.to_owned(),
                first: at("2026-01-01T00:00:00Z"),
                last: at(last),
                count,
            };
            Event {
                origin: Some(origin),
                ..event("a", "x")
            }
        };
        let first = told("i", 2, "2026-01-01T00:00:01Z");
        let Some(Write::Create { key, .. }) = aggregator.take(first.clone(), start) else {
            panic!("not a create")
        };
        aggregator.created(&key, "a.i".to_owned());
        assert_eq!(
            aggregator.take(first, start + SERIES_EVERY),
            None,
            "no news"
        );
        let later = told("i", 5, "2026-01-01T00:00:09Z");
        let Some(Write::Series { count, last, .. }) = aggregator.take(later, start + SERIES_EVERY)
        else {
            panic!("not a count")
        };
        assert_eq!((count, last), (5, Some(at("2026-01-01T00:00:09Z"))));
        // The same words of another time.
        let other = aggregator.take(told("j", 1, "2026-01-01T00:00:09Z"), start);
        assert!(matches!(other, Some(Write::Create { .. })));
    }

    #[test]
    fn a_series_ends_and_another_note_is_another_event() {
        let (mut aggregator, start) = (Aggregator::default(), Instant::now());
        create(&mut aggregator, start);
        assert!(matches!(
            aggregator.take(event("a", "y"), start),
            Some(Write::Create { .. })
        ));
        create(&mut aggregator, start + SERIES_ENDS);
    }

    #[test]
    fn one_object_cannot_flood() {
        let (mut aggregator, start) = (Aggregator::default(), Instant::now());
        let mut written = 0;
        for i in 0..100 {
            written += usize::from(
                aggregator
                    .take(event("a", &format!("{i}")), start)
                    .is_some(),
            );
        }
        assert_eq!((written, aggregator.take_refused()), (25, 75));
        assert!(
            aggregator.take(event("b", "x"), start).is_some(),
            "another object is not affected"
        );
        assert!(
            aggregator
                .take(event("a", "later"), start + REFILL)
                .is_some()
        );
    }

    #[test]
    fn an_event_that_could_not_be_made_is_made_by_its_next_repeat() {
        let (mut aggregator, start) = (Aggregator::default(), Instant::now());
        let Some(Write::Create { key, .. }) = aggregator.take(event("a", "x"), start) else {
            panic!("not a create")
        };
        aggregator.lost(&key);
        assert!(matches!(
            aggregator.take(event("a", "x"), start),
            Some(Write::Create { .. })
        ));
    }

    #[test]
    fn a_forgotten_event_starts_again() {
        let (mut aggregator, start) = (Aggregator::default(), Instant::now());
        create(&mut aggregator, start);
        aggregator.forget("a.1");
        assert!(matches!(
            aggregator.take(event("a", "x"), start),
            Some(Write::Create { .. })
        ));
    }

    #[test]
    fn memory_is_bounded() {
        let (mut aggregator, start) = (Aggregator::default(), Instant::now());
        for i in 0..(2 * KEPT) {
            aggregator.take(event(&format!("o{i}"), "x"), start);
        }
        assert!(aggregator.series.len() <= KEPT);
    }
}
