//! What of a log has been written out, so that each look at ACI's window yields what is new, once. PURE.
//!
//! A window is the end of the log. The lines written last are looked for in it, by time and text; what stands behind
//! them is new. Several lines may have one time, and several of those one text: it is the sequence that is looked for,
//! not the line.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};

use k8s_openapi::jiff::Timestamp;

use super::lines::Line;

/// Lines remembered. More than the 1,000 that ACI keeps of a stopped container.
pub const REMEMBERED: usize = 2048;

/// Something to write out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The time of the line.
    pub at: Option<Timestamp>,
    /// The text, or the rest of it.
    pub text: String,
    /// It begins a line; false for the rest of one that was written before it was finished.
    pub begins: bool,
    /// It ends with a newline.
    pub ends: bool,
}

/// What a look has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    New(Vec<Piece>),
    /// The window is too small to tell: look at a larger one.
    Widen,
    /// What was written last is not in the log any more: lines may be missing before these.
    Gap(Vec<Piece>),
}

/// The memory of one follower.
#[derive(Debug, Default)]
pub struct Seen {
    /// Finished lines that were written, newest last.
    written: VecDeque<u64>,
    /// An unfinished line that was written as far as this.
    open: Option<(Option<Timestamp>, String)>,
    /// An unfinished line of the last look, not written yet: it may be finished by the next.
    pending: Option<(Option<Timestamp>, String)>,
}

impl Seen {
    /// Takes a look's `window`. `whole`: it is all that ACI has. `last`: no more will be written, so that an unfinished
    /// line is as finished as it will be.
    pub fn look(&mut self, window: &[Line<'_>], whole: bool, last: bool) -> Step {
        let (finished, open) = match window.split_last() {
            Some((line, finished)) if !line.ended => (finished, Some(line)),
            _ => (window, None),
        };
        let hashes: Vec<u64> = finished.iter().map(hash).collect();
        let (from, gap) = if self.written.is_empty() {
            if !whole && self.open.is_none() {
                return Step::Widen;
            }
            (0, false)
        } else {
            match place(self.written.make_contiguous(), &hashes) {
                Place::At(from) => (from, false),
                Place::Ambiguous(from) if whole => (from, false),
                Place::None if whole && !window.is_empty() => (0, true),
                Place::None if whole => return Step::New(Vec::new()),
                Place::Ambiguous(_) | Place::None => return Step::Widen,
            }
        };
        let fresh = finished.get(from..).unwrap_or_default();
        let mut pieces = Vec::new();
        let mut rest = fresh.iter();
        if gap {
            self.close(&mut pieces);
        } else if let Some((at, text)) = self.open.take() {
            self.go_on(at, text, &mut rest, open, &mut pieces);
        }
        pieces.extend(rest.map(whole_line));
        for hash in hashes.get(from..).unwrap_or_default() {
            self.remember(*hash);
        }
        self.unfinished(open, last, &mut pieces);
        if gap {
            Step::Gap(pieces)
        } else {
            Step::New(pieces)
        }
    }

    /// Takes the first look: all its finished lines count as written, and an unfinished one at its end does not.
    pub fn begin(&mut self, window: &[Line<'_>]) {
        let open = window.last().filter(|line| !line.ended);
        for line in window.iter().filter(|line| line.ended) {
            self.remember(hash(line));
        }
        // Nothing is written for it before the next look.
        self.unfinished(open, false, &mut Vec::new());
    }

    fn remember(&mut self, hash: u64) {
        if self.written.len() == REMEMBERED {
            self.written.pop_front();
        }
        self.written.push_back(hash);
    }

    /// A line that was written in part has grown, or is finished now.
    fn go_on<'a>(
        &mut self,
        at: Option<Timestamp>,
        written: String,
        fresh: &mut std::slice::Iter<'a, Line<'a>>,
        open: Option<&Line<'_>>,
        pieces: &mut Vec<Piece>,
    ) {
        let rest_of = |line: &Line<'_>| {
            (line.at == at)
                .then(|| line.text.strip_prefix(written.as_str()).map(str::to_owned))
                .flatten()
        };
        let mut ahead = fresh.clone();
        match (ahead.next(), open) {
            (Some(line), _) => {
                if let Some(text) = rest_of(line) {
                    pieces.push(Piece {
                        at,
                        text,
                        begins: false,
                        ends: true,
                    });
                    *fresh = ahead;
                } else {
                    pieces.push(newline(at));
                }
            }
            (None, Some(line)) if rest_of(line).is_some() => self.open = Some((at, written)),
            (None, Some(_)) => pieces.push(newline(at)),
            (None, None) => self.open = Some((at, written)),
        }
    }

    /// The unfinished line at the end of a window is written when it has stood there for two looks, or is the last.
    fn unfinished(&mut self, open: Option<&Line<'_>>, last: bool, pieces: &mut Vec<Piece>) {
        let Some(line) = open else {
            self.pending = None;
            return;
        };
        // A character that was cut in the middle is complete in the next look.
        let text = line.text.trim_end_matches('\u{fffd}');
        if let Some((at, written)) = &mut self.open {
            if let Some(more) = text.strip_prefix(written.as_str())
                && !more.is_empty()
            {
                pieces.push(Piece {
                    at: *at,
                    text: more.to_owned(),
                    begins: false,
                    ends: false,
                });
                text.clone_into(written);
            }
            return;
        }
        let now = (line.at, text.to_owned());
        if last || self.pending.as_ref() == Some(&now) {
            self.pending = None;
            pieces.push(Piece {
                at: line.at,
                text: now.1.clone(),
                begins: true,
                ends: false,
            });
            self.open = Some(now);
        } else {
            self.pending = Some(now);
        }
    }

    /// Ends a line that was written in part.
    pub fn close(&mut self, pieces: &mut Vec<Piece>) {
        if let Some((at, _)) = self.open.take() {
            pieces.push(newline(at));
        }
    }
}

/// A line as it is written.
pub fn whole_line(line: &Line<'_>) -> Piece {
    Piece {
        at: line.at,
        text: line.text.to_owned(),
        begins: true,
        ends: line.ended,
    }
}

fn newline(at: Option<Timestamp>) -> Piece {
    Piece {
        at,
        text: String::new(),
        begins: false,
        ends: true,
    }
}

fn hash(line: &Line<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (line.at, line.text).hash(&mut hasher);
    hasher.finish()
}

#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// What is new begins here.
    At(usize),
    /// It may begin here, or later: the same lines come again and again.
    Ambiguous(usize),
    /// What was written is not here.
    None,
}

/// Where in `window` the lines behind `written` begin. The place must agree with as much of `written` as the window
/// can hold before it.
fn place(written: &[u64], window: &[u64]) -> Place {
    // Read backwards, the end of what was written is a prefix, and the Z function tells how much of it stands at each
    // position, in linear time.
    let pattern: Vec<u64> = written.iter().rev().copied().collect();
    let text: Vec<u64> = window.iter().rev().copied().collect();
    let matched = prefix_lengths(&pattern, &text);
    let fits = |at: usize| {
        let length = matched.get(window.len() - at).copied().unwrap_or_default();
        length >= at.min(written.len())
    };
    // With all of what is remembered in front of it, the first place is the right one.
    if let Some(at) = (written.len()..=window.len()).find(|at| fits(*at)) {
        return Place::At(at);
    }
    let shorter = window.len().min(written.len().saturating_sub(1));
    let mut fitting = (1..=shorter).rev().filter(|at| fits(*at));
    match (fitting.next(), fitting.next()) {
        (None, _) => Place::None,
        (Some(at), None) => Place::At(at),
        (Some(at), Some(_)) => Place::Ambiguous(at),
    }
}

/// How long a prefix of `pattern` stands at each position of `text` (the Z function of both).
fn prefix_lengths(pattern: &[u64], text: &[u64]) -> Vec<usize> {
    let all: Vec<Option<u64>> = pattern
        .iter()
        .map(|word| Some(*word))
        .chain([None])
        .chain(text.iter().map(|word| Some(*word)))
        .collect();
    let mut z = vec![0usize; all.len()];
    let (mut left, mut right) = (0usize, 0usize);
    for i in 1..all.len() {
        let mut length = 0;
        if i < right {
            length = z.get(i - left).copied().unwrap_or_default().min(right - i);
        }
        while let (Some(a), Some(b)) = (all.get(length), all.get(i + length))
            && a == b
            && a.is_some()
        {
            length += 1;
        }
        if i + length > right {
            (left, right) = (i, i + length);
        }
        if let Some(slot) = z.get_mut(i) {
            *slot = length;
        }
    }
    z.split_off(pattern.len() + 1)
}

#[cfg(test)]
#[path = "seen/tests.rs"]
mod tests;
